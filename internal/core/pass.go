package core

import (
	"time"

	"github.com/S4AK4N/pool/internal/words"
	"github.com/S4AK4N/pool/ring"
)

// pass looks at every slot and does what is due there. It returns when to look again.
// Only the sweeper calls it. It closes connections that have been idle for MaxIdleTime or
// open for MaxLifetime, or whose life ends by Factory.Expires. It marks those that are leased
// and have been open for MaxLifetime, so that Put closes them. (Put looks at the end of a life
// by itself.) It abandons calls that do not return, finds leaks, and keeps MinIdle connections
// idle.
func (p *Pool) pass(now time.Duration) (next time.Duration) {
	s := &p.sweeper
	regular := now >= s.nextPass || s.passNow.Load()
	if !regular && now < s.nextEnd && !s.warmOn.Load() && !s.endSoon.Load() {
		return min(s.nextPass, s.nextEnd)
	}
	s.passNow.Store(false)
	s.warmOn.Store(false)
	s.endSoon.Store(false) // then look: the other sides are in mindEnd and reserve
	// Where regular passes are rare, there is one pass a second while Check or Clean is
	// being called, and one more afterwards. So a pool that is used all the time does not
	// cause a pass at each call.
	rare := s.passEvery == 0 || s.passEvery > maxTick
	last := rare && (s.lingers || s.unaware.Load())
	if last {
		s.unaware.Store(true) // then look: the other side is in mindSlots
	}
	if s.tickLength > 0 {
		p.advanceTick(now)
	}
	p.doubt()
	// At most an eighth of the connections reach the end of their lives in one pass. So
	// those of the same age are not all replaced at once after a long stop of the
	// process. Factory.Expires gives each a life of its own, which is not stretched.
	lives := p.config.MaxLifetime > 0 || p.factory.Expires != nil
	aged := max(words.Census(p.conns.Load()).Established()/8, 1)
	callsUnderWay := false
	// Before the look: if one ends meanwhile, the look sees its connection.
	coming := int(p.spares.Load() + p.probing.Load())
	v := view{due: s.due[:0], aging: p.agingFrom(now)}
	s.nextEnd = never
	p.lapseAt.Store(uint64(never)) // then look: the other side is in reserve
	for _, b := range *p.banks.Load() {
		for i := range b.ring.High() {
			word := b.ring.At(i)
			switch word.Phase() {
			case ring.Idle:
				why, age := closedByIdleTime, p.idleFor(word)
				due := age >= p.idleTicks
				dueSoon := age >= v.aging.ticks
				over := false
				if lives {
					if c := b.slots[i].Load(); c != nil {
						switch {
						case c.ends <= now:
							why, due, over = closedByLifetime, true, true
						case !due && c.expires <= now && aged > 0:
							why, due = closedByLifetime, true
							aged--
						}
						if !over {
							s.nextEnd = min(s.nextEnd, c.ends)
						}
						dueSoon = dueSoon || min(c.expires, c.ends) <= v.aging.at
					}
				}
				switch {
				case due:
					v.due = append(v.due, dueSlot{held{b.first + i, word}, why, over})
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
				if r := c.reservedBy(word); r != nil {
					end, old := p.passReserved(c, r, now, aged > 0)
					s.nextEnd = min(s.nextEnd, end)
					if old {
						aged--
					}
					continue
				}
				if c.ends > now {
					s.nextEnd = min(s.nextEnd, c.ends) // it may be idle by then
				} else if c.same.Load() != nil {
					p.refuseSame(c, p.goneBy(c, closedByLifetime, nil)) // it will not come back: the other side is in waitSame
				}
				if p.limitCall(held{b.first + i, word}, c, now) {
					callsUnderWay = true
					continue
				}
				if c.expires <= now && aged > 0 && c.defect() == nil {
					aged--
					p.spoil(c, closedByLifetime, nil)
				}
				p.see(c, word, now)
			}
		}
		if s.tickLength > 0 {
			b.ring.Regroup() // so that slots that are not needed stay unused
		}
	}
	p.lapseAt.Store(uint64(s.nextEnd))
	p.closeDue(v)
	if p.config.MinIdle > 0 {
		p.restock(p.config.MinIdle-v.fresh-coming, regular)
	}
	if words.Gate(p.gate.Load()).Shrinking() {
		p.shrunk() // only a safety net: each goroutine that empties a slot does this
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
		s.nextPass = 0 // each time the sweeper is awake
	}
	return min(next, s.nextEnd)
}

// restock opens connections for MinIdle, of which so many are missing. What the quota holds
// back is opened by further passes, each when one of the connections is open. But no more
// than were missing at the last regular pass: connections that end as soon as they are open
// would be replaced without a pause, since opening them does not fail.
func (p *Pool) restock(missing int, regular bool) {
	s := &p.sweeper
	if regular {
		s.missing = missing
	}
	// The flag comes before the attempts: their ends read it (attemptOver).
	s.warming.Store(s.missing > 0)
	s.missing -= p.keepWarm(min(missing, s.missing))
	if s.missing <= 0 {
		s.warming.Store(false)
		if s.hopes {
			s.hopes = false
			p.hopeEnds()
		}
		return
	}
	s.hopes = p.budget != nil
}

// A view is what a pass has seen of the idle slots.
type view struct {
	idle  int // that are not due
	fresh int // that will not be due soon either
	due   []dueSlot
	aging struct { // from when on a slot is due soon
		ticks uint32
		at    time.Duration
	}
}

type dueSlot struct {
	held
	why  reason
	over bool // its life has ended by Factory.Expires: nothing keeps it
}

// agingFrom returns from which age on an idle connection is due soon: its replacement
// must be opened now, to be open when the connection is closed. The lead is two passes
// and the time that opening takes.
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

// closeDue closes idle connections that are due. With MinIdle they are replaced before
// they are closed. They stay while there would be too few idle connections without them,
// although nobody gets one that has been idle for too long. If MaxConnections are open,
// there is no room for replacements, and one at a time is closed to make room. Nothing stays
// when its life has ended by Factory.Expires.
func (p *Pool) closeDue(v view) {
	spare := v.idle + len(v.due) - p.config.MinIdle
	for _, d := range v.due {
		if c := words.Census(p.conns.Load()); !d.over && spare <= 0 && c.Usable() < c.Max() {
			continue
		}
		if h, ok := p.retake(d.held); ok { // else somebody has taken it
			spare--
			p.destroy(h, d.why, nil)
		}
	}
}
