//go:build step

package steps

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/stage"
	"github.com/S4AK4N/pool/internal/testkit"
)

// The two sides of Reset and opened: the era is changed, then the slots are looked at; the
// slot is filled, then the era is looked at.
func TestAConnectionIsOpenedWhileThePoolIsReset(t *testing.T) {
	for _, place := range []string{"opened: stored", "opened: established", "settle: gate read", "settle: somebody waits", "settle: nobody waits", "settle: published"} {
		for _, half := range []string{"", "Reset: new era", "spoil: marked"} {
			for _, first := range []string{"open", "Reset"} {
				t.Run(fmt.Sprintf("%s, %q, %s first", place, half, first), func(t *testing.T) {
					stage.Staged(t, func(t *testing.T, s *stage.Stage) {
						x := new(testkit.Exchange)
						p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1})
						ctx, cancel := context.WithCancel(bg)
						opening := s.StopNext(place)
						nobody := place == "settle: nobody waits" || place == "settle: published"
						var r *testkit.Request[*testkit.Wire]
						if nobody {
							stored := s.StopNext("opened: stored")
							r = testkit.Ask(ctx, p)
							stored.Arrived(t)
							cancel()
							r.Failed(t, "after its cancel", context.Canceled)
							stored.GoOn()
						} else {
							r = testkit.Ask(ctx, p)
						}
						opening.Arrived(t)
						end := s.Changing(half, p.Reset)
						if first == "open" {
							opening.GoOn()
							end()
						} else {
							end()
							opening.GoOn()
						}
						synctest.Wait()
						if nobody {
							r = testkit.Ask(bg, p)
						}
						got := r.Served(t, "in the end")
						if got.Value().Number == 1 && (place == "settle: somebody waits" ||
							place == "settle: gate read" && half == "Reset: new era" && first == "open") {
							testkit.GiveBack(t, p, got) // it was on its way before it was marked
							got = testkit.Borrow(t, p)
						}
						if got.Value().Number != 2 || got.Reused() {
							t.Errorf("connection %d was lent, reused %v, want the second, new", got.Value().Number, got.Reused())
						}
						testkit.BrokenOnce(t, "at the end", x.Opened()[0], core.ErrReset)
						cancel()
						endWith(t, p, 1, got)
					})
				})
			}
		}
	}
}

// A Reset that is late with its look does not take a connection of the new era for an old
// one.
func TestAConnectionOpenedDuringResetRemains(t *testing.T) {
	for _, leased := range []bool{false, true} {
		stage.Staged(t, func(t *testing.T, s *stage.Stage) {
			x := new(testkit.Exchange)
			p, l := lent(t, x, 2)
			testkit.GiveBack(t, p, l[0])
			_ = p.Discard(l[1], testkit.ErrCause)
			resetting := s.Act("Reset: new era", p.Reset)
			a := testkit.Borrow(t, p) // there is still an old one
			b := testkit.Borrow(t, p)
			if a.Value().Number != 1 || b.Value().Number != 3 {
				t.Fatalf("connections %d and %d were lent, want 1 and 3: the test has lost its point", a.Value().Number, b.Value().Number)
			}
			if !leased {
				testkit.GiveBack(t, p, b)
			}
			resetting.End()
			if leased {
				testkit.GiveBack(t, p, b)
			}
			testkit.GiveBack(t, p, a)
			synctest.Wait()
			if got := len(b.Value().ClosedWith()); got != 0 {
				t.Error("a connection that was opened during Reset was closed")
			}
			testkit.ClosedFor(t, "at the end", a.Value(), core.ErrReset)
			endWith(t, p, 1)
		})
	}
}

// The two sides of Reset and Put, and of Reset and Get: the mark is set, then the slot is
// read; the slot is published or taken, then the mark is read.
func TestAConnectionChangesHandsWhileThePoolIsReset(t *testing.T) {
	for _, place := range []string{"put: gate read", "put: published", "get: gate read",
		"settle: gate read", "settle: nobody waits", "settle: published", "settle: somebody waits"} {
		for _, half := range []string{"", "Reset: new era", "spoil: marked"} {
			for _, first := range []string{"the other", "Reset"} {
				t.Run(fmt.Sprintf("%s, %q, %s first", place, half, first), func(t *testing.T) {
					stage.Staged(t, func(t *testing.T, s *stage.Stage) {
						x := new(testkit.Exchange)
						p, l := lent(t, x, 1)
						var r *testkit.Request[*testkit.Wire]
						var stood, getter *stage.Actor
						switch place {
						case "put: gate read", "put: published":
							stood = putTo(s, place, p, l[0])
						case "get: gate read":
							testkit.GiveBack(t, p, l[0])
							stood, r = getTo(s, place, bg, p)
						case "settle: somebody waits":
							r = testkit.Ask(bg, p)
							stood = putTo(s, place, p, l[0])
						default:
							getter, r = getTo(s, "wait: registered", bg, p)
							stood = putTo(s, place, p, l[0])
						}
						end := s.Changing(half, p.Reset)
						if first == "Reset" {
							end()
							stood.GoOn()
						} else {
							stood.GoOn()
							end()
						}
						if getter != nil {
							getter.GoOn()
						}
						if r == nil {
							r = testkit.Ask(bg, p)
						}
						got := r.Served(t, "in the end")
						if got.Value().Number == 1 && (place == "settle: somebody waits" || half == "Reset: new era" && first == "the other") {
							testkit.GiveBack(t, p, got) // lent before it was marked
							got = testkit.Borrow(t, p)
						}
						if got.Value().Number != 2 {
							t.Errorf("connection %d was lent, want the second", got.Value().Number)
						}
						testkit.BrokenOnce(t, "at the end", x.Opened()[0], core.ErrReset)
						endWith(t, p, 1, got)
					})
				})
			}
		}
	}
}

// A peer ends a connection that Reset has not marked yet. It is of the old era all the same, and
// says nothing about the server as it is now.
func TestAConnectionThatAResetIsAboutToMarkIsNoFailedOpen(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		x := new(testkit.Exchange)
		f, broken := testkit.Watched(x)
		p := testkit.Start(t, f, pool.Config{MaxConnections: 2, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1})
		leases := []pool.Lease[*testkit.Wire]{testkit.Borrow(t, p), testkit.Borrow(t, p)}
		reset := s.Act("spoil: marked", p.Reset) // that of the first slot
		for i, l := range leases {
			broken(l.Value().Number, fmt.Errorf("the peer has ended it, %d", i))
		}
		reset.End()
		if got := testkit.Inside(p).Outage().Failures; got != 0 {
			t.Errorf("%d failures are counted, want none", got)
		}
		endWith(t, p, 0, leases...)
	})
}
