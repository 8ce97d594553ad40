package core

import (
	"time"

	"github.com/S4AK4N/pool/internal/words"
	"github.com/S4AK4N/pool/ring"
)

// pass looks at every slot for what time does to it, and returns when to look again. It is
// the sweeper's. It closes what has been idle for MaxIdleTime or open for MaxLifetime,
// marks what is leased and has been open for that long, so that Put closes it; abandons
// calls that do not return; finds leaks; and keeps MinIdle connections idle.
func (p *Pool) pass(now time.Duration) (next time.Duration) {
	s := &p.sweeper
	if now < s.nextPass && !s.passNow.Load() {
		return s.nextPass
	}
	s.passNow.Store(false)
	// Where passes are rare there is one a second while Check or Clean is called, and one
	// more, so that a pool which is used all the time is not passed over at each call.
	rare := s.passEvery == 0 || s.passEvery > maxTick
	last := rare && (s.lingers || s.unaware.Load())
	if last {
		s.unaware.Store(true) // and then look: the other side is in mindSlots
	}
	if s.tickLength > 0 {
		p.advanceTick(now)
	}
	// No more than an eighth at a time reach the end of their lives, so that those of
	// the same age, after a long stop of the process, are not all replaced at once.
	aged := max(words.Census(p.conns.Load()).Established()/8, 1)
	callsUnderWay := false
	spares := int(p.spares.Load()) // before the look: what one of them has opened is seen, too
	v := view{due: s.due[:0], aging: p.agingFrom(now)}
	for _, b := range *p.banks.Load() {
		for i := range b.ring.High() {
			word := b.ring.At(i)
			switch word.Phase() {
			case ring.Idle:
				why, age := closedByIdleTime, p.idleFor(word)
				due := age >= p.idleTicks
				dueSoon := age >= v.aging.ticks
				if !due && p.config.MaxLifetime > 0 {
					if c := b.slots[i].Load(); c != nil {
						if c.expires <= now && aged > 0 {
							why, due = closedByLifetime, true
							aged--
						}
						dueSoon = dueSoon || c.expires <= v.aging.at
					}
				}
				switch {
				case due:
					v.due = append(v.due, dueSlot{held{b.first + i, word}, why})
				case dueSoon:
					v.idle++
				default:
					v.idle++
					v.fresh++
				}
			case ring.Leased:
				c := b.slots[i].Load()
				if c == nil {
					continue
				}
				if p.limitCall(held{b.first + i, word}, c, now) {
					callsUnderWay = true
					continue
				}
				if c.expires <= now && aged > 0 && c.unfit.Load() == nil {
					aged--
					p.spoil(c, closedByLifetime, nil)
				}
				p.see(c, word, now)
			}
		}
		if s.tickLength > 0 {
			b.ring.Regroup() // so that nobody uses what is not needed (see ring.Regroup)
		}
	}
	p.closeDue(v)
	if p.config.MinIdle > 0 {
		p.keepWarm(p.config.MinIdle - v.fresh - spares)
	}
	if words.Gate(p.gate.Load()).Shrinking() {
		p.shrunk() // only a net: whoever empties a slot has done so
	}
	s.due = v.due[:0]
	next = never
	if s.passEvery > 0 {
		next = now.Truncate(s.passEvery) + s.passEvery
	}
	s.lingers = false
	if callsUnderWay || rare && !last {
		next = min(next, now+maxTick)
		s.lingers = !callsUnderWay
		s.unaware.Store(false)
	}
	s.nextPass = next
	if next == never {
		s.nextPass = 0 // whenever the sweeper is awake
	}
	return next
}

// A view is what a pass has seen of the idle slots.
type view struct {
	idle  int // that are not due,
	fresh int // and will not be soon
	due   []dueSlot
	aging struct { // when a slot will be due soon
		ticks uint32
		at    time.Duration
	}
}

type dueSlot struct {
	held
	why reason
}

// agingFrom returns from which age on a connection must be replaced if another one is to
// be open when it is closed: by the end of the pass after the next, and of opening one.
func (p *Pool) agingFrom(now time.Duration) (a struct {
	ticks uint32
	at    time.Duration
}) {
	lead := 2*p.sweeper.passEvery + p.openTime()
	a.at = now + lead
	a.ticks = p.idleTicks
	if t := p.sweeper.tickLength; t > 0 {
		a.ticks -= min(uint32((lead+t-1)/t), p.idleTicks/2)
	}
	return a
}

// closeDue closes idle connections whose time is over. With MinIdle they are replaced
// before they are removed: as long as there would be too few without them they remain,
// though nobody is lent one that has been idle for too long. If there is no room for
// others because MaxConnections are open, one at a time makes room.
func (p *Pool) closeDue(v view) {
	spare := v.idle + len(v.due) - p.config.MinIdle
	for _, d := range v.due {
		if c := words.Census(p.conns.Load()); spare <= 0 && c.Usable() < c.Max() {
			return
		}
		h, ok := p.retake(d.held)
		if !ok {
			continue // somebody uses it
		}
		spare--
		if c := p.connIn(h.slot); d.why == closedByLifetime && c != nil && c.expires > time.Duration(p.now()) {
			go p.settle(h, false) // another connection has come into the slot, with the same word
			continue
		}
		p.destroy(h, d.why, nil)
	}
}
