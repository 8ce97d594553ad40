package core

import (
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
	"github.com/S4AK4N/pool/ring"
)

// A sweeper is the goroutine that does what is due by time. It ends waits that have
// lasted for MaxWaitTime, without a timer for each of them. It opens what was held back.
// It passes over the slots now and then. It has idle connections checked, and probed when the
// machine has slept. And it keeps the coarse clock that Put stamps its slots with. It calls no factory function itself,
// so that none of them can delay it.
//
// The first duty starts it: a wait that may expire, an open connection, an open that was
// held back, many waiters that have left the queue, or MinIdle. It sleeps while it has
// none.
type sweeper struct {
	started  atomic.Bool
	kick     chan struct{} // wakes it; capacity 1
	armed    atomic.Bool   // it will look at the queue in time, or has been kicked
	dead     atomic.Int32  // waiters that were decided where they stood, since the last Unlink
	trials   atomic.Bool   // it has to look at connections on probation in an outage
	heldBack atomic.Bool   // it has to open something when the time has come
	warming  atomic.Bool   // the quota holds back connections for MinIdle
	warmOn   atomic.Bool   // it has to open more of them
	passNow  atomic.Bool   // it has to pass over the slots at once
	endSoon  atomic.Bool   // the same, because a new connection's life or a reservation ends before its next look
	unaware  atomic.Bool   // it will not look at the slots in time: they gave it nothing to do

	expires bool // it ends waits: there is a MaxWaitTime
	minds   bool // it looks at the slots: connections have times, or functions are called
	probes  bool // it looks whether the machine has slept

	tickLength    time.Duration // of the pool's coarse clock; 0: the clock stands still
	passEvery     time.Duration // 0: no regular passes
	checkInterval time.Duration // 0: no checks
	nextPass      time.Duration // this and the rest, except for the last three: used by the sweeper alone
	nextEnd       time.Duration // of the lives that Factory.Expires has given, and of reservations; never: none ends
	wasAhead      time.Duration // how far the wall clock was ahead at the last look
	lingers       bool          // the next pass is for a Check or Clean that may be called again
	nextCheck     time.Duration
	disarmAt      time.Duration                        // 0: not decided
	missing       int                                  // connections for MinIdle that were missing at the last regular pass and have not been begun
	hopes         bool                                 // it may hope for a right, for MinIdle
	due           []dueSlot                            // kept from pass to pass, to be reused
	checking      atomic.Bool                          // a round of checks is under way
	round         atomic.Uint32                        // incremented when a round takes a slot, and when it releases it
	pretended     atomic.Pointer[func() time.Duration] // what tests have in place of wallAhead
}

// The coarse clock must tell ages up to MaxIdleTime to within an eighth. Its ticks must
// fit the stamps of the ring with room to spare: a process that is stopped for less than
// three times MaxIdleTime never takes an old stamp for a young one.
const (
	ticksPerIdleTime = 16
	minTick          = 10 * time.Millisecond
	maxTick          = time.Second
	maxIdleTicks     = 1 << 14
)

// init prepares s. It returns the age in ticks from which on a slot has been idle for too
// long.
func (s *sweeper) init(config Config, factory Factory) (idleTicks uint32) {
	s.kick = make(chan struct{}, 1)
	s.unaware.Store(true)
	s.nextEnd = never
	if factory.Check != nil && config.CheckInterval > 0 {
		s.checkInterval = config.CheckInterval
		s.nextCheck = config.CheckInterval
	}
	// Where Check is called for lending only, it says then what it would say now. For the
	// same reason Check alone asks for no regular passes.
	s.probes = factory.Probe != nil || s.checkInterval > 0
	idle := config.MaxIdleTime
	idleTicks = 1 << 16 // more than any age
	if idle >= 0 {
		s.tickLength = max(min(max(idle/ticksPerIdleTime, minTick), maxTick), idle/maxIdleTicks)
		// One more: a slot may have come back up to one tick after its stamp.
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
	if config.MinIdle > 0 || factory.Expires != nil || factory.Probe != nil {
		every(maxTick)
	}
	s.minds = s.passEvery > 0 || factory.Check != nil || factory.Clean != nil
	s.expires = config.MaxWaitTime >= 0
	return idleTicks
}

// wakeSweeper makes sure that the sweeper knows that somebody waits. The other side is in
// disarm, which clears armed, then looks at the queue. Here the waiter has been linked,
// then armed is read.
func (p *Pool) wakeSweeper() {
	if p.sweeper.expires && !p.sweeper.armed.Load() && p.sweeper.armed.CompareAndSwap(false, true) {
		p.kickSweeper()
	}
}

// mindSlots makes sure that the sweeper knows that a connection is open, or that Check or
// Clean is being called. The other side is in duties and in pass, which set unaware, then
// look. Here the census or the connection has been changed, then unaware is read.
func (p *Pool) mindSlots() {
	if p.sweeper.minds && p.sweeper.unaware.Load() {
		p.tellOfSlots()
	}
}

func (p *Pool) tellOfSlots() {
	if !p.elsewhere() && p.sweeper.unaware.CompareAndSwap(true, false) {
		p.sweeper.passNow.Store(true)
		p.kickSweeper()
	}
}

// passSoon makes the sweeper pass over the slots without delay, if it makes regular
// passes.
func (p *Pool) passSoon() {
	if p.sweeper.passEvery > 0 {
		p.sweeper.passNow.Store(true)
		p.kickSweeper()
	}
}

func (p *Pool) kickSweeper() {
	if !p.sweeper.started.Load() && p.sweeper.started.CompareAndSwap(false, true) {
		p.workers.Inc()
		go p.sweep()
	}
	select {
	case p.sweeper.kick <- struct{}{}:
	default: // it has been kicked already
	}
}

// sweepAside is called when a waiter has been decided where it stood, perhaps in the
// middle of the queue. It removes decided waiters in front, and counts. It wakes the
// sweeper once there are minDead more of them than live waiters. So the cost of an Unlink
// is a constant for each of them.
func (p *Pool) sweepAside() {
	p.queue.Front()
	p.fewerWait()
	if p.sweeper.dead.Inc() >= int32(minDead+words.Gate(p.gate.Load()).Waiters()+int(p.same.Load())) {
		p.kickSweeper()
	}
}

// minDead is the number of such waiters from which on an Unlink is worthwhile.
const minDead = 64

// never is later than any time on the pool's clock (see Forever).
const never = time.Duration(1<<63 - 1)

func (p *Pool) sweep() {
	defer p.workerEnded()
	s := &p.sweeper
	timer := time.NewTimer(never)
	defer timer.Stop()
	for {
		step.At("sweep: awake")
		if s.dead.Load() >= minDead {
			s.dead.Store(0)
			p.queue.Unlink()
			p.unlinkSame()
		}
		now := time.Duration(p.now())
		wake := p.duties(now)
		if wake == never {
			step.At("sweep: nothing due")
			timer.Stop()
		} else {
			timer.Reset(wake - time.Duration(p.now())) // duties may have taken some time
		}
		select {
		case <-timer.C:
		case <-s.kick:
		case <-p.lifetime.Done():
			p.hopeEnds() // of MinIdle
			p.sweepClosed()
			return
		}
	}
}

// sweepClosed limits the calls that are in progress when the pool is closed: Shutdown
// waits for their connections.
func (p *Pool) sweepClosed() {
	if p.factory.Check == nil && p.factory.Probe == nil && p.factory.Clean == nil {
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

// duties does what is due by now. It returns when the next duty is due.
func (p *Pool) duties(now time.Duration) (next time.Duration) {
	s := &p.sweeper
	next = min(p.expire(now), p.lift(now), p.endTrials(now))
	if p.config.MinIdle == 0 && words.Census(p.conns.Load()).Open() == 0 {
		s.unaware.Store(true) // then look once more: the other side is in mindSlots
		p.lapseAt.Store(uint64(never))
		step.At("duties: nothing is open")
		if words.Census(p.conns.Load()).Open() == 0 {
			return next
		}
		s.unaware.Store(false)
	}
	if s.probes && p.slept() {
		p.suspectIdle()
	}
	next = min(next, p.pass(now))
	if s.checkInterval > 0 {
		if now >= s.nextCheck {
			s.nextCheck = now + s.checkInterval
			if s.checking.CompareAndSwap(false, true) {
				p.workers.Inc()
				go p.checkIdle()
			}
		}
		next = min(next, s.nextCheck)
	}
	return next
}

// advanceTick sets the coarse clock. The sweeper calls it at every tick while a
// connection is open. While none is, the clock stands still. So an attempt that has
// opened a connection sets it, too: with an old stamp the connection would be closed at
// once.
func (p *Pool) advanceTick(now time.Duration) {
	if p.sweeper.tickLength == 0 {
		return
	}
	tick := uint32(now / p.sweeper.tickLength)
	if uint16(tick) == revokedStamp {
		tick++ // the clock skips it, and repeats the next tick
	}
	// The clock never goes back: one of the two may be held up with an older time in
	// hand. Such a time is at most a little older. But the clock may have stood still for
	// half its range of 2^32 ticks or more, and must go forward then.
	for old := p.tick.Load(); old-tick > 1<<16 && !p.tick.CompareAndSwap(old, tick); old = p.tick.Load() {
	}
}

// expire ends the waits that have lasted for MaxWaitTime. It returns when to look again.
// It looks at the oldest waiter of each queue only: waiters stand in the order in which they came, and
// MaxWaitTime is the same for all.
func (p *Pool) expire(now time.Duration) time.Duration {
	if !p.sweeper.expires {
		return never
	}
	var report *expiry
	same := p.expireSame(now, &report)
	for {
		w, since := p.queue.Oldest()
		if w == nil && same != never {
			p.sweeper.disarmAt = 0
			return same
		}
		if w == nil {
			if wake, ok := p.disarm(now); ok {
				return wake
			}
			same = p.expireSame(now, &report)
			continue // somebody has come to wait
		}
		p.sweeper.disarmAt = 0
		if end := time.Duration(since) + p.config.MaxWaitTime; end > now {
			return min(end, same)
		}
		if report == nil {
			report = &expiry{p.Stats()}
		}
		if p.refuse(w, report) {
			p.queue.Advance(w)
			p.fewerWait()
		}
	}
}

// disarm is called by the sweeper when nobody waits. The sweeper remains armed until
// MaxWaitTime from now. So callers that wait a little now and then need not kick it: a
// waiter that comes until then expires later than that. disarm returns when to wake, and
// false if somebody has come to wait meanwhile.
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
	if p.queue.Front() == nil {
		if _, any := p.oldestSame(); !any {
			return never, true
		}
	}
	s.armed.Store(true)
	return 0, false
}

// checkIdle calls Factory.Check for every idle or reserved connection, one after the other. The stamp
// of the slot stays as it is, because a check is not a use.
func (p *Pool) checkIdle() {
	for _, b := range *p.banks.Load() {
		for i := range b.ring.High() {
			word := b.ring.At(i)
			// A connection that is already due is left to the pass: it may have to stay
			// until its replacement is open.
			c := b.slots[i].Load()
			due := word.Phase() != ring.Idle || p.idleFor(word) >= p.idleTicks
			if c != nil && c.reservedBy(word) != nil {
				due = false
			}
			if !due && !p.checkSlot(held{b.first + i, word}) {
				return
			}
		}
	}
	p.sweeper.checking.Store(false)
	p.workerEnded()
}

// checkSlot checks one connection. It reports false if the call took too long and was
// abandoned. Then this round is over, and another one may have begun.
func (p *Pool) checkSlot(idle held) (goOn bool) {
	began := time.Duration(p.now())
	p.counters.checkBegan.Store(uint64(began))
	p.sweeper.round.Inc()
	h, ok := p.collect(idle)
	if !ok {
		p.sweeper.round.Inc()
		return true
	}
	step.At("checkSlot: taken")
	c := p.connIn(h.slot)
	if h.owns(c) { // else it has been revoked
		c.inRound = true
	}
	returned, abandoned := false, false
	defer func() {
		switch {
		case abandoned || !returned && c.callLeft():
			if c.call.Load() == callRevoked {
				p.workerEnded() // otherwise limitCall has done so
			}
			return // limitCall or endCall has ended the round
		case !returned: // runtime.Goexit ends the round
			p.sweeper.checking.Store(false)
			defer p.workerEnded()
		}
		p.sweeper.round.Inc()
	}()
	_, fit, abandoned := p.examine(h, false)
	returned = true
	p.looked(began, fit)
	if fit {
		c.inRound = false
		p.settle(h, true)
	}
	return !abandoned
}
