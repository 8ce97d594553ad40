//go:build step

package steps

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/stage"
	"github.com/S4AK4N/pool/internal/testkit"
)

// sameTo is getTo for GetSame.
func sameTo(s *stage.Stage, place string, p *pool.Pool[*testkit.Wire], m pool.Mark) (*stage.Actor, *testkit.Request[*testkit.Wire]) {
	s.T.Helper()
	r := new(testkit.Request[*testkit.Wire])
	a := s.Act(place, func() { r.Lease, r.Err = p.GetSame(bg, m) })
	r.Done = a.Done
	return a, r
}

// once leases connections that have been leased before, and returns the Marks of that.
func once(t *testing.T, p *pool.Pool[*testkit.Wire], leases []pool.Lease[*testkit.Wire]) (marks []pool.Mark) {
	t.Helper()
	for i, l := range leases {
		testkit.GiveBack(t, p, l)
		again, err := p.GetSame(bg, l.Mark())
		if err != nil {
			t.Fatalf("GetSame: %v", err)
		}
		marks, leases[i] = append(marks, l.Mark()), again
	}
	return marks
}

// The connection is put back, or reserved, before the waiter is linked, or when it has set its
// notice and not looked.
func TestWhoWaitsForOneConnectionMeetsItsPublisher(t *testing.T) {
	for name, put := range map[string]func(p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) error{
		"Put":    func(p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) error { return p.Put(l) },
		"PutFor": func(p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) error { return p.PutFor(l, time.Hour) },
	} {
		for _, place := range []string{"waitSame: registered", "waitSame: notice set"} {
			t.Run(name+" at "+place, func(t *testing.T) {
				stage.Staged(t, func(t *testing.T, s *stage.Stage) {
					p, l := lent(t, new(testkit.Exchange), 1)
					m := once(t, p, l)
					getter, r := sameTo(s, place, p, m[0])
					if err := put(p, l[0]); err != nil {
						t.Fatal(err)
					}
					getter.GoOn()
					endWith(t, p, 1, r.Served(t, "after it has looked"))
				})
			})
		}
	}
}

// What somebody is about to wait for has gone, or will not come back. Whoever ended it did not find
// the waiter, which learns it all the same, while the lease goes on.
func TestWhoWaitsForOneConnectionIsToldThoughItHasEndedBeforeTheLink(t *testing.T) {
	for name, end := range map[string]struct {
		f    func(p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire])
		want error
		idle int
	}{
		"Discard": {func(p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) { _ = p.Discard(l, testkit.ErrCause) }, testkit.ErrCause, 0},
		"Discard, and another comes": {func(p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) {
			_ = p.Discard(l, testkit.ErrCause)
			if l, err := p.Get(bg); err == nil {
				_ = p.Put(l)
			}
		}, testkit.ErrCause, 1},
		"Reset":    {func(p *pool.Pool[*testkit.Wire], _ pool.Lease[*testkit.Wire]) { p.Reset() }, pool.ErrGone, 0},
		"Shutdown": {func(p *pool.Pool[*testkit.Wire], _ pool.Lease[*testkit.Wire]) { go func() { _ = p.Shutdown(bg) }() }, pool.ErrClosed, 0},
	} {
		for _, place := range []string{"GetSame: slot read", "waitSame: registered"} {
			t.Run(name+", "+place, func(t *testing.T) {
				stage.Staged(t, func(t *testing.T, s *stage.Stage) {
					p, l := lent(t, new(testkit.Exchange), 1)
					m := once(t, p, l)
					getter, r := sameTo(s, place, p, m[0])
					end.f(p, l[0])
					synctest.Wait()
					getter.GoOn()
					r.Failed(t, "after the end", end.want)
					if end.want != pool.ErrClosed {
						r.Failed(t, "after the end", pool.ErrGone)
					}
					_ = p.Put(l[0])
					endWith(t, p, end.idle)
				})
			})
		}
	}
}

// A reservation is stored while Reset marks the connection: one of the two closes it.
func TestAReservationMeetsAReset(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lent(t, new(testkit.Exchange), 1)
		reserver := s.Act("reserve: stored", func() {
			if err := p.PutFor(l[0], time.Hour); err != nil {
				t.Errorf("PutFor: %v", err)
			}
		})
		resetter := s.Act("Reset: new era", p.Reset)
		reserver.End()
		resetter.End()
		if got := p.Stats().ClosedReset; got != 1 {
			t.Errorf("%d were closed by Reset, want 1", got)
		}
		endWith(t, p, 0)
	})
}

// A connection is on its way to be reserved when something comes that wants it at once, and does
// not find it. Whoever reserves it looks again.
func TestWhatComesWhileAConnectionIsBeingReservedGetsIt(t *testing.T) {
	for name, tt := range map[string]struct {
		comes func(p *pool.Pool[*testkit.Wire], m pool.Mark)
		idle  int // afterwards, while the other one is leased
	}{
		"Shutdown": {func(p *pool.Pool[*testkit.Wire], _ pool.Mark) { go func() { _ = p.Shutdown(bg) }() }, 0},
		"Resize":   {func(p *pool.Pool[*testkit.Wire], _ pool.Mark) { _ = p.Resize(1) }, 0},
		"Reset":    {func(p *pool.Pool[*testkit.Wire], _ pool.Mark) { p.Reset() }, 0},
		"GetSame": {func(p *pool.Pool[*testkit.Wire], m pool.Mark) {
			go func() {
				if l, err := p.GetSame(bg, m); err == nil {
					_ = p.Put(l)
				}
			}()
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				p, l := lent(t, new(testkit.Exchange), 2)
				putter := s.Act("settle: nobody waits", func() { _ = p.PutFor(l[1], time.Hour) })
				tt.comes(p, l[1].Mark())
				synctest.Wait()
				putter.End()
				synctest.Wait()
				if got := p.Stats(); got.IdleConnections != tt.idle || got.ReservedConnections != 0 {
					t.Errorf("%d are idle, %d of them reserved; want %d, and none", got.IdleConnections, got.ReservedConnections, tt.idle)
				}
				_ = p.Put(l[0])
				synctest.Wait()
				testkit.AtRest(t, p, 0)
			})
		})
	}
}

// The slot of a connection that is being reserved is revoked: before its reservation is stored, or
// just after. Nothing is left of it.
func TestAReservationMeetsARevoke(t *testing.T) {
	for _, stored := range []bool{false, true} {
		t.Run(fmt.Sprint("stored=", stored), func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				p, l := lent(t, new(testkit.Exchange), 1)
				putter := s.Act("settle: nobody waits", func() { _ = p.PutFor(l[0], time.Hour) })
				leases := p.Leases()
				if len(leases) != 1 {
					t.Fatalf("%d leases are listed, want the slot that is on its way", len(leases))
				}
				if stored {
					putter.To("reserve: stored")
				}
				if !p.Revoke(leases[0]) {
					t.Error("Revoke has not ended it")
				}
				synctest.Wait()
				putter.End()
				endWith(t, p, 0)
			})
		})
	}
}

// Somebody waits already, and has not looked at the slots yet. Who asks for the connection by its
// Mark comes after that one.
func TestAGetSameDoesNotOvertakeWhoWaitsAlready(t *testing.T) {
	for _, try := range []bool{false, true} {
		t.Run(fmt.Sprint("TryGetSame=", try), func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				p, l := lent(t, new(testkit.Exchange), 1)
				m := l[0].Mark()
				getter, r := getTo(s, "wait: registered", bg, p)
				testkit.GiveBack(t, p, l[0])
				getter.To("enqueue: written down")
				var same *testkit.Request[*testkit.Wire]
				if try {
					if _, ok := p.TryGetSame(m); ok {
						t.Error("TryGetSame lent what is another's")
					}
				} else {
					same = testkit.AskSame(bg, p, m)
					same.Pending(t, "while another one comes first")
				}
				getter.GoOn()
				got := r.Served(t, "by what was idle")
				if !try {
					testkit.GiveBack(t, p, got)
					got = same.Served(t, "afterwards")
				}
				endWith(t, p, 1, got)
			})
		})
	}
}

// Its ctx ends while the connection comes back: whether the waiter sees the one or the other first,
// it is a call that its ctx has ended, and the connection is idle.
func TestTheEndOfCtxOfAGetSameIsCountedWhicheverComesFirst(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lent(t, new(testkit.Exchange), 1)
		m := once(t, p, l)
		const n = 50
		for i := range n {
			ctx, cancel := context.WithCancel(bg)
			var err error
			getter := s.Act("waitSame: registered", func() { _, err = p.GetSame(ctx, m[0]) })
			cancel()
			testkit.GiveBack(t, p, l[0])
			getter.End()
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("GetSame returned %v, want the end of ctx", err)
			}
			if got := p.Stats().Canceled; got != uint64(i+1) {
				t.Fatalf("%d calls are counted as canceled, want %d", got, i+1)
			}
			l[0] = testkit.Borrow(t, p)
		}
		endWith(t, p, 1, l...)
	})
}
