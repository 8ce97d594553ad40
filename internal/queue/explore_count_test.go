//go:build explore

package queue

import (
	"testing"

	"github.com/S4AK4N/pool/internal/explore"
)

// Found by the model: a reader that had loaded tail before that node was severed returned
// a number that was long out of date.
func TestExploreCountNeverGoesBack(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		q, _ := queued(0)
		r.Go("enqueuer", func() { q.link(9) })
		r.Go("granter", func() { serve(q, 1) })
		r.Go("reader", func() {
			a := q.Count()
			b := q.Count()
			if b < a {
				r.Errorf("count was %d, and then %d", a, b)
			}
		})
	})
}
