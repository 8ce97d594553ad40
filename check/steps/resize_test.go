//go:build step

package steps

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/stage"
	"github.com/S4AK4N/pool/internal/testkit"
)

// resizing is an f that shrinks a pool.
func resizing(t *testing.T, p *pool.Pool[*testkit.Wire], n int) func() {
	return func() {
		if err := p.Resize(n); err != nil {
			t.Errorf("Resize: %v", err)
		}
	}
}

// The two sides of Resize and Put: the flag is set, then the idle slots are collected;
// the slot is published, then the flag is read. Neither order leaves one connection too
// many.
func TestASlotIsPublishedWhileThePoolShrinks(t *testing.T) {
	for _, place := range []string{"put: gate read", "put: published", "settle: gate read", "settle: nobody waits", "settle: published"} {
		for _, half := range []string{"", "Resize: limit set", "Resize: flag set"} {
			for _, first := range []string{"Put", "Resize"} {
				t.Run(fmt.Sprintf("%s, %q, %s first", place, half, first), func(t *testing.T) {
					stage.Staged(t, func(t *testing.T, s *stage.Stage) {
						p, l := lent(t, new(testkit.Exchange), 2)
						var getter *stage.Actor
						var r *testkit.Request[*testkit.Wire]
						if place != "put: gate read" && place != "put: published" {
							getter, r = getTo(s, "wait: registered", bg, p)
						}
						putter := putTo(s, place, p, l[0])
						end := s.Changing(half, resizing(t, p, 1))
						if first == "Put" {
							putter.End()
							end()
						} else {
							end()
							putter.End()
						}
						synctest.Wait()
						if got := p.Stats(); got.ActiveConnections != 1 || got.IdleConnections != 0 || got.ClosedResize != 1 {
							t.Errorf("%d are leased, %d idle, %d closed by Resize, want 1, 0, 1",
								got.ActiveConnections, got.IdleConnections, got.ClosedResize)
						}
						if r != nil {
							getter.GoOn()
							r.Pending(t, "while the other one is leased")
							testkit.GiveBack(t, p, l[1])
							endWith(t, p, 1, r.Served(t, "after its Put"))
							return
						}
						endWith(t, p, 1, l[1])
					})
				})
			}
		}
	}
}

// Somebody finds an earlier Resize over, and clears the flag that a later one has just set. What
// comes back before it is set again is not lent to a waiter: the later Resize has returned.
func TestWhatComesBackAfterAResizeIsSurplusAlsoWhileTheFlagIsClear(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lent(t, new(testkit.Exchange), 3)
		getter, r := getTo(s, "wait: registered", bg, p)
		getter.GoOn()
		resizing(t, p, 2)()
		discarder := s.Act("shrunk: flag seen", func() { p.Discard(l[2], nil) })
		resizing(t, p, 1)()
		discarder.To("shrunk: flag cleared")
		testkit.GiveBack(t, p, l[0])
		r.Pending(t, "while one of one is leased")
		discarder.End()
		testkit.GiveBack(t, p, l[1])
		endWith(t, p, 1, r.Served(t, "after the Put"))
	})
}

// What Resize has taken to close it, others may have left enough for meanwhile. It is put
// back then.
func TestWhatResizeHasTakenStaysIfAnotherLeavesMeanwhile(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lent(t, new(testkit.Exchange), 2)
		testkit.GiveBack(t, p, l[0])
		end := s.Changing("trim: taken", resizing(t, p, 1))
		testkit.GiveBack(t, p, l[1])
		end()
		synctest.Wait()
		if got := p.Stats(); got.IdleConnections != 1 || got.ClosedResize != 1 {
			t.Errorf("%d are idle, %d closed by Resize, want 1, 1", got.IdleConnections, got.ClosedResize)
		}
		endWith(t, p, 1, testkit.Borrow(t, p))
	})
}

// Of two leavers, neither is counted as the place of the other: a slot is counted as
// leaving before it is emptied.
func TestOfTwoWhoLeaveWhileThereIsOneTooManyOneStays(t *testing.T) {
	for name, leave := range map[string]func(p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) error{
		"Put": func(p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) error { return p.Put(l) },
		"Discard": func(p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) error {
			return p.Discard(l, testkit.ErrCause)
		},
		"Detach": func(p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) error {
			_, err := p.Detach(l)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				p, l := lent(t, new(testkit.Exchange), 3)
				resizing(t, p, 2)()
				leaver := s.Act("empty: reserved", func() {
					if err := leave(p, l[0]); err != nil {
						t.Error(err)
					}
				})
				testkit.GiveBack(t, p, l[1])
				if n := p.Stats().IdleConnections; n != 1 {
					t.Errorf("%d are idle, want 1: another leaves already", n)
				}
				leaver.End()
				endWith(t, p, 2, l[2])
			})
		})
	}
}

// The two sides of shrunk and Resize: the flag is cleared, then the limit is read again;
// the limit is lowered, then the flag is set. The one that sets the flag collects what
// was published while it was clear.
func TestTheFlagIsClearedWhileAnotherResizeLowersTheLimit(t *testing.T) {
	for _, half := range []string{"", "Resize: limit set", "Resize: flag set"} {
		for _, published := range []bool{false, true} {
			t.Run(fmt.Sprintf("%q, published=%v", half, published), func(t *testing.T) {
				stage.Staged(t, func(t *testing.T, s *stage.Stage) {
					p, l := lent(t, new(testkit.Exchange), 4)
					resizing(t, p, 3)()
					leaver := putTo(s, "shrunk: flag cleared", p, l[0])
					var idle *stage.Actor
					if published {
						idle = putTo(s, "put: gate read", p, l[1])
					}
					end := s.Changing(half, resizing(t, p, 1))
					if published {
						idle.End()
					}
					leaver.End()
					if got := p.Stats(); got.IdleConnections != 0 {
						t.Errorf("%d are idle while there are too many", got.IdleConnections)
					}
					end()
					if !published {
						testkit.GiveBack(t, p, l[1])
					}
					testkit.GiveBack(t, p, l[2])
					synctest.Wait() // what is closed beyond the limit counts until it is
					if got := p.Stats(); got.ActiveConnections != 1 || got.IdleConnections != 0 {
						t.Errorf("%d are leased, %d idle, want 1, 0", got.ActiveConnections, got.IdleConnections)
					}
					endWith(t, p, 1, l[3])
				})
			})
		}
	}
}

// The other way round: the pool grows again while the flag is being cleared, or set again.
func TestThePoolGrowsWhileTheLastLeaverClearsTheFlag(t *testing.T) {
	for _, place := range []string{"vacate: census lowered", "shrunk: flag cleared", "shrunk: flag set again"} {
		t.Run(place, func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				x := new(testkit.Exchange)
				p, l := lent(t, x, 3)
				resizing(t, p, 2)()
				leaver := putTo(s, "vacate: census lowered", p, l[0])
				if place != "vacate: census lowered" {
					leaver.To("shrunk: flag cleared")
				}
				if place == "shrunk: flag set again" {
					resizing(t, p, 1)()
					leaver.To(place)
				}
				r := testkit.Ask(bg, p)
				r.Pending(t, "with as many as there may be")
				resizing(t, p, 7)()
				got := r.Served(t, "when it has grown")
				leaver.End()
				testkit.GiveBack(t, p, got)
				testkit.GiveBack(t, p, l[1])
				endWith(t, p, 3, l[2])
			})
		})
	}
}

func TestTwoResizeAtTheSameTime(t *testing.T) {
	for _, place := range []string{"Resize: slots added", "Resize: limit set"} {
		for _, sizes := range [][2]int{{1, 2}, {2, 1}, {9, 20}, {20, 9}, {1, 20}, {20, 1}} {
			t.Run(fmt.Sprint(place, sizes), func(t *testing.T) {
				stage.Staged(t, func(t *testing.T, s *stage.Stage) {
					p, l := lent(t, new(testkit.Exchange), 3)
					first := s.Act(place, resizing(t, p, sizes[0]))
					resizing(t, p, sizes[1])()
					first.End()
					want := sizes[1]
					if place == "Resize: slots added" {
						want = sizes[0]
					}
					endWith(t, p, min(want, 3), l...)
					testkit.Whole(t, p, want)
					testkit.AtRest(t, p, 0)
				})
			})
		}
	}
}

// An opener that has read the census before the limit falls does not open one too many.
func TestTheLimitFallsWhileSomebodyIsAboutToOpen(t *testing.T) {
	for _, place := range []string{"ensureOpen: census read", "ensureOpen: admitted"} {
		stage.Staged(t, func(t *testing.T, s *stage.Stage) {
			x := new(testkit.Exchange)
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1})
			l := testkit.Borrow(t, p)
			getter, r := getTo(s, place, bg, p)
			resizing(t, p, 1)()
			getter.GoOn()
			r.Pending(t, "while there are as many as there may be")
			if place == "ensureOpen: census read" && x.Tried() != 1 {
				t.Errorf("Open was called %d times, want once", x.Tried())
			}
			if got := p.Stats(); got.ActiveConnections != 1 || got.OpeningConnections != 0 {
				t.Errorf("%d are leased, %d are being opened, want 1, 0", got.ActiveConnections, got.OpeningConnections)
			}
			testkit.GiveBack(t, p, l)
			endWith(t, p, 1, r.Served(t, "after the Put"))
		})
	}
}

// A slot of the first bank comes free behind a goroutine that looks for one.
func TestASlotComesFreeBehindWhoClaimsOne(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lent(t, new(testkit.Exchange), 1)
		resizing(t, p, 2)()
		full := s.StopNext("claim: full bank")
		go func() {
			l, err := p.Get(bg)
			if err != nil {
				t.Errorf("Get: %v", err)
				return
			}
			testkit.GiveBack(t, p, l)
		}()
		full.Arrived(t)
		if err := p.Discard(l[0], testkit.ErrCause); err != nil {
			t.Fatal(err)
		}
		other := testkit.Ask(bg, p) // which is opened in that slot, and goes to who came first
		full.GoOn()
		testkit.GiveBack(t, p, other.Served(t, "in the end"))
		synctest.Wait()
		testkit.Whole(t, p, 2)
		testkit.AtRest(t, p, 0)
	})
}

func TestResizeAndResetAgainstClose(t *testing.T) {
	for _, place := range []string{"Resize: slots added", "Resize: limit set", "Resize: flag set", "Reset: new era", "spoil: marked"} {
		for _, shutdown := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, Shutdown=%v", place, shutdown), func(t *testing.T) {
				stage.Staged(t, func(t *testing.T, s *stage.Stage) {
					x := new(testkit.Exchange)
					p, l := lent(t, x, 3)
					testkit.GiveBack(t, p, l[0])
					var a *stage.Actor
					if place[:4] == "Resi" {
						a = s.Act(place, func() {
							if err := p.Resize(1); err != nil && (err != pool.ErrClosed || place != "Resize: slots added") {
								t.Errorf("Resize: %v", err)
							}
						})
					} else {
						a = s.Act(place, p.Reset)
					}
					done := beginClose(p, shutdown)
					a.End()
					for _, l := range l[1:] {
						if err := p.Put(l); err != nil {
							t.Errorf("Put: %v", err)
						}
					}
					closed(t, p, x, done)
					if got := p.Stats().MaxConnections; got != 3 && place == "Resize: slots added" || got != 1 && place == "Resize: limit set" {
						t.Errorf("of the closed pool MaxConnections is %d", got)
					}
				})
			})
		}
	}
}
