package ring

import (
	"math/bits"
	"unsafe"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/step"
)

// How an idle slot is found.
//
// The words are the truth. Two things beside them say where to look first, and may be
// wrong at any time without harm:
//
//   - A start for each group of goroutines: the slot that one of them took or
//     gave back last. A goroutine that gets and puts finds its slot at the first
//     look, still in its processor's cache. If it does not, it takes the lowest.
//   - A hint for each slot: one bit, set while the slot may be idle. So one look
//     passes 64 slots that are leased for long.
//
// Both are written only when they change. A publisher sets the bit of its slot if it
// finds it clear. A searcher clears the bit of a slot at which it has looked in vain. So
// a slot that comes and goes while nobody searches costs only a load of its hint.
//
// The race between the two sides of a bit:
//
//	giver:     the word becomes Idle; then it reads the bit, and sets it if clear (Give, Publish)
//	searcher:  reads a word that is not Idle; clears the bit; then reads the word again (search)
//
// Go's atomics have one order that all agree on. If the giver does not see the cleared
// bit, its word was Idle before the bit was cleared. Then the searcher's second look
// finds the slot idle, or taken since by a third goroutine, which will give it in turn.
// So when nobody is between two of these steps, every idle slot has its bit. Each
// goroutine that stalls there, giver or searcher, may hide one idle slot from those that
// go by hints. This is why a Take that finds nothing proves nothing. Scan looks at the
// words alone; callers that must be sure call it.
//
// To clear the bit without the second look is tempting and wrong. The searcher sees
// Leased; the giver makes the slot Idle, and sees the bit set; the searcher clears the
// bit. From then on the slot is idle, and nobody that goes by hints finds it.

// nstarts is the number of starts. It is far above the number of processors, so that two
// goroutines that run at the same time seldom share one.
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

// setHint sets the bit of a slot that has just become idle and was not hinted. That is
// rare, so the function is out of line.
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

// Take takes an idle slot that it finds by the hints, from Idle to Leased, and returns it
// with its word. False means that the hints led to none, which proves nothing. Use
// [Ring.Scan] to be sure.
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

// search looks through the ring by the hints, from the low end. So a goroutine whose
// start is not idle takes the lowest idle slot. First fit keeps the slots in use together
// and the rest untouched: a pool that was large for a moment can see which slots are not
// needed any more (see Regroup).
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
// hints. To clear a bit, and to set it again, costs as much as several looks.
const freeMisses = 2

// tryTake takes a slot if it is idle. If another goroutine takes it first, that counts as
// having seen it leased.
func (r *Ring) tryTake(slot int) (Word, bool) {
	w := r.At(slot)
	return w | leasedBit, r.move(slot, Idle, w, w|leasedBit)
}

// Regroup makes all goroutines forget which slot they took or gave last: the next Take of
// each is a first fit. Called now and then, it keeps the slots in use at the low end. The
// slots that Take has touched since the last call then lie as low as the peak number of
// leases allows, and the others have not been used.
func (r *Ring) Regroup() {
	for i := range r.starts {
		if s := &r.starts[i].slot; s.Load() != 0 {
			s.Store(0)
		}
	}
}

// Scan takes an idle slot, from Idle to Leased, and returns it with its word. It looks at
// the word of every slot, whatever the hints say. False means that each slot was not idle
// at some instant of the call.
func (r *Ring) Scan() (slot int, w Word, ok bool) {
	for slot := range r.High() {
		if w, ok := r.tryTake(slot); ok {
			return slot, w, true
		}
	}
	return 0, 0, false
}
