package ending

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
)

// The wait ends by the sweeper, whatever else it has to do at what times.
func TestAWaitEndsAfterExactlyMaxWaitTime(t *testing.T) {
	tests := []struct {
		name   string
		config pool.Config
	}{
		{"nothing else to do", pool.Config{MaxIdleTime: -1, CheckInterval: -1}},
		{"with idle times", pool.Config{MaxIdleTime: 30 * time.Second, CheckInterval: -1}},
		{"with long idle times", pool.Config{MaxIdleTime: 365 * testkit.Day, CheckInterval: -1}},
		{"with checks", pool.Config{MaxIdleTime: -1, CheckInterval: time.Minute}},
		{"with all of it", pool.Config{}},
	}
	for _, tt := range tests {
		for _, wait := range []time.Duration{time.Millisecond, 777 * time.Millisecond, 5 * time.Second} {
			testkit.Bubble(t, tt.name+", "+wait.String(), func(t *testing.T) {
				var x testkit.Exchange
				f := x.Factory()
				f.Check = func(*testkit.Wire) error { return nil }
				tt.config.MaxConnections, tt.config.MaxWaitTime = 1, wait
				p := testkit.Start(t, f, tt.config)
				l := testkit.Borrow(t, p)
				for range 5 { // at times that have nothing to do with those of the sweeper
					testkit.Sleep(1234567 * time.Microsecond)
					began := time.Now()
					_, err := p.Get(t.Context())
					var exhausted *pool.ExhaustedError
					if !errors.As(err, &exhausted) {
						t.Fatalf("Get returned %v, want ErrExhausted", err)
					}
					if got := time.Since(began); got != wait || exhausted.Waited != wait {
						t.Errorf("Get returned after %v and says %v, want %v", got, exhausted.Waited, wait)
					}
				}
				testkit.GiveBack(t, p, l)
			})
		}
	}
}

func TestEachOfManyWaitsEndsAfterMaxWaitTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: time.Second})
		l := testkit.Borrow(t, p)
		var asked []*testkit.Request[*testkit.Wire]
		for i := range 100 {
			ctx := t.Context()
			if i%3 == 0 { // those who leave earlier don't disturb
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 700*time.Millisecond)
				defer cancel()
			}
			asked = append(asked, testkit.Ask(ctx, p))
			testkit.Sleep(time.Duration(i) * time.Millisecond / 3)
		}
		testkit.Sleep(time.Second)
		for i, r := range asked {
			if i%3 == 0 {
				r.Failed(t, "with a deadline", context.DeadlineExceeded)
				continue
			}
			r.Failed(t, "without a deadline", pool.ErrExhausted)
			if r.Took != time.Second {
				t.Errorf("caller %d waited %v, want 1s", i, r.Took)
			}
		}
		if got := p.Stats(); got.Timeouts != 66 || got.Canceled != 34 || got.WaitingRequests != 0 {
			t.Errorf("%+v, want 66 timeouts and 34 canceled", got)
		}
		testkit.GiveBack(t, p, l)
	})
}

func TestANegativeMaxWaitTimeLeavesTheEndToCtx(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
		l := testkit.Borrow(t, p)
		ctx, cancel := context.WithTimeout(t.Context(), 365*testkit.Day)
		defer cancel()
		r := testkit.Ask(ctx, p)
		testkit.Sleep(365*testkit.Day - 1)
		r.Pending(t, "after nearly a year")
		testkit.Sleep(time.Nanosecond)
		r.Failed(t, "after a year", context.DeadlineExceeded)
		testkit.GiveBack(t, p, l)
	})
}

func TestAnIdleConnectionIsClosedAfterMaxIdleTimeAndNotMuchLater(t *testing.T) {
	for _, idle := range []time.Duration{
		time.Nanosecond, 20 * time.Millisecond, 85 * time.Millisecond, 160 * time.Millisecond, 999 * time.Millisecond,
		time.Second, 8 * time.Second, 30 * time.Second, 30*time.Second + 500*time.Millisecond, 10 * time.Minute, testkit.Day, 365 * testkit.Day,
	} {
		testkit.Bubble(t, idle.String(), func(t *testing.T) {
			limit := idle + max(idle/8, 20*time.Millisecond)
			var x testkit.Exchange
			closed := make(chan time.Time, 1)
			x.Closing = func(*testkit.Wire, error) error { closed <- time.Now(); return nil }
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxIdleTime: idle})
			for i := range 5 {
				l := testkit.Borrow(t, p)
				testkit.Sleep(idle*time.Duration(i)/3 + 1234567) // anywhere between two ticks
				put := time.Now()
				testkit.GiveBack(t, p, l)
				age := (<-closed).Sub(put)
				if age < idle || age > limit {
					t.Errorf("it was closed after %v, want between %v and %v", age, idle, limit)
				}
			}
			if got := p.Stats(); got.ClosedIdle != 5 || got.VacantConnections() != 1 {
				t.Errorf("%+v, want five closed", got)
			}
		})
	}
}

// The first connection after a quiet time, in which the sweeper has slept, is as
// young as any.
func TestAConnectionThatIsPutBackAfterAQuietTimeIsNotClosedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxIdleTime: time.Second})
		for range 5000 {
			testkit.GiveBack(t, p, testkit.Borrow(t, p))
			synctest.Wait()
			if got := p.Stats(); got.IdleConnections != 1 {
				t.Fatalf("right after Put %+v, want it idle", got)
			}
			testkit.Sleep(10 * time.Second)
		}
	})
}

// The coarse clock, of 32 bits, goes on after a sleep in which half of its range has
// passed.
func TestIdleConnectionsExpireAfterYearsOfQuiet(t *testing.T) {
	for _, years := range []time.Duration{0, 1, 2, 50} {
		synctest.Test(t, func(t *testing.T) {
			var x testkit.Exchange
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxIdleTime: 100 * time.Millisecond})
			testkit.Sleep(years * 365 * testkit.Day)
			for range 3 {
				testkit.Fill(t, p, 1)
				if got := p.Stats(); got.IdleConnections != 1 {
					t.Fatalf("%d years on, right after Put: %+v, want it idle", years, got)
				}
				testkit.Sleep(time.Second)
				if got := p.Stats(); got.IdleConnections != 0 {
					t.Fatalf("%d years on, a second after Put: %+v, want it closed", years, got)
				}
				testkit.Sleep(300 * testkit.Day)
			}
		})
	}
}

func TestAConnectionThatIsOpenedAfterAllHaveExpiredExpiresInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxIdleTime: 100 * time.Millisecond, MaxWaitTime: time.Hour})
		for i := range 3 {
			testkit.Fill(t, p, 1)
			testkit.Sleep(time.Second)
			if got := p.Stats(); got.IdleConnections != 0 {
				t.Errorf("number %d: a second after Put %+v, want it closed after 125 ms", i+1, got)
			}
		}
	})
}

func TestANegativeMaxIdleTimeKeepsConnectionsForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3, MaxIdleTime: -1})
		testkit.Fill(t, p, 3)
		testkit.Sleep(365 * testkit.Day)
		if got := p.Stats(); got.IdleConnections != 3 {
			t.Errorf("after a year %+v, want three idle", got)
		}
	})
}

// go#45102: a frozen process hands out expired connections when it thaws. The clock
// has gone on, and the sweeper has not come to the slot yet.
func TestGetSeesThatAConnectionHasExpiredBeforeTheSweeperDoes(t *testing.T) {
	for _, way := range []string{"Get", "TryGet"} {
		testkit.Bubble(t, way, func(t *testing.T) {
			var x testkit.Exchange
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MaxIdleTime: 30 * time.Second})
			testkit.Fill(t, p, 2)
			testkit.Sleep(time.Second / 2)
			testkit.Inside(p).Tick.Add(31) // as the sweeper does, before it goes round
			if way == "Get" {
				l := testkit.Borrow(t, p)
				if got := l.Value().Number; got != 3 {
					t.Errorf("Get lent connection %d, which has expired", got)
				}
				defer testkit.GiveBack(t, p, l)
			} else if _, ok := p.TryGet(); ok {
				t.Error("TryGet lent a connection that has expired")
			}
			synctest.Wait()
			if got := p.Stats(); got.ClosedIdle != 2 {
				t.Errorf("%+v, want both closed", got)
			}
			x.Mu.Lock()
			defer x.Mu.Unlock()
			for _, w := range x.Wires[:2] {
				if got := w.ClosedWith(); len(got) != 1 || got[0] != nil {
					t.Errorf("connection %d was closed with %v", w.Number, got)
				}
			}
		})
	}
}

// go#43173, r2d2 0.8.3, HikariCP#2417: round-robin reuse keeps every connection warm,
// and the pool never shrinks.
func TestUnderASteadySmallLoadThePoolShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 50, MaxIdleTime: 10 * time.Second})
		testkit.Fill(t, p, 50)
		testkit.Sleep(3 * time.Millisecond) // so that nothing is put back when the sweeper comes
		for range 1200 {
			l := testkit.Borrow(t, p)
			testkit.Sleep(10 * time.Millisecond)
			testkit.GiveBack(t, p, l)
		}
		if got := p.Stats(); got.IdleConnections != 1 {
			t.Errorf("after 12 s of one caller at a time %d are idle, want 1", got.IdleConnections)
		}
		if got := x.Tried(); got != 50 {
			t.Errorf("Open was called %d times, want no more than for the burst", got)
		}
	})
}

func TestCheckIsCalledEveryCheckIntervalWhileIdle(t *testing.T) {
	tests := []struct{ give, every time.Duration }{{0, time.Second}, {3 * time.Second, 3 * time.Second}, {-1, 0}}
	for _, tt := range tests {
		testkit.Bubble(t, tt.give.String(), func(t *testing.T) {
			var x testkit.Exchange
			checks := make(chan time.Time, 1000)
			f := x.Factory()
			f.Check = func(*testkit.Wire) error { checks <- time.Now(); return nil }
			p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxIdleTime: -1, CheckInterval: tt.give})
			l := testkit.Borrow(t, p)
			testkit.Sleep(time.Minute)
			if got := len(checks); got != 0 {
				t.Errorf("Check was called %d times while the connection was leased", got)
			}
			testkit.GiveBack(t, p, l)
			testkit.Sleep(time.Minute)
			if tt.every == 0 {
				if got := len(checks); got != 0 {
					t.Errorf("Check was called %d times while idle, want none", got)
				}
				testkit.GiveBack(t, p, testkit.Borrow(t, p))
				if got := len(checks); got != 1 {
					t.Errorf("Check was called %d times in Get, want once", got)
				}
				return
			}
			want := int(time.Minute / tt.every)
			if got := len(checks); got < want-1 || got > want+1 {
				t.Errorf("Check was called %d times in a minute, want %d", got, want)
			}
			last := <-checks
			for range len(checks) {
				next := <-checks
				if got := next.Sub(last); got != tt.every {
					t.Errorf("two checks are %v apart, want %v", got, tt.every)
				}
				last = next
			}
		})
	}
}

// Rounds of checks that take longer than CheckInterval don't pile up.
func TestChecksOfTheSweepComeOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		f := x.Factory()
		var now, most, all atomic.Int32
		f.Check = func(*testkit.Wire) error {
			most.Store(max(most.Load(), now.Add(1)))
			all.Add(1)
			time.Sleep(3 * time.Second)
			now.Add(-1)
			return nil
		}
		p := testkit.Start(t, f, pool.Config{MaxConnections: 4, MaxIdleTime: -1, CheckInterval: time.Second})
		testkit.Fill(t, p, 4)
		testkit.Sleep(time.Minute)
		if most.Load() != 1 || all.Load() < 15 {
			t.Errorf("%d of %d calls of Check were at the same time, want one at a time", most.Load(), all.Load())
		}
		p.Close()
		testkit.Sleep(time.Minute)
	})
}

func TestToBeCheckedIsNotToBeUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		f := x.Factory()
		f.Check = func(*testkit.Wire) error { return nil }
		p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxIdleTime: 10 * time.Second, CheckInterval: time.Second})
		testkit.Fill(t, p, 1)
		testkit.Sleep(11 * time.Second)
		if got := p.Stats(); got.ClosedIdle != 1 {
			t.Errorf("after MaxIdleTime and ten checks %+v, want it closed", got)
		}
	})
}

// A pool that has nothing to wait for sleeps: a year goes by in no time. (In a
// bubble, a goroutine that wakes every second would wake 31 million times.)
func TestAPoolWithNothingToDoSleeps(t *testing.T) {
	tests := []struct {
		name   string
		config pool.Config
		use    func(t *testing.T, p *pool.Pool[*testkit.Wire])
	}{
		{"unused", pool.Config{}, func(*testing.T, *pool.Pool[*testkit.Wire]) {}},
		{"all expired", pool.Config{}, func(t *testing.T, p *pool.Pool[*testkit.Wire]) { testkit.Fill(t, p, 5) }},
		{"idle for ever", pool.Config{MaxIdleTime: -1}, func(t *testing.T, p *pool.Pool[*testkit.Wire]) { testkit.Fill(t, p, 5) }},
		{"leased for ever", pool.Config{MaxIdleTime: -1}, func(t *testing.T, p *pool.Pool[*testkit.Wire]) { testkit.Borrow(t, p) }},
		{"waiting for ever", pool.Config{MaxConnections: 1, MaxIdleTime: -1, MaxWaitTime: -1}, func(t *testing.T, p *pool.Pool[*testkit.Wire]) {
			testkit.Borrow(t, p)
			testkit.Ask(t.Context(), p)
		}},
		{"without connections", pool.Config{MaxConnections: 1, MaxWaitTime: -1}, func(t *testing.T, p *pool.Pool[*testkit.Wire]) {
			_ = p.Discard(testkit.Borrow(t, p), nil)
		}},
		{"closed", pool.Config{}, func(t *testing.T, p *pool.Pool[*testkit.Wire]) {
			testkit.Fill(t, p, 5)
			p.Close()
		}},
	}
	for _, tt := range tests {
		testkit.Bubble(t, tt.name, func(t *testing.T) {
			var x testkit.Exchange
			f := x.Factory()
			f.Check = func(*testkit.Wire) error { return nil }
			tt.config.CheckInterval = -1
			p := testkit.Start(t, f, tt.config)
			tt.use(t, p)
			testkit.Sleep(365 * testkit.Day)
		})
	}
}
