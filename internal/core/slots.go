package core

import (
	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/ring"
)

// A bank is a number of slots: their ring, and the connections in them. A pool begins
// with one bank, which is all that most ever have, and which Get and Put go to without
// asking. A Resize to more slots than there are adds another behind it: no slot moves,
// so nobody who has one in hand is concerned.
type bank struct {
	ring  *ring.Ring
	slots []atomic.Pointer[conn] // set as long as the slot is idle or leased, and a moment longer
	first int                    // the number in the pool of its slot 0
}

func newBank(first, size int) *bank {
	r := ring.New(size)
	return &bank{r, make([]atomic.Pointer[conn], r.Len()), first}
}

// more adds banks until there are at least so many slots. Each is at least as large as
// all before it, so there are never more than 17.
func (p *Pool) more(slots int) {
	for {
		banks := p.banks.Load()
		last := (*banks)[len(*banks)-1]
		have := last.first + last.ring.Len()
		if have >= slots {
			return
		}
		b := newBank(have, min(max(slots-have, have), MaxConnections-have))
		grown := append((*banks)[:len(*banks):len(*banks)], b)
		p.banks.CompareAndSwap(banks, &grown) // if another was faster, its bank may do
	}
}

// bankOf returns the bank of a slot, and its number there.
func (p *Pool) bankOf(slot int) (b *bank, i int) {
	banks := *p.banks.Load()
	k := len(banks) - 1
	for slot < banks[k].first {
		k--
	}
	return banks[k], slot - banks[k].first
}

// connIn returns the connection in a slot, or nil.
func (p *Pool) connIn(slot int) *conn {
	b, i := p.bankOf(slot)
	return b.slots[i].Load()
}

// word returns the word of a slot.
func (p *Pool) word(slot int) ring.Word {
	b, i := p.bankOf(slot)
	return b.ring.At(i)
}

// take takes an idle slot that the hints lead to.
func (p *Pool) take() (held, bool) {
	for _, b := range *p.banks.Load() {
		if i, word, ok := b.ring.Take(); ok {
			return held{b.first + i, word}, true
		}
	}
	return held{}, false
}

// scan takes an idle slot, as ring.Scan does: false means that each was not idle.
func (p *Pool) scan() (held, bool) {
	for _, b := range *p.banks.Load() {
		if i, word, ok := b.ring.Scan(); ok {
			return held{b.first + i, word}, true
		}
	}
	return held{}, false
}

// claim takes a vacant slot for a connection that the census has admitted, so there is
// one: leavers make theirs vacant before they lower the count, and a Resize adds slots
// before it raises the limit. It may be missed in a round in which others claim and
// leave.
func (p *Pool) claim() (slot int, word ring.Word) {
	for {
		for _, b := range *p.banks.Load() {
			if i, word, ok := b.ring.Claim(); ok {
				return b.first + i, word
			}
			step.At("claim: full bank")
		}
	}
}

// publish leaves a held slot to whoever takes it, retake takes it back if nobody has.
func (p *Pool) publish(h held) (held, bool) {
	b, i := p.bankOf(h.slot)
	word, ok := b.ring.Publish(i, h.word)
	return held{h.slot, word}, ok
}

func (p *Pool) retake(published held) (held, bool) {
	b, i := p.bankOf(published.slot)
	word, ok := b.ring.Retake(i, published.word)
	return held{published.slot, word}, ok
}
