package opening

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
	"go.uber.org/atomic"
)

// callLimited are configurations in which the sweeper has to limit calls that hang; in
// some of them it has nothing else to do.
var callLimited = map[string]pool.Config{
	"nothing else": {MaxIdleTime: -1, MaxWaitTime: -1, CheckInterval: -1, OpenTimeout: -1},
	"the defaults": {},
	"long times":   {MaxIdleTime: time.Hour, MaxWaitTime: time.Hour, CheckInterval: time.Hour},
	"short times":  {MaxIdleTime: -1, MaxWaitTime: 20 * time.Millisecond, CheckInterval: -1},
	"StrictMax":    {StrictMax: true},
	"a long wait":  {MaxIdleTime: -1, MaxWaitTime: time.Hour, CheckInterval: -1},
}

// redis#3089: a background dial without a timeout.
func TestEveryOpenHasATimeLimitWhoeverAskedForIt(t *testing.T) {
	for _, limit := range []time.Duration{0, time.Second, -1} {
		testkit.Bubble(t, limit.String(), func(t *testing.T) {
			type key struct{}
			var mu sync.Mutex
			asked := map[any]int{}
			x := testkit.Exchange{Open: func(ctx context.Context, attempt int) error {
				want, limited := limit, limit > 0
				if limit == 0 {
					want, limited = 10*time.Second, true
				}
				end, ok := ctx.Deadline()
				if ok != limited || ok && time.Until(end) != want {
					t.Errorf("attempt %d ends in %v, %v, want %v, %v", attempt, time.Until(end), ok, want, limited)
				}
				mu.Lock()
				asked[ctx.Value(key{})]++
				mu.Unlock()
				return nil
			}}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 6, MinIdle: 1, OpenTimeout: limit, OpenContext: testkit.SameContext})
			testkit.Sleep(1300 * time.Millisecond) // for MinIdle, and not when the pool looks again
			// The caller's own deadline neither shortens nor lengthens the limit.
			ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "Get"), time.Hour)
			defer cancel()
			var leases []pool.Lease[*testkit.Wire]
			for range 4 {
				l, err := p.Get(ctx)
				if err != nil {
					t.Fatal(err)
				}
				leases = append(leases, l)
			}
			if err := p.Warm(context.WithValue(t.Context(), key{}, "Warm"), 6); err != nil {
				t.Fatal(err)
			}
			leases = append(leases, testkit.Borrow(t, p), testkit.Borrow(t, p))
			r := testkit.Ask(t.Context(), p)
			_ = p.Discard(leases[0], testkit.ErrCause) // for nobody in particular
			r.Served(t, "after the Discard")
			if asked["Get"] == 0 || asked["Warm"] == 0 || asked[nil] < 2 {
				t.Errorf("opened for %v, want for all kinds", asked)
			}
		})
	}
}

// An Open that does not even return when its ctx ends is abandoned a second later. Its
// slot comes back, and a connection that it returns later is closed.
func TestAnOpenThatNeverReturnsIsAbandoned(t *testing.T) {
	for _, function := range []string{"Open", "Watch"} {
		for name, config := range callLimited {
			for _, late := range []error{nil, testkit.ErrDial} {
				testkit.Bubble(t, fmt.Sprintf("%s, %s, %v", function, name, late), func(t *testing.T) {
					hang, release := testkit.Obstacle(t)
					var x testkit.Exchange
					var broken func(error)
					f := x.Factory()
					if function == "Open" {
						x.Open = func(_ context.Context, attempt int) error {
							if attempt == 1 {
								<-hang
								return late
							}
							return nil
						}
					} else {
						f.Watch = func(w *testkit.Wire, b func(error)) {
							if w.Number == 1 {
								broken = b
								<-hang
								if late != nil {
									b(late)
								}
							}
						}
					}
					config.MaxConnections, config.MaxWaitTime, config.OpenTimeout = 1, -1, 5*time.Second
					p := testkit.Start(t, f, config)
					ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
					defer cancel()
					r := testkit.Ask(ctx, p)
					testkit.Sleep(time.Millisecond)
					r.Failed(t, "after its time", context.DeadlineExceeded)
					testkit.Sleep(6*time.Second - time.Millisecond - 1)
					if s := p.Stats(); s.Abandoned != 0 || s.OpeningConnections != 1 {
						t.Errorf("before the limit %d are abandoned, %d are being opened, want 0, 1", s.Abandoned, s.OpeningConnections)
					}
					testkit.Sleep(time.Nanosecond)
					if got := p.Stats().LastOpenError; !errors.Is(got, core.ErrOpenAbandoned) {
						t.Errorf("at the limit the last error is %v, want %v", got, core.ErrOpenAbandoned)
					}
					l := testkit.Ask(t.Context(), p).Served(t, "by the slot that has come back")
					s := p.Stats()
					if s.Abandoned != 1 || s.OpenErrors != 1 || s.Opened != 1 || s.OpeningConnections != 0 {
						t.Errorf("%d abandoned, %d open errors, %d opened, %d being opened; want 1, 1, 1, 0",
							s.Abandoned, s.OpenErrors, s.Opened, s.OpeningConnections)
					}
					testkit.Sleep(core.Probation)
					// A connection that comes late is closed, and does not disturb the
					// one that is in the slot by then.
					if broken != nil {
						broken(testkit.ErrCause)
					}
					release()
					synctest.Wait()
					if broken != nil {
						broken(testkit.ErrCause)
					}
					for _, w := range x.Opened() {
						if w != l.Value() {
							testkit.BrokenOnce(t, "when it comes late", w, core.ErrOpenAbandoned)
						}
					}
					if got := p.Stats(); got.Opened != 1 || got.OpenErrors != 1 || got.Abandoned != 1 || got.LastOpenError != nil {
						t.Errorf("a late return counts: %d opened, %d open errors, %d abandoned, last error %v",
							got.Opened, got.OpenErrors, got.Abandoned, got.LastOpenError)
					}
					if got := len(l.Value().ClosedWith()); got != 0 {
						t.Errorf("the connection that is leased was closed")
					}
					testkit.EndWithIdle(t, p, 1, l)
				})
			}
		}
	}
}

func TestWithoutOpenTimeoutNoOpenIsAbandonedForItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, release := testkit.Obstacle(t)
		x := testkit.Exchange{Open: func(context.Context, int) error { <-hang; return nil }}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1, OpenTimeout: -1})
		ctx, cancel := context.WithCancel(t.Context())
		r := testkit.Ask(ctx, p)
		cancel()
		r.Failed(t, "when its ctx has ended", context.Canceled)
		testkit.Sleep(testkit.Day)
		if got := p.Stats(); got.Abandoned != 0 || got.OpeningConnections != 1 {
			t.Errorf("after a day %d were abandoned, %d are being opened, want 0, 1", got.Abandoned, got.OpeningConnections)
		}
		release()
		synctest.Wait()
		testkit.EndWithIdle(t, p, 1, testkit.Ask(t.Context(), p).Served(t, "once it is open"))
	})
}

// While somebody waits, others are begun beside it. They are given up in turn; the oldest
// goes on, and what it opens in the end is lent.
func TestTheOldestOpenThatHangsGoesOnForAsLongAsItTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, release := testkit.Obstacle(t)
		others, releaseOthers := testkit.Obstacle(t)
		x := testkit.Exchange{Open: func(ctx context.Context, attempt int) error {
			if attempt > 1 {
				<-others
				return testkit.ErrDial
			}
			<-first
			return ctx.Err()
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1, OpenTimeout: -1, FailFastAfter: -1})
		r := testkit.Ask(t.Context(), p)
		testkit.Sleep(time.Minute)
		r.Pending(t, "after a minute")
		if got := x.Tried(); got < 30 {
			t.Errorf("Open was called %d times, want one attempt after the other", got)
		}
		release()
		l := r.Served(t, "once the first has opened one")
		if got := l.Value().Number; got != 1 || p.Stats().Opened != 1 {
			t.Errorf("connection %d was lent, %d were opened, want 1, 1", got, p.Stats().Opened)
		}
		releaseOthers()
		testkit.EndWithIdle(t, p, 1, l)
	})
}

// An attempt whose end nobody waited for, so that it became overdue first.
func TestAnOverdueOpenIsAbandonedAsWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, release := testkit.Obstacle(t)
		x := testkit.Exchange{Open: func(context.Context, int) error { <-hang; return nil }}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3, OpenTimeout: 10 * time.Second})
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			_, err := p.Get(ctx)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("Get returned %v", err)
			}
			testkit.Sleep(3 * time.Second)
		}
		// The third has begun when the second was given up: that one has been abandoned.
		if got := testkit.Inside(p).Overdue.Load(); got != 2 {
			t.Errorf("%d attempts are overdue, want the oldest and the last", got)
		}
		testkit.Sleep(20 * time.Second)
		if got := p.Stats(); got.Abandoned != 3 || got.OpenErrors != 3 {
			t.Errorf("%d abandoned, %d open errors, want 3", got.Abandoned, got.OpenErrors)
		}
		testkit.AtRest(t, p, 0)
		release()
		synctest.Wait()
		x.AllClosedOnce(t)
		testkit.AtRest(t, p, 0)
		p.Reset() // and no backoff after the abandoned attempt
		testkit.Whole(t, p, 3)
	})
}

// sqlx#4349: a hung clean-up holds its permit for ever.
func TestACallOfCheckOrCleanThatNeverReturnsIsAbandoned(t *testing.T) {
	for _, way := range []string{"Clean", "Check in Get", "Check in TryGet", "Check in a hand-off", "Check in the sweep"} {
		for name, config := range callLimited {
			if way == "Check in the sweep" && (config.CheckInterval < 0 || config.CheckInterval > time.Second) {
				continue
			}
			for _, late := range []error{nil, testkit.ErrUnfit} {
				testkit.Bubble(t, fmt.Sprintf("%s, %s, %v", way, name, late), func(t *testing.T) {
					h, f := testkit.NewHanging(t, way[:5])
					h.Late = late
					config.MaxConnections = 1
					if name != "short times" {
						config.MaxWaitTime = max(config.MaxWaitTime, time.Minute)
						if name == "nothing else" {
							config.MaxWaitTime = -1
						}
					}
					p := testkit.Start(t, f, config)
					l := testkit.Borrow(t, p)
					testkit.Sleep(7*time.Second + 300*time.Millisecond) // so that the sweeper has come to rest, and does not come now
					var caller *testkit.Request[*testkit.Wire]          // who calls
					var other *testkit.Request[*testkit.Wire]           // who waits
					called := make(chan struct{})
					h.On.Store(true)
					switch way {
					case "Clean":
						go func() {
							if err := p.Put(l); err != nil {
								t.Errorf("Put: %v", err)
							}
							close(called)
						}()
					case "Check in Get":
						testkit.GiveBack(t, p, l)
						caller = testkit.Ask(t.Context(), p)
						close(called)
					case "Check in TryGet":
						testkit.GiveBack(t, p, l)
						go func() {
							if _, ok := p.TryGet(); ok {
								t.Error("TryGet lent a connection of which Check has been abandoned")
							}
							close(called)
						}()
					case "Check in a hand-off":
						other = testkit.Ask(t.Context(), p)
						go func() {
							if err := p.Put(l); err != nil {
								t.Errorf("Put: %v", err)
							}
							close(called)
						}()
					case "Check in the sweep":
						testkit.GiveBack(t, p, l)
						testkit.Sleep(2 * time.Second) // until its turn comes
						close(called)
					}
					synctest.Wait()
					calls := h.Calls.Load()
					if s := p.Stats(); calls != 1 || s.Abandoned != 0 {
						t.Fatalf("it hangs in %d calls, %d abandoned, want 1, 0", calls, s.Abandoned)
					}
					testkit.Sleep(core.CallLimit - 2*time.Second - 1)
					if other != nil && name != "short times" {
						other.Pending(t, "while it hangs")
					}
					if got := p.Stats().Abandoned; got != 0 {
						t.Errorf("it was abandoned before the limit")
					}
					testkit.Sleep(2*time.Second + testkit.Slack)
					s := p.Stats()
					if s.Abandoned != 1 || s.ClosedAbandoned != 1 {
						t.Errorf("after the limit %d are abandoned, %d closed for it, want 1, 1", s.Abandoned, s.ClosedAbandoned)
					}
					testkit.ClosedFor(t, "after the limit", h.Opened()[0], core.ErrAbandoned)
					if other != nil && name != "short times" {
						l = other.Served(t, "after the limit")
						if l.Value().Number != 2 {
							t.Errorf("connection %d was lent, want the second", l.Value().Number)
						}
						testkit.GiveBack(t, p, l)
					}
					if caller != nil { // it has not waited for the call, but for another connection
						l = caller.Served(t, "after the limit")
						testkit.GiveBack(t, p, l)
					}
					// The capacity is back, and in use again when the call returns.
					got := testkit.Borrow(t, p)
					if got.Value().Number != 2 {
						t.Errorf("connection %d was lent, want the second", got.Value().Number)
					}
					h.Release()
					synctest.Wait()
					<-called
					if n := len(got.Value().ClosedWith()); n != 0 {
						t.Errorf("a late return closed the connection of another")
					}
					testkit.EndWithIdle(t, p, 1, got)
					p.Close()
					h.AllClosedOnce(t)
				})
			}
		}
	}
}

// A round of checks that hangs ends with the call: the other connections are not left
// unchecked for ever.
func TestChecksGoOnAfterOneThatNeverReturns(t *testing.T) {
	for _, end := range []func(){func() {}, runtime.Goexit} {
		testChecksGoOn(t, end)
	}
}

func testChecksGoOn(t *testing.T, end func()) {
	synctest.Test(t, func(t *testing.T) {
		hang, release := testkit.Obstacle(t)
		var x testkit.Exchange
		var mu sync.Mutex
		checked := map[int]int{}
		var on atomic.Bool
		f := x.Factory()
		f.Check = func(w *testkit.Wire) error {
			mu.Lock()
			checked[w.Number]++
			mu.Unlock()
			if on.Load() && w.Number == 1 {
				<-hang
				end()
			}
			return nil
		}
		p := testkit.Start(t, f, pool.Config{MaxConnections: 3, MaxIdleTime: -1})
		testkit.Fill(t, p, 3)
		on.Store(true)
		testkit.Sleep(core.CallLimit + 2*testkit.Slack + 300*time.Millisecond) // not when the sweeper comes
		mu.Lock()
		clear(checked)
		mu.Unlock()
		testkit.Sleep(10 * time.Second)
		mu.Lock()
		if checked[1] != 0 || checked[2] < 9 || checked[3] < 9 {
			t.Errorf("in ten seconds they were checked %v times, want 2 and 3 once a second", checked)
		}
		clear(checked)
		mu.Unlock()
		release()
		synctest.Wait() // between two rounds: what is checked now, the old one checks
		mu.Lock()
		if len(checked) != 0 {
			t.Errorf("at the end of the call that hung they were checked %v times, want never: its round goes on", checked)
		}
		if testkit.Inside(p).Round.Load()%2 != 0 {
			t.Error("a call that was abandoned has told once more that its round has let go of the slot")
		}
		mu.Unlock()
		testkit.Sleep(10 * time.Second)
		mu.Lock()
		if checked[2] > 11 {
			t.Errorf("in ten seconds they were checked %v times: two rounds go on", checked)
		}
		mu.Unlock()
		testkit.Whole(t, p, 3)
	})
}

// The limit is for each call: many short calls, one after the other, are not one long
// call.
func TestManyShortCallsAreNotOneThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		f := x.Factory()
		f.Check = func(*testkit.Wire) error { time.Sleep(core.CallLimit/2 - 7*time.Millisecond); return nil } // not when the sweeper comes
		f.Clean = f.Check
		p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxIdleTime: -1, CheckInterval: time.Second})
		for range 20 {
			testkit.GiveBack(t, p, testkit.Borrow(t, p))
		}
		if s := p.Stats(); s.Abandoned != 0 || s.Opened != 1 {
			t.Errorf("%d calls were abandoned, %d connections opened, want 0, 1", s.Abandoned, s.Opened)
		}
		p.Close()
		testkit.Sleep(core.CallLimit)
	})
}

func TestACloseThatNeverReturnsIsAbandoned(t *testing.T) {
	for _, strict := range []bool{false, true} {
		testkit.Bubble(t, fmt.Sprint("StrictMax=", strict), func(t *testing.T) {
			hang, release := testkit.Obstacle(t)
			x := testkit.Exchange{Closing: func(w *testkit.Wire, _ error) error {
				if w.Number == 1 {
					<-hang
				}
				return nil
			}}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1, StrictMax: strict})
			_ = p.Discard(testkit.Borrow(t, p), testkit.ErrCause)
			r := testkit.Ask(t.Context(), p)
			if strict {
				testkit.Sleep(core.CallLimit - 1)
				r.Pending(t, "while Close has not returned")
				testkit.Sleep(time.Nanosecond)
			}
			l := r.Served(t, "once the slot is free")
			testkit.Sleep(core.CallLimit + 1)
			if got := p.Stats(); got.Abandoned != 1 || got.ActiveConnections != 1 {
				t.Errorf("%d were abandoned, %d are active, want 1, 1", got.Abandoned, got.ActiveConnections)
			}
			release()
			synctest.Wait()
			if got := p.Stats(); got.Abandoned != 1 || got.ActiveConnections != 1 {
				t.Errorf("after the late return %d were abandoned, %d are active, want 1, 1", got.Abandoned, got.ActiveConnections)
			}
			testkit.EndWithIdle(t, p, 1, l)
		})
	}
}
