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
		w := q.Front()
		if w == nil {
			break
		}
		if w.end(Taken) {
			q.Advance(w)
			served = append(served, w)
		}
	}
	return served
}

// The queue by itself: some waiters leave from the middle, where Unlink removes their segments;
// some are served; one comes. At the end the invariants hold, and the live waiters are
// there in order. A segment has two cells here.
func TestExploreUnlinkAgainstAnEnqueuerAndGranters(t *testing.T) {
	for _, granters := range []int{0, 1, 2} {
		for _, linked := range []int{5, 6, 8} {
			t.Run(fmt.Sprintf("waiters=%d/granters=%d", linked, granters), func(t *testing.T) {
				explore.Test(t, explore.Options{}, func(r *explore.Run) {
					q, w := queued(linked)
					for _, w := range w[1:] { // the segment after the first is never unlinked
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
						if late.Number() > last.Number() {
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

// Those who come at the same time, and one who hands on: nobody is overtaken by one with a later
// cell, and nobody is lost.
func TestExploreEnqueuersAgainstAGranter(t *testing.T) {
	for _, before := range []int{0, 1} {
		t.Run(fmt.Sprintf("waiters=%d", before), func(t *testing.T) {
			explore.Test(t, explore.Options{}, func(r *explore.Run) {
				q, w := queued(before)
				var served []*Waiter
				for i := range 2 {
					r.Go(fmt.Sprint("enqueuer ", i), func() { w = append(w, q.link(int64(10+i))) })
				}
				r.Go("granter", func() {
					for range 2 {
						first := q.Front()
						if first == nil {
							continue
						}
						for _, w := range w { // those who have returned are written down
							if w.Live() && w.Number() < first.Number() {
								r.Errorf("number %d comes before number %d", first.Number(), w.Number())
							}
						}
						first.end(Taken)
						q.Advance(first)
						served = append(served, first)
					}
				})
				r.End(func() {
					live := walk(r, q)
					if len(live)+len(served) != before+2 {
						r.Errorf("%d have been served, %d live, want %d in all", len(served), len(live), before+2)
					}
					if got := q.Waits(); got != uint64(before+2) {
						r.Errorf("%d have come to wait, want %d", got, before+2)
					}
					if got := len(serve(q, 9)); got != len(live) {
						r.Errorf("%d can be served of %d", got, len(live))
					}
				})
			})
		})
	}
}

// A publisher that finds nobody is right: whoever is written down later has not been waiting.
func TestExploreAFrontThatFindsNobody(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		q, _ := queued(1)
		var stays *Waiter
		r.Go("enqueuer", func() { stays = q.link(9) })
		r.Go("leaver", func() { q.link(10).end(Left) })
		r.Go("granter", func() {
			serve(q, 1)
			waits := stays != nil
			if q.Front() == nil && waits {
				r.Errorf("nobody is found, and one has come to wait before the look")
			}
		})
		r.End(func() { walk(r, q) })
	})
}

// One comes before the other one is served: there is always somebody.
func TestExploreAFrontWhileThereIsAlwaysSomebody(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		q, all := queued(1)
		gapless, found := false, (*Waiter)(nil)
		r.Go("enqueuer", func() {
			q.link(9)
			gapless = all[0].Live()
		})
		r.Go("granter", func() { serve(q, 1) })
		r.Go("looker", func() { found = q.Front() })
		r.End(func() {
			if gapless && found == nil {
				r.Errorf("nobody is found, and somebody has been waiting all the time")
			}
			walk(r, q)
		})
	})
}
