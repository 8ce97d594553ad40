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
)

// A wait that was begun in another pool of a group has a timer of its own. Whichever way it ends,
// no goroutine is left of it, and none is counted.
func TestAWaitThatWasMovedEndsInTimeAndLeavesNothing(t *testing.T) {
	const limit, moved = time.Second, 600 * time.Millisecond
	for name, end := range map[string]func(p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire], cancel func()) error{
		"MaxWaitTime": func(*pool.Pool[*testkit.Wire], pool.Lease[*testkit.Wire], func()) error {
			time.Sleep(limit - moved + time.Millisecond)
			return pool.ErrExhausted
		},
		"ctx": func(_ *pool.Pool[*testkit.Wire], _ pool.Lease[*testkit.Wire], cancel func()) error {
			cancel()
			return context.Canceled
		},
		"a Put": func(p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire], _ func()) error { return p.Put(l) },
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			var x testkit.Exchange
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: limit, MaxIdleTime: -1})
			l := testkit.Borrow(t, p)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var err error
			done := make(chan struct{})
			go func() {
				defer close(done)
				var got core.Lease
				if got, err = testkit.Core(p).GetMoved(ctx, moved, 0); err == nil {
					err = testkit.Core(p).Put(got)
				}
			}()
			synctest.Wait()
			want := end(p, l, cancel)
			synctest.Wait()
			select {
			case <-done:
				if !errors.Is(err, want) || want == nil && err != nil {
					t.Errorf("the wait has ended with %v, want %v", err, want)
				}
			default:
				t.Fatal("the wait goes on")
			}
			if want != nil {
				testkit.GiveBack(t, p, l)
			}
			synctest.Wait()
			testkit.AtRest(t, p, 0)
		})
	}
}

func TestAWaitThatWasMovedDoesNotGoOnWhenItsCtxHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		testkit.Fill(t, p, 1)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if l, err := testkit.Core(p).GetMoved(ctx, time.Second, 0); !errors.Is(err, context.Canceled) || l != (core.Lease{}) {
			t.Errorf("GetMoved returned (%v, %v), want no lease and the end of ctx", l, err)
		}
	})
}
