package core

import (
	"context"
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
	"github.com/S4AK4N/pool/ring"
)

// While a machine sleeps, the pool's clock stands still on most systems: to it, what was idle
// has been idle for a moment. But the peers may be gone for hours. The wall clock goes on, so
// the sweeper compares the two each time that it is awake, which is every second while a
// connection is open, if there is a Probe. What is idle when the wall clock has jumped ahead is suspect. The sweeper
// holds these slots, so that nobody gets them, and has each connection probed. Whoever has a
// lease is left alone: its holder learns what there is to learn.
//
// Nothing is closed because of the wall clock, only because a probe fails. A clock that was
// merely set costs a probe of each idle connection.
//
// A Get may come before the sweeper after the sleep, and take a connection that nobody has
// probed. To look at the wall clock in each Get would cost more than the rest of it.

const (
	// sleepLeast is how far the wall clock jumps at least if the machine has slept. Less
	// than that breaks no connection, and is often corrected by a time server.
	sleepLeast = 3 * time.Second

	// maxProbes is how many probes of one sleep run at the same time. So a pool of
	// thousands does not need as many goroutines, and one of a hundred has its answers
	// after one round trip.
	maxProbes = 128

	// probeLimit is when the ctx of a probe ends: before the call is abandoned.
	probeLimit = callLimit - time.Second
)

// wallAhead returns how far the wall clock has run ahead of the pool's since the pool was made.
func (p *Pool) wallAhead() time.Duration {
	if f := p.sweeper.pretended.Load(); f != nil {
		return (*f)()
	}
	now := time.Now()
	return now.Round(0).Sub(p.epoch.Round(0)) - now.Sub(p.epoch)
}

// slept reports whether the wall clock has jumped ahead since the last call. Only the sweeper
// calls it.
func (p *Pool) slept() bool {
	ahead := p.wallAhead()
	jump := ahead - p.sweeper.wasAhead
	p.sweeper.wasAhead = ahead
	return jump > sleepLeast
}

// suspects are the slots that were idle when the machine had slept. They are held from then
// on. Each is probed by the goroutine that takes its number from next.
type suspects struct {
	slots []held
	next  atomic.Uint32
}

// suspectIdle takes all idle and reserved slots and has their connections probed. Only the sweeper calls it.
func (p *Pool) suspectIdle() {
	s := new(suspects)
	for _, b := range *p.banks.Load() {
		for i := range b.ring.High() {
			word := b.ring.At(i)
			if c := b.slots[i].Load(); word.Phase() != ring.Idle && (c == nil || c.reservedBy(word) == nil) {
				continue
			}
			step.At("suspectIdle: slot read")
			// Counted before it is held. The other side is in Stats, which reads round,
			// then probing, then the slots, then round again.
			p.probing.Inc()
			p.sweeper.round.Add(2)
			h, ok := p.collect(held{b.first + i, word})
			if !ok {
				p.probing.Dec() // somebody has taken it
				continue
			}
			s.slots = append(s.slots, h)
		}
	}
	step.At("suspectIdle: held")
	for range min(len(s.slots), maxProbes) {
		p.workers.Inc()
		go p.probe(s)
	}
}

// probe has suspects probed, one after the other, until none is left. If a probe does not
// return, limitCall has another goroutine go on, which is counted in place of this one.
func (p *Pool) probe(s *suspects) {
	for {
		i := int(s.next.Inc()) - 1
		if i >= len(s.slots) {
			p.workerEnded()
			return
		}
		if !p.probeSlot(s, s.slots[i]) {
			return
		}
	}
}

// probeSlot has one connection probed, and finds the next owner of its slot. It reports false
// if the call took too long and was abandoned.
func (p *Pool) probeSlot(s *suspects, h held) (goOn bool) {
	c := p.connIn(h.slot)
	if !h.owns(c) {
		p.probing.Dec() // revoked
		return true
	}
	fit, abandoned, returned := true, false, false
	defer func() {
		if abandoned || !returned && c.callLeft() {
			return // limitCall or endCall has done the rest
		}
		p.probing.Dec() // not before the connection is idle: see pass
		if !returned {
			go p.probe(s) // in place of this one, which runtime.Goexit ends
		}
	}()
	// If it is known to be of no use, settle closes it.
	if c.defect() == nil && !words.Gate(p.gate.Load()).Closed() && !p.over(c) {
		c.probed = s
		if p.factory.Probe != nil {
			fit, abandoned = p.ask(h, c, probeCall, p.probeOf(c))
		} else {
			fit, abandoned = p.ask(h, c, checkCall, p.factory.Check)
		}
	}
	returned = true
	if fit {
		c.probed = nil
		p.settle(h, true)
	}
	return !abandoned
}

// probeOf returns Factory.Probe for a connection, with a ctx that ends in time, and with the
// pool or with its era. If it is that end by which the probe fails, nothing is known of the
// connection, and settle closes it for that end.
func (p *Pool) probeOf(c *conn) func(box any) error {
	return func(box any) error {
		ctx, cancel := context.WithTimeout(c.era.ctx, probeLimit)
		defer cancel()
		err := p.factory.Probe(ctx, box)
		if c.era.ctx.Err() != nil {
			return nil
		}
		return err
	}
}
