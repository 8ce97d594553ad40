//go:build step

package ring

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/S4AK4N/pool/internal/step"

	"go.uber.org/atomic"
)

// leasedOut returns a ring with all slots leased and all hints set, in which every
// search begins at slot 0: it misses the first few without clearing their hints,
// and then clears one after the other.
func leasedOut(n int) (*Ring, []lease) {
	r := full(n)
	held := drain(r)
	at(r, 0)
	return r, held
}

// take is an actor that takes a slot by hints and, if it gets one and gives is set,
// gives it back.
func take(r *Ring, l *lease, ok *bool, gives bool) func() {
	return func() {
		at(r, 0) // whatever the goroutine is, so that each order can be repeated
		l.slot, l.w, *ok = r.Take()
		if *ok && gives {
			r.Give(l.slot, l.w, 0)
		}
	}
}

// checkFound checks that by hints alone all idle slots can be taken.
func checkFound(t *testing.T, r *Ring) {
	t.Helper()
	checkRest(t, r)
	idle := 0
	for slot := range r.Len() {
		if r.At(slot).Phase() == Idle {
			idle++
		}
	}
	at(r, 0)
	for range idle {
		if _, _, ok := r.Take(); !ok {
			t.Errorf("hints do not lead to all of %d idle slots", idle)
		}
	}
}

const lastSlot = freeMisses + 1 // the second one that is cleared

func TestInEveryOrderOfAGiverAndASearcherNoIdleSlotLosesItsHint(t *testing.T) {
	for _, hinted := range []bool{true, false} {
		for name, give := range map[string]func(r *Ring, l lease){
			"Give":    func(r *Ring, l lease) { r.Give(l.slot, l.w, 0) },
			"Publish": func(r *Ring, l lease) { r.Publish(l.slot, l.w) },
		} {
			t.Run(fmt.Sprintf("%s/hinted=%v", name, hinted), func(t *testing.T) {
				explore(t, bound(5), func() ([]actor, func(string)) {
					r, held := leasedOut(lastSlot + 1)
					if !hinted {
						r.clearHint(lastSlot)
					}
					var got lease
					var ok bool
					return []actor{
							{"giver", func() { give(r, held[lastSlot]) }},
							{"searcher", take(r, &got, &ok, false)},
						}, func(string) {
							if idle := r.At(lastSlot).Phase() == Idle; idle == ok {
								t.Errorf("the slot is idle: %v, and taken: %v", idle, ok)
							}
							checkFound(t, r)
						}
				})
			})
		}
	}
}

func TestInEveryOrderOfAGiverAndTwoSearchersOneAtMostTakesTheSlot(t *testing.T) {
	for _, gives := range []bool{false, true} {
		t.Run(fmt.Sprintf("gives=%v", gives), func(t *testing.T) {
			explore(t, bound(2), func() ([]actor, func(string)) {
				r, held := leasedOut(lastSlot + 1)
				var got [2]lease
				var ok [2]bool
				return []actor{
						{"giver", func() { r.Give(held[lastSlot].slot, held[lastSlot].w, 0) }},
						{"searcher 0", take(r, &got[0], &ok[0], gives)},
						{"searcher 1", take(r, &got[1], &ok[1], false)},
					}, func(string) {
						if ok[0] && ok[1] && (!gives || got[0].w == got[1].w) {
							t.Errorf("both searchers have taken the slot: %v", got)
						}
						checkFound(t, r)
					}
			})
		})
	}
}

func TestInEveryOrderOfTwoGiversAndASearcherNoIdleSlotLosesItsHint(t *testing.T) {
	for _, hinted := range []bool{true, false} {
		explore(t, bound(3), func() ([]actor, func(string)) {
			r, held := leasedOut(lastSlot + 1)
			if !hinted {
				r.clearHint(lastSlot - 1)
				r.clearHint(lastSlot)
			}
			var got lease
			var ok bool
			return []actor{
				{"giver 0", func() { r.Give(lastSlot-1, held[lastSlot-1].w, 0) }},
				{"giver 1", func() { r.Publish(lastSlot, held[lastSlot].w) }},
				{"searcher", take(r, &got, &ok, false)},
			}, func(string) { checkFound(t, r) }
		})
	}
}

// The third takes the slot from under the searcher, by Scan, or publishes it and
// takes it back, as the pool does when somebody has come to wait.
func TestInEveryOrderOfASearcherAndOneWhoTakesBackNoIdleSlotLosesItsHint(t *testing.T) {
	for name, third := range map[string]func(r *Ring, held []lease){
		"scans and gives": func(r *Ring, held []lease) {
			if slot, w, ok := r.Scan(); ok {
				r.Give(slot, w, 0)
			}
		},
		"publishes and takes back": func(r *Ring, held []lease) {
			w, _ := r.Publish(lastSlot-1, held[lastSlot-1].w)
			if w, ok := r.Retake(lastSlot-1, w); ok {
				r.Give(lastSlot-1, w, 0)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			explore(t, bound(3), func() ([]actor, func(string)) {
				r, held := leasedOut(lastSlot + 1)
				var got lease
				var ok bool
				return []actor{
					{"giver", func() { r.Give(lastSlot, held[lastSlot].w, 0) }},
					{"third", func() { third(r, held) }},
					{"searcher", take(r, &got, &ok, true)},
				}, func(string) { checkFound(t, r) }
			})
		})
	}
}

func TestInEveryOrderOfClaimersHighEndsAboveAll(t *testing.T) {
	explore(t, bound(3), func() ([]actor, func(string)) {
		r := New(3)
		first, w, _ := r.Claim()
		claim := func() {
			slot, w, _ := r.Claim()
			if high := r.High(); high <= slot {
				t.Errorf("slot %d has been claimed, but High is %d", slot, high)
			}
			r.Give(slot, r.Fill(slot, w, 0), 0)
		}
		return []actor{
				{"claimer 0", claim},
				{"claimer 1", claim},
				{"leaver", func() { r.Vacate(first, w); claim() }},
			}, func(string) {
				if n := len(drain(r)); n != 3 {
					t.Errorf("Scan finds %d of 3 published slots", n)
				}
			}
	})
}

// A stalled goroutine stands at one step.At.
type stalled struct {
	t             *testing.T
	place         atomic.String // where it is to stop next
	stop, proceed chan bool
	done          chan bool
	remove        func()
}

// stall starts f, and returns once it stands at the given place.
func stall(t *testing.T, place string, f func()) *stalled {
	t.Helper()
	s := &stalled{t: t, stop: make(chan bool), proceed: make(chan bool), done: make(chan bool)}
	s.place.Store(place)
	s.remove = step.Install(func(name string) {
		if s.place.CompareAndSwap(name, "") { // the others go on
			s.stop <- true
			<-s.proceed
		}
	})
	go func() {
		f()
		close(s.done)
	}()
	s.wait(place)
	return s
}

func (s *stalled) wait(place string) {
	s.t.Helper()
	select {
	case <-s.stop:
	case <-s.done:
		s.t.Fatalf("it has not come to %q", place)
	}
}

// goOn lets it go on to another place.
func (s *stalled) goOn(place string) {
	s.t.Helper()
	s.place.Store(place)
	s.proceed <- true
	s.wait(place)
}

// resume lets it go on, and returns once f has.
func (s *stalled) resume() {
	s.remove()
	s.proceed <- true
	<-s.done
}

func TestScanFindsWhatAStalledSearcherHidesFromTake(t *testing.T) {
	r, held := leasedOut(200)
	hidden := held[freeMisses] // the first whose hint is cleared
	var got lease
	var ok bool
	searcher := stall(t, "search: looked in vain", take(r, &got, &ok, false))
	r.Give(hidden.slot, hidden.w, 0) // sees the hint set
	searcher.goOn("search: cleared")
	at(r, 0)
	if slot, _, ok := r.Take(); ok {
		t.Errorf("Take returned %d, which should be hidden", slot)
	}
	slot, w, found := r.Scan()
	if !found || slot != hidden.slot {
		t.Fatalf("Scan returned %d, %v, want %d", slot, found, hidden.slot)
	}
	r.cell(slot).Store(uint64(w.as(Idle))) // as if Scan had never been called
	searcher.resume()
	if !ok || got.slot != hidden.slot {
		t.Errorf("the searcher returned %d, %v, want what it hid, %d", got.slot, ok, hidden.slot)
	}
	checkFound(t, r)
}

func TestScanFindsWhatAStalledGiverHidesFromTake(t *testing.T) {
	for _, place := range []string{"Give: published", "setHint: found clear", "setHint: group read"} {
		r, held := leasedOut(200)
		hidden := held[100]
		r.clearHint(hidden.slot)
		giver := stall(t, place, func() { r.Give(hidden.slot, hidden.w, 0) })
		if slot, _, ok := r.Take(); ok {
			t.Errorf("%s: Take returned %d, which should be hidden", place, slot)
		}
		slot, w, ok := r.Scan()
		if !ok || slot != hidden.slot {
			t.Fatalf("%s: Scan returned %d, %v, want %d", place, slot, ok, hidden.slot)
		}
		r.Give(slot, w, 0)
		giver.resume()
		checkFound(t, r)
	}
}

func TestAHintIsSetOrClearedAlsoIfItsGroupChangesMeanwhile(t *testing.T) {
	r := New(10)
	setter := stall(t, "setHint: group read", func() { r.setHint(3) })
	r.setHint(5)
	setter.resume()
	if !r.hinted(3) || !r.hinted(5) {
		t.Errorf("3 and 5 have been set; hints are %v", hints(r))
	}
	clearer := stall(t, "clearHint: group read", func() { r.clearHint(3) })
	r.setHint(7)
	clearer.resume()
	if r.hinted(3) || !r.hinted(7) {
		t.Errorf("3 has been cleared, 7 set; hints are %v", hints(r))
	}
}

// A goroutine that is stopped anywhere keeps one slot from others, and no other.
func TestAGoroutineThatIsStoppedHoldsUpNobodyElse(t *testing.T) {
	for place, do := range map[string]func(r *Ring, held []lease){
		"Give: published":        func(r *Ring, held []lease) { r.Give(5, held[5].w, 0) },
		"Publish: published":     func(r *Ring, held []lease) { r.Publish(5, held[5].w) },
		"setHint: group read":    func(r *Ring, held []lease) { r.clearHint(5); r.Give(5, held[5].w, 0) },
		"move":                   func(r *Ring, held []lease) { r.Renew(5, held[5].w, 0) },
		"search: looked in vain": func(r *Ring, held []lease) { r.Take() },
		"clearHint: group read":  func(r *Ring, held []lease) { r.Take() },
		"search: cleared":        func(r *Ring, held []lease) { r.Take() },
		"Claim: moved":           func(r *Ring, held []lease) { r.Claim() },
		"raise: high read":       func(r *Ring, held []lease) { r.high.Store(0); r.Claim() },
		"Vacate: moved":          func(r *Ring, held []lease) { w, _ := r.Reserve(5, held[5].w); r.Vacate(5, w) },
	} {
		r, held := leasedOut(20)
		for slot := 16; slot < 20; slot++ { // vacant ones for Claim
			w, _ := r.Reserve(slot, held[slot].w)
			r.Vacate(slot, w)
		}
		one := stall(t, place, func() { do(r, held) })
		r.raise(20)
		for range 3 {
			slot, w, _ := r.Claim()
			r.Give(slot, r.Fill(slot, w, 0), 0)
		}
		for slot := 8; slot < 16; slot++ {
			r.Give(slot, held[slot].w, 0)
		}
		n := 0
		for {
			if _, _, ok := r.Take(); !ok {
				break
			}
			n++
		}
		if n < 11 {
			t.Errorf("%s: Take finds %d of the 11 slots that the others gave", place, n)
		}
		one.resume()
		checkFound(t, r)
	}
}

func TestAtRestEveryIdleSlotHasItsHintWhateverTheScheduleWas(t *testing.T) {
	rounds(t, func(random *rand.Rand, round int) {
		seed := random.Uint64()
		var calls atomic.Uint64
		remove := step.Install(func(string) {
			if x := (seed + calls.Inc()) * 0x9E3779B97F4A7C15; x>>61 < 3 {
				runtime.Gosched()
			}
		})
		defer remove()
		size := []int{4, 20, 70}[random.IntN(3)]
		from := wraps[round%len(wraps)]
		r := fullFrom(size, from.gen, from.stamp)
		held := drain(r)
		random.Shuffle(size, func(i, j int) { held[i], held[j] = held[j], held[i] })
		keep := size * random.IntN(4) / 4
		for _, l := range held[keep:] {
			r.Give(l.slot, l.w, 0)
		}
		eachOf(8, random, func(me int, random *rand.Rand) {
			for range 50 {
				if random.IntN(4) == 0 {
					at(r, random.IntN(size))
				}
				slot, w, ok := r.Take()
				if !ok {
					continue
				}
				if random.IntN(2) == 0 {
					runtime.Gosched()
				}
				switch random.IntN(3) {
				case 0:
					w, _ = r.Publish(slot, w)
					if w, ok := r.Retake(slot, w); ok {
						r.Give(slot, w, 0)
					}
				case 1:
					r.Publish(slot, w)
				default:
					r.Give(slot, w, 0)
				}
			}
		})
		checkFound(t, r)
	})
}
