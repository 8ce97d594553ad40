package pool

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// enders are the three ways to end a lease.
var enders = map[string]func(*Pool[*wire], Lease[*wire]) error{
	"Put":     func(p *Pool[*wire], l Lease[*wire]) error { return p.Put(l) },
	"Discard": func(p *Pool[*wire], l Lease[*wire]) error { return p.Discard(l, errCause) },
	"Detach": func(p *Pool[*wire], l Lease[*wire]) error {
		w, err := p.Detach(l)
		if err != nil && w != nil {
			panic("Detach returned a connection beside its error")
		}
		return err
	},
}

// refused fails the test unless each ender refuses l and changes nothing.
func refused(t *testing.T, p *Pool[*wire], l Lease[*wire], what string) {
	t.Helper()
	synctest.Wait()
	before := p.Stats()
	for name, end := range enders {
		if err := end(p, l); err != ErrNotLeased {
			t.Errorf("%s of %s returned %v, want ErrNotLeased", name, what, err)
		}
	}
	synctest.Wait()
	if diff := cmp.Diff(before, p.Stats()); diff != "" {
		t.Errorf("refusing %s changed something (-before +after):\n%s", what, diff)
	}
}

// stchang/redis#8, redis double_freeturn: a second Put puts two copies of a
// connection in the pool. With Factory.Clean, and with somebody waiting, Put takes
// another way.
func TestALeaseThatIsNotInForceIsRefused(t *testing.T) {
	for _, clean := range []bool{false, true} {
		for name, end := range enders {
			bubble(t, fmt.Sprintf("%s/clean=%v", name, clean), func(t *testing.T) {
				var x, y exchange
				cleaned := 0
				f := x.factory()
				if clean {
					f.Clean = func(*wire) error { cleaned++; return nil }
				}
				p := start(t, f, Config{MaxConnections: 2})
				other := start(t, y.factory(), Config{MaxConnections: 2})

				l := borrow(t, p)
				copied := l
				foreign := borrow(t, other) // its slot and generation are those of l
				refused(t, p, Lease[*wire]{}, "the zero lease")
				refused(t, p, foreign, "a foreign lease")

				if err := end(p, l); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				refused(t, p, l, "a lease that ended in "+name)
				refused(t, p, copied, "a copy of a lease that ended in "+name)

				// Lent again, and while somebody waits, and then to that one.
				again, other2 := borrow(t, p), borrow(t, p)
				refused(t, p, l, "a lease whose slot was lent again after "+name)
				r := ask(t.Context(), p)
				refused(t, p, l, "a lease whose slot is waited for, after "+name)
				giveBack(t, p, again)
				handed := r.served(t, "after Put")
				refused(t, p, again, "a lease whose connection was handed over")
				giveBack(t, p, handed)
				giveBack(t, p, other2)
				giveBack(t, other, foreign)
				if n := p.Stats().ActiveConnections; n != 0 {
					t.Errorf("%d connections are leased at the end, want none", n)
				}
				if want := 3; clean && name == "Put" && cleaned != want+1 || clean && name != "Put" && cleaned != want {
					t.Errorf("%s: Clean was called %d times, want once for each Put that was not refused", name, cleaned)
				}
			})
		}
	}
}

func TestAStaleLeaseIsRefusedAfterTheSlotHasAnotherConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 1})
		var stale []Lease[*wire]
		for range 5 {
			l := borrow(t, p)
			stale = append(stale, l)
			if err := p.Discard(l, nil); err != nil {
				t.Fatal(err)
			}
			l = borrow(t, p)
			stale = append(stale, l)
			giveBack(t, p, l)
		}
		l := borrow(t, p)
		for _, s := range stale {
			refused(t, p, s, "a lease of long ago")
		}
		giveBack(t, p, l)
	})
}

func TestOfTwoWhoEndALeaseAtOnceOneSucceeds(t *testing.T) {
	for name, end := range enders {
		for other, otherEnd := range enders {
			var x exchange
			p := start(t, x.factory(), Config{MaxConnections: 1})
			for range 200 {
				l := borrow(t, p)
				var wg sync.WaitGroup
				var ended atomic.Int32
				begin := make(chan struct{})
				for _, end := range []func(*Pool[*wire], Lease[*wire]) error{end, otherEnd} {
					wg.Go(func() {
						<-begin
						switch err := end(p, l); err {
						case nil:
							ended.Add(1)
						case ErrNotLeased:
						default:
							t.Errorf("%v, want nil or ErrNotLeased", err)
						}
					})
				}
				close(begin)
				wg.Wait()
				if got := ended.Load(); got != 1 {
					t.Fatalf("%s and %s at once: %d succeeded, want 1", name, other, got)
				}
			}
			if got := p.Stats(); got.ActiveConnections != 0 || got.Gets != 200 {
				t.Errorf("%s and %s at once: %+v", name, other, got)
			}
			p.Close()
		}
	}
}
