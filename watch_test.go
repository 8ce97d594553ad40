package pool

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// watched returns a factory whose connections can be broken by number.
func watched(x *exchange) (f Factory[*wire], broken func(number int, cause error)) {
	var mu sync.Mutex
	reports := map[int]func(error){}
	f = x.factory()
	f.Watch = func(w *wire, broken func(error)) {
		mu.Lock()
		defer mu.Unlock()
		if reports[w.number] != nil {
			panic("Watch was called twice")
		}
		reports[w.number] = broken
	}
	return f, func(number int, cause error) {
		mu.Lock()
		report := reports[number]
		mu.Unlock()
		report(cause)
	}
}

// brokenOnce fails the test unless w was closed once, with a cause that is cause.
func brokenOnce(t *testing.T, when string, w *wire, cause error) {
	t.Helper()
	synctest.Wait()
	got := w.closedWith()
	if len(got) != 1 || !errors.Is(got[0], cause) {
		t.Errorf("%s: connection %d was closed with %v, want %v, once", when, w.number, got, cause)
	}
}

func TestAnIdleConnectionThatBreaksIsClosedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		f, broken := watched(&x)
		p := start(t, f, Config{MaxConnections: 3})
		fill(t, p, 3)
		broken(2, errCause)
		brokenOnce(t, "idle", x.opened()[1], errCause)
		broken(2, errUnfit)
		broken(3, nil)
		synctest.Wait()
		brokenOnce(t, "twice", x.opened()[1], errCause)
		if got := x.opened()[2].closedWith(); len(got) != 1 || got[0] == nil {
			t.Errorf("without a cause: closed with %v, want some error", got)
		}
		if got := p.Stats(); got.IdleConnections != 1 || got.VacantConnections() != 2 || got.ClosedWatch != 2 {
			t.Errorf("after two have broken %+v", got)
		}
		whole(t, p, 3)
	})
}

func TestALeasedConnectionThatBreaksIsClosedWhenItComesBack(t *testing.T) {
	for _, clean := range []bool{false, true} {
		for _, waiting := range []bool{false, true} {
			bubble(t, fmt.Sprintf("clean=%v/waiting=%v", clean, waiting), func(t *testing.T) {
				var x exchange
				f, broken := watched(&x)
				if clean {
					f.Clean = func(w *wire) error {
						if w.number == 1 {
							t.Error("Clean was called for a broken connection")
						}
						return nil
					}
				}
				p := start(t, f, Config{MaxConnections: 1})
				l := borrow(t, p)
				broken(1, errCause)
				broken(1, errUnfit) // the first cause counts
				synctest.Wait()
				if got := l.Value().closedWith(); len(got) != 0 {
					t.Errorf("closed with %v while it is leased", got)
				}
				var r *request[*wire]
				if waiting {
					r = ask(t.Context(), p)
				}
				giveBack(t, p, l)
				brokenOnce(t, "after Put", l.Value(), errCause)
				if waiting {
					giveBack(t, p, r.served(t, "after Put"))
				}
				whole(t, p, 1)
				if got := p.Stats(); got.ClosedWatch != 1 || got.Opened != 2 {
					t.Errorf("%+v, want one closed by Watch, and another opened", got)
				}
			})
		}
	}
}

func TestAConnectionThatBreaksInTransitIsNotLentTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		f, broken := watched(&x)
		p := start(t, f, Config{MaxConnections: 1})
		l := borrow(t, p)
		first, second := ask(t.Context(), p), ask(t.Context(), p)
		giveBack(t, p, l) // handed over; the waiter has perhaps not run yet
		broken(1, errCause)
		got := first.served(t, "after Put")
		if got.Value().number == 1 {
			giveBack(t, p, got)
			got = second.served(t, "after the second Put")
			if got.Value().number != 2 {
				t.Errorf("connection %d was lent after it broke", got.Value().number)
			}
			giveBack(t, p, got)
		} else {
			giveBack(t, p, got)
			giveBack(t, p, second.served(t, "after the second Put"))
		}
		brokenOnce(t, "at the end", x.opened()[0], errCause)
		whole(t, p, 1)
	})
}

// A connection that is of no use from the start must not be lent, and a caller must
// not have others opened for it, one after the other, until its time is over.
func TestAConnectionThatBreaksInWatchIsAFailureToOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := exchange{open: func(context.Context, int) error { time.Sleep(time.Millisecond); return nil }}
		f := x.factory()
		f.Watch = func(_ *wire, broken func(error)) { broken(errCause) }
		p := start(t, f, Config{MaxConnections: 1})
		_, err := p.Get(t.Context())
		if !errors.Is(err, errCause) {
			t.Errorf("Get returned %v, want %v", err, errCause)
		}
		if got := x.tried(); got != 1 {
			t.Errorf("Open was called %d times for one caller, want once", got)
		}
		synctest.Wait()
		x.allClosedOnce(t)
		time.Sleep(time.Second)
	})
}

func TestBrokenMayBeCalledAfterTheConnectionHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		f, broken := watched(&x)
		p := start(t, f, Config{MaxConnections: 1})
		_ = p.Discard(borrow(t, p), nil)
		broken(1, errCause) // its slot is vacant
		_ = p.Discard(borrow(t, p), nil)
		l := borrow(t, p)
		broken(2, errCause) // another is in its slot
		_ = p.Discard(l, nil)
		fill(t, p, 1)
		broken(3, errCause) // another is idle in its slot
		synctest.Wait()
		if got := borrow(t, p); got.Value().number != 4 {
			t.Errorf("connection %d was lent, want 4, which is fit", got.Value().number)
		} else if w, err := p.Detach(got); err != nil {
			t.Error(err)
		} else {
			broken(w.number, errCause) // it is the caller's now
		}
		synctest.Wait()
		if got := x.opened()[3].closedWith(); len(got) != 0 {
			t.Errorf("a detached connection was closed with %v", got)
		}
		fill(t, p, 1)
		p.Close()
		broken(5, errCause)
		synctest.Wait()
		if got := x.opened()[4].closedWith(); len(got) != 1 || got[0] != nil {
			t.Errorf("closed with %v, want nil, once", got)
		}
	})
}

func TestManyBreakWhileTheyAreUsed(t *testing.T) {
	var x exchange
	f, broken := watched(&x)
	p := start(t, f, Config{MaxConnections: 4})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 500 {
				l := borrow(t, p)
				if g == 0 || i%7 == 0 {
					go broken(l.Value().number, errCause)
				}
				giveBack(t, p, l)
			}
		})
	}
	wg.Wait()
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	awaitPools(t) // Shutdown does not wait for what is being opened
	x.allClosedOnce(t)
	if got := p.Stats(); got.Opened != got.ClosedWatch+got.ClosedShutdown {
		t.Errorf("%+v, want all of them closed", got)
	}
}

// kitex#1307: popped cells keep a connection alive.
func TestNothingInThePoolRefersToAConnectionThatHasGone(t *testing.T) {
	const n = 5
	freed := make(chan int, n)
	x := Factory[*wire]{
		Open:  func(context.Context) (*wire, error) { return new(wire), nil },
		Close: func(*wire, error) error { return nil },
		Watch: func(*wire, func(error)) {},
		Check: func(w *wire) error {
			if w.number == 2 {
				return errUnfit
			}
			return nil
		},
		Clean: func(w *wire) error {
			if w.number == 3 {
				return errUnfit
			}
			return nil
		},
	}
	p := start(t, x, Config{MaxConnections: n, CheckInterval: -1})
	leases := make([]Lease[*wire], n)
	for i := range leases {
		leases[i] = borrow(t, p)
		leases[i].Value().number = i
		runtime.AddCleanup(leases[i].Value(), func(i int) { freed <- i }, i)
	}
	_ = p.Discard(leases[0], nil)
	_, _ = p.Detach(leases[1])
	giveBack(t, p, leases[2])
	giveBack(t, p, leases[3])
	var others []Lease[*wire]
	for range n - 1 {
		others = append(others, borrow(t, p))
	}
	handed := make(chan Lease[*wire], 1)
	go func() {
		l, _ := p.Get(context.Background())
		handed <- l
	}()
	giveBack(t, p, leases[4])
	if err := p.Discard(<-handed, nil); err != nil {
		t.Error(err)
	}
	clear(leases)
	for range 3 {
		runtime.GC()
	}
	gone := map[int]bool{}
	for range n {
		select {
		case i := <-freed:
			gone[i] = true
		case <-time.After(10 * time.Second):
			t.Fatalf("only %v of %d connections that have gone were freed", gone, n)
		}
	}
	for _, l := range others {
		giveBack(t, p, l)
	}
}
