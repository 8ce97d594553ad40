package ring

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/atomic"
)

// wraps are where the counters of the stress tests begin: at zero, and so that they
// wrap around in the course of the test.
var wraps = []struct {
	gen   uint64
	stamp uint16
}{{0, 0}, {1<<46 - 100, 1<<16 - 100}}

// rounds calls f again and again, for the time of a stress test.
func rounds(t *testing.T, f func(random *rand.Rand, round int)) {
	seed := newSeed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	end := time.Now().Add(stressTime(t))
	for round := 0; !t.Failed() && (round < len(wraps) || time.Now().Before(end)); round++ {
		f(random, round)
	}
}

// eachOf runs f in n goroutines at the same time, each with a number and a source
// of its own.
func eachOf(n int, random *rand.Rand, f func(me int, random *rand.Rand)) {
	var wg sync.WaitGroup
	for me := range n {
		mine := rand.New(rand.NewPCG(random.Uint64(), uint64(me)))
		wg.Go(func() { f(me, mine) })
	}
	wg.Wait()
}

// An owned slot says who owns it. What is not atomic here is for the race detector.
type owned struct {
	by   atomic.Int32
	uses int
	_    [pad]byte
}

func TestASlotHasOneOwnerAtATime(t *testing.T) {
	rounds(t, func(random *rand.Rand, round int) {
		size := []int{1, 3, 8, 70}[random.IntN(4)]
		from := wraps[round%len(wraps)]
		r := fullFrom(size, from.gen, from.stamp)
		slots := make([]owned, size)
		eachOf(8, random, func(me int, random *rand.Rand) {
			enter := func(slot int) {
				if by := slots[slot].by.Swap(int32(me + 1)); by != 0 {
					t.Errorf("slot %d is given to %d while %d has it", slot, me+1, by)
				}
				slots[slot].uses++
			}
			leave := func(slot int) {
				if by := slots[slot].by.Swap(0); by != int32(me+1) {
					t.Errorf("slot %d of %d was given to %d", slot, me+1, by)
				}
			}
			must := func(w Word, ok bool) Word {
				if !ok {
					t.Error("the owner's move fails")
				}
				return w
			}
			stamp := from.stamp
			for range 300 {
				stamp++
				var slot int
				var w Word
				var ok bool
				switch random.IntN(8) {
				case 0:
					slot, w, ok = r.Scan()
				case 1:
					slot = random.IntN(size)
					w, ok = r.Retake(slot, r.At(slot))
				default:
					slot, w, ok = r.Take()
				}
				if !ok {
					runtime.Gosched()
					continue
				}
				enter(slot)
				if random.IntN(4) == 0 {
					runtime.Gosched()
				}
				var stale Word
				switch random.IntN(8) {
				case 0:
					stale = w
					w = must(r.Renew(slot, w, stamp))
					leave(slot)
					must(r.Publish(slot, w))
				case 1:
					w = must(r.Reserve(slot, w))
					leave(slot)
					r.Vacate(slot, w) // the others may not outnumber what is vacant: each claims one
					slot, w = claim(r)
					enter(slot)
					w = r.Fill(slot, w, stamp)
					leave(slot)
					stale = w
					must(r.Give(slot, w, stamp))
				default:
					leave(slot)
					stale = w
					must(r.Give(slot, w, stamp))
				}
				if _, ok := r.Give(slot, stale, stamp); ok {
					t.Errorf("a second Give of slot %d succeeds", slot)
				}
			}
		})
		checkRest(t, r)
		for slot := range slots {
			if by := slots[slot].by.Load(); by != 0 || r.At(slot).Phase() != Idle {
				t.Errorf("at last slot %d is in phase %d, and %d's", slot, r.At(slot).Phase(), by)
			}
		}
	})
}

func TestEveryLeaseIsSomebodysExactlyOnce(t *testing.T) {
	rounds(t, func(random *rand.Rand, round int) {
		const goroutines = 8
		size := []int{1, 4, 100}[random.IntN(3)]
		from := wraps[round%len(wraps)]
		r := fullFrom(size, from.gen, from.stamp)
		var leases [goroutines][]lease
		eachOf(goroutines, random, func(me int, random *rand.Rand) {
			for range 300 {
				slot, w, ok := r.Take()
				if !ok {
					if slot, w, ok = r.Scan(); !ok {
						continue
					}
				}
				leases[me] = append(leases[me], lease{slot, w})
				if random.IntN(8) == 0 {
					w, _ = r.Renew(slot, w, 0)
					leases[me] = append(leases[me], lease{slot, w})
				}
				r.Give(slot, w, 0)
			}
		})
		seen := make([]map[uint64]bool, size)
		for slot := range seen {
			seen[slot] = map[uint64]bool{}
		}
		for _, mine := range leases {
			for _, l := range mine {
				if gen := l.w.Generation(); seen[l.slot][gen] {
					t.Errorf("generation %#x of slot %d was leased twice", gen, l.slot)
				} else {
					seen[l.slot][gen] = true
				}
			}
		}
		for slot, gens := range seen {
			for i := range uint64(len(gens)) {
				if gen := (from.gen + i) & uint64(genMask); !gens[gen] {
					t.Errorf("generation %#x of slot %d was nobody's lease", gen, slot)
				}
			}
			if got, want := r.At(slot).Generation(), (from.gen+uint64(len(gens)))&uint64(genMask); got != want {
				t.Errorf("slot %d is in generation %#x after %d leases, want %#x", slot, got, len(gens), want)
			}
		}
	})
}

// One takes, the others only give what they have.
func TestWhoeverHasJustGivenFindsASlotIfNobodyElseTakes(t *testing.T) {
	rounds(t, func(random *rand.Rand, round int) {
		size := []int{5, 64, 200}[random.IntN(3)]
		from := wraps[round%len(wraps)]
		r := fullFrom(size, from.gen, from.stamp)
		held := drain(r)
		random.Shuffle(size, func(i, j int) { held[i], held[j] = held[j], held[i] })
		givers := min(4, size-1)
		eachOf(givers+1, random, func(me int, random *rand.Rand) {
			if me > 0 {
				for i := me; i < size; i += givers {
					l := held[i]
					if random.IntN(2) == 0 {
						r.Give(l.slot, l.w, 0)
					} else {
						r.Publish(l.slot, l.w)
					}
				}
				return
			}
			l := held[0]
			for range 2 * size {
				publish, scan := random.IntN(2) == 0, random.IntN(4) == 0
				if publish {
					r.Publish(l.slot, l.w)
				} else {
					r.Give(l.slot, l.w, 0)
				}
				var ok bool
				if scan {
					l.slot, l.w, ok = r.Scan()
				} else {
					at(r, random.IntN(size))
					l.slot, l.w, ok = r.Take()
				}
				if !ok {
					t.Errorf("empty right after a call that gave (Publish: %v, Scan: %v)", publish, scan)
					return
				}
			}
			r.Give(l.slot, l.w, 0)
		})
		checkRest(t, r)
		for i := range size {
			if _, _, ok := r.Take(); !ok {
				t.Fatalf("%d of %d idle slots can be taken by hints", i, size)
			}
		}
	})
}

func TestClaimFindsASlotAsLongAsNoMoreAreClaimedThanThereAre(t *testing.T) {
	rounds(t, func(random *rand.Rand, round int) {
		size := 1 + random.IntN(6)
		r := New(size)
		var count atomic.Int32
		slots := make([]owned, size)
		eachOf(8, random, func(me int, random *rand.Rand) {
			for range 200 {
				if int(count.Inc()) > size {
					count.Dec()
					runtime.Gosched()
					continue
				}
				slot, w := claim(r)
				if by := slots[slot].by.Swap(int32(me + 1)); by != 0 {
					t.Errorf("slot %d is claimed by %d while %d has it", slot, me+1, by)
				}
				slots[slot].uses++
				if high := r.High(); high <= slot {
					t.Errorf("slot %d has been claimed, but High is %d", slot, high)
				}
				if random.IntN(2) == 0 {
					runtime.Gosched()
				}
				if random.IntN(2) == 0 {
					w, _ = r.Reserve(slot, r.Fill(slot, w, 0))
				}
				slots[slot].by.Store(0)
				r.Vacate(slot, w)
				count.Dec()
			}
		})
		for slot := range size {
			if phase := r.At(slot).Phase(); phase != Vacant {
				t.Errorf("at last slot %d is in phase %d", slot, phase)
			}
		}
	})
}

func TestHighNeverExcludesASlotThatHasBeenPublished(t *testing.T) {
	rounds(t, func(random *rand.Rand, round int) {
		const size = 64
		r := New(size)
		eachOf(8, random, func(me int, random *rand.Rand) {
			for range size / 8 {
				slot, w, _ := r.Claim()
				w = r.Fill(slot, w, 0)
				if random.IntN(2) == 0 {
					r.Give(slot, w, 0)
				} else {
					r.Publish(slot, w)
				}
				if high := r.High(); high <= slot {
					t.Errorf("slot %d has been published, but High is %d", slot, high)
				}
			}
		})
		checkRest(t, r)
		if n := len(drain(r)); n != size {
			t.Errorf("Scan finds %d of %d published slots", n, size)
		}
	})
}

// claim takes a slot that is known to be vacant: a Claim looks at each once, and one that
// was vacated behind it may have been missed.
func claim(r *Ring) (slot int, w Word) {
	for {
		if slot, w, ok := r.Claim(); ok {
			return slot, w
		}
	}
}
