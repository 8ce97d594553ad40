package ring

// A Word is the whole state of a slot, so that one compare-and-swap decides who owns it
// next:
//
//	63..62  phase
//	61..46  stamp: the time that the caller gave when the slot came back
//	45..0   generation: how many leases of the slot have ended, and how often it was claimed
//
// A stamp has 16 bits and is compared modulo 2^16: it tells ages of up to 65,535 ticks of
// the caller's clock. A generation has 46 bits and repeats after 2^46 leases of one slot,
// which is nine days at one lease every 11 ns. So a word of an ended generation is never
// taken for another one, unless somebody keeps it for longer than that. Claim begins a
// generation, so a word of a slot that has been emptied never comes back either. Publish and
// Retake do not end a generation, and a word that one of them has replaced may come back
// while the slot holds the same: call them only with a word that nobody else has.
//
// The phases and the arrows between them; each arrow is one compare-and-swap, made by the
// method of [Ring] that it names:
//
//	Vacant ──Claim──▶ Busy ──Fill──▶ Leased ──Give, Publish──▶ Idle
//	  ▲                 │              │  ▲ │ ▲                  │
//	  └─────Vacate──────┘◀───Reserve───┘  └─┘ └──Take, Scan, Retake
//	                                     Renew
//
// An idle or vacant slot has no owner. In the other phases the owner is the goroutine
// that made the last move.
type Word uint64

// A Phase says who owns the slot.
type Phase uint8

const (
	// Vacant slots hold nothing. The winner of Claim is the next owner.
	Vacant Phase = iota
	// Busy slots are being filled or emptied by their owner.
	Busy
	// Idle slots hold something and have no owner. The winner of Take, Scan or Retake is
	// the next owner.
	Idle
	// Leased slots hold something. The owner is the one that has the exact word.
	Leased
)

const (
	phaseShift = 62
	stampShift = 46
	leasedBit  = Word(1) << phaseShift // Idle and this bit is Leased
	stampMask  = Word(1<<16-1) << stampShift
	genMask    = Word(1)<<stampShift - 1
)

// Phase returns the phase of the slot.
func (w Word) Phase() Phase { return Phase(w >> phaseShift) }

// Stamp returns the stamp that the slot was last given.
func (w Word) Stamp() uint16 { return uint16(w >> stampShift) }

// Generation returns how many leases of the slot have ended, and how often it was claimed,
// modulo 2^46.
func (w Word) Generation() uint64 { return uint64(w & genMask) }

// Succeeds reports whether w is of the generation that comes after that of v.
func (w Word) Succeeds(v Word) bool { return (w-v)&genMask == 1 }

// Precedes reports whether w is of an earlier generation than v, modulo 2^46: the two are
// less than half of that apart.
func (w Word) Precedes(v Word) bool { return (w-v)&(1<<(stampShift-1)) != 0 }

// next returns a word of the next generation.
func (w Word) next(p Phase, stamp uint16) Word {
	return Word(p)<<phaseShift | Word(stamp)<<stampShift | (w+1)&genMask
}

// as returns w in another phase.
func (w Word) as(p Phase) Word {
	return Word(p)<<phaseShift | w&(stampMask|genMask)
}
