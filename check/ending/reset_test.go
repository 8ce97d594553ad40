package ending

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
)

func TestResetClosesWhatIsIdleAtOnceAndWhatIsLeasedWhenItComesBack(t *testing.T) {
	for _, strict := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var x testkit.Exchange
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 10, MaxIdleTime: -1, StrictMax: strict})
			var l []pool.Lease[*testkit.Wire]
			for range 10 {
				l = append(l, testkit.Borrow(t, p))
			}
			for _, l := range l[5:] {
				testkit.GiveBack(t, p, l)
			}
			p.Reset()
			synctest.Wait()
			for i, w := range x.Opened() {
				got := w.ClosedWith()
				if i < 5 && len(got) != 0 {
					t.Errorf("connection %d was closed in its caller's hands", w.Number)
				} else if i >= 5 && (len(got) != 1 || got[0] != core.ErrReset) {
					t.Errorf("connection %d was closed with %v, want %v", w.Number, got, core.ErrReset)
				}
			}
			if s := testkit.Figures(p); s.ActiveConnections != 5 || s.IdleConnections != 0 || s.VacantConnections() != 5 {
				t.Errorf("after Reset %+v", s)
			}
			fresh := testkit.Borrow(t, p) // what is opened after it is not concerned
			testkit.GiveBack(t, p, fresh)
			for _, l := range l[:4] {
				testkit.GiveBack(t, p, l)
			}
			w, err := p.Detach(l[4]) // it is its caller's, as ever
			if err != nil || w != l[4].Value() {
				t.Errorf("Detach returned %v", err)
			}
			synctest.Wait()
			if s := p.Stats(); s.ClosedReset != 9 || s.IdleConnections != 1 || s.Detached != 1 {
				t.Errorf("at the end %d were closed by Reset, %d are idle, want 9, 1", s.ClosedReset, s.IdleConnections)
			}
			if got := testkit.Borrow(t, p); got.Value() != fresh.Value() {
				t.Errorf("connection %d was lent, want %d", got.Value().Number, fresh.Value().Number)
			} else {
				testkit.GiveBack(t, p, got)
			}
			p.Reset()
			p.Reset()
			testkit.Whole(t, p, 10)
			p.Close()
			p.Reset() // does nothing
			if _, err := p.Get(t.Context()); err != pool.ErrClosed {
				t.Errorf("after Close Get returned %v", err)
			}
		})
	}
}

// vitess#20187, #20081: after Reset the queue is served with new connections in place of
// the old.
func TestThoseWhoWaitAreServedThoughWhatComesBackIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3, MaxWaitTime: -1, MaxIdleTime: -1})
		l := []pool.Lease[*testkit.Wire]{testkit.Borrow(t, p), testkit.Borrow(t, p), testkit.Borrow(t, p)}
		r := []*testkit.Request[*testkit.Wire]{testkit.Ask(t.Context(), p), testkit.Ask(t.Context(), p), testkit.Ask(t.Context(), p)}
		p.Reset()
		for i := range r {
			r[i].Pending(t, "while the old ones are leased")
			testkit.GiveBack(t, p, l[i])
			if got := r[i].Served(t, "after a Put"); got.Value().Number != 4+i || got.Reused() {
				t.Errorf("connection %d was lent, want a new one", got.Value().Number)
			}
		}
		testkit.EndWithIdle(t, p, 3, r[0].Lease, r[1].Lease, r[2].Lease)
	})
}

// A connection that is being opened at Reset is not used. Its ctx ends, and another one
// is opened for its asker, which learns nothing of that.
func TestResetGivesUpWhatIsBeingOpened(t *testing.T) {
	type key struct{}
	for name, open := range map[string]func(ctx context.Context) error{
		"Open heeds its ctx": func(ctx context.Context) error {
			<-ctx.Done()
			if context.Cause(ctx) != core.ErrReset {
				return errors.New("the cause is not Reset")
			}
			return ctx.Err()
		},
		"Open succeeds": func(ctx context.Context) error { <-ctx.Done(); return nil },
		"Open is slow":  func(ctx context.Context) error { <-ctx.Done(); time.Sleep(time.Minute / 2); return nil },
		"Open fails":    func(ctx context.Context) error { <-ctx.Done(); return testkit.ErrDial },
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			var values []any
			x := testkit.Exchange{Open: func(ctx context.Context, attempt int) error {
				if attempt == 1 {
					return open(ctx)
				}
				values = append(values, ctx.Value(key{}))
				if ctx.Err() != nil {
					t.Error("the second attempt begins with a ctx that has ended")
				}
				return nil
			}}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1, OpenContext: testkit.SameContext})
			r := testkit.Ask(context.WithValue(t.Context(), key{}, "mine"), p)
			p.Reset()
			testkit.Sleep(time.Minute)
			l := r.Served(t, "after Reset")
			opened := x.Opened()
			if l.Reused() || len(l.Value().ClosedWith()) != 0 {
				t.Errorf("connection %d was lent, want that of the second attempt", l.Value().Number)
			}
			// One that goes on for long does not hold up its asker until it ends.
			if name == "Open is slow" && r.Took > core.OverdueAfter+time.Millisecond {
				t.Errorf("its asker was served after %v, want %v", r.Took, core.OverdueAfter+time.Millisecond)
			} else if name != "Open is slow" && (len(values) != 1 || values[0] != "mine") {
				t.Errorf("the second attempt has the values %v, want its asker's", values)
			}
			for _, w := range opened {
				if w != l.Value() {
					testkit.ClosedFor(t, "as stale", w, core.ErrReset)
				}
			}
			if s := p.Stats(); s.LastOpenError != nil || testkit.Inside(p).Outage().Failures != 0 {
				t.Errorf("the end of an attempt by Reset counts as a failure: %v", s.LastOpenError)
			}
			testkit.EndWithIdle(t, p, 1, l)
		})
	}
}

// Warm and MinIdle get what they want all the same.
func TestResetWhileSparesAreBeingOpened(t *testing.T) {
	for _, heeds := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			x := testkit.Exchange{Open: func(ctx context.Context, attempt int) error {
				if attempt <= 8 {
					<-ctx.Done()
					if heeds {
						return ctx.Err()
					}
				}
				return nil
			}}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 10, MinIdle: 3, MaxIdleTime: -1, OpenTimeout: -1})
			synctest.Wait()
			warm := make(chan error, 1)
			go func() { warm <- p.Warm(t.Context(), 8) }()
			synctest.Wait()
			if got := testkit.Figures(p).OpeningConnections; got != 8 {
				t.Fatalf("%d are being opened, want 8", got)
			}
			p.Reset()
			if err := <-warm; err != nil {
				t.Errorf("Warm returned %v", err)
			}
			testkit.Sleep(2 * core.MaxTick)
			if s := testkit.Figures(p); s.IdleConnections < 8 {
				t.Errorf("%d are idle, want 8", s.IdleConnections)
			}
			if got := p.Stats().LastOpenError; got != nil {
				t.Errorf("the last error is %v, want none", got)
			}
			testkit.AtRest(t, p, 0)
		})
	}
}

// After a failover nobody waits for the backoff to end.
func TestResetEndsThePauseBetweenAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testkit.NewBackend(time.Millisecond)
		p := testkit.Failing(t, b, pool.Config{MaxConnections: 5})
		for range 10 { // until the backoff is long
			testkit.Sleep(time.Second)
			_, _ = p.Get(t.Context())
		}
		testkit.Ask(t.Context(), p).Failed(t, "in the pause", pool.ErrUnavailable)
		b.Down.Store(false)
		p.Reset()
		r := testkit.Ask(t.Context(), p)
		testkit.Sleep(b.Takes)
		testkit.GiveBack(t, p, r.Served(t, "after Reset"))
	})
}

func TestResetWhileAConnectionIsCheckedOrCleaned(t *testing.T) {
	for _, function := range []string{"Check", "Clean"} {
		testkit.Bubble(t, function, func(t *testing.T) {
			h, f := testkit.NewHanging(t, function)
			p := testkit.Start(t, f, pool.Config{MaxConnections: 2, MaxIdleTime: -1, CheckInterval: -1})
			l := testkit.Borrow(t, p)
			h.On.Store(true)
			var r *testkit.Request[*testkit.Wire]
			if function == "Check" {
				testkit.GiveBack(t, p, l)
				r = testkit.Ask(t.Context(), p)
			} else {
				go p.Put(l)
				synctest.Wait()
			}
			p.Reset()
			if got := len(l.Value().ClosedWith()); got != 0 {
				t.Errorf("the connection was closed while %s ran", function)
			}
			h.Release()
			if function == "Check" { // it was taken before Reset, and may be lent once more
				got := r.Served(t, "after Check")
				testkit.GiveBack(t, p, got)
			}
			testkit.ClosedFor(t, "at the end", l.Value(), core.ErrReset)
			h.On.Store(false)
			testkit.Whole(t, p, 2)
		})
	}
}

// A report of Watch for a connection that Reset has marked: the first mark counts.
func TestAConnectionThatIsResetAndBreaksIsClosedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		f, broken := testkit.Watched(&x)
		p := testkit.Start(t, f, pool.Config{MaxConnections: 2})
		a, b := testkit.Borrow(t, p), testkit.Borrow(t, p)
		p.Reset()
		broken(1, testkit.ErrCause)
		testkit.GiveBack(t, p, a)
		broken(1, testkit.ErrCause)
		testkit.ClosedFor(t, "after both", a.Value(), core.ErrReset)
		testkit.GiveBack(t, p, b)
		if s := p.Stats(); s.ClosedReset != 2 || s.ClosedWatch != 0 {
			t.Errorf("%d were closed by Reset, %d by Watch, want 2, 0", s.ClosedReset, s.ClosedWatch)
		}
		testkit.Whole(t, p, 2)
	})
}

func TestResetServesThoseWhoWaitInAPause(t *testing.T) {
	// And waiters in an outage, because another caller may return its connection.
	synctest.Test(t, func(t *testing.T) {
		b := testkit.NewBackend(time.Millisecond)
		p := testkit.Start(t, b.Factory(), pool.Config{MaxConnections: 5, MaxWaitTime: -1, MaxIdleTime: -1})
		testkit.Borrow(t, p)
		b.Down.Store(true)
		for range words.KeepsFailing + 6 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, _ = p.Get(ctx)
			cancel()
		}
		testkit.Sleep(b.Takes)
		b.Down.Store(false)
		r := testkit.Ask(t.Context(), p)
		r.Pending(t, "in the pause")
		if got := p.Stats().OpeningConnections; got != 0 {
			t.Fatalf("%d are being opened in the pause", got)
		}
		p.Reset()
		testkit.Sleep(b.Takes)
		r.Served(t, "after Reset")
	})
}
