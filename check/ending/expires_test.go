package ending

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
	"go.uber.org/atomic"
)

// lasting returns a factory whose connections expire so long after they are opened.
func lasting(x *testkit.Exchange, d time.Duration) pool.Factory[*testkit.Wire] {
	f := x.Factory()
	f.Expires = func(*testkit.Wire) time.Time { return time.Now().Add(d) }
	return f
}

func TestAnIdleConnectionIsClosedAtTheTimeThatExpiresSays(t *testing.T) {
	for name, c := range map[string]pool.Config{
		"nothing else": {MaxIdleTime: -1, MaxWaitTime: -1, CheckInterval: -1, OpenTimeout: -1},
		"the defaults": {MaxIdleTime: testkit.Day},
		"long times":   {MaxIdleTime: 10 * testkit.Day, MaxLifetime: 100 * testkit.Day},
	} {
		for _, d := range []time.Duration{time.Millisecond, 7 * time.Millisecond, 1500 * time.Millisecond, 123456789123, time.Hour} {
			testkit.Bubble(t, fmt.Sprintf("%s, %v", name, d), func(t *testing.T) {
				const n = 50
				var x testkit.Exchange
				c.MaxConnections = n
				p := testkit.Start(t, lasting(&x, d), c)
				testkit.Sleep(777 * time.Millisecond) // anywhere between two passes
				if err := p.Warm(t.Context(), n); err != nil {
					t.Fatal(err)
				}
				testkit.Sleep(d - 1)
				testkit.IdleIs(t, p, "before", n)
				testkit.Sleep(time.Nanosecond)
				testkit.IdleIs(t, p, "at the time", 0)
				for _, w := range x.Opened() {
					testkit.ClosedFor(t, "at the time", w, nil)
				}
				if got := p.Stats().ClosedLifetime; got != n {
					t.Errorf("%d were closed for their lifetime, want %d", got, n)
				}
			})
		}
	}
}

// A connection that comes while the sweeper sleeps may end before all others.
func TestConnectionsThatExpireInAnyOrderAreClosedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends := []time.Duration{time.Hour, 3 * time.Millisecond, time.Minute, 700 * time.Millisecond, 59 * time.Second, 2 * time.Second}
		var x testkit.Exchange
		var v lives
		f := v.of(&x)
		f.Expires = func(w *testkit.Wire) time.Time { return time.Now().Add(ends[w.Number-1]) }
		p := testkit.Start(t, f, pool.Config{MaxIdleTime: -1, CheckInterval: -1})
		var leases []pool.Lease[*testkit.Wire]
		for range ends {
			leases = append(leases, testkit.Borrow(t, p))
			testkit.Sleep(time.Nanosecond)
		}
		for _, l := range leases {
			testkit.GiveBack(t, p, l)
		}
		testkit.Sleep(2 * time.Hour)
		got := map[time.Duration]bool{}
		for _, d := range v.closed() {
			got[d.age] = true
		}
		for _, want := range ends {
			if !got[want] {
				t.Errorf("none was closed at the age of %v: %v", want, got)
			}
		}
	})
}

func TestNothingIsLentFromTheTimeOnThatExpiresSays(t *testing.T) {
	const life = time.Minute
	for _, check := range []bool{false, true} {
		for name, lend := range map[string]func(t *testing.T, p *pool.Pool[*testkit.Wire]) *testkit.Wire{
			"Get": func(t *testing.T, p *pool.Pool[*testkit.Wire]) *testkit.Wire {
				return testkit.Borrow(t, p).Value()
			},
			"TryGet": func(t *testing.T, p *pool.Pool[*testkit.Wire]) *testkit.Wire {
				l, _ := p.TryGet()
				return l.Value()
			},
		} {
			testkit.Bubble(t, fmt.Sprintf("%s, check=%v", name, check), func(t *testing.T) {
				var x testkit.Exchange
				f := lasting(&x, life)
				var took atomic.Duration
				if check {
					f.Check = func(*testkit.Wire) error { time.Sleep(took.Load()); return nil }
				}
				c := pool.Config{MaxConnections: 1, MaxIdleTime: -1, CheckInterval: -1}
				// The sweeper is stuck, so nothing but the look of the lender keeps it.
				c.MaxConnections = 2
				p, inHand := stalled(t, f, c, life)
				before := len(x.Opened())
				got := lend(t, p)
				if got != nil && got.Number <= before {
					t.Errorf("connection %d was lent, want a new one", got.Number)
				}
				testkit.GiveBack(t, p, inHand)
				testkit.ClosedFor(t, "in the end", inHand.Value(), nil)
				if !check {
					return
				}
				// It may end during Check.
				p2 := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxIdleTime: -1, CheckInterval: -1})
				testkit.Fill(t, p2, 1)
				first := x.Opened()[len(x.Opened())-1]
				testkit.Sleep(life - time.Second)
				took.Store(time.Second)
				if got := lend(t, p2); got == first {
					t.Error("what has ended during Check was lent")
				}
				testkit.ClosedFor(t, "after Check", first, nil)
			})
		}
	}
}

func TestALeaseOutlivesItsConnectionAndPutClosesIt(t *testing.T) {
	for _, waits := range []bool{false, true} {
		testkit.Bubble(t, fmt.Sprintf("waits=%v", waits), func(t *testing.T) {
			var x testkit.Exchange
			f := lasting(&x, time.Minute)
			var cleaned atomic.Int32
			f.Clean = func(w *testkit.Wire) error { cleaned.Inc(); return nil }
			p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxWaitTime: -1})
			l := testkit.Borrow(t, p)
			var r *testkit.Request[*testkit.Wire]
			if waits {
				r = testkit.Ask(t.Context(), p)
			}
			testkit.Sleep(time.Hour)
			if got := len(l.Value().ClosedWith()); got != 0 {
				t.Fatal("it was closed in its user's hands")
			}
			testkit.GiveBack(t, p, l)
			testkit.ClosedFor(t, "after Put", l.Value(), nil)
			if got := cleaned.Load(); got != 0 {
				t.Errorf("Clean was asked %d times for what is closed anyway", got)
			}
			if waits {
				next := r.Served(t, "after Put")
				if next.Value().Number != 2 {
					t.Errorf("connection %d was handed on, want a new one", next.Value().Number)
				}
				testkit.GiveBack(t, p, next)
				if got := cleaned.Load(); got != 1 {
					t.Errorf("Clean was asked %d times, want once", got)
				}
			}
			if got := p.Stats().ClosedLifetime; got != 1 {
				t.Errorf("%d were closed for their lifetime, want 1", got)
			}
		})
	}
}

func TestTheZeroTimeOfExpiresIsNever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		f := x.Factory()
		var asked atomic.Int32
		f.Expires = func(*testkit.Wire) time.Time { asked.Inc(); return time.Time{} }
		p := testkit.Start(t, f, pool.Config{MaxIdleTime: -1})
		testkit.Fill(t, p, 1)
		for range 100 {
			testkit.Sleep(time.Hour / 20)
			testkit.Fill(t, p, 1)
		}
		testkit.IdleIs(t, p, "after five hours", 1)
		if got := asked.Load(); got != 1 {
			t.Errorf("Expires was asked %d times, want once", got)
		}
	})
}

// A token has a wall time, without the monotonic one of time.Now. Far off is never.
func TestATimeOfAnyKindIsUnderstood(t *testing.T) {
	for _, at := range []func() time.Time{
		func() time.Time { return time.Unix(time.Now().Add(time.Minute).Unix(), 0) },
		func() time.Time { return time.Now().Add(time.Minute).UTC().Round(0) },
		func() time.Time { return time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC) },
	} {
		synctest.Test(t, func(t *testing.T) {
			var x testkit.Exchange
			f := x.Factory()
			f.Expires = func(*testkit.Wire) time.Time { return at() }
			p := testkit.Start(t, f, pool.Config{MaxIdleTime: -1})
			testkit.Sleep(time.Second) // far off on the pool's clock is further off than that can count
			testkit.Fill(t, p, 1)
			left := time.Until(at())
			testkit.Sleep(min(left, time.Hour) - 1)
			testkit.IdleIs(t, p, "before", 1)
			testkit.Sleep(time.Nanosecond)
			if left < time.Hour {
				testkit.IdleIs(t, p, "at the time", 0)
			} else {
				testkit.IdleIs(t, p, "long before the time", 1)
			}
		})
	}
}

func TestOfMaxLifetimeAndExpiresTheEarlierCounts(t *testing.T) {
	for _, d := range []time.Duration{time.Minute, testkit.Day} {
		testkit.Bubble(t, d.String(), func(t *testing.T) {
			var x testkit.Exchange
			p := testkit.Start(t, lasting(&x, d), pool.Config{MaxIdleTime: -1, MaxLifetime: time.Hour})
			testkit.Fill(t, p, 1)
			testkit.Sleep(time.Minute)
			early := 1
			if d == time.Minute {
				early = 0
			}
			testkit.IdleIs(t, p, "after a minute", early)
			testkit.Sleep(2 * time.Hour)
			testkit.IdleIs(t, p, "after two hours", 0)
			if got := p.Stats().ClosedLifetime; got != 1 {
				t.Errorf("%d were closed for their lifetime, want 1", got)
			}
		})
	}
}

// MinIdle keeps what has been idle for too long until another is open, but not what has
// expired: its replacement is opened ahead.
func TestWithMinIdleAnExpiringConnectionIsReplacedAheadAndClosedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const life = time.Minute + 300*time.Millisecond // between two passes
		var x testkit.Exchange
		var v lives
		f := v.of(&x)
		f.Expires = func(*testkit.Wire) time.Time { return time.Now().Add(life) }
		p := testkit.Start(t, f, pool.Config{MinIdle: 3, MaxIdleTime: -1})
		testkit.Sleep(2 * time.Second)
		end := time.Now().Add(10 * life)
		for time.Now().Before(end) {
			testkit.Sleep(100 * time.Millisecond)
			if got := p.Stats().IdleConnections; got < 3 {
				t.Fatalf("%d are idle, want 3 at least", got)
			}
		}
		for _, d := range v.closed() {
			if d.age != life {
				t.Errorf("one was closed at the age of %v, want %v", d.age, life)
			}
		}
		if got := p.Stats().Opened; got < 27 || got > 45 {
			t.Errorf("%d were opened in ten lives of three, want about 30", got)
		}
	})
}

// What has expired is not kept for MinIdle even if nothing can be opened in its place, and is
// not lent in the outage.
func TestMinIdleDoesNotKeepWhatHasExpiredInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		x := testkit.Exchange{Open: func(context.Context, int) error {
			if down.Load() {
				return testkit.ErrDial
			}
			return nil
		}}
		p := testkit.Start(t, lasting(&x, time.Minute), pool.Config{MinIdle: 2, MaxIdleTime: -1})
		synctest.Wait()
		testkit.IdleIs(t, p, "at first", 2)
		down.Store(true)
		testkit.Sleep(time.Minute - 1)
		if got := p.Stats().IdleConnections; got != 2 {
			t.Errorf("before the time %d are idle, want 2", got)
		}
		testkit.Sleep(time.Nanosecond)
		if got := p.Stats(); got.IdleConnections != 0 || got.ClosedLifetime != 2 {
			t.Errorf("at the time %d are idle and %d closed, want 0 and 2", got.IdleConnections, got.ClosedLifetime)
		}
		if _, err := p.Get(t.Context()); !errors.Is(err, testkit.ErrDial) {
			t.Errorf("Get: %v, want that nothing can be opened", err)
		}
	})
}

// Connections that expire as soon as they are open are no reason to open without a pause.
func TestMinIdleDoesNotSpinOnConnectionsThatExpireAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, lasting(&x, time.Millisecond), pool.Config{MinIdle: 3, MaxIdleTime: -1})
		testkit.Sleep(100 * time.Second)
		if got := p.Stats().Opened; got > 310 {
			t.Errorf("%d were opened in 100 s, want 3 a second at most", got)
		}
	})
}

func TestAnExpiresThatFailsIsAFailedOpen(t *testing.T) {
	mine := errors.New("mine")
	for name, tt := range map[string]struct {
		expires func() time.Time
		says    string
		is      error
	}{
		"past":       {func() time.Time { return time.Now().Add(-5 * time.Second) }, "a time that has passed, or is about to: ", nil},
		"a moment":   {func() time.Time { return time.Now().Add(3600) }, "a time that has passed, or is about to: ", nil}, // an hour, in the wrong unit
		"now":        {time.Now, "a time that has passed, or is about to: ", nil},
		"Unix epoch": {func() time.Time { return time.Unix(0, 0) }, "a time that has passed, or is about to: ", nil},
		"panic":      {func() time.Time { panic(mine) }, "Factory.Expires panicked: mine", mine},
		"Goexit":     {func() time.Time { runtime.Goexit(); return time.Time{} }, "runtime.Goexit", nil},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			var x testkit.Exchange
			f := x.Factory()
			var works atomic.Bool
			f.Expires = func(*testkit.Wire) time.Time {
				if !works.Load() {
					return tt.expires()
				}
				return time.Time{}
			}
			f.Watch = func(w *testkit.Wire, _ func(error)) {
				if !works.Load() {
					t.Error("Watch was called for what is of no use")
				}
			}
			p := testkit.Start(t, f, pool.Config{MaxConnections: 2})
			for i := range 4 {
				_, err := p.Get(t.Context())
				var open *pool.OpenError
				if !errors.As(err, &open) || !strings.Contains(open.Err.Error(), tt.says) || tt.is != nil && !errors.Is(err, tt.is) {
					t.Fatalf("Get: %v, want an OpenError with %q", err, tt.says)
				}
				if i == 3 && !errors.Is(err, pool.ErrUnavailable) {
					t.Errorf("the fourth Get: %v, want ErrUnavailable: such an open counts for the outage", err)
				}
				synctest.Wait()
			}
			for _, w := range x.Opened() {
				if got := w.ClosedWith(); len(got) != 1 || got[0] == nil {
					t.Errorf("connection %d was closed with %v, want once, with a cause", w.Number, got)
				}
			}
			if got := p.Stats(); got.Opened != 0 || got.OpenErrors != 4 || got.OpeningConnections != 0 {
				t.Errorf("%d were opened, %d failed, %d are under way; want 0, 4, 0", got.Opened, got.OpenErrors, got.OpeningConnections)
			}
			works.Store(true)
			testkit.Sleep(time.Second)
			testkit.Fill(t, p, 2)
		})
	}
}

// Watch may outlast the life. Such a connection is of no use either, and must not have others
// opened without a pause.
func TestALifeThatEndsDuringWatchIsAFailedOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		f := lasting(&x, time.Second)
		f.Watch = func(*testkit.Wire, func(error)) { time.Sleep(time.Second) }
		p := testkit.Start(t, f, pool.Config{})
		_, err := p.Get(t.Context())
		if open := (*pool.OpenError)(nil); !errors.As(err, &open) || !strings.Contains(err.Error(), "before the connection was lent") {
			t.Errorf("Get: %v, want an OpenError that says that it is too late", err)
		}
		testkit.BrokenOnce(t, "after Watch", x.Opened()[0], errors.Unwrap(err))
		if got := p.Stats(); got.Opened != 0 || got.OpenErrors != 1 {
			t.Errorf("%d were opened and %d failed, want 0 and 1", got.Opened, got.OpenErrors)
		}
	})
}

func TestAnExpiresThatHangsIsAbandonedAsOpenIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, release := testkit.Obstacle(t)
		var x testkit.Exchange
		f := x.Factory()
		f.Expires = func(w *testkit.Wire) time.Time {
			if w.Number == 1 {
				<-hang
			}
			return time.Now().Add(time.Hour)
		}
		p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
		r := testkit.Ask(context.Background(), p)
		testkit.Sleep(11 * time.Second)
		l := r.Served(t, "by another attempt")
		if got := l.Value().Number; got != 2 {
			t.Errorf("connection %d was lent, want the second", got)
		}
		testkit.GiveBack(t, p, l)
		release()
		synctest.Wait()
		if got := x.Opened()[0].ClosedWith(); len(got) != 1 || got[0] == nil {
			t.Errorf("when it came late, it was closed with %v, want once, with a cause", got)
		}
		testkit.IdleIs(t, p, "in the end", 1)
		testkit.AtRest(t, p, 0)
	})
}
