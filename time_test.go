package pool

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const day = 24 * time.Hour

// The wait ends by the sweeper, whatever else it has to do at what times.
func TestAWaitEndsAfterExactlyMaxWaitTime(t *testing.T) {
	tests := []struct {
		name   string
		config Config
	}{
		{"nothing else to do", Config{MaxIdleTime: -1, CheckInterval: -1}},
		{"with idle times", Config{MaxIdleTime: 30 * time.Second, CheckInterval: -1}},
		{"with long idle times", Config{MaxIdleTime: 365 * day, CheckInterval: -1}},
		{"with checks", Config{MaxIdleTime: -1, CheckInterval: time.Minute}},
		{"with all of it", Config{}},
	}
	for _, tt := range tests {
		for _, wait := range []time.Duration{time.Millisecond, 777 * time.Millisecond, 5 * time.Second} {
			bubble(t, tt.name+", "+wait.String(), func(t *testing.T) {
				var x exchange
				f := x.factory()
				f.Check = func(*wire) error { return nil }
				tt.config.MaxConnections, tt.config.MaxWaitTime = 1, wait
				p := start(t, f, tt.config)
				l := borrow(t, p)
				for range 5 { // at times that have nothing to do with those of the sweeper
					time.Sleep(1234567 * time.Microsecond)
					began := time.Now()
					_, err := p.Get(t.Context())
					var exhausted *ExhaustedError
					if !errors.As(err, &exhausted) {
						t.Fatalf("Get returned %v, want ErrExhausted", err)
					}
					if got := time.Since(began); got != wait || exhausted.Waited != wait {
						t.Errorf("Get returned after %v and says %v, want %v", got, exhausted.Waited, wait)
					}
				}
				giveBack(t, p, l)
			})
		}
	}
}

func TestEachOfManyWaitsEndsAfterMaxWaitTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 1, MaxWaitTime: time.Second})
		l := borrow(t, p)
		var asked []*request[*wire]
		for i := range 100 {
			ctx := t.Context()
			if i%3 == 0 { // those who leave earlier don't disturb
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 700*time.Millisecond)
				defer cancel()
			}
			asked = append(asked, ask(ctx, p))
			time.Sleep(time.Duration(i) * time.Millisecond / 3)
		}
		time.Sleep(time.Second)
		for i, r := range asked {
			if i%3 == 0 {
				r.failed(t, "with a deadline", context.DeadlineExceeded)
				continue
			}
			r.failed(t, "without a deadline", ErrExhausted)
			if r.took != time.Second {
				t.Errorf("caller %d waited %v, want 1s", i, r.took)
			}
		}
		if got := p.Stats(); got.Timeouts != 66 || got.Canceled != 34 || got.WaitingRequests != 0 {
			t.Errorf("%+v, want 66 timeouts and 34 canceled", got)
		}
		giveBack(t, p, l)
	})
}

func TestANegativeMaxWaitTimeLeavesTheEndToCtx(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
		l := borrow(t, p)
		ctx, cancel := context.WithTimeout(t.Context(), 365*day)
		defer cancel()
		r := ask(ctx, p)
		time.Sleep(365*day - 1)
		r.pending(t, "after nearly a year")
		time.Sleep(time.Nanosecond)
		r.failed(t, "after a year", context.DeadlineExceeded)
		giveBack(t, p, l)
	})
}

func TestAnIdleConnectionIsClosedAfterMaxIdleTimeAndNotMuchLater(t *testing.T) {
	for _, idle := range []time.Duration{
		time.Nanosecond, 20 * time.Millisecond, 85 * time.Millisecond, 160 * time.Millisecond, 999 * time.Millisecond,
		time.Second, 8 * time.Second, 30 * time.Second, 30*time.Second + 500*time.Millisecond, 10 * time.Minute, day, 365 * day,
	} {
		bubble(t, idle.String(), func(t *testing.T) {
			limit := idle + max(idle/8, 20*time.Millisecond)
			var x exchange
			closed := make(chan time.Time, 1)
			x.closing = func(*wire, error) error { closed <- time.Now(); return nil }
			p := start(t, x.factory(), Config{MaxConnections: 1, MaxIdleTime: idle})
			for i := range 5 {
				l := borrow(t, p)
				time.Sleep(idle*time.Duration(i)/3 + 1234567) // anywhere between two ticks
				put := time.Now()
				giveBack(t, p, l)
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
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 1, MaxIdleTime: time.Second})
		for range 5000 {
			giveBack(t, p, borrow(t, p))
			synctest.Wait()
			if got := p.Stats(); got.IdleConnections != 1 {
				t.Fatalf("right after Put %+v, want it idle", got)
			}
			time.Sleep(10 * time.Second)
		}
	})
}

// The coarse clock, of 32 bits, goes on after a sleep in which half of its range has
// passed.
func TestIdleConnectionsExpireAfterYearsOfQuiet(t *testing.T) {
	for _, years := range []time.Duration{0, 1, 2, 50} {
		synctest.Test(t, func(t *testing.T) {
			var x exchange
			p := start(t, x.factory(), Config{MaxConnections: 1, MaxIdleTime: 100 * time.Millisecond})
			time.Sleep(years * 365 * day)
			for range 3 {
				fill(t, p, 1)
				if got := p.Stats(); got.IdleConnections != 1 {
					t.Fatalf("%d years on, right after Put: %+v, want it idle", years, got)
				}
				time.Sleep(time.Second)
				if got := p.Stats(); got.IdleConnections != 0 {
					t.Fatalf("%d years on, a second after Put: %+v, want it closed", years, got)
				}
				time.Sleep(300 * day)
			}
		})
	}
}

func TestAConnectionThatIsOpenedAfterAllHaveExpiredExpiresInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 1, MaxIdleTime: 100 * time.Millisecond, MaxWaitTime: time.Hour})
		for i := range 3 {
			fill(t, p, 1)
			time.Sleep(time.Second)
			if got := p.Stats(); got.IdleConnections != 0 {
				t.Errorf("number %d: a second after Put %+v, want it closed after 125 ms", i+1, got)
			}
		}
	})
}

func TestANegativeMaxIdleTimeKeepsConnectionsForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 3, MaxIdleTime: -1})
		fill(t, p, 3)
		time.Sleep(365 * day)
		if got := p.Stats(); got.IdleConnections != 3 {
			t.Errorf("after a year %+v, want three idle", got)
		}
	})
}

// go#45102: a frozen process hands out expired connections when it thaws. The clock
// has gone on, and the sweeper has not come to the slot yet.
func TestGetSeesThatAConnectionHasExpiredBeforeTheSweeperDoes(t *testing.T) {
	for _, way := range []string{"Get", "TryGet"} {
		bubble(t, way, func(t *testing.T) {
			var x exchange
			p := start(t, x.factory(), Config{MaxConnections: 2, MaxIdleTime: 30 * time.Second})
			fill(t, p, 2)
			time.Sleep(time.Second / 2)
			synctest.Wait()
			p.tick.Add(31) // as the sweeper does, before it goes round
			if way == "Get" {
				l := borrow(t, p)
				if got := l.Value().number; got != 3 {
					t.Errorf("Get lent connection %d, which has expired", got)
				}
				defer giveBack(t, p, l)
			} else if _, ok := p.TryGet(); ok {
				t.Error("TryGet lent a connection that has expired")
			}
			synctest.Wait()
			if got := p.Stats(); got.ClosedIdle != 2 {
				t.Errorf("%+v, want both closed", got)
			}
			x.mu.Lock()
			defer x.mu.Unlock()
			for _, w := range x.wires[:2] {
				if got := w.closedWith(); len(got) != 1 || got[0] != nil {
					t.Errorf("connection %d was closed with %v", w.number, got)
				}
			}
		})
	}
}

// go#43173, r2d2 0.8.3, HikariCP#2417: round-robin reuse keeps every connection warm,
// and the pool never shrinks.
func TestUnderASteadySmallLoadThePoolShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 50, MaxIdleTime: 10 * time.Second})
		fill(t, p, 50)
		time.Sleep(3 * time.Millisecond) // so that nothing is put back when the sweeper comes
		for range 1200 {
			l := borrow(t, p)
			time.Sleep(10 * time.Millisecond)
			giveBack(t, p, l)
		}
		if got := p.Stats(); got.IdleConnections != 1 {
			t.Errorf("after 12 s of one caller at a time %d are idle, want 1", got.IdleConnections)
		}
		if got := x.tried(); got != 50 {
			t.Errorf("Open was called %d times, want no more than for the burst", got)
		}
	})
}

func TestCheckIsCalledEveryCheckIntervalWhileIdle(t *testing.T) {
	tests := []struct{ give, every time.Duration }{{0, time.Second}, {3 * time.Second, 3 * time.Second}, {-1, 0}}
	for _, tt := range tests {
		bubble(t, tt.give.String(), func(t *testing.T) {
			var x exchange
			checks := make(chan time.Time, 1000)
			f := x.factory()
			f.Check = func(*wire) error { checks <- time.Now(); return nil }
			p := start(t, f, Config{MaxConnections: 1, MaxIdleTime: -1, CheckInterval: tt.give})
			l := borrow(t, p)
			time.Sleep(time.Minute)
			if got := len(checks); got != 0 {
				t.Errorf("Check was called %d times while the connection was leased", got)
			}
			giveBack(t, p, l)
			time.Sleep(time.Minute)
			synctest.Wait()
			if tt.every == 0 {
				if got := len(checks); got != 0 {
					t.Errorf("Check was called %d times while idle, want none", got)
				}
				giveBack(t, p, borrow(t, p))
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
		var x exchange
		f := x.factory()
		var now, most, all atomic.Int32
		f.Check = func(*wire) error {
			most.Store(max(most.Load(), now.Add(1)))
			all.Add(1)
			time.Sleep(3 * time.Second)
			now.Add(-1)
			return nil
		}
		p := start(t, f, Config{MaxConnections: 4, MaxIdleTime: -1, CheckInterval: time.Second})
		fill(t, p, 4)
		time.Sleep(time.Minute)
		if most.Load() != 1 || all.Load() < 15 {
			t.Errorf("%d of %d calls of Check were at the same time, want one at a time", most.Load(), all.Load())
		}
		p.Close()
		time.Sleep(time.Minute)
	})
}

func TestToBeCheckedIsNotToBeUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		f := x.factory()
		f.Check = func(*wire) error { return nil }
		p := start(t, f, Config{MaxConnections: 1, MaxIdleTime: 10 * time.Second, CheckInterval: time.Second})
		fill(t, p, 1)
		time.Sleep(11 * time.Second)
		synctest.Wait()
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
		config Config
		use    func(t *testing.T, p *Pool[*wire])
	}{
		{"unused", Config{}, func(*testing.T, *Pool[*wire]) {}},
		{"all expired", Config{}, func(t *testing.T, p *Pool[*wire]) { fill(t, p, 5) }},
		{"idle for ever", Config{MaxIdleTime: -1}, func(t *testing.T, p *Pool[*wire]) { fill(t, p, 5) }},
		{"leased for ever", Config{MaxIdleTime: -1}, func(t *testing.T, p *Pool[*wire]) { borrow(t, p) }},
		{"waiting for ever", Config{MaxConnections: 1, MaxIdleTime: -1, MaxWaitTime: -1}, func(t *testing.T, p *Pool[*wire]) {
			borrow(t, p)
			ask(t.Context(), p)
		}},
		{"without connections", Config{MaxConnections: 1, MaxWaitTime: -1}, func(t *testing.T, p *Pool[*wire]) {
			_ = p.Discard(borrow(t, p), nil)
		}},
		{"closed", Config{}, func(t *testing.T, p *Pool[*wire]) {
			fill(t, p, 5)
			p.Close()
		}},
	}
	for _, tt := range tests {
		bubble(t, tt.name, func(t *testing.T) {
			var x exchange
			f := x.factory()
			f.Check = func(*wire) error { return nil }
			tt.config.CheckInterval = -1
			p := start(t, f, tt.config)
			tt.use(t, p)
			time.Sleep(365 * day)
		})
	}
}
