package ring

import (
	"math/bits"
	"runtime"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/step"
)

// pad is the distance in bytes between words that different processors write. x86 fetches
// lines of 64 bytes in pairs, and on some arm64 a line has 128 bytes.
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
	// Read only after New. The 64-bit words are in slices of their own: an allocation
	// begins at an address that is aligned for them, on 32-bit machines too, and a field
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

// spread returns the distance between the words of size slots, as a power of two. A few
// slots get a pair of lines each, so that two processors that use neighbours don't slow
// each other down. Many slots lie close together, so that a scan of all of them reads few
// lines. Words that are laid apart take at most 16 lines for each processor.
func spread(size int) uint8 {
	budget := 16 * runtime.GOMAXPROCS(0) * (pad / 2) / 8
	free := bits.Len(uint(budget / size))
	return uint8(min(max(free-1, 0), bits.Len(pad/8)-1))
}

func roundUp(n, multiple int) int { return (n + multiple - 1) / multiple * multiple }

func (r *Ring) cell(slot int) *atomic.Uint64 { return &r.cells[slot<<(r.spread&63)] }

// Len returns the number of slots.
func (r *Ring) Len() int { return r.size }

// High returns an upper bound of the slots that have ever been used: every slot that
// Claim had returned before the call is below it. It never falls.
func (r *Ring) High() int { return int(r.high.Load()) }

// At returns the word of a slot. It may be out of date as soon as it is returned.
func (r *Ring) At(slot int) Word { return Word(r.cell(slot).Load()) }

// move is an arrow of the diagram at [Word]: it takes a slot out of phase, if from is its
// word and of that phase. This compare-and-swap is where each method takes effect and the
// slot changes hands. If it fails, nothing has changed. Only Take has its own copy of the
// arrow from Idle to Leased.
func (r *Ring) move(slot int, phase Phase, from, to Word) bool {
	step.At("move")
	return from.Phase() == phase && r.cell(slot).CompareAndSwap(uint64(from), uint64(to))
}

// Claim takes a vacant slot, from Vacant to Busy of the next generation, and returns its
// word. False means that each slot was not vacant at some instant of the call. These need
// not be the same instant. To be sure of a slot, all callers share a counter: they raise it
// before Claim, lower it after Vacate, and never let it exceed Len. Then repeat a Claim that
// returned false.
func (r *Ring) Claim() (slot int, w Word, ok bool) {
	first := r.low.Load()
	i := int(first)
	for range r.size {
		if i >= r.size {
			i = 0
		}
		w := r.At(i)
		to := w.next(Busy, w.Stamp())
		if r.move(i, Vacant, w, to) {
			step.At("Claim: moved")
			r.low.CompareAndSwap(first, uint32(i+1)) // a lost race leaves a worse hint
			r.raise(uint32(i + 1))
			return i, to, true
		}
		i++
	}
	return 0, 0, false
}

// raise makes high at least h. A scan that begins after a slot has been published must
// reach it. So high rises before Claim returns, and the slot cannot be published earlier.
func (r *Ring) raise(h uint32) {
	for old := r.high.Load(); old < h; old = r.high.Load() {
		step.At("raise: high read")
		if r.high.CompareAndSwap(old, h) {
			return
		}
	}
}

// Fill leases a slot to the owner that has claimed and filled it, from Busy to Leased,
// and returns its word. The generation is the one that Claim began.
func (r *Ring) Fill(slot int, w Word, stamp uint16) Word {
	to := Word(Leased)<<phaseShift | Word(stamp)<<stampShift | w&genMask
	if !r.move(slot, Busy, w, to) {
		panic("ring: internal error: Fill of a slot that is not owned")
	}
	return to
}

// Vacate gives up a slot that its owner has emptied or could not fill, from Busy to
// Vacant.
func (r *Ring) Vacate(slot int, w Word) {
	if !r.move(slot, Busy, w, w.as(Vacant)) {
		panic("ring: internal error: Vacate of a slot that is not owned")
	}
	step.At("Vacate: moved")
	if l := r.low.Load(); uint32(slot) < l {
		r.low.CompareAndSwap(l, uint32(slot))
	}
}

// Give ends a lease and makes the slot idle, from Leased to Idle of the next generation.
// It returns the new word. If w is not the word of a lease in force, it changes nothing
// and returns false.
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

// Renew ends a lease and begins the next one, which is the caller's, from Leased to
// Leased of the next generation. It returns the new word. If w is not the word of a lease
// in force, it changes nothing and returns false.
func (r *Ring) Renew(slot int, w Word, stamp uint16) (Word, bool) {
	to := w.next(Leased, stamp)
	return to, r.move(slot, Leased, w, to)
}

// Publish makes a slot idle, from Leased to Idle, without an end to its generation:
// nobody has used it under w. If w is not the word of a lease in force, it changes
// nothing and returns false.
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

// Retake takes back a slot that the caller has published, from Idle to Leased, unless
// somebody has taken it since.
func (r *Ring) Retake(slot int, w Word) (Word, bool) {
	to := w | leasedBit
	return to, r.move(slot, Idle, w, to)
}

// Reserve prepares a slot to be emptied, from Leased to Busy, without an end to its
// generation. If w is not the word of a lease in force, it changes nothing and returns
// false.
func (r *Ring) Reserve(slot int, w Word) (Word, bool) {
	to := w.as(Busy)
	return to, r.move(slot, Leased, w, to)
}
