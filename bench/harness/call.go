package harness

import (
	"errors"
	"time"

	"go.uber.org/atomic"
)

// A Call is a function that runs in a goroutine of its own, which others can see waiting.
type Call struct {
	id    int
	ended atomic.Bool
	done  chan struct{}
}

// Go calls f in a goroutine.
func Go(f func()) *Call {
	c := &Call{done: make(chan struct{})}
	id := make(chan int)
	go func() {
		defer close(c.done)
		id <- goroutine()
		defer c.ended.Store(true)
		f()
	}()
	c.id = <-id
	return c
}

// Ended reports whether the call has ended.
func (c *Call) Ended() bool { return c.ended.Load() }

// Wait waits until the call has ended.
func (c *Call) Wait() { <-c.done }

// Ends reports whether the call ends without anything else happening: true when it has, false
// when it has been seen waiting for another goroutine at each of many looks, a millisecond apart.
// If others have something to tell it, they are scheduled within so many looks.
func (c *Call) Ends() (bool, error) {
	const looks = 300
	waiting := 0
	for began := time.Now(); time.Since(began) < 50*time.Second; time.Sleep(time.Millisecond) {
		if c.ended.Load() {
			return true, nil
		}
		if !blocked(c.id) {
			waiting = 0
		} else if waiting++; waiting == looks {
			return false, nil
		}
	}
	return false, errors.New("a call neither returned nor waited within 50 s")
}
