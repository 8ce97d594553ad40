package core

import (
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
	"github.com/S4AK4N/pool/ring"
)

// A sweeper is the goroutine that looks after what time does to a pool. It ends
// waits that have lasted for MaxWaitTime, without a timer for each of them; opens what was
// held back; passes over the slots now and then; has idle connections checked; and keeps
// the coarse clock that Put stamps its slots with. It calls no factory function itself,
// so that none of them can delay it.
//
// It is started by the first duty that it has: a wait that may expire, a connection that is
// open, an open held back, many who have left the queue, or MinIdle. It sleeps while it has
// none.
type sweeper struct {
	started  atomic.Bool
	kick     chan struct{} // wakes it; capacity 1
	armed    atomic.Bool   // it will look at the queue in time, or has been kicked
	dead     atomic.Int32  // waiters that were decided where they stood, since the last unlink
	heldBack atomic.Bool   // it is to open something when it is time
	passNow  atomic.Bool   // it is to pass over the slots at once
	unaware  atomic.Bool   // it will not look at the slots in time: there was nothing in them for it

	expires       bool          // it ends waits: there is a MaxWaitTime
	minds         bool          // it looks at the slots: there are times for what is open, or functions to be called
	tickLength    time.Duration // of the pool's coarse clock; 0 if it stands still
	passEvery     time.Duration // 0: no regular passes
	checkInterval time.Duration // 0: no checks
	nextPass      time.Duration // the sweeper's own, as all that follow but the last two
	lingers       bool          // the next pass is for the case that Check or Clean is called again
	nextCheck     time.Duration
	disarmAt      time.Duration // 0: not decided
	due           []dueSlot     // kept from pass to pass, to be used again
	checking      atomic.Bool   // a round of checks is under way
	round         atomic.Uint32 // counts on when a round takes a slot, and when it has let go of it
}

// The coarse clock has to tell ages up to MaxIdleTime to within an eighth of it, and
// its ticks must fit the stamps of the ring with room to spare: a process that is
// stopped for less than three times MaxIdleTime takes no old stamp for a young one.
const (
	ticksPerIdleTime = 16
	minTick          = 10 * time.Millisecond
	maxTick          = time.Second
	maxIdleTicks     = 1 << 14
)

// init returns the age, on the coarse clock, from which on a slot is idle for too long.
// calls says whether there are functions that are called for idle connections or in Put.
func (s *sweeper) init(config Config, checks, calls bool) (idleTicks uint32) {
	s.kick = make(chan struct{}, 1)
	s.unaware.Store(true)
	if checks && config.CheckInterval > 0 {
		s.checkInterval = config.CheckInterval
		s.nextCheck = config.CheckInterval
	}
	idle := config.MaxIdleTime
	idleTicks = 1 << 16 // more than any age
	if idle >= 0 {
		s.tickLength = max(min(max(idle/ticksPerIdleTime, minTick), maxTick), idle/maxIdleTicks)
		// One more than that: a stamp is up to a tick older than it says.
		idleTicks = uint32((idle+s.tickLength-1)/s.tickLength) + 1
		s.passEvery = s.tickLength
	}
	every := func(d time.Duration) {
		d = min(max(d, minTick), maxTick)
		if s.passEvery == 0 || s.passEvery > d {
			s.passEvery = d
		}
	}
	if config.MaxLifetime > 0 {
		every(config.MaxLifetime / 64)
	}
	if config.LeakAfter > 0 {
		every(config.LeakAfter / 16)
	}
	if config.MinIdle > 0 {
		every(maxTick)
	}
	s.minds = s.passEvery > 0 || s.checkInterval > 0 || calls
	s.expires = config.MaxWaitTime >= 0
	return idleTicks
}

// wakeSweeper sees to it that the sweeper knows that somebody waits. The other side is in
// disarm: armed is cleared, and then the queue is looked at; here it has been changed, and
// then armed is read.
func (p *Pool) wakeSweeper() {
	if p.sweeper.expires && !p.sweeper.armed.Load() && p.sweeper.armed.CompareAndSwap(false, true) {
		p.kickSweeper()
	}
}

// mindSlots sees to it that the sweeper knows that a connection is open, or that Check or
// Clean is being called. That has been noted in the census, or in the connection; the other
// side is in duties and in pass, which set unaware, and then look.
func (p *Pool) mindSlots() {
	if p.sweeper.minds && p.sweeper.unaware.Load() && p.sweeper.unaware.CompareAndSwap(true, false) {
		p.sweeper.passNow.Store(true)
		p.kickSweeper()
	}
}

// passSoon has the sweeper pass over the slots without delay, if it does so at all.
func (p *Pool) passSoon() {
	if p.sweeper.passEvery > 0 {
		p.sweeper.passNow.Store(true)
		p.kickSweeper()
	}
}

func (p *Pool) kickSweeper() {
	if !p.sweeper.started.Load() && p.sweeper.started.CompareAndSwap(false, true) {
		go p.sweep()
	}
	select {
	case p.sweeper.kick <- struct{}{}:
	default: // it has been kicked already
	}
}

// sweepAside is called when a waiter has been decided where it stood, perhaps in the
// middle of the queue. It removes what has been decided in front, and counts. The
// sweeper is told once there are more such waiters than live ones, so that a pass over
// all of them costs each of them no more than a constant.
func (p *Pool) sweepAside() {
	p.queue.Front()
	if p.sweeper.dead.Inc() >= int32(minDead+words.Gate(p.gate.Load()).Waiters()) {
		p.kickSweeper()
	}
}

// minDead is how many such waiters there must be before it is worth a pass.
const minDead = 64

// never is later than any time on the pool's clock (see Forever).
const never = time.Duration(1<<63 - 1)

func (p *Pool) sweep() {
	s := &p.sweeper
	timer := time.NewTimer(never)
	defer timer.Stop()
	for {
		step.At("sweep: awake")
		if s.dead.Load() >= minDead {
			s.dead.Store(0)
			p.queue.Unlink()
		}
		now := time.Duration(p.now())
		wake := p.duties(now)
		if wake == never {
			step.At("sweep: nothing due")
			timer.Stop()
		} else {
			timer.Reset(wake - time.Duration(p.now())) // some time may have passed
		}
		select {
		case <-timer.C:
		case <-s.kick:
		case <-p.lifetime.Done():
			p.sweepClosed()
			return
		}
	}
}

// sweepClosed looks after the calls that are under way when the pool is closed: Shutdown
// waits for what they have in hand.
func (p *Pool) sweepClosed() {
	if p.factory.Check == nil && p.factory.Clean == nil {
		return
	}
	ticks := time.NewTicker(maxTick)
	defer ticks.Stop()
	for {
		select {
		case <-p.allGone:
			return
		case <-ticks.C:
			p.sweeper.passNow.Store(true)
			p.pass(time.Duration(p.now()))
		}
	}
}

// duties does what is due by now, and returns when the next thing will be.
func (p *Pool) duties(now time.Duration) (next time.Duration) {
	s := &p.sweeper
	next = min(p.expire(now), p.lift(now))
	if p.config.MinIdle == 0 && words.Census(p.conns.Load()).Open() == 0 {
		s.unaware.Store(true) // and then look once more: the other side is in mindSlots
		step.At("duties: nothing is open")
		if words.Census(p.conns.Load()).Open() == 0 {
			return next
		}
		s.unaware.Store(false)
	}
	next = min(next, p.pass(now))
	if s.checkInterval > 0 {
		if now >= s.nextCheck {
			s.nextCheck = now + s.checkInterval
			if s.checking.CompareAndSwap(false, true) {
				go p.checkIdle()
			}
		}
		next = min(next, s.nextCheck)
	}
	return next
}

// advanceTick sets the coarse clock. The sweeper does so at every tick while anything
// is open. While nothing is, the clock stands still, so whoever opens a connection
// sets it, too: stamped with an old time, it would be closed at once.
func (p *Pool) advanceTick(now time.Duration) {
	if p.sweeper.tickLength == 0 {
		return
	}
	tick := uint32(now / p.sweeper.tickLength)
	if uint16(tick) == revokedStamp {
		tick++ // the clock skips it, and stands still for the next tick
	}
	// Never back, when one of the two was held up with an older time in hand: that is
	// a little older, while the clock may have stood still for half its range or more.
	for old := p.tick.Load(); old-tick > 1<<16 && !p.tick.CompareAndSwap(old, tick); old = p.tick.Load() {
	}
}

// expire ends the waits that have lasted for MaxWaitTime, and returns when to look
// again. It looks at the oldest only: they stand in the order in which they came, and
// all may wait equally long.
func (p *Pool) expire(now time.Duration) time.Duration {
	if !p.sweeper.expires {
		return never
	}
	var report *expiry
	for {
		dummy, w := p.queue.Front()
		if w == nil {
			if wake, ok := p.disarm(now); ok {
				return wake
			}
			continue // somebody has come
		}
		p.sweeper.disarmAt = 0
		if end := time.Duration(w.Since) + p.config.MaxWaitTime; end > now {
			return end
		}
		if report == nil {
			report = &expiry{p.Stats()}
		}
		if p.refuse(w, report) {
			p.queue.Advance(dummy, w)
		}
	}
}

// disarm is for a sweeper that sees nobody wait. It remains armed until MaxWaitTime
// from now, so that those who wait a little now and then need not kick it: whoever
// comes until then expires later than that. It returns when to wake, and false if
// somebody has come to wait in the meantime.
func (p *Pool) disarm(now time.Duration) (time.Duration, bool) {
	s := &p.sweeper
	if !s.armed.Load() {
		return never, true
	}
	if s.disarmAt == 0 {
		s.disarmAt = now + p.config.MaxWaitTime
	}
	if now < s.disarmAt {
		return s.disarmAt, true
	}
	s.disarmAt = 0
	step.At("disarm: nobody waits")
	// The other side is in wakeSweeper.
	s.armed.Store(false)
	step.At("disarm: disarmed")
	if _, w := p.queue.Front(); w == nil {
		return never, true
	}
	s.armed.Store(true)
	return 0, false
}

// checkIdle calls Factory.Check for every idle connection, one after the other. The
// stamp of the slot stays as it is: to be checked is not to be used.
func (p *Pool) checkIdle() {
	for _, b := range *p.banks.Load() {
		for i := range b.ring.High() {
			word := b.ring.At(i)
			// What is due already is the sweeper's business: it may have to wait for
			// another in its place.
			if word.Phase() == ring.Idle && p.idleFor(word) < p.idleTicks && !p.checkSlot(held{b.first + i, word}) {
				return
			}
		}
	}
	p.sweeper.checking.Store(false)
}

// checkSlot checks one connection. It reports false if that took too long: the round is
// no more, and another may have begun.
func (p *Pool) checkSlot(idle held) (goOn bool) {
	p.counters.checkBegan.Store(uint64(p.now()))
	p.sweeper.round.Inc()
	h, ok := p.retake(idle)
	if !ok {
		p.sweeper.round.Inc()
		return true
	}
	c := p.connIn(h.slot)
	if c != nil {
		c.inRound = true
	}
	returned, abandoned := false, false
	defer func() {
		switch {
		case abandoned || !returned && c.call.Load() == callAbandoned:
			return // limitCall has seen to it
		case !returned: // runtime.Goexit ends the round
			p.sweeper.checking.Store(false)
		}
		p.sweeper.round.Inc()
	}()
	_, fit, abandoned := p.examine(h)
	returned = true
	if fit {
		c.inRound = false
		p.settle(h, true)
	}
	return !abandoned
}
