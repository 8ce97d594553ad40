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

	"go.uber.org/atomic"
)

// slack is how much later than its limit a call of Check or Clean is abandoned: the
// sweeper has to see it first, and then looks every second.
const slack = 2*maxTick + 50*time.Millisecond

// callLimited are configurations in which the sweeper has to look after calls that hang, in
// some of them beside nothing else.
var callLimited = map[string]Config{
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
		bubble(t, limit.String(), func(t *testing.T) {
			type key struct{}
			var mu sync.Mutex
			asked := map[any]int{}
			x := exchange{open: func(ctx context.Context, attempt int) error {
				want, limited := limit, limit > 0
				if limit == 0 {
					want, limited = defaultOpenTimeout, true
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
			p := start(t, x.factory(), Config{MaxConnections: 6, MinIdle: 1, OpenTimeout: limit})
			time.Sleep(1300 * time.Millisecond) // for MinIdle, and not when the pool looks again
			// A deadline of the caller's neither shortens nor lengthens it.
			ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "Get"), time.Hour)
			defer cancel()
			var leases []Lease[*wire]
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
			leases = append(leases, borrow(t, p), borrow(t, p))
			r := ask(t.Context(), p)
			_ = p.Discard(leases[0], errCause) // for nobody in particular
			r.served(t, "after the Discard")
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
			for _, late := range []error{nil, errDial} {
				bubble(t, fmt.Sprintf("%s, %s, %v", function, name, late), func(t *testing.T) {
					hang, release := obstacle(t)
					var x exchange
					var broken func(error)
					f := x.factory()
					if function == "Open" {
						x.open = func(_ context.Context, attempt int) error {
							if attempt == 1 {
								<-hang
								return late
							}
							return nil
						}
					} else {
						f.Watch = func(w *wire, b func(error)) {
							if w.number == 1 {
								broken = b
								<-hang
								if late != nil {
									b(late)
								}
							}
						}
					}
					config.MaxConnections, config.MaxWaitTime, config.OpenTimeout = 1, -1, 5*time.Second
					p := start(t, f, config)
					first, second := ask(t.Context(), p), ask(t.Context(), p)
					time.Sleep(6*time.Second - 1)
					first.pending(t, "before the limit")
					if s := p.Stats(); s.Abandoned != 0 || s.OpeningConnections != 1 {
						t.Errorf("before the limit %d are abandoned, %d are being opened, want 0, 1", s.Abandoned, s.OpeningConnections)
					}
					time.Sleep(time.Nanosecond)
					first.failed(t, "at the limit", errOpenAbandoned)
					l := second.served(t, "by the slot that has come back")
					s := p.Stats()
					if s.Abandoned != 1 || s.OpenErrors != 1 || s.Opened != 1 || s.OpeningConnections != 0 {
						t.Errorf("%d abandoned, %d open errors, %d opened, %d being opened; want 1, 1, 1, 0",
							s.Abandoned, s.OpenErrors, s.Opened, s.OpeningConnections)
					}
					// What comes late is closed, and does not disturb the one that is
					// in the slot by now.
					if broken != nil {
						broken(errCause)
					}
					release()
					synctest.Wait()
					if broken != nil {
						broken(errCause)
					}
					for _, w := range x.opened() {
						if w != l.Value() {
							brokenOnce(t, "when it comes late", w, errOpenAbandoned)
						}
					}
					if got := p.Stats(); got.Opened != 1 || got.OpenErrors != 1 || got.Abandoned != 1 || got.LastOpenError != nil {
						t.Errorf("a late return counts: %d opened, %d open errors, %d abandoned, last error %v",
							got.Opened, got.OpenErrors, got.Abandoned, got.LastOpenError)
					}
					if got := len(l.Value().closedWith()); got != 0 {
						t.Errorf("the connection that is leased was closed")
					}
					endWithIdle(t, p, 1, l)
				})
			}
		}
	}
}

func TestWithoutOpenTimeoutNoOpenIsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, release := obstacle(t)
		x := exchange{open: func(context.Context, int) error { <-hang; return nil }}
		p := start(t, x.factory(), Config{MaxConnections: 1, MaxWaitTime: -1, OpenTimeout: -1})
		r := ask(t.Context(), p)
		time.Sleep(day)
		r.pending(t, "after a day")
		release()
		if got := p.Stats().Abandoned; got != 0 {
			t.Errorf("%d were abandoned", got)
		}
		endWithIdle(t, p, 1, r.served(t, "once it is open"))
	})
}

// An attempt of which nobody waited for the end, so that it was counted as overdue first.
func TestAnOverdueOpenIsAbandonedAsWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, release := obstacle(t)
		x := exchange{open: func(context.Context, int) error { <-hang; return nil }}
		p := start(t, x.factory(), Config{MaxConnections: 3, OpenTimeout: 10 * time.Second})
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			_, err := p.Get(ctx)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("Get returned %v", err)
			}
			time.Sleep(3 * time.Second)
		}
		if got := p.overdue.Load(); got != 3 {
			t.Errorf("%d attempts are overdue, want 3", got)
		}
		time.Sleep(20 * time.Second)
		if got := p.Stats(); got.Abandoned != 3 || got.OpenErrors != 3 {
			t.Errorf("%d abandoned, %d open errors, want 3", got.Abandoned, got.OpenErrors)
		}
		atRest(t, p, 0)
		release()
		synctest.Wait()
		x.allClosedOnce(t)
		atRest(t, p, 0)
		p.Reset() // and no pause after what was abandoned
		whole(t, p, 3)
	})
}

// A hanging is a factory with a Check or a Clean that hangs for the first connection.
type hanging struct {
	exchange
	on      atomic.Bool
	calls   atomic.Int32 // that hang, or have hung
	release func()
	late    error // what it returns in the end
}

func newHanging(t *testing.T, function string) (h *hanging, f Factory[*wire]) {
	h = new(hanging)
	var hang <-chan struct{}
	hang, h.release = obstacle(t)
	call := func(w *wire) error {
		if w.number == 1 && h.on.Load() {
			h.calls.Inc()
			<-hang
			return h.late
		}
		return nil
	}
	f = h.factory()
	if function == "Clean" {
		f.Clean = call
	} else {
		f.Check = call
	}
	return h, f
}

// sqlx#4349: a hung clean-up holds its permit for ever.
func TestACallOfCheckOrCleanThatNeverReturnsIsAbandoned(t *testing.T) {
	for _, way := range []string{"Clean", "Check in Get", "Check in TryGet", "Check in a hand-off", "Check in the sweep"} {
		for name, config := range callLimited {
			if way == "Check in the sweep" && (config.CheckInterval < 0 || config.CheckInterval > time.Second) {
				continue
			}
			for _, late := range []error{nil, errUnfit} {
				bubble(t, fmt.Sprintf("%s, %s, %v", way, name, late), func(t *testing.T) {
					h, f := newHanging(t, way[:5])
					h.late = late
					config.MaxConnections = 1
					if name != "short times" {
						config.MaxWaitTime = max(config.MaxWaitTime, time.Minute)
						if name == "nothing else" {
							config.MaxWaitTime = -1
						}
					}
					p := start(t, f, config)
					l := borrow(t, p)
					time.Sleep(7*time.Second + 300*time.Millisecond) // so that the sweeper has come to rest, and does not come now
					var caller *request[*wire]                       // who calls
					var other *request[*wire]                        // who waits
					called := make(chan struct{})
					h.on.Store(true)
					switch way {
					case "Clean":
						go func() {
							if err := p.Put(l); err != nil {
								t.Errorf("Put: %v", err)
							}
							close(called)
						}()
					case "Check in Get":
						giveBack(t, p, l)
						caller = ask(t.Context(), p)
						close(called)
					case "Check in TryGet":
						giveBack(t, p, l)
						go func() {
							if _, ok := p.TryGet(); ok {
								t.Error("TryGet lent a connection of which Check has been abandoned")
							}
							close(called)
						}()
					case "Check in a hand-off":
						other = ask(t.Context(), p)
						go func() {
							if err := p.Put(l); err != nil {
								t.Errorf("Put: %v", err)
							}
							close(called)
						}()
					case "Check in the sweep":
						giveBack(t, p, l)
						time.Sleep(2 * time.Second) // until its turn comes
						close(called)
					}
					synctest.Wait()
					calls := h.calls.Load()
					if s := p.Stats(); calls != 1 || s.Abandoned != 0 {
						t.Fatalf("it hangs in %d calls, %d abandoned, want 1, 0", calls, s.Abandoned)
					}
					time.Sleep(callLimit - 2*time.Second - 1)
					if other != nil && name != "short times" {
						other.pending(t, "while it hangs")
					}
					if got := p.Stats().Abandoned; got != 0 {
						t.Errorf("it was abandoned before the limit")
					}
					time.Sleep(2*time.Second + slack)
					synctest.Wait()
					s := p.Stats()
					if s.Abandoned != 1 || s.ClosedAbandoned != 1 {
						t.Errorf("after the limit %d are abandoned, %d closed for it, want 1, 1", s.Abandoned, s.ClosedAbandoned)
					}
					closedFor(t, "after the limit", h.opened()[0], errAbandoned)
					if other != nil && name != "short times" {
						l = other.served(t, "after the limit")
						if l.Value().number != 2 {
							t.Errorf("connection %d was lent, want the second", l.Value().number)
						}
						giveBack(t, p, l)
					}
					// The capacity is back, and in use again when the call returns.
					got := borrow(t, p)
					if got.Value().number != 2 {
						t.Errorf("connection %d was lent, want the second", got.Value().number)
					}
					h.release()
					synctest.Wait()
					<-called
					if n := len(got.Value().closedWith()); n != 0 {
						t.Errorf("a late return closed the connection of another")
					}
					if caller != nil && !caller.returned() {
						giveBack(t, p, got)
						got = caller.served(t, "with what came back")
					}
					endWithIdle(t, p, 1, got)
					p.Close()
					h.allClosedOnce(t)
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
		hang, release := obstacle(t)
		var x exchange
		var mu sync.Mutex
		checked := map[int]int{}
		var on atomic.Bool
		f := x.factory()
		f.Check = func(w *wire) error {
			mu.Lock()
			checked[w.number]++
			mu.Unlock()
			if on.Load() && w.number == 1 {
				<-hang
				end()
			}
			return nil
		}
		p := start(t, f, Config{MaxConnections: 3, MaxIdleTime: -1})
		fill(t, p, 3)
		on.Store(true)
		time.Sleep(callLimit + 2*slack + 300*time.Millisecond) // not when the sweeper comes
		mu.Lock()
		clear(checked)
		mu.Unlock()
		time.Sleep(10 * time.Second)
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
		if p.sweeper.round.Load()%2 != 0 {
			t.Error("a call that was abandoned has told once more that its round has let go of the slot")
		}
		mu.Unlock()
		time.Sleep(10 * time.Second)
		mu.Lock()
		if checked[2] > 11 {
			t.Errorf("in ten seconds they were checked %v times: two rounds go on", checked)
		}
		mu.Unlock()
		whole(t, p, 3)
	})
}

// The limit is for each call: many short ones, one after the other, are no long one.
func TestManyShortCallsAreNotOneThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		f := x.factory()
		f.Check = func(*wire) error { time.Sleep(callLimit/2 - 7*time.Millisecond); return nil } // not when the sweeper comes
		f.Clean = f.Check
		p := start(t, f, Config{MaxConnections: 1, MaxIdleTime: -1, CheckInterval: time.Second})
		for range 20 {
			giveBack(t, p, borrow(t, p))
		}
		if s := p.Stats(); s.Abandoned != 0 || s.Opened != 1 {
			t.Errorf("%d calls were abandoned, %d connections opened, want 0, 1", s.Abandoned, s.Opened)
		}
		p.Close()
		time.Sleep(callLimit)
	})
}

func TestACloseThatNeverReturnsIsAbandoned(t *testing.T) {
	for _, strict := range []bool{false, true} {
		bubble(t, fmt.Sprint("StrictMax=", strict), func(t *testing.T) {
			hang, release := obstacle(t)
			x := exchange{closing: func(w *wire, _ error) error {
				if w.number == 1 {
					<-hang
				}
				return nil
			}}
			p := start(t, x.factory(), Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1, StrictMax: strict})
			_ = p.Discard(borrow(t, p), errCause)
			r := ask(t.Context(), p)
			if strict {
				time.Sleep(callLimit - 1)
				r.pending(t, "while Close has not returned")
				time.Sleep(time.Nanosecond)
			}
			l := r.served(t, "once the slot is free")
			time.Sleep(callLimit + 1)
			if got := p.Stats(); got.Abandoned != 1 || got.ActiveConnections != 1 {
				t.Errorf("%d were abandoned, %d are active, want 1, 1", got.Abandoned, got.ActiveConnections)
			}
			release()
			synctest.Wait()
			if got := p.Stats(); got.Abandoned != 1 || got.ActiveConnections != 1 {
				t.Errorf("after the late return %d were abandoned, %d are active, want 1, 1", got.Abandoned, got.ActiveConnections)
			}
			endWithIdle(t, p, 1, l)
		})
	}
}
