//go:build explore && !step

package ring

import (
	"fmt"
	"testing"

	"github.com/S4AK4N/pool/internal/explore"
)

// slots is a ring in an exploration, with who has what.
type slots struct {
	*explore.Run
	r      *Ring
	owners map[int]string
}

func newSlots(x *explore.Run, r *Ring) *slots { return &slots{x, r, map[int]string{}} }

func (s *slots) own(name string, slot int) {
	if other := s.owners[slot]; other != "" {
		s.Errorf("%s and %s have slot %d at the same time", other, name, slot)
	}
	s.owners[slot] = name
}

func (s *slots) give(name string, slot int, w Word) {
	delete(s.owners, slot)
	if _, ok := s.r.Give(slot, w, 0); !ok {
		s.Errorf("%s cannot give slot %d", name, slot)
	}
}

// giver is a goroutine that gives a slot, taker one that takes one and gives it back.
func (s *slots) giver(name string, l lease) {
	s.owners[l.slot] = name
	s.Go(name, func() { s.give(name, l.slot, l.w) })
}

func (s *slots) taker(name string) {
	s.Go(name, func() {
		if slot, w, ok := s.r.Take(); ok {
			s.own(name, slot)
			s.give(name, slot, w)
		}
	})
}

// rests checks that in the end so many slots are idle, each has its hint and can be found.
func (s *slots) rests(idle int) {
	s.End(func() {
		for slot := range s.r.Len() {
			w := s.r.At(slot)
			if w.Phase() == Idle && !s.r.hinted(slot) {
				s.Errorf("slot %d is idle without a hint", slot)
			}
			if w.Phase() != Vacant && slot >= s.r.High() {
				s.Errorf("slot %d is in phase %d, but High is %d", slot, w.Phase(), s.r.High())
			}
		}
		if n := len(drain(s.r)); n != idle {
			s.Errorf("%d slots are idle, want %d", n, idle)
		}
	})
}

// searched returns a ring with n leased slots, each with a hint, in which every search
// looks at slot 0 first, and clears the hints of those after the first few.
func searched(x *explore.Run, n int) (*slots, []lease) {
	r := full(n)
	held := drain(r)
	at(r, 0)
	return newSlots(x, r), held
}

// The two sides of a hint: a giver, and a searcher who looks in vain and clears it.
func TestExploreAGiverAgainstASearcher(t *testing.T) {
	for _, hinted := range []bool{true, false} {
		t.Run(fmt.Sprintf("hinted=%v", hinted), func(t *testing.T) {
			explore.Test(t, explore.Options{}, func(x *explore.Run) {
				const last = freeMisses + 1
				s, held := searched(x, last+1)
				if !hinted {
					s.r.clearHint(last)
				}
				s.giver("giver", held[last])
				s.taker("searcher")
				s.rests(1)
			})
		})
	}
}

func TestExploreTwoGiversAgainstTwoSearchers(t *testing.T) {
	explore.Test(t, explore.Options{}, func(x *explore.Run) {
		const last = freeMisses + 1
		s, held := searched(x, last+1)
		s.giver("giver 0", held[last-1])
		s.giver("giver 1", held[last])
		s.taker("searcher 0")
		s.taker("searcher 1")
		s.rests(2)
	})
}

// One publishes a slot and takes it back, another scans, a third goes by hints.
func TestExplorePublishAndRetakeAgainstAScanAndASearch(t *testing.T) {
	explore.Test(t, explore.Options{}, func(x *explore.Run) {
		s, held := searched(x, 1)
		s.owners[0] = "publisher"
		s.Go("publisher", func() {
			delete(s.owners, 0)
			w, ok := s.r.Publish(0, held[0].w)
			if !ok {
				s.Errorf("the slot cannot be published")
				return
			}
			if w, ok := s.r.Retake(0, w); ok {
				s.own("publisher", 0)
				s.give("publisher", 0, w)
			}
		})
		s.Go("scanner", func() {
			if slot, w, ok := s.r.Scan(); ok {
				s.own("scanner", slot)
				s.give("scanner", slot, w)
			}
		})
		s.taker("searcher")
		s.rests(1)
	})
}

// Two copies of a lease are given, and the slot is taken in between.
func TestExploreAStaleGiveAgainstATake(t *testing.T) {
	explore.Test(t, explore.Options{}, func(x *explore.Run) {
		s, held := searched(x, 1)
		given := 0
		for i := range 2 {
			s.Go(fmt.Sprint("giver ", i), func() {
				if _, ok := s.r.Give(0, held[0].w, 0); ok {
					given++
				}
			})
		}
		s.taker("taker")
		s.rests(1)
		s.End(func() {
			if given != 1 {
				s.Errorf("one lease was given %d times", given)
			}
		})
	})
}

// The pigeonhole: a claimer counts before it claims, and a leaver counts after it has
// vacated. So there is a vacant slot for each claimer, although one round may miss it.
func TestExploreClaimersAgainstALeaver(t *testing.T) {
	explore.Test(t, explore.Options{}, func(x *explore.Run) {
		s := newSlots(x, New(2))
		first, w, _ := s.r.Claim()
		s.own("leaver", first)
		vacated := make(chan bool, 1)
		s.Go("leaver", func() {
			delete(s.owners, first)
			s.r.Vacate(first, w)
			vacated <- true
		})
		claim := func(name string) {
			for {
				slot, w, ok := s.r.Claim()
				if !ok {
					continue
				}
				s.own(name, slot)
				if high := s.r.High(); high <= slot {
					s.Errorf("slot %d has been claimed, but High is %d", slot, high)
				}
				s.give(name, slot, s.r.Fill(slot, w, 0))
				return
			}
		}
		s.Go("claimer 0", func() { claim("claimer 0") })
		s.Go("claimer 1", func() {
			<-vacated // as the count says
			claim("claimer 1")
		})
		s.rests(2)
	})
}

func TestExploreClaimersRaiseHighForScanners(t *testing.T) {
	explore.Test(t, explore.Options{}, func(x *explore.Run) {
		s := newSlots(x, New(3))
		for i := range 3 {
			name := fmt.Sprint("claimer ", i)
			s.Go(name, func() {
				slot, w, ok := s.r.Claim()
				if !ok {
					s.Errorf("%s found nothing vacant", name)
					return
				}
				s.own(name, slot)
				s.give(name, slot, s.r.Fill(slot, w, 0))
				if high := s.r.High(); high <= slot {
					s.Errorf("slot %d has been given, but High is %d", slot, high)
				}
			})
		}
		s.rests(3)
	})
}

func TestExploreRegroupAgainstATakeAndAGive(t *testing.T) {
	explore.Test(t, explore.Options{}, func(x *explore.Run) {
		r := full(2)
		held := drain(r)
		at(r, 1)
		s := newSlots(x, r)
		s.giver("giver", held[1])
		s.taker("taker")
		s.Go("regrouper", r.Regroup)
		s.rests(1)
	})
}
