package pool

import "github.com/S4AK4N/pool/ring"

// pad is how far apart words must lie that different processors write: lines of
// 64 bytes are fetched in pairs on x86, and are 128 bytes long on some arm64.
const pad = 128

// The gate is one word that Get and Put read to learn whether anything is out of
// the ordinary. Zero means no, and lets them take their fast paths.
//
//	63     closed: nothing is lent any more
//	62     shrink: more may be open than MaxConnections, after a Resize
//	41..0  waiters: at least as many as there are live waiters in the queue
//
// 42 bits count more goroutines than any memory holds. Bits between are free.
type gateWord uint64

const (
	gateClosed  gateWord = 1 << 63
	gateShrink  gateWord = 1 << 62
	gateWaiter  gateWord = 1
	gateWaiters gateWord = 1<<42 - 1
)

func (g gateWord) closed() bool    { return g&gateClosed != 0 }
func (g gateWord) shrinking() bool { return g&gateShrink != 0 }
func (g gateWord) waiters() int    { return int(g & gateWaiters) }

// open reports whether what is idle may be taken: nobody waits, and the pool is not closed.
func (g gateWord) open() bool { return g&^gateShrink == 0 }

// setGate sets a flag of the gate, clearGate clears it.
func (p *Pool[T]) setGate(flag gateWord) {
	for g := p.gate.Load(); g&uint64(flag) == 0; g = p.gate.Load() {
		p.gate.CompareAndSwap(g, g|uint64(flag))
	}
}

func (p *Pool[T]) clearGate(flag gateWord) {
	for g := p.gate.Load(); g&uint64(flag) != 0; g = p.gate.Load() {
		p.gate.CompareAndSwap(g, g&^uint64(flag))
	}
}

// The census is one word, so that everything that opens, closes or limits decides
// on one value:
//
//	63..48  max: how many may be open; 0 once the pool is closed
//	47..32  open: how many slots are not vacant, those being opened included
//	31..16  opening: how many of them are being opened
//	15..0   leaving: how many of them are on their way to vacant
//
// Sixteen bits each are why MaxConnections is limited to 65,535. A slot is counted as
// leaving before it is emptied, so that of two leavers, after a Resize, neither takes
// the other's place for its own: no more leave than there are too many.
type census uint64

const (
	censusMax     census = 1 << 48
	censusOpen    census = 1 << 32
	censusOpening census = 1 << 16
	censusLeaving census = 1
)

func (c census) max() int     { return int(c >> 48) }
func (c census) open() int    { return int(c >> 32 & 0xffff) }
func (c census) opening() int { return int(c >> 16 & 0xffff) }
func (c census) leaving() int { return int(c & 0xffff) }

// established is how many connections there are.
func (c census) established() int { return c.open() - c.opening() }

func (c census) withMax(n int) census { return c%censusMax + census(n)*censusMax }

// usable is how many of them are not on their way out.
func (c census) usable() int { return c.established() - c.leaving() }

// over is whether more are open than may be, and will be when those have left who are
// on their way.
func (c census) over() bool { return c.open()-c.leaving() > c.max() }

// A held slot belongs to the pool itself, in the hands of the goroutine that has
// the held: its word is Leased, in a generation that no caller's lease has. Every
// step from there is a compare-and-swap from that very word. It fails only if
// Close has revoked the slot in the meantime, and then there is nothing left to
// do for it.
type held struct {
	slot int
	word ring.Word
}
