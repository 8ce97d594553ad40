//go:build step

package pool

import (
	"bytes"
	"context"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/S4AK4N/pool/internal/step"
)

// A stage stops goroutines at the places that step.At marks, so that a test can let
// others come in between: the interleavings of which the comments in the code speak,
// one by one. It lives in a synctest bubble, where one can wait until everybody is
// stopped, parked, or gone.
type stage struct {
	t     *testing.T
	mu    sync.Mutex
	stops []*stop
}

// A stop stops one goroutine at one place.
type stop struct {
	place   string
	only    string // the goroutine it is for; empty: the first that comes
	reached bool
	resume  chan struct{}
	let     sync.Once
}

func staged(t *testing.T, play func(t *testing.T, s *stage)) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{t: t}
		remove := step.Install(s.at)
		t.Cleanup(func() {
			remove()
			for _, stop := range s.stops {
				stop.goOn()
			}
		})
		play(t, s)
	})
}

func (s *stage) at(place string) {
	s.mu.Lock()
	for _, stop := range s.stops {
		if !stop.reached && stop.place == place && (stop.only == "" || stop.only == goroutine()) {
			stop.reached = true
			s.mu.Unlock()
			<-stop.resume
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

func (s *stage) stop(place, only string) *stop {
	stop := &stop{place: place, only: only, resume: make(chan struct{})}
	s.mu.Lock()
	s.stops = append(s.stops, stop)
	s.mu.Unlock()
	return stop
}

// stopNext stops the next goroutine that comes to the place, whoever that is.
func (s *stage) stopNext(place string) *stop { return s.stop(place, "") }

// arrived fails the test if nobody has come to the stop.
func (s *stop) arrived(t *testing.T) {
	t.Helper()
	synctest.Wait()
	if !s.reached {
		t.Fatalf("nobody has come to %q", s.place)
	}
}

// goOn lets the goroutine go on, until it has ended or is blocked.
func (s *stop) goOn() {
	s.let.Do(func() { close(s.resume) })
	synctest.Wait()
}

// An actor is a goroutine of the test.
type actor struct {
	s    *stage
	name string
	stop *stop
	done chan struct{}
}

// act lets a new goroutine run f as far as the place.
func (s *stage) act(place string, f func()) *actor {
	s.t.Helper()
	a := &actor{s: s, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.name = goroutine()
		a.stop = s.stop(place, a.name)
		f()
	}()
	synctest.Wait()
	a.stop.arrived(s.t)
	return a
}

// to lets the actor go on as far as the next place.
func (a *actor) to(place string) {
	a.s.t.Helper()
	before := a.stop
	a.stop = a.s.stop(place, a.name)
	before.goOn()
	a.stop.arrived(a.s.t)
}

// goOn lets the actor go on, until it has ended or is blocked.
func (a *actor) goOn() { a.stop.goOn() }

// end lets the actor go on to its end.
func (a *actor) end() {
	a.s.t.Helper()
	a.goOn()
	select {
	case <-a.done:
	default:
		a.s.t.Fatalf("after %q the actor is blocked", a.stop.place)
	}
}

// get lets a new goroutine run a Get as far as the place.
func (s *stage) get(place string, ctx context.Context, p *Pool[*wire]) (*actor, *request[*wire]) {
	s.t.Helper()
	r := new(request[*wire])
	a := s.act(place, func() { r.lease, r.err = p.Get(ctx) })
	r.done = a.done
	return a, r
}

// put lets a new goroutine run a Put as far as the place.
func (s *stage) put(place string, p *Pool[*wire], l Lease[*wire]) *actor {
	s.t.Helper()
	return s.act(place, func() {
		if err := p.Put(l); err != nil {
			s.t.Errorf("Put: %v", err)
		}
	})
}

// lent returns a pool of n connections, all of them leased. No time does anything to
// it.
func lent(t *testing.T, x *exchange, n int) (*Pool[*wire], []Lease[*wire]) {
	t.Helper()
	p := start(t, x.factory(), Config{MaxConnections: n, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1})
	leases := make([]Lease[*wire], n)
	for i := range leases {
		leases[i] = borrow(t, p)
	}
	synctest.Wait()
	return p, leases
}

// endWith puts the leases back and checks that the pool is at rest, with its n
// connections idle.
func endWith(t *testing.T, p *Pool[*wire], n int, leases ...Lease[*wire]) {
	t.Helper()
	for _, l := range leases {
		giveBack(t, p, l)
	}
	synctest.Wait()
	atRest(t, p, 0)
	if got := p.Stats().IdleConnections; got != n {
		t.Errorf("%d connections are idle at the end, want %d", got, n)
	}
}

var bg = context.Background()

// Seeded fault 1 of the model. vitess#17662, fasthttp#2391, bb8#122: a Put lands
// between a getter's "nothing idle" and its enqueueing.
func TestWaiterFindsWhatWasPublishedBeforeItWasLinked(t *testing.T) {
	for _, place := range []string{"put: gate read", "settle: gate read"} {
		t.Run(strings.Replace(place, ": ", " ", 1), func(t *testing.T) {
			staged(t, func(t *testing.T, s *stage) {
				p, l := lent(t, new(exchange), 1)
				fast := place == "put: gate read"
				var putter, getter *actor
				var r *request[*wire]
				if fast {
					putter = s.put(place, p, l[0])
				}
				getter, r = s.get("wait: registered", bg, p)
				if !fast {
					putter = s.put(place, p, l[0])
				}
				if fast {
					putter.to("put: published")
				} else {
					putter.to("settle: nobody waits")
				}
				putter.end()
				getter.goOn()
				endWith(t, p, 1, r.served(t, "after it was linked"))
			})
		})
	}
}

// Seeded fault 2: the other side of the same race. The waiter has looked, and the
// publisher has not published yet.
func TestPublisherFindsWhoWasLinkedBeforeItPublished(t *testing.T) {
	t.Run("Put fast", func(t *testing.T) {
		staged(t, func(t *testing.T, s *stage) {
			p, l := lent(t, new(exchange), 1)
			putter := s.put("put: gate read", p, l[0])
			r := ask(bg, p)
			r.pending(t, "before the Put")
			putter.end()
			endWith(t, p, 1, r.served(t, "after the Put"))
		})
	})
	t.Run("settle", func(t *testing.T) {
		staged(t, func(t *testing.T, s *stage) {
			p, l := lent(t, new(exchange), 1)
			getter, r := s.get("wait: registered", bg, p)
			putter := s.put("settle: nobody waits", p, l[0])
			getter.goOn()
			r.pending(t, "before the Put")
			putter.end()
			endWith(t, p, 1, r.served(t, "after the Put"))
		})
	})
}

// Seeded fault 3. sqlx#3132, fasthttp#1830: a grant that cannot be used is dropped.
func TestGranterThatLosesAWaiterServesTheNext(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		p, l := lent(t, new(exchange), 1)
		ctx, cancel := context.WithCancel(bg)
		first, second := ask(ctx, p), ask(bg, p)
		putter := s.put("settle: somebody waits", p, l[0])
		cancel()
		first.failed(t, "after its cancel", context.Canceled)
		putter.end()
		endWith(t, p, 1, second.served(t, "after the Put"))
	})
}

func TestGranterThatLosesTheOnlyWaiterLeavesTheSlotIdle(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		p, l := lent(t, new(exchange), 1)
		ctx, cancel := context.WithCancel(bg)
		r := ask(ctx, p)
		putter := s.put("settle: somebody waits", p, l[0])
		cancel()
		r.failed(t, "after its cancel", context.Canceled)
		putter.end()
		endWith(t, p, 1)
	})
}

func TestOfTwoGrantersOneServesAndTheOtherGoesOn(t *testing.T) {
	for _, waiters := range []int{1, 2} {
		staged(t, func(t *testing.T, s *stage) {
			p, l := lent(t, new(exchange), 2)
			r := []*request[*wire]{ask(bg, p)}
			if waiters == 2 {
				r = append(r, ask(bg, p))
			}
			a := s.put("settle: somebody waits", p, l[0])
			b := s.put("settle: somebody waits", p, l[1])
			b.end()
			first := r[0].served(t, "after one Put")
			a.end()
			if waiters == 1 {
				endWith(t, p, 2, first)
				return
			}
			endWith(t, p, 2, first, r[1].served(t, "after the other Put"))
		})
	}
}

// Seeded fault 7: A is first at the gate and granted; B has registered but is not
// linked; a publisher finds the queue empty, and goes. B must look for itself.
func TestWhoIsNotFirstAtTheGateLooksAgain(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		p, l := lent(t, new(exchange), 2)
		a := ask(bg, p)
		getter, b := s.get("wait: registered", bg, p)
		giveBack(t, p, l[0])
		got := a.served(t, "after the first Put")
		giveBack(t, p, l[1])
		getter.goOn()
		endWith(t, p, 2, got, b.served(t, "beside an idle slot"))
	})
}

// Whoever has not looked yet excuses nobody: its stall hides no slot from those who
// come later, and they serve it first.
func TestWaiterStalledBeforeItLooksHoldsUpNobody(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		p, l := lent(t, new(exchange), 2)
		getter, a := s.get("wait: registered", bg, p)
		giveBack(t, p, l[0]) // they find nobody
		giveBack(t, p, l[1])
		getter.to("wait: looks again")
		b := ask(bg, p)
		got := b.served(t, "while another has not looked")
		if n := p.Stats().IdleConnections; n != 0 {
			t.Errorf("%d connections are idle, want the other one to be given to who came first", n)
		}
		getter.goOn()
		endWith(t, p, 2, got, a.served(t, "when it goes on"))
	})
}

// Seeded fault 9. bb8#67, puddle#2, hackney#462, node-postgres#3721: cancelled getters
// swallow wake-ups, or the connection.
func TestWaiterWhoLosesItsCancelPassesOnWhatItIsGiven(t *testing.T) {
	for name, place := range map[string]string{
		"and its granter sees it":     "grant: decided",
		"and its granter sees it not": "grant: ctx looked at",
	} {
		for _, others := range []int{0, 1} {
			t.Run(name, func(t *testing.T) {
				staged(t, func(t *testing.T, s *stage) {
					p, l := lent(t, new(exchange), 1)
					ctx, cancel := context.WithCancel(bg)
					first := ask(ctx, p)
					var second *request[*wire]
					if others > 0 {
						second = ask(bg, p)
					}
					putter := s.put(place, p, l[0])
					cancel()
					first.pending(t, "while it is owed a token")
					putter.end()
					first.failed(t, "after the Put", context.Canceled)
					// Its channel is in use again with the next wait: it must be clean.
					if second == nil {
						got := borrow(t, p)
						third := ask(bg, p)
						third.pending(t, "while the connection is leased")
						giveBack(t, p, got)
						endWith(t, p, 1, third.served(t, "after the next Put"))
						return
					}
					endWith(t, p, 1, second.served(t, "after the cancel"))
				})
			})
		}
	}
}

// A channel is not used again before its token has come: it would be another's.
func TestChannelIsNotUsedAgainWhileItIsOwedAToken(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that the next caller gets the same one
	staged(t, func(t *testing.T, s *stage) {
		p, l := lent(t, new(exchange), 2)
		ctx, cancel := context.WithCancel(bg)
		first := ask(ctx, p)
		putter := s.put("grant: decided", p, l[0])
		cancel()
		first.pending(t, "while it is owed a token")
		second := ask(bg, p)
		giveBack(t, p, l[1])
		got := second.served(t, "after the other Put")
		first.pending(t, "while it is owed a token")
		putter.end()
		first.failed(t, "after its cancel", context.Canceled)
		endWith(t, p, 2, got)
	})
}

// The waiter is owed a token, its ctx has ended, and it has seen that before the
// granter decided it.
func TestGranterDecidesBetweenTheEndOfACtxAndTheLeaving(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		p, l := lent(t, new(exchange), 1)
		ctx, cancel := context.WithCancel(bg)
		r := ask(ctx, p)
		leaving := s.stopNext("leave: ctx ended")
		cancel()
		leaving.arrived(t)
		giveBack(t, p, l[0])
		leaving.goOn()
		r.failed(t, "after its cancel", context.Canceled)
		if got := p.Stats().Canceled; got != 1 {
			t.Errorf("%d waits were counted as cancelled, want 1", got)
		}
		endWith(t, p, 1)
	})
}

// vitess#20310: a connection is handed to a waiter that has expired. Its goroutine has
// not run since its ctx ended.
func TestGranterPassesOverAWaiterWhoseCtxHasEnded(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		p, l := lent(t, new(exchange), 1)
		ctx, cancel := context.WithCancel(bg)
		getter, first := s.get("wait: parked", ctx, p)
		second := ask(bg, p)
		cancel()
		giveBack(t, p, l[0])
		got := second.served(t, "while the first has not run")
		getter.goOn()
		first.failed(t, "when it runs", context.Canceled)
		if n := p.Stats().Canceled; n != 1 {
			t.Errorf("%d waits were counted as cancelled, want 1", n)
		}
		endWith(t, p, 1, got)
	})
}

// The publisher answers for its own slot only: it is taken by somebody who read the
// gate before anybody waited, the one case of overtaking that there is.
func TestPublisherLeavesASlotToWhoHasTakenIt(t *testing.T) {
	t.Run("settle", func(t *testing.T) {
		staged(t, func(t *testing.T, s *stage) {
			p, l := lent(t, new(exchange), 1)
			taker, early := s.get("get: gate read", bg, p)
			getter, late := s.get("wait: registered", bg, p)
			putter := s.put("settle: published", p, l[0])
			taker.end()
			got := early.served(t, "it has taken the slot")
			getter.goOn()
			putter.end()
			late.pending(t, "while the slot is leased")
			giveBack(t, p, got)
			endWith(t, p, 1, late.served(t, "after the Put"))
		})
	})
	staged(t, func(t *testing.T, s *stage) {
		p, l := lent(t, new(exchange), 1)
		putter := s.put("put: gate read", p, l[0])
		getter, early := s.get("get: gate read", bg, p)
		late := ask(bg, p)
		putter.to("put: published")
		getter.end()
		got := early.served(t, "it has taken the slot")
		putter.end()
		late.pending(t, "while the slot is leased")
		giveBack(t, p, got)
		endWith(t, p, 1, late.served(t, "after the Put"))
	})
}

// A slot is published, taken, emptied, filled again and published, and its word is
// the same as before: its first publisher takes back what is now another connection.
func TestPublisherWhoTakesBackASlotWithAnotherConnectionInIt(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		x := new(exchange)
		f, broken := watched(x)
		p := start(t, f, Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
		l := borrow(t, p)
		putter := s.put("put: gate read", p, l)
		putter.to("put: published")
		word := p.ring.At(0)
		broken(1, errCause) // idle, so it is closed
		ctx, cancel := context.WithCancel(bg)
		opened := s.stopNext("opened: established")
		r := ask(ctx, p)
		opened.arrived(t)
		cancel()
		r.failed(t, "after its cancel", context.Canceled)
		opened.goOn()
		if got := p.ring.At(0); got != word {
			t.Fatalf("the word is %#x, want %#x as before: the test has lost its point", got, word)
		}
		getter, r := s.get("get: gate read", bg, p)
		waiting := ask(bg, p) // links itself, finds the slot, and is served
		second := waiting.served(t, "beside an idle slot")
		putter.end()
		getter.goOn()
		r.pending(t, "while the connection is leased")
		if second.Value() != x.opened()[1] {
			t.Errorf("connection %d was lent, want the second", second.Value().number)
		}
		giveBack(t, p, second)
		endWith(t, p, 1, r.served(t, "after the Put"))
		brokenOnce(t, "at the end", x.opened()[0], errCause)
	})
}
