//go:build step

package stage

import (
	"bytes"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/S4AK4N/pool/internal/step"
)

// Changing lets f run as far as the place, or to its end if the place is "".
func (s *Stage) Changing(place string, f func()) (end func()) {
	if place == "" {
		f()
		synctest.Wait()
		return func() {}
	}
	return s.Act(place, f).End
}

// A Stage stops goroutines at the places that step.At marks, so that a test can let
// others come in between: the interleavings of which the comments in the code speak,
// one by one. It lives in a synctest bubble, where one can wait until everybody is
// stopped, parked, or gone.
type Stage struct {
	T     *testing.T
	mu    sync.Mutex // guards stops
	stops []*Stop
}

// A Stop stops one goroutine at one place.
type Stop struct {
	place   string
	only    string // the goroutine it is for; empty: the first that comes
	Reached bool
	Resume  chan struct{}
	Let     sync.Once
}

func Staged(t *testing.T, play func(t *testing.T, s *Stage)) {
	synctest.Test(t, func(t *testing.T) {
		s := &Stage{T: t}
		remove := step.Install(s.at)
		t.Cleanup(func() {
			remove()
			for _, stop := range s.stops {
				stop.GoOn()
			}
		})
		play(t, s)
	})
}

func (s *Stage) at(place string) {
	s.mu.Lock()
	for _, stop := range s.stops {
		if !stop.Reached && stop.place == place && (stop.only == "" || stop.only == goroutine()) {
			stop.Reached = true
			s.mu.Unlock()
			<-stop.Resume
			return
		}
	}
	s.mu.Unlock()
}

// goroutine names the calling goroutine.
func goroutine() string {
	buf := make([]byte, 64)
	name, _, _ := bytes.Cut(buf[:runtime.Stack(buf, false)], []byte(" ["))
	return string(name)
}

func (s *Stage) stop(place, only string) *Stop {
	stop := &Stop{place: place, only: only, Resume: make(chan struct{})}
	s.mu.Lock()
	s.stops = append(s.stops, stop)
	s.mu.Unlock()
	return stop
}

// StopNext stops the next goroutine that comes to the place, whoever that is.
func (s *Stage) StopNext(place string) *Stop { return s.stop(place, "") }

// Arrived fails the test if nobody has come to the stop.
func (s *Stop) Arrived(t *testing.T) {
	t.Helper()
	synctest.Wait()
	if !s.Reached {
		t.Fatalf("nobody has come to %q", s.place)
	}
}

// GoOn lets the goroutine go on, until it has ended or is blocked.
func (s *Stop) GoOn() {
	s.Let.Do(func() { close(s.Resume) })
	synctest.Wait()
}

// An Actor is a goroutine of the test.
type Actor struct {
	s    *Stage
	name string
	stop *Stop
	Done chan struct{}
}

// Act lets a new goroutine run f as far as the place.
func (s *Stage) Act(place string, f func()) *Actor {
	s.T.Helper()
	a := &Actor{s: s, Done: make(chan struct{})}
	go func() {
		defer close(a.Done)
		a.name = goroutine()
		a.stop = s.stop(place, a.name)
		f()
	}()
	synctest.Wait()
	a.stop.Arrived(s.T)
	return a
}

// To lets the actor go on as far as the next place.
func (a *Actor) To(place string) {
	a.s.T.Helper()
	before := a.stop
	a.stop = a.s.stop(place, a.name)
	before.GoOn()
	a.stop.Arrived(a.s.T)
}

// GoOn lets the actor go on, until it has ended or is blocked.
func (a *Actor) GoOn() { a.stop.GoOn() }

// End lets the actor go on to its end.
func (a *Actor) End() {
	a.s.T.Helper()
	a.GoOn()
	select {
	case <-a.Done:
	default:
		a.s.T.Fatalf("after %q the actor is blocked", a.stop.place)
	}
}
