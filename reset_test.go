package pool

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestResetClosesWhatIsIdleAtOnceAndWhatIsLeasedWhenItComesBack(t *testing.T) {
	for _, strict := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var x exchange
			p := start(t, x.factory(), Config{MaxConnections: 10, MaxIdleTime: -1, StrictMax: strict})
			var l []Lease[*wire]
			for range 10 {
				l = append(l, borrow(t, p))
			}
			for _, l := range l[5:] {
				giveBack(t, p, l)
			}
			p.Reset()
			synctest.Wait()
			for i, w := range x.opened() {
				got := w.closedWith()
				if i < 5 && len(got) != 0 {
					t.Errorf("connection %d was closed in its caller's hands", w.number)
				} else if i >= 5 && (len(got) != 1 || got[0] != errReset) {
					t.Errorf("connection %d was closed with %v, want %v", w.number, got, errReset)
				}
			}
			if s := figures(p); s.ActiveConnections != 5 || s.IdleConnections != 0 || s.VacantConnections() != 5 {
				t.Errorf("after Reset %+v", s)
			}
			fresh := borrow(t, p) // what is opened after it is not concerned
			giveBack(t, p, fresh)
			for _, l := range l[:4] {
				giveBack(t, p, l)
			}
			w, err := p.Detach(l[4]) // it is its caller's, as ever
			if err != nil || w != l[4].Value() {
				t.Errorf("Detach returned %v", err)
			}
			synctest.Wait()
			if s := p.Stats(); s.ClosedReset != 9 || s.IdleConnections != 1 || s.Detached != 1 {
				t.Errorf("at the end %d were closed by Reset, %d are idle, want 9, 1", s.ClosedReset, s.IdleConnections)
			}
			if got := borrow(t, p); got.Value() != fresh.Value() {
				t.Errorf("connection %d was lent, want %d", got.Value().number, fresh.Value().number)
			} else {
				giveBack(t, p, got)
			}
			p.Reset()
			p.Reset()
			whole(t, p, 10)
			p.Close()
			p.Reset() // does nothing
			if _, err := p.Get(t.Context()); err != ErrClosed {
				t.Errorf("after Close Get returned %v", err)
			}
		})
	}
}

// vitess#20187, #20081: Reset serves the queue, by what it opens in the place of the old.
func TestThoseWhoWaitAreServedThoughWhatComesBackIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 3, MaxWaitTime: -1, MaxIdleTime: -1})
		l := []Lease[*wire]{borrow(t, p), borrow(t, p), borrow(t, p)}
		r := []*request[*wire]{ask(t.Context(), p), ask(t.Context(), p), ask(t.Context(), p)}
		p.Reset()
		for i := range r {
			r[i].pending(t, "while the old ones are leased")
			giveBack(t, p, l[i])
			if got := r[i].served(t, "after a Put"); got.Value().number != 4+i || got.Reused() {
				t.Errorf("connection %d was lent, want a new one", got.Value().number)
			}
		}
		endWithIdle(t, p, 3, r[0].lease, r[1].lease, r[2].lease)
	})
}

// What is being opened is not used; its ctx ends, and another is opened for its asker, who
// learns nothing of it.
func TestResetGivesUpWhatIsBeingOpened(t *testing.T) {
	type key struct{}
	for name, open := range map[string]func(ctx context.Context) error{
		"Open heeds its ctx": func(ctx context.Context) error {
			<-ctx.Done()
			if context.Cause(ctx) != errReset {
				return errors.New("the cause is not Reset")
			}
			return ctx.Err()
		},
		"Open succeeds": func(ctx context.Context) error { <-ctx.Done(); return nil },
		"Open is slow":  func(ctx context.Context) error { <-ctx.Done(); time.Sleep(time.Minute / 2); return nil },
		"Open fails":    func(ctx context.Context) error { <-ctx.Done(); return errDial },
	} {
		bubble(t, name, func(t *testing.T) {
			var values []any
			x := exchange{open: func(ctx context.Context, attempt int) error {
				if attempt == 1 {
					return open(ctx)
				}
				values = append(values, ctx.Value(key{}))
				if ctx.Err() != nil {
					t.Error("the second attempt begins with a ctx that has ended")
				}
				return nil
			}}
			p := start(t, x.factory(), Config{MaxConnections: 2, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1})
			r := ask(context.WithValue(t.Context(), key{}, "mine"), p)
			p.Reset()
			time.Sleep(time.Minute)
			l := r.served(t, "after Reset")
			opened := x.opened()
			if l.Reused() || len(l.Value().closedWith()) != 0 {
				t.Errorf("connection %d was lent, want that of the second attempt", l.Value().number)
			}
			// One that goes on for long does not hold up its asker until it ends.
			if name == "Open is slow" && r.took > overdueAfter {
				t.Errorf("its asker was served after %v, want %v", r.took, overdueAfter)
			} else if name != "Open is slow" && (len(values) != 1 || values[0] != "mine") {
				t.Errorf("the second attempt has the values %v, want its asker's", values)
			}
			for _, w := range opened {
				if w != l.Value() {
					closedFor(t, "as stale", w, errReset)
				}
			}
			if s := p.Stats(); s.LastOpenError != nil || p.outage.Load() != 0 {
				t.Errorf("the end of an attempt by Reset counts as a failure: %v", s.LastOpenError)
			}
			endWithIdle(t, p, 1, l)
		})
	}
}

// Warm and MinIdle get what they want all the same.
func TestResetWhileSparesAreBeingOpened(t *testing.T) {
	for _, heeds := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			x := exchange{open: func(ctx context.Context, attempt int) error {
				if attempt <= 8 {
					<-ctx.Done()
					if heeds {
						return ctx.Err()
					}
				}
				return nil
			}}
			p := start(t, x.factory(), Config{MaxConnections: 10, MinIdle: 3, MaxIdleTime: -1, OpenTimeout: -1})
			synctest.Wait()
			warm := make(chan error, 1)
			go func() { warm <- p.Warm(t.Context(), 8) }()
			synctest.Wait()
			if got := figures(p).OpeningConnections; got != 8 {
				t.Fatalf("%d are being opened, want 8", got)
			}
			p.Reset()
			if err := <-warm; err != nil {
				t.Errorf("Warm returned %v", err)
			}
			time.Sleep(2 * maxTick)
			synctest.Wait()
			if s := figures(p); s.IdleConnections < 8 {
				t.Errorf("%d are idle, want 8", s.IdleConnections)
			}
			if got := p.Stats().LastOpenError; got != nil {
				t.Errorf("the last error is %v, want none", got)
			}
			atRest(t, p, 0)
		})
	}
}

// After a failover nobody waits for the pause to end.
func TestResetEndsThePauseBetweenAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(time.Millisecond)
		p := failing(t, b, Config{MaxConnections: 5})
		for range 10 { // until the pause is long
			time.Sleep(time.Second)
			_, _ = p.Get(t.Context())
		}
		ask(t.Context(), p).failed(t, "in the pause", ErrUnavailable)
		b.down.Store(false)
		p.Reset()
		r := ask(t.Context(), p)
		time.Sleep(b.takes)
		giveBack(t, p, r.served(t, "after Reset"))
	})
}

func TestResetWhileAConnectionIsCheckedOrCleaned(t *testing.T) {
	for _, function := range []string{"Check", "Clean"} {
		bubble(t, function, func(t *testing.T) {
			h, f := newHanging(t, function)
			p := start(t, f, Config{MaxConnections: 2, MaxIdleTime: -1, CheckInterval: -1})
			l := borrow(t, p)
			h.on.Store(true)
			var r *request[*wire]
			if function == "Check" {
				giveBack(t, p, l)
				r = ask(t.Context(), p)
			} else {
				go p.Put(l)
				synctest.Wait()
			}
			p.Reset()
			if got := len(l.Value().closedWith()); got != 0 {
				t.Errorf("the connection was closed while %s ran", function)
			}
			h.release()
			if function == "Check" { // it was taken before Reset, and may be lent once more
				got := r.served(t, "after Check")
				giveBack(t, p, got)
			}
			closedFor(t, "at the end", l.Value(), errReset)
			h.on.Store(false)
			whole(t, p, 2)
		})
	}
}

// A report of Watch for a connection that Reset has marked: the first mark counts.
func TestAConnectionThatIsResetAndBreaksIsClosedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		f, broken := watched(&x)
		p := start(t, f, Config{MaxConnections: 2})
		a, b := borrow(t, p), borrow(t, p)
		p.Reset()
		broken(1, errCause)
		giveBack(t, p, a)
		broken(1, errCause)
		closedFor(t, "after both", a.Value(), errReset)
		giveBack(t, p, b)
		if s := p.Stats(); s.ClosedReset != 2 || s.ClosedWatch != 0 {
			t.Errorf("%d were closed by Reset, %d by Watch, want 2, 0", s.ClosedReset, s.ClosedWatch)
		}
		whole(t, p, 2)
	})
}

func TestResetServesThoseWhoWaitInAPause(t *testing.T) {
	// And those who wait in it, because another may put back what it has.
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(time.Millisecond)
		p := start(t, b.factory(), Config{MaxConnections: 5, MaxWaitTime: -1, MaxIdleTime: -1})
		borrow(t, p)
		b.down.Store(true)
		for range keepsFailing + 6 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, _ = p.Get(ctx)
			cancel()
		}
		time.Sleep(b.takes)
		b.down.Store(false)
		r := ask(t.Context(), p)
		r.pending(t, "in the pause")
		if got := p.Stats().OpeningConnections; got != 0 {
			t.Fatalf("%d are being opened in the pause", got)
		}
		p.Reset()
		time.Sleep(b.takes)
		r.served(t, "after Reset")
	})
}
