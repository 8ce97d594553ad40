package lending

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
)

// pool.go Do, Get: Do asks for its ctx as Get does.
func TestDoOfACtxThatHasEndedCallsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, leakAfter := range []time.Duration{0, time.Minute} {
			var x testkit.Exchange
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, LeakAfter: leakAfter})
			testkit.Fill(t, p, 1)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			err := p.Do(ctx, func(context.Context, *testkit.Wire) error {
				t.Error("the function was called")
				return nil
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Do returned %v, want %v", err, context.Canceled)
			}
			err = p.DoLease(ctx, func(context.Context, pool.Lease[*testkit.Wire]) error {
				t.Error("the function was called")
				return nil
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("DoLease returned %v, want %v", err, context.Canceled)
			}
		}
	})
}
