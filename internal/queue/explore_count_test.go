//go:build explore

package queue

import (
	"testing"

	"github.com/S4AK4N/pool/internal/explore"
)

// Found by the model of an earlier queue: the number went back.
func TestExploreWaitsNeverGoesBack(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		q, _ := queued(0)
		r.Go("enqueuer", func() { q.link(9) })
		r.Go("another", func() { q.link(8) })
		r.Go("granter", func() { serve(q, 1) })
		r.Go("reader", func() {
			a := q.Waits()
			b := q.Waits()
			if b < a {
				r.Errorf("count was %d, and then %d", a, b)
			}
		})
	})
}
