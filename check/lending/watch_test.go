package lending

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
)

func TestAnIdleConnectionThatBreaksIsClosedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		f, broken := testkit.Watched(&x)
		p := testkit.Start(t, f, pool.Config{MaxConnections: 3})
		testkit.Fill(t, p, 3)
		broken(2, testkit.ErrCause)
		testkit.BrokenOnce(t, "idle", x.Opened()[1], testkit.ErrCause)
		broken(2, testkit.ErrUnfit)
		broken(3, nil)
		synctest.Wait()
		testkit.BrokenOnce(t, "twice", x.Opened()[1], testkit.ErrCause)
		if got := x.Opened()[2].ClosedWith(); len(got) != 1 || got[0] == nil {
			t.Errorf("without a cause: closed with %v, want some error", got)
		}
		if got := p.Stats(); got.IdleConnections != 1 || got.VacantConnections() != 2 || got.ClosedWatch != 2 {
			t.Errorf("after two have broken %+v", got)
		}
		testkit.Whole(t, p, 3)
	})
}

func TestALeasedConnectionThatBreaksIsClosedWhenItComesBack(t *testing.T) {
	for _, clean := range []bool{false, true} {
		for _, waiting := range []bool{false, true} {
			testkit.Bubble(t, fmt.Sprintf("clean=%v/waiting=%v", clean, waiting), func(t *testing.T) {
				var x testkit.Exchange
				f, broken := testkit.Watched(&x)
				if clean {
					f.Clean = func(w *testkit.Wire) error {
						if w.Number == 1 {
							t.Error("Clean was called for a broken connection")
						}
						return nil
					}
				}
				p := testkit.Start(t, f, pool.Config{MaxConnections: 1})
				l := testkit.Borrow(t, p)
				broken(1, testkit.ErrCause)
				broken(1, testkit.ErrUnfit) // the first cause counts
				synctest.Wait()
				if got := l.Value().ClosedWith(); len(got) != 0 {
					t.Errorf("closed with %v while it is leased", got)
				}
				var r *testkit.Request[*testkit.Wire]
				if waiting {
					r = testkit.Ask(t.Context(), p)
				}
				testkit.GiveBack(t, p, l)
				testkit.BrokenOnce(t, "after Put", l.Value(), testkit.ErrCause)
				if waiting {
					testkit.GiveBack(t, p, r.Served(t, "after Put"))
				}
				testkit.Whole(t, p, 1)
				if got := p.Stats(); got.ClosedWatch != 1 || got.Opened != 2 {
					t.Errorf("%+v, want one closed by Watch, and another opened", got)
				}
			})
		}
	}
}

func TestAConnectionThatBreaksInTransitIsNotLentTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		f, broken := testkit.Watched(&x)
		p := testkit.Start(t, f, pool.Config{MaxConnections: 1})
		l := testkit.Borrow(t, p)
		first, second := testkit.Ask(t.Context(), p), testkit.Ask(t.Context(), p)
		testkit.GiveBack(t, p, l) // handed over; the waiter has perhaps not run yet
		broken(1, testkit.ErrCause)
		got := first.Served(t, "after Put")
		if got.Value().Number == 1 {
			testkit.GiveBack(t, p, got)
			got = second.Served(t, "after the second Put")
			if got.Value().Number != 2 {
				t.Errorf("connection %d was lent after it broke", got.Value().Number)
			}
			testkit.GiveBack(t, p, got)
		} else {
			testkit.GiveBack(t, p, got)
			testkit.GiveBack(t, p, second.Served(t, "after the second Put"))
		}
		testkit.BrokenOnce(t, "at the end", x.Opened()[0], testkit.ErrCause)
		testkit.Whole(t, p, 1)
	})
}

// A connection that is broken from the start must not be handed out, and a caller must
// not have others opened for it, one after the other, until its time is over.
func TestAConnectionThatBreaksInWatchIsAFailureToOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: func(context.Context, int) error { time.Sleep(time.Millisecond); return nil }}
		f := x.Factory()
		f.Watch = func(_ *testkit.Wire, broken func(error)) { broken(testkit.ErrCause) }
		p := testkit.Start(t, f, pool.Config{MaxConnections: 1})
		_, err := p.Get(t.Context())
		if !errors.Is(err, testkit.ErrCause) {
			t.Errorf("Get returned %v, want %v", err, testkit.ErrCause)
		}
		if got := x.Tried(); got != 1 {
			t.Errorf("Open was called %d times for one caller, want once", got)
		}
		synctest.Wait()
		x.AllClosedOnce(t)
		testkit.Sleep(time.Second)
	})
}

func TestBrokenMayBeCalledAfterTheConnectionHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		f, broken := testkit.Watched(&x)
		p := testkit.Start(t, f, pool.Config{MaxConnections: 1})
		_ = p.Discard(testkit.Borrow(t, p), nil)
		broken(1, testkit.ErrCause) // its slot is vacant
		_ = p.Discard(testkit.Borrow(t, p), nil)
		l := testkit.Borrow(t, p)
		broken(2, testkit.ErrCause) // another is in its slot
		_ = p.Discard(l, nil)
		testkit.Fill(t, p, 1)
		broken(3, testkit.ErrCause) // another is idle in its slot
		synctest.Wait()
		if got := testkit.Borrow(t, p); got.Value().Number != 4 {
			t.Errorf("connection %d was lent, want 4, which is fit", got.Value().Number)
		} else if w, err := p.Detach(got); err != nil {
			t.Error(err)
		} else {
			broken(w.Number, testkit.ErrCause) // it is the caller's now
		}
		synctest.Wait()
		if got := x.Opened()[3].ClosedWith(); len(got) != 0 {
			t.Errorf("a detached connection was closed with %v", got)
		}
		testkit.Fill(t, p, 1)
		p.Close()
		broken(5, testkit.ErrCause)
		synctest.Wait()
		if got := x.Opened()[4].ClosedWith(); len(got) != 1 || got[0] != nil {
			t.Errorf("closed with %v, want nil, once", got)
		}
	})
}

func TestManyBreakWhileTheyAreUsed(t *testing.T) {
	var x testkit.Exchange
	f, broken := testkit.Watched(&x)
	p := testkit.Start(t, f, pool.Config{MaxConnections: 4})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 500 {
				l := testkit.Borrow(t, p)
				if g == 0 || i%7 == 0 {
					// Not an end by the peer: however soon it comes, it begins no outage.
					go broken(l.Value().Number, net.ErrClosed)
				}
				testkit.GiveBack(t, p, l)
			}
		})
	}
	wg.Wait()
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	testkit.AwaitPools(t) // Shutdown does not wait for what is being opened
	x.AllClosedOnce(t)
	if got := p.Stats(); got.Opened != got.ClosedWatch+got.ClosedShutdown {
		t.Errorf("%+v, want all of them closed", got)
	}
}

// kitex#1307: popped cells keep a connection alive.
func TestNothingInThePoolRefersToAConnectionThatHasGone(t *testing.T) {
	const n = 5
	freed := make(chan int, n)
	x := pool.Factory[*testkit.Wire]{
		Open:  func(context.Context) (*testkit.Wire, error) { return new(testkit.Wire), nil },
		Close: func(*testkit.Wire, error) error { return nil },
		Watch: func(*testkit.Wire, func(error)) {},
		Check: func(w *testkit.Wire) error {
			if w.Number == 2 {
				return testkit.ErrUnfit
			}
			return nil
		},
		Clean: func(w *testkit.Wire) error {
			if w.Number == 3 {
				return testkit.ErrUnfit
			}
			return nil
		},
	}
	p := testkit.Start(t, x, pool.Config{MaxConnections: n, CheckInterval: -1})
	leases := make([]pool.Lease[*testkit.Wire], n)
	for i := range leases {
		leases[i] = testkit.Borrow(t, p)
		leases[i].Value().Number = i
		runtime.AddCleanup(leases[i].Value(), func(i int) { freed <- i }, i)
	}
	_ = p.Discard(leases[0], nil)
	_, _ = p.Detach(leases[1])
	testkit.GiveBack(t, p, leases[2])
	testkit.GiveBack(t, p, leases[3])
	var others []pool.Lease[*testkit.Wire]
	for range n - 1 {
		others = append(others, testkit.Borrow(t, p))
	}
	handed := make(chan pool.Lease[*testkit.Wire], 1)
	go func() {
		l, _ := p.Get(context.Background())
		handed <- l
	}()
	testkit.GiveBack(t, p, leases[4])
	if err := p.Discard(<-handed, nil); err != nil {
		t.Error(err)
	}
	clear(leases)
	// Whoever has closed one, or handed it over, may hold it until its goroutine has gone.
	gone := map[int]bool{}
	for deadline := time.Now().Add(10 * time.Second); len(gone) < n; {
		if time.Now().After(deadline) {
			t.Fatalf("only %v of %d connections that have gone were freed", gone, n)
		}
		runtime.GC()
		for wait := true; wait; {
			select {
			case i := <-freed:
				gone[i] = true
			default:
				wait = false
			}
		}
	}
	for _, l := range others {
		testkit.GiveBack(t, p, l)
	}
}
