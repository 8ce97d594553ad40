package insight

import (
	"context"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
)

// gone returns how many connections have ended, by whatever.
func gone(s pool.Stats) uint64 {
	return s.Detached + s.ClosedIdle + s.ClosedLifetime + s.ClosedCheck + s.ClosedClean + s.ClosedWatch +
		s.ClosedDiscard + s.ClosedRevoke + s.ClosedReset + s.ClosedResize + s.ClosedAbandoned + s.ClosedShutdown
}

// countsOn fails the test if a counter, or a histogram, has gone back.
func countsOn(t *testing.T, before, after pool.Stats) {
	t.Helper()
	a, b := reflect.ValueOf(before), reflect.ValueOf(after)
	for i := range a.NumField() {
		name := a.Type().Field(i).Name
		switch x := a.Field(i).Interface().(type) {
		case uint64:
			if y := b.Field(i).Uint(); y < x {
				t.Errorf("%s was %d, and is %d", name, x, y)
			}
		case pool.Histogram:
			y := b.Field(i).Interface().(pool.Histogram)
			if y.Count < x.Count || y.Sum < x.Sum {
				t.Errorf("%s was %v, and is %v", name, x, y)
			}
		}
	}
}

// HikariCP#1662, #731: figures taken at different instants. Whatever goes on, the parts of
// each snapshot are what the pool can have at one instant: no more are open than ever
// could be at once, and no part is negative. But more may be open than MaxConnections after
// a Resize to fewer, and then so many are not vacant but too many.
func TestStatsAddUpWhateverGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most, least = 80, 20
		x := testkit.Exchange{Open: func(ctx context.Context, attempt int) error {
			_ = testkit.Pause(ctx, time.Duration(attempt%7)*time.Millisecond)
			if attempt%11 == 0 {
				return testkit.ErrDial
			}
			return nil
		}}
		f := x.Factory()
		f.Check = func(w *testkit.Wire) error {
			if w.Number%13 == 0 {
				return testkit.ErrUnfit
			}
			return nil
		}
		p := testkit.Start(t, f, pool.Config{
			MaxConnections: most, MinIdle: 5, MaxIdleTime: 60 * time.Millisecond, MaxLifetime: 120 * time.Millisecond,
			CheckInterval: 30 * time.Millisecond, LeakAfter: 10 * time.Millisecond, MaxWaitTime: 20 * time.Millisecond,
		})
		end := time.Now().Add(400 * time.Millisecond)
		var all sync.WaitGroup
		for g := range 40 {
			all.Go(func() {
				random := rand.New(rand.NewPCG(uint64(g), 2))
				for time.Now().Before(end) {
					var leases []pool.Lease[*testkit.Wire]
					for range 1 + random.IntN(5) {
						if l, err := p.Get(context.Background()); err == nil {
							leases = append(leases, l)
						}
					}
					time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
					for _, l := range leases {
						switch random.IntN(8) {
						case 0:
							_ = p.Discard(l, nil)
						case 1:
							if w, err := p.Detach(l); err == nil {
								_ = x.HangUp(w, nil)
							}
						default:
							_ = p.Put(l)
						}
					}
					if random.IntN(30) == 0 { // all is idle for a while
						time.Sleep(80 * time.Millisecond)
					}
				}
			})
		}
		all.Go(func() {
			random := rand.New(rand.NewPCG(1, 3))
			for i := 0; time.Now().Before(end); i++ {
				time.Sleep(time.Duration(random.IntN(30)) * time.Millisecond)
				if i%8 == 1 {
					p.Reset()
				} else {
					_ = p.Resize(least + random.IntN(most-least+1))
				}
			}
			_ = p.Resize(most)
		})
		tooMany, samples := 0, 0
		for range 2 {
			all.Go(func() {
				last := p.Stats()
				for time.Now().Before(end) {
					for range 10 {
						s := p.Stats()
						if min(s.ActiveConnections, s.IdleConnections, s.OpeningConnections, s.WaitingRequests) < 0 {
							t.Errorf("a part is negative: %+v", s)
						}
						open := s.ActiveConnections + s.IdleConnections + s.OpeningConnections
						if open > most || s.MaxConnections > most || s.MaxConnections < least {
							t.Errorf("%d are open, MaxConnections is %d, and was never more than %d", open, s.MaxConnections, most)
						}
						if open+s.VacantConnections() != s.MaxConnections {
							t.Errorf("the parts don't add up: %+v, %d vacant", s, s.VacantConnections())
						}
						countsOn(t, last, s)
						last = s
					}
					time.Sleep(time.Millisecond)
				}
			})
		}
		all.Go(func() { // that there are too many is seen, at times
			for time.Now().Before(end) {
				samples++
				if p.Stats().VacantConnections() < 0 {
					tooMany++
				}
				time.Sleep(time.Millisecond)
			}
		})
		all.Wait()
		l, err := p.Get(t.Context())
		for err != nil {
			l, err = p.Get(t.Context())
		}
		testkit.Sleep(200 * time.Millisecond) // this one gets old in use, and others lie idle
		_ = p.Put(l)
		testkit.Sleep(50 * time.Millisecond) // what is being opened is open
		s := p.Stats()
		if s.Opened-gone(s) != uint64(s.ActiveConnections+s.IdleConnections) || s.ActiveConnections != 0 {
			t.Errorf("at rest %d were opened, and what became of them %d, beside %+v", s.Opened, gone(s), s)
		}
		x.Mu.Lock()
		if x.Now != s.IdleConnections {
			t.Errorf("at rest %d are idle, and %d are open", s.IdleConnections, x.Now)
		}
		x.Mu.Unlock()
		for name, n := range map[string]uint64{
			"idle": s.ClosedIdle, "lifetime": s.ClosedLifetime, "check": s.ClosedCheck, "discard": s.ClosedDiscard, "reset": s.ClosedReset,
			"resize": s.ClosedResize, "detached": s.Detached, "open errors": s.OpenErrors, "timeouts": s.Timeouts, "leaked": s.Leaked,
		} {
			if n == 0 {
				t.Errorf("none of it was %s: %+v", name, s)
			}
		}
		if tooMany == 0 || tooMany == samples {
			t.Errorf("in %d of %d samples there were too many, want some", tooMany, samples)
		}
		p.Close()
		synctest.Wait()
		s = p.Stats()
		if s.Opened != gone(s) || s.VacantConnections() != most {
			t.Errorf("closed, %d were opened, and what became of them %d: %+v", s.Opened, gone(s), s)
		}
		x.AllClosedOnce(t)
		testkit.AtRest(t, p, 0)
	})
}

// Too many are open only as long as they are leased, and no new ones are opened then.
func TestVacantIsNegativeOnlyWhileMoreAreOpenThanMayBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 10, MaxIdleTime: -1, MaxWaitTime: -1})
		testkit.Fill(t, p, 10)
		var leases []pool.Lease[*testkit.Wire]
		for range 7 {
			leases = append(leases, testkit.Borrow(t, p))
		}
		if err := p.Resize(4); err != nil {
			t.Fatal(err)
		}
		r := testkit.Ask(t.Context(), p)
		for i, l := range leases {
			want := pool.Stats{MaxConnections: 4, ActiveConnections: 7 - i}
			if got := p.Stats(); got.MaxConnections != 4 || got.ActiveConnections != want.ActiveConnections || got.IdleConnections != 0 || got.VacantConnections() != i-3 {
				t.Fatalf("with %d leased: %+v, %d vacant", 7-i, got, got.VacantConnections())
			}
			if i == 3 {
				r.Pending(t, "while as many are leased as may be open")
				break
			}
			testkit.GiveBack(t, p, l)
			synctest.Wait()
		}
		testkit.GiveBack(t, p, leases[3])
		testkit.GiveBack(t, p, r.Served(t, "when one comes back that may stay"))
		for _, l := range leases[4:] {
			testkit.GiveBack(t, p, l)
		}
		if got := p.Stats(); got.IdleConnections != 4 || got.VacantConnections() != 0 || got.ClosedResize != 6 {
			t.Errorf("at the end %+v, want four idle, six closed", got)
		}
		testkit.AtRest(t, p, 0)
	})
}
