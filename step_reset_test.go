//go:build step

package pool

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
)

// The two sides of Reset and opened: the era is changed, then the slots are looked at; the
// slot is filled, then the era is looked at.
func TestAConnectionIsOpenedWhileThePoolIsReset(t *testing.T) {
	for _, place := range []string{"opened: stored", "opened: established", "settle: gate read", "settle: somebody waits", "settle: nobody waits", "settle: published"} {
		for _, half := range []string{"", "Reset: new era", "spoil: marked"} {
			for _, first := range []string{"open", "Reset"} {
				t.Run(fmt.Sprintf("%s, %q, %s first", place, half, first), func(t *testing.T) {
					staged(t, func(t *testing.T, s *stage) {
						x := new(exchange)
						p := start(t, x.factory(), Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1})
						ctx, cancel := context.WithCancel(bg)
						opening := s.stopNext(place)
						nobody := place == "settle: nobody waits" || place == "settle: published"
						var r *request[*wire]
						if nobody {
							stored := s.stopNext("opened: stored")
							r = ask(ctx, p)
							stored.arrived(t)
							cancel()
							r.failed(t, "after its cancel", context.Canceled)
							stored.goOn()
						} else {
							r = ask(ctx, p)
						}
						opening.arrived(t)
						end := s.changing(half, p.Reset)
						if first == "open" {
							opening.goOn()
							end()
						} else {
							end()
							opening.goOn()
						}
						synctest.Wait()
						if nobody {
							r = ask(bg, p)
						}
						got := r.served(t, "in the end")
						if got.Value().number == 1 && (place == "settle: somebody waits" ||
							place == "settle: gate read" && half == "Reset: new era" && first == "open") {
							giveBack(t, p, got) // it was on its way before it was marked
							got = borrow(t, p)
						}
						if got.Value().number != 2 || got.Reused() {
							t.Errorf("connection %d was lent, reused %v, want the second, new", got.Value().number, got.Reused())
						}
						brokenOnce(t, "at the end", x.opened()[0], errReset)
						cancel()
						endWith(t, p, 1, got)
					})
				})
			}
		}
	}
}

// What is opened in the new era is not taken for old by a Reset that is late with its look.
func TestAConnectionOpenedDuringResetRemains(t *testing.T) {
	for _, leased := range []bool{false, true} {
		staged(t, func(t *testing.T, s *stage) {
			x := new(exchange)
			p, l := lent(t, x, 2)
			giveBack(t, p, l[0])
			_ = p.Discard(l[1], errCause)
			resetting := s.act("Reset: new era", p.Reset)
			a := borrow(t, p) // there is still an old one
			b := borrow(t, p)
			if a.Value().number != 1 || b.Value().number != 3 {
				t.Fatalf("connections %d and %d were lent, want 1 and 3: the test has lost its point", a.Value().number, b.Value().number)
			}
			if !leased {
				giveBack(t, p, b)
			}
			resetting.end()
			if leased {
				giveBack(t, p, b)
			}
			giveBack(t, p, a)
			synctest.Wait()
			if got := len(b.Value().closedWith()); got != 0 {
				t.Error("a connection that was opened during Reset was closed")
			}
			closedFor(t, "at the end", a.Value(), errReset)
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
					staged(t, func(t *testing.T, s *stage) {
						x := new(exchange)
						p, l := lent(t, x, 1)
						var r *request[*wire]
						var stood, getter *actor
						switch place {
						case "put: gate read", "put: published":
							stood = s.put(place, p, l[0])
						case "get: gate read":
							giveBack(t, p, l[0])
							stood, r = s.get(place, bg, p)
						case "settle: somebody waits":
							r = ask(bg, p)
							stood = s.put(place, p, l[0])
						default:
							getter, r = s.get("wait: registered", bg, p)
							stood = s.put(place, p, l[0])
						}
						end := s.changing(half, p.Reset)
						if first == "Reset" {
							end()
							stood.goOn()
						} else {
							stood.goOn()
							end()
						}
						if getter != nil {
							getter.goOn()
						}
						if r == nil {
							r = ask(bg, p)
						}
						got := r.served(t, "in the end")
						if got.Value().number == 1 && (place == "settle: somebody waits" || half == "Reset: new era" && first == "the other") {
							giveBack(t, p, got) // lent before it was marked
							got = borrow(t, p)
						}
						if got.Value().number != 2 {
							t.Errorf("connection %d was lent, want the second", got.Value().number)
						}
						brokenOnce(t, "at the end", x.opened()[0], errReset)
						endWith(t, p, 1, got)
					})
				})
			}
		}
	}
}
