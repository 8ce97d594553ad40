//go:build step

package steps

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/stage"
	"github.com/S4AK4N/pool/internal/testkit"
)

// sharingOne returns two pools with a budget of one connection, which is leased in the first.
func sharingOne(t *testing.T) (p, q *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) {
	t.Helper()
	b := pool.NewBudget(1)
	x, y := new(testkit.Exchange), new(testkit.Exchange)
	p = testkit.Start(t, x.Factory(), pool.Config{Budget: b, MaxWaitTime: -1})
	q = testkit.Start(t, y.Factory(), pool.Config{Budget: b, MaxWaitTime: -1})
	return p, q, testkit.Borrow(t, p)
}

// Another pool comes to stand in the line while a lease is being put back: before Put has read the
// flag, or when it has published the slot, or while settle finds the next owner.
func TestAPoolThatComesToTheLineMeetsAPut(t *testing.T) {
	for name, put := range map[string]func(p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) error{
		"Put":    func(p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) error { return p.Put(l) },
		"PutFor": func(p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) error { return p.PutFor(l, time.Hour) },
	} {
		for _, place := range []string{"put: gate read", "put: published", "settle: gate read", "settle: nobody waits", "reserve: stored"} {
			if (name == "Put") != (place[:3] == "put") {
				continue
			}
			t.Run(name+" at "+place, func(t *testing.T) {
				stage.Staged(t, func(t *testing.T, s *stage.Stage) {
					p, q, l := sharingOne(t)
					putter := s.Act(place, func() {
						if err := put(p, l); err != nil {
							t.Error(err)
						}
					})
					r := testkit.Ask(t.Context(), q)
					putter.GoOn()
					synctest.Wait()
					testkit.GiveBack(t, q, r.Served(t, "after both"))
					if got := p.Stats().ClosedBudget; got != 1 {
						t.Errorf("%d were closed for the other pool, want 1", got)
					}
				})
			})
		}
	}
}

// The lease comes back while another pool comes to stand in the line: before it does, before it looks
// for what is idle, and when it has looked in vain.
func TestAPutMeetsAPoolThatComesToTheLine(t *testing.T) {
	for _, place := range []string{"budget: asks", "budget: flag changed", "budget: looks", "budget: has looked"} {
		t.Run(place, func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				p, q, l := sharingOne(t)
				r := new(testkit.Request[*testkit.Wire])
				asker := s.Act(place, func() { r.Lease, r.Err = q.Get(bg) })
				r.Done = asker.Done
				testkit.GiveBack(t, p, l)
				synctest.Wait()
				asker.GoOn()
				testkit.GiveBack(t, q, r.Served(t, "after both"))
			})
		})
	}
}

// What has been taken for the line is not needed any more: it is idle again.
func TestWhatIsTakenForTheLineInVainIsIdleAgain(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		b := pool.NewBudget(2)
		x, y := new(testkit.Exchange), new(testkit.Exchange)
		p := testkit.Start(t, x.Factory(), pool.Config{Budget: b, MaxWaitTime: -1})
		q := testkit.Start(t, y.Factory(), pool.Config{Budget: b, MaxWaitTime: -1})
		l, m := testkit.Borrow(t, p), testkit.Borrow(t, p)
		testkit.GiveBack(t, p, l)
		r := new(testkit.Request[*testkit.Wire])
		asker := s.Act("budget: taken", func() { r.Lease, r.Err = q.Get(bg) })
		r.Done = asker.Done
		if err := p.Discard(m, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		asker.GoOn()
		testkit.GiveBack(t, q, r.Served(t, "a right has come free"))
		if got := p.Stats(); got.ClosedBudget != 0 || got.IdleConnections != 1 {
			t.Errorf("%d were closed for the other pool, want none, and %d are idle, want 1", got.ClosedBudget, got.IdleConnections)
		}
	})
}
