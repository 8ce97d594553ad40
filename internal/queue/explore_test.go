//go:build explore

package queue

import (
	"fmt"
	"testing"

	"github.com/S4AK4N/pool/internal/explore"
)

// queued returns a queue in which so many wait.
func queued(n int) (*Queue, []*Waiter) {
	q := newQueue()
	all := make([]*Waiter, n)
	for i := range all {
		all[i] = q.link(int64(i))
	}
	return q, all
}

// serve decides the oldest and moves the head, as a granter does, until it has served so
// many, or nobody waits.
func serve(q *Queue, n int) (served []*Waiter) {
	for len(served) < n {
		dummy, w := q.Front()
		if w == nil {
			break
		}
		if w.end(Taken) {
			q.Advance(dummy, w)
			served = append(served, w)
		}
	}
	return served
}

// The queue by itself: some waiters leave from the middle, where Unlink removes them;
// some are served; one comes. At the end the invariants hold, and the live waiters are
// there in order.
func TestExploreUnlinkAgainstAnEnqueuerAndGranters(t *testing.T) {
	for _, granters := range []int{0, 1, 2} {
		for _, linked := range []int{2, 3, 4} {
			t.Run(fmt.Sprintf("waiters=%d/granters=%d", linked, granters), func(t *testing.T) {
				explore.Test(t, explore.Options{}, func(r *explore.Run) {
					q, w := queued(linked)
					for _, w := range w[1:] {
						w.end(Left)
					}
					gone := map[*Waiter]bool{}
					var late, last *Waiter
					r.Go("sweeper", func() {
						q.Unlink()
						last = q.link(10)
					})
					r.Go("enqueuer", func() { late = q.link(9) })
					for g := range granters {
						r.Go(fmt.Sprint("granter ", g), func() {
							for _, w := range serve(q, 1) {
								gone[w] = true
							}
						})
					}
					r.End(func() {
						var want []*Waiter
						if late.number > last.number {
							late, last = last, late
						}
						for _, w := range []*Waiter{w[0], late, last} {
							if !gone[w] {
								want = append(want, w)
							}
						}
						live := walk(r, q)
						if len(live) != len(want) {
							r.Fatalf("%d are live, want %d", len(live), len(want))
						}
						for i := range want {
							if live[i] != want[i] {
								r.Errorf("number %d is another", i)
							}
						}
						if got := len(serve(q, 9)); got != len(want) {
							r.Errorf("%d can be served, want %d", got, len(want))
						}
					})
				})
			})
		}
	}
}

// Waiters that leave, each where it stands, against new waiters and one granter.
func TestExploreLeaversAgainstAnEnqueuerAndAGranter(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		q, w := queued(3)
		ends := map[*Waiter]int{}
		r.Go("leaver", func() {
			if w[1].end(Left) {
				ends[w[1]]++
				q.Front()
			}
		})
		r.Go("granter", func() {
			for _, w := range serve(q, 2) {
				ends[w]++
			}
			w = append(w, q.link(10))
		})
		r.Go("enqueuer", func() { w = append(w, q.link(9)) })
		r.End(func() {
			live := walk(r, q)
			for _, w := range live {
				ends[w]++
			}
			for i, w := range w {
				if ends[w] != 1 {
					r.Errorf("waiter %d has %d ends, or is live: want 1", i, ends[w])
				}
			}
			if got := len(serve(q, 9)); got != len(live) {
				r.Errorf("%d can be served of %d", got, len(live))
			}
		})
	})
}
