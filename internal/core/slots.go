package core

import (
	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/ring"
)

// A bank is a group of slots: their ring, and the connections in them. A pool begins with
// one bank. Most pools never have another one, and Get and Put go to the first without
// asking. A Resize to more slots adds a bank behind the others. No slot moves, so holders
// of slots need not know.
type bank struct {
	ring    *ring.Ring
	slots   []atomic.Pointer[conn]      // set while the slot is idle or leased, and a moment longer
	opening []atomic.Pointer[attempt]   // set while a connection is being opened for the slot
	gone    []atomic.Pointer[goneError] // the last connection that was in the slot, and why it is not any more
	first   int                         // the number of its slot 0 in the pool
}

func newBank(first, size int) *bank {
	r := ring.New(size)
	return &bank{r, make([]atomic.Pointer[conn], r.Len()), make([]atomic.Pointer[attempt], r.Len()), make([]atomic.Pointer[goneError], r.Len()), first}
}

// more adds banks until there are at least that many slots in all. Each new bank is at
// least as large as all before it together, if the limit allows, so there are never more
// than 17.
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
		p.banks.CompareAndSwap(banks, &grown) // if another Resize was faster, its bank may be enough
	}
}

// bankOf returns the bank of a slot, and the slot's number in it.
func (p *Pool) bankOf(slot int) (b *bank, i int) {
	banks := *p.banks.Load()
	k := len(banks) - 1
	for slot < banks[k].first {
		k--
	}
	return banks[k], slot - banks[k].first
}

// connIn returns the connection in a slot, or nil. Of a held slot it may be another one: see owns.
func (p *Pool) connIn(slot int) *conn {
	b, i := p.bankOf(slot)
	return b.slots[i].Load()
}

// take takes an idle slot that it finds by the hints.
func (p *Pool) take() (held, bool) {
	for _, b := range *p.banks.Load() {
		if i, word, ok := b.ring.Take(); ok {
			return held{b.first + i, word}, true
		}
	}
	return held{}, false
}

// scan takes an idle slot, as ring.Scan does. False means that each slot was not idle at
// some instant of the call.
func (p *Pool) scan() (held, bool) {
	for _, b := range *p.banks.Load() {
		if i, word, ok := b.ring.Scan(); ok {
			return held{b.first + i, word}, true
		}
	}
	return held{}, false
}

// claim takes a vacant slot for a connection that the census has admitted. There is one:
// vacate and openFailed make a slot vacant before they lower the count, and Resize adds
// slots before it raises the limit. One round may miss it, while others claim and leave.
func (p *Pool) claim() (slot int, word ring.Word) {
	p.counters.claims.Inc() // before the claim: see Stats
	for {
		for _, b := range *p.banks.Load() {
			if i, word, ok := b.ring.Claim(); ok {
				return b.first + i, word
			}
			step.At("claim: full bank")
		}
	}
}

// publish makes a held slot idle, in which c is. retake takes it back, unless somebody has taken it
// since.
//
// The sweeper may have seen the slot under h.word, and the lease that begins under that word
// may begin much later. So that is forgotten: the other side is in see. A lease that
// begins before it is forgotten may be forgotten as well: then it is seen at the next pass. Who looks at it
// meanwhile would see a time of before it began, so settle has forgotten what was noted earlier.
func (p *Pool) publish(h held, c *conn) (held, bool) {
	b, i := p.bankOf(h.slot)
	word, ok := b.ring.Publish(i, h.word)
	if ok {
		step.At("publish: published")
		c.sight.Forget(h.word)
	}
	return held{h.slot, word}, ok
}

func (p *Pool) retake(published held) (held, bool) {
	b, i := p.bankOf(published.slot)
	word, ok := b.ring.Retake(i, published.word)
	return held{published.slot, word}, ok
}
