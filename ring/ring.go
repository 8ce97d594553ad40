package ring

import (
	"math/bits"
	"runtime"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/step"
)

// pad is how far apart words must lie that different processors write. Lines of
// 64 bytes are fetched in pairs on x86, and are 128 bytes long on some arm64.
const pad = 128

// MaxSize is the largest number of slots of a Ring.
const MaxSize = 1 << 16

// A Ring is a circular array of slots. Its methods may be called from any number
// of goroutines at the same time. None of them blocks, allocates, or waits for
// another goroutine.
//
// In the terms of the Go memory model, each move of a slot from one phase to the
// next synchronizes before every later move of that slot.
type Ring struct {
	// Read only after New. The 64-bit words are in slices of their own because the
	// start of an allocation is aligned for them, on 32-bit machines too; a field
	// of type atomic.Uint64 need not be.
	cells  []atomic.Uint64 // the Word of slot i at cells[i<<spread]
	hints  []atomic.Uint64 // bit i%64 of hints[i/64]: slot i may be idle
	starts *[nstarts]start
	size   int
	spread uint8

	_ [pad]byte

	// Written by Claim and Vacate only.
	high atomic.Uint32 // no claim of a slot from here on has ever returned
	low  atomic.Uint32 // a hint: where Claim begins to look
	_    [pad]byte
}

// New returns a ring of size slots, all of them vacant. It panics if size is not
// between 1 and MaxSize.
func New(size int) *Ring {
	if size < 1 || size > MaxSize {
		panic("ring: size out of range")
	}
	r := &Ring{size: size, spread: spread(size), starts: new([nstarts]start)}
	r.cells = make([]atomic.Uint64, roundUp(size<<r.spread, pad/8))
	r.hints = make([]atomic.Uint64, roundUp((size+63)/64, pad/8))[:(size+63)/64]
	return r
}

// spread returns how far apart to lay the words of size slots, as a power of two.
// A few slots get a pair of lines each, so that two processors that use
// neighbours don't slow each other down. Many lie close, so that whoever has to
// look at all of them reads few lines: at most 16 for each processor, or the
// words themselves.
func spread(size int) uint8 {
	budget := 16 * runtime.GOMAXPROCS(0) * (pad / 2) / 8
	free := bits.Len(uint(budget / size))
	return uint8(min(max(free-1, 0), bits.Len(pad/8)-1))
}

func roundUp(n, multiple int) int { return (n + multiple - 1) / multiple * multiple }

func (r *Ring) cell(slot int) *atomic.Uint64 { return &r.cells[slot<<(r.spread&63)] }

// Len returns the number of slots.
func (r *Ring) Len() int { return r.size }

// High returns a bound on the slots that have ever been used: whatever Claim had
// returned before the call lies below it. It never falls.
func (r *Ring) High() int { return int(r.high.Load()) }

// At returns the word of a slot. It may be outdated as soon as it is returned.
func (r *Ring) At(slot int) Word { return Word(r.cell(slot).Load()) }

// move is an arrow of the diagram at [Word]: it takes a slot out of phase, if from
// is its word and of that phase. Here each method takes effect, and the slot changes
// hands; if it fails, nothing has changed. Take alone has a copy of its own of the
// way from Idle to Leased.
func (r *Ring) move(slot int, phase Phase, from, to Word) bool {
	step.At("move")
	return from.Phase() == phase && r.cell(slot).CompareAndSwap(uint64(from), uint64(to))
}

// Claim takes a vacant slot, from Vacant to Busy, and returns its word. False means that
// each slot, at one instant of the call at least, was not vacant: to be sure of one, all
// callers together count, before they claim and until they have vacated, never let the
// count rise above Len, and call again.
func (r *Ring) Claim() (slot int, w Word, ok bool) {
	first := r.low.Load()
	i := int(first)
	for range r.size {
		if i >= r.size {
			i = 0
		}
		if w := r.At(i); r.move(i, Vacant, w, w.as(Busy)) {
			step.At("Claim: moved")
			r.low.CompareAndSwap(first, uint32(i+1)) // a lost race leaves a worse hint
			r.raise(uint32(i + 1))
			return i, w.as(Busy), true
		}
		i++
	}
	return 0, 0, false
}

// raise makes high at least h. Whoever scans after a slot has been published must
// look as far as there, so high rises before Claim returns and the slot can be.
func (r *Ring) raise(h uint32) {
	for old := r.high.Load(); old < h; old = r.high.Load() {
		step.At("raise: high read")
		if r.high.CompareAndSwap(old, h) {
			return
		}
	}
}

// Fill leases a slot to the owner who claimed it and has filled it, from Busy to
// Leased, and returns its word. The generation is what it was when the slot was
// vacated.
func (r *Ring) Fill(slot int, w Word, stamp uint16) Word {
	to := Word(Leased)<<phaseShift | Word(stamp)<<stampShift | w&genMask
	if !r.move(slot, Busy, w, to) {
		panic("ring: internal error: Fill of a slot that is not owned")
	}
	return to
}

// Vacate gives up a slot that its owner has emptied or could not fill, from Busy
// to Vacant.
func (r *Ring) Vacate(slot int, w Word) {
	if !r.move(slot, Busy, w, w.as(Vacant)) {
		panic("ring: internal error: Vacate of a slot that is not owned")
	}
	step.At("Vacate: moved")
	if l := r.low.Load(); uint32(slot) < l {
		r.low.CompareAndSwap(l, uint32(slot))
	}
}

// Give ends a lease and leaves the slot to whoever takes it, from Leased to Idle
// of the next generation. It returns the new word, and false, having changed
// nothing, if w is not the word of a lease in force.
func (r *Ring) Give(slot int, w Word, stamp uint16) (Word, bool) {
	to := w.next(Idle, stamp)
	if !r.move(slot, Leased, w, to) {
		return 0, false
	}
	step.At("Give: published")
	// The giver's side of the race in search.go; the other is in search.
	if !r.hinted(slot) {
		r.setHint(slot)
	}
	r.learn(slot)
	return to, true
}

// Renew ends a lease and begins the next one, of the caller's own, from Leased to
// Leased of the next generation. It returns the new word, and false, having
// changed nothing, if w is not the word of a lease in force.
func (r *Ring) Renew(slot int, w Word, stamp uint16) (Word, bool) {
	to := w.next(Leased, stamp)
	return to, r.move(slot, Leased, w, to)
}

// Publish leaves a slot to whoever takes it, from Leased to Idle, without an end
// to its generation: nobody has used it under w. It reports false, having changed
// nothing, if w is not the word of a lease in force.
func (r *Ring) Publish(slot int, w Word) (Word, bool) {
	to := w &^ leasedBit
	if !r.move(slot, Leased, w, to) {
		return 0, false
	}
	step.At("Publish: published")
	if !r.hinted(slot) { // as in Give
		r.setHint(slot)
	}
	return to, true
}

// Retake takes back what the caller has published, from Idle to Leased, if it has
// not been taken since.
func (r *Ring) Retake(slot int, w Word) (Word, bool) {
	to := w | leasedBit
	return to, r.move(slot, Idle, w, to)
}

// Reserve keeps a slot in order to empty it, from Leased to Busy, without an end to
// its generation. It reports false, having changed nothing, if w is not the word of
// a lease in force.
func (r *Ring) Reserve(slot int, w Word) (Word, bool) {
	to := w.as(Busy)
	return to, r.move(slot, Leased, w, to)
}
