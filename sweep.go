package pool

import (
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/ring"
)

// A sweeper is the goroutine that looks after what time does to a pool. It ends
// waits that have lasted for MaxWaitTime, without a timer for each of them; closes
// what has been idle for too long; has idle connections checked; and keeps the
// coarse clock that Put stamps its slots with. It calls no factory function itself,
// so that none of them can delay it.
//
// It is started by the first caller who waits, without whom there are no
// connections either, and sleeps while it has no duties.
type sweeper struct {
	started atomic.Bool
	kick    chan struct{} // wakes it; capacity 1
	armed   atomic.Bool   // it will look at the queue in time, or has been kicked
	dead    atomic.Int32  // waiters that were decided where they stood, since the last unlink

	idle          bool          // it has nothing to do in time, and is only kicked to unlink
	tickLength    time.Duration // of the pool's coarse clock; 0 if it stands still
	checkInterval time.Duration // 0: no checks
	nextCheck     time.Duration // the sweeper's own, as disarmAt
	disarmAt      time.Duration // 0: not decided
	checking      atomic.Bool   // a round of checks is under way
	round         atomic.Uint32 // counts on when it takes a slot, and when it has let go of it
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
func (s *sweeper) init(config Config, checks bool) (idleTicks uint32) {
	s.kick = make(chan struct{}, 1)
	if checks && config.CheckInterval > 0 {
		s.checkInterval = config.CheckInterval
		s.nextCheck = config.CheckInterval
	}
	idle := config.MaxIdleTime
	s.idle = idle < 0 && config.MaxWaitTime < 0 && s.checkInterval == 0
	if idle < 0 {
		return 1 << 16 // more than any age
	}
	s.tickLength = max(min(max(idle/ticksPerIdleTime, minTick), maxTick), idle/maxIdleTicks)
	// One more than that: a stamp is up to a tick older than it says.
	return uint32((idle+s.tickLength-1)/s.tickLength) + 1
}

// wakeSweeper sees to it that the sweeper knows that somebody waits, or that something
// is open. The other side is in disarm and in sweep: armed is cleared, and then the
// queue and the census are looked at; here they have been changed, and then armed is
// read.
func (p *Pool[T]) wakeSweeper() {
	if !p.sweeper.idle && !p.sweeper.armed.Load() && p.sweeper.armed.CompareAndSwap(false, true) {
		p.kickSweeper()
	}
}

func (p *Pool[T]) kickSweeper() {
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
func (p *Pool[T]) sweepAside() {
	p.queue.front()
	if p.sweeper.dead.Inc() >= int32(minDead+gateWord(p.gate.Load()).waiters()) {
		p.kickSweeper()
	}
}

// minDead is how many such waiters there must be before it is worth a pass.
const minDead = 64

// never is later than any time on the pool's clock (see forever).
const never = time.Duration(1<<63 - 1)

func (p *Pool[T]) sweep() {
	s := &p.sweeper
	timer := time.NewTimer(never)
	defer timer.Stop()
	for {
		step.At("sweep: awake")
		if s.dead.Load() >= minDead {
			s.dead.Store(0)
			p.queue.unlink()
		}
		now := time.Duration(p.now())
		wake := p.duties(now)
		if wake == never {
			step.At("sweep: nothing due")
			// Before a sleep without end: armed may still be set if nobody
			// expires. The other side is in wakeSweeper.
			s.armed.Store(false)
			step.At("sweep: disarmed")
			wake = p.duties(now)
		}
		if wake == never {
			timer.Stop()
		} else {
			timer.Reset(wake - time.Duration(p.now())) // some time may have passed
		}
		select {
		case <-timer.C:
		case <-s.kick:
		case <-p.lifetime.Done():
			return
		}
	}
}

// duties does what is due by now, and returns when the next thing will be.
func (p *Pool[T]) duties(now time.Duration) (next time.Duration) {
	s := &p.sweeper
	next = p.expire(now)
	if census(p.conns.Load()).open() == 0 {
		return next
	}
	if s.tickLength > 0 {
		p.advanceTick(now)
		p.closeIdle()
		next = min(next, now.Truncate(s.tickLength)+s.tickLength)
	}
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
func (p *Pool[T]) advanceTick(now time.Duration) {
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
func (p *Pool[T]) expire(now time.Duration) time.Duration {
	if p.config.MaxWaitTime < 0 {
		return never
	}
	var report *expiry
	for {
		dummy, w := p.queue.front()
		if w == nil {
			if wake, ok := p.disarm(now); ok {
				return wake
			}
			continue // somebody has come
		}
		p.sweeper.disarmAt = 0
		if end := time.Duration(w.since) + p.config.MaxWaitTime; end > now {
			return end
		}
		if report == nil {
			report = &expiry{p.Stats(), p.lastOpen.Load()}
		}
		if p.refuse(w, report) {
			p.queue.advance(dummy, w)
		}
	}
}

// disarm is for a sweeper that sees nobody wait. It remains armed until MaxWaitTime
// from now, so that those who wait a little now and then need not kick it: whoever
// comes until then expires later than that. It returns when to wake, and false if
// somebody has come to wait in the meantime.
func (p *Pool[T]) disarm(now time.Duration) (time.Duration, bool) {
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
	if _, w := p.queue.front(); w == nil {
		return never, true
	}
	s.armed.Store(true)
	return 0, false
}

// closeIdle closes the connections that have been idle for too long.
func (p *Pool[T]) closeIdle() {
	for slot := range p.ring.High() {
		word := p.ring.At(slot)
		if word.Phase() != ring.Idle || p.idleFor(word) < p.idleTicks {
			continue
		}
		if word, ok := p.ring.Retake(slot, word); ok {
			p.destroy(held{slot, word}, closedByIdleTime, errIdleTooLong)
		}
	}
}

// checkIdle calls Factory.Check for every idle connection, one after the other. The
// stamp of the slot stays as it is: to be checked is not to be used.
func (p *Pool[T]) checkIdle() {
	defer p.sweeper.checking.Store(false)
	for slot := range p.ring.High() {
		word := p.ring.At(slot)
		if word.Phase() != ring.Idle {
			continue
		}
		p.checkSlot(held{slot, word})
	}
}

func (p *Pool[T]) checkSlot(h held) {
	p.sweeper.round.Inc()
	defer p.sweeper.round.Inc()
	var ok bool
	if h.word, ok = p.ring.Retake(h.slot, h.word); !ok {
		return
	}
	if _, ok := p.admit(h); ok {
		p.settle(h, true)
	}
}
