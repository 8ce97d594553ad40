package ring

import (
	"math/bits"
	"unsafe"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/step"
)

// How an idle slot is found.
//
// The words are the truth. Two things beside them say where to look first, and
// may be wrong at any time without harm:
//
//   - A start for each group of goroutines: the slot that one of them took or
//     gave back last. A goroutine that gets and puts finds its slot at the first
//     look, still in its processor's cache. If it does not, it takes the lowest.
//   - A hint for each slot: one bit, set while the slot may be idle, so that 64
//     slots that are leased for long cost one look together.
//
// Both are written only when they change. A bit is set by whoever publishes a
// slot and finds it clear, and cleared by whoever looks at a slot in vain: a
// slot that comes and goes without anybody looking for it in between costs no
// more than a load of its hint.
//
// The race between the two sides of a bit:
//
//	giver:     the word becomes Idle; then it reads the bit, and sets it if clear (Give, Publish)
//	searcher:  reads a word that is not Idle; clears the bit; then reads the word again (search)
//
// Go's atomics have one order that all agree on. If the giver does not see the
// cleared bit, its word was Idle before the bit was cleared, and the searcher's
// second look finds it so, or taken since by a third, who will give it in turn. So
// when nobody is between two of these steps, every idle slot has its bit. Each
// goroutine that stalls there, giver or searcher, may keep one idle slot from
// those who go by hints; this is why Take proves nothing, and Scan, which those
// call who must know, looks at the words alone.
//
// To clear the bit without the second look is tempting and wrong: searcher sees
// Leased; giver makes it Idle, and sees the bit set; searcher clears the bit; and
// from then on the slot is idle, and nobody who goes by hints finds it.

// nstarts is how many starts there are. It is far above the number of processors,
// so that two goroutines that run at the same time seldom share one.
const (
	nstarts   = 1 << startBits
	startBits = 6
)

type start struct {
	slot atomic.Uint32
	_    [64 - unsafe.Sizeof(atomic.Uint32{})]byte
}

// learn makes the calling goroutine's next search begin at slot.
func (r *Ring) learn(slot int) {
	if s := r.start(); s.Load() != uint32(slot) {
		s.Store(uint32(slot))
	}
}

// hinted reports whether the bit of a slot is set.
func (r *Ring) hinted(slot int) bool {
	return r.hints[uint(slot)/64].Load()>>(uint(slot)%64)&1 != 0
}

// setHint sets the bit of a slot that has just become idle and was not hinted. It
// is out of line because that is rare.
//
//go:noinline
func (r *Ring) setHint(slot int) {
	step.At("setHint: found clear")
	h, bit := &r.hints[uint(slot)/64], uint64(1)<<(uint(slot)%64)
	for old := h.Load(); old&bit == 0; old = h.Load() {
		step.At("setHint: group read")
		if h.CompareAndSwap(old, old|bit) {
			return
		}
	}
}

// clearHint clears the bit of a slot that has been looked at in vain.
func (r *Ring) clearHint(slot int) {
	h, bit := &r.hints[uint(slot)/64], uint64(1)<<(uint(slot)%64)
	for old := h.Load(); old&bit != 0; old = h.Load() {
		step.At("clearHint: group read")
		if h.CompareAndSwap(old, old&^bit) {
			return
		}
	}
}

// Take takes an idle slot that it finds by the hints, from Idle to Leased, and
// returns it with its word. False means that they led to none; [Ring.Scan] knows.
func (r *Ring) Take() (slot int, w Word, ok bool) {
	s := r.start()
	slot = int(s.Load())
	cell := r.cell(slot)
	w = Word(cell.Load())
	if w.Phase() == Idle && cell.CompareAndSwap(uint64(w), uint64(w|leasedBit)) { // the lease begins
		return slot, w | leasedBit, true
	}
	return r.search(s)
}

// search looks through the ring from its low end on, by the hints, so that whoever does
// not find a slot at its start takes the lowest that is idle. First fit keeps what is
// used together and the rest untouched: a pool that has been large for a moment can
// see which slots nobody needs any more (see Regroup).
func (r *Ring) search(s *atomic.Uint32) (slot int, w Word, ok bool) {
	misses := 0
	for group := range r.hints {
		for b := r.hints[group].Load(); b != 0; b &= b - 1 {
			slot := group*64 + bits.TrailingZeros64(b)
			w, ok := r.tryTake(slot)
			if !ok {
				if misses++; misses <= freeMisses {
					continue
				}
				// The searcher's side of the race above; the other is in Give.
				step.At("search: looked in vain")
				r.clearHint(slot)
				step.At("search: cleared")
				if w, ok = r.tryTake(slot); !ok {
					continue
				}
			}
			s.Store(uint32(slot))
			return slot, w, true
		}
	}
	return 0, 0, false
}

// freeMisses is how many slots a search may look at in vain before it begins to clear
// their hints. To clear a bit, and to set it again, costs as much as several looks.
const freeMisses = 2

// tryTake takes a slot if it is idle. To have lost it to another is as good as to
// have seen it leased.
func (r *Ring) tryTake(slot int) (Word, bool) {
	w := r.At(slot)
	return w | leasedBit, r.move(slot, Idle, w, w|leasedBit)
}

// Regroup makes all goroutines forget which slot they took or gave last: the next Take of
// each is a first fit. Called now and then, it keeps the slots in use at the low end: those
// that Take has touched since the last call lie as low as the most that were leased at
// the same time allow, and the others have not been used.
func (r *Ring) Regroup() {
	for i := range r.starts {
		if s := &r.starts[i].slot; s.Load() != 0 {
			s.Store(0)
		}
	}
}

// Scan takes an idle slot, from Idle to Leased, and returns it with its word. It
// looks at the word of every slot, whatever the hints say: false means that each
// slot, at one instant of the call at least, was not idle.
func (r *Ring) Scan() (slot int, w Word, ok bool) {
	for slot := range r.High() {
		if w, ok := r.tryTake(slot); ok {
			return slot, w, true
		}
	}
	return 0, 0, false
}
