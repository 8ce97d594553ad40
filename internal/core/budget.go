package core

import (
	"errors"
	"log/slog"
	std "sync/atomic"
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/queue"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
	"github.com/S4AK4N/pool/ring"
)

// A budget is what a pool has of one or two Rights: those of its Config, and those of its group.
// What it opens needs a right of each. Each right is in one place:
//
//   - with the goroutine that has got it, before the census admits an attempt for it
//   - with the attempt, until Open has returned, however it was ended meanwhile
//   - with the connection that Open has returned, until Close has returned or was abandoned, or
//     until Detach
//
// Of two, neither is held while the pool waits for the other: the second is tried, and if there is
// none, the first goes back. So a pool stands in one line at a time.
type budget struct {
	gotRight atomic.Int64 // when the pool got its last right, on the pool's clock
	pool     *Pool
	shares   []*share

	// Rights that are with a goroutine, and how many ever were: see openWithin. Both are raised, in
	// this order, under the mutex of the Rights, before asks is lowered; where it is not lowered (in
	// ask of two budgets), also without the mutex.
	inHand  std.Int32
	granted std.Uint32
}

// holds counts n rights that a goroutine has got for those who wait.
func (b *budget) holds(n int) {
	b.inHand.Add(int32(n))
	b.granted.Add(uint32(n))
}

func newBudget(p *Pool, rights []*Rights) *budget {
	if len(rights) == 0 {
		return nil
	}
	b := &budget{pool: p}
	for i, r := range rights {
		b.shares = append(b.shares, &share{rights: r, pool: p, bit: 1 << i})
	}
	return b
}

// asks returns for how many rights the pool stands in a line.
func (b *budget) asks() (n int) {
	for _, s := range b.shares {
		n = max(n, int(s.asks.Load()))
	}
	return n
}

// take takes up to n rights of each kind that are free. short is the share that had not enough.
func (b *budget) take(n int, hopes bool) (got int, short *share) {
	return b.takeBeside(nil, n, hopes)
}

// takeBeside is take for who has n rights of one share already: of that none is taken or given back.
func (b *budget) takeBeside(has *share, n int, hopes bool) (got int, short *share) {
	for i, s := range b.shares {
		if n == 0 || s == has {
			continue
		}
		k := s.take(n, hopes)
		if k < n {
			short = s
			for _, before := range b.shares[:i] {
				if before != has {
					before.giveBack(n-k, false)
				}
			}
			n = k
		}
	}
	return n, short
}

// ask takes up to n rights of each kind, and stands in one line for the rest; unless granted is not
// what it was any more: then the caller must look again.
func (b *budget) ask(n int, since time.Time, granted uint32) (got int) {
	if len(b.shares) == 1 {
		return b.shares[0].ask(n, since, granted)
	}
	for n > 0 {
		k, short := b.take(n, false)
		b.holds(k)
		granted += uint32(k)
		got += k
		if n -= k; n == 0 {
			break
		}
		b.quitAllBut(short)
		// What it gets now has just come free: then the others are tried again.
		if k = b.among(short, short.ask(n, since, granted)); k == 0 {
			return got
		}
		got += k
		n -= k
	}
	b.quitAllBut(nil)
	return got
}

// quitAll leaves all lines: the pool is closed.
func (b *budget) quitAll() {
	for _, s := range b.shares {
		s.quit()
	}
}

// short reports whether the pool lacks a right for which no connection is being closed.
func (b *budget) short() bool {
	for _, s := range b.shares {
		if s.asks.Load() > 0 && s.short() {
			return true
		}
	}
	return false
}

func (b *budget) quitAllBut(stay *share) {
	for _, s := range b.shares {
		if s != stay && s.asks.Load() > 0 {
			s.quit()
		}
	}
}

// among returns for how many of the n rights that s has got there is one of each other kind. The
// rest goes back, and then the pool does not stand in the line of s.
func (b *budget) among(s *share, n int) int {
	got, _ := b.takeBeside(s, n, false)
	if got < n {
		s.quit() // first: it would get them again
		s.giveBack(n-got, false)
		b.inHand.Add(int32(got - n)) // the caller looks again
	}
	return got
}

// giveBack gives back n rights of each kind. yielded has the bits of those for whose line the
// connection was closed.
func (b *budget) giveBack(n int, yielded uint8) {
	for i := len(b.shares) - 1; i >= 0; i-- { // who gets the last one finds the others free
		s := b.shares[i]
		s.giveBack(n, yielded&s.bit != 0)
	}
}

// rightBack gives back the right of a connection or an attempt.
func (p *Pool) rightBack(yielded uint8) {
	if p.budget != nil {
		p.budget.giveBack(1, yielded)
	}
}

// openWithin is openForWaiters for a pool with a budget: have is how many rights the caller has
// brought, which are counted in inHand. It goes on until the pool stands in the line for what it lacks,
// and for no more. The race: here the pool takes its place, then reads again what it lacks. Whoever
// changes that does so, then comes here.
//
// What another goroutine has in hand is not lacking: it is about to begin an attempt with it. (Otherwise
// the pool would ask twice, and an idle connection of another pool be closed for nothing.) That one lowers
// inHand, then looks again, for all who have counted on it. A right may come between the looks that
// are made here: then granted has changed when the pool is about to take its place, and it looks again.
func (p *Pool) openWithin(asker *queue.Waiter, have int) (begun, held bool) {
	b := p.budget
	if have == 0 && p.elsewhere() {
		return false, false
	}
	for {
		granted := b.granted.Load()
		inHand := int(b.inHand.Load()) - have
		began, heldBack, left, lacks := p.admitOpens(asker, have)
		if began {
			begun, asker = true, nil
		}
		if have > 0 {
			step.At("budget: used")
			if left > 0 {
				b.giveBack(left, 0) // nobody needs it
			}
			b.inHand.Add(int32(-have))
			have = 0
			continue
		}
		lacks = max(lacks-inHand, 0)
		if lacks == b.asks() {
			return begun, heldBack
		}
		have = b.ask(lacks, p.askedSince(), granted)
		if have > 0 {
			p.hasRights()
		}
	}
}

// askedSince returns the place in a line that is due to the pool: when the one came who has waited
// longest, but not before it got its last right.
func (p *Pool) askedSince() time.Time {
	since := time.Duration(p.now())
	if w, began := p.queue.Oldest(); w != nil {
		since = max(time.Duration(began), time.Duration(p.budget.gotRight.Load()))
	}
	return p.epoch.Add(since)
}

// hasRights is called when the pool has got rights.
func (p *Pool) hasRights() {
	p.budget.gotRight.Store(p.now())
	p.minds() // it may not have been among those that were told
}

// granted is called when the pool has got n rights of one kind, for which it stood in the line.
func (p *Pool) granted(s *share, n int) {
	step.At("budget: granted")
	n = p.budget.among(s, n)
	if n > 0 {
		p.hasRights()
	}
	p.ensureOpenWith(n)
}

// fewerWait is called when somebody waits no longer: then the pool need not stand in a line for
// as much. The other side is in openWithin. Here the gate has been lowered, then the place is
// looked at.
func (p *Pool) fewerWait() {
	if p.budget != nil && p.budget.asks() > 0 {
		p.ensureOpen(nil)
	}
}

// minds sets the flag in the gate if anybody stands in a line of the budget, and clears it
// otherwise. The race with another one, who sets or clears it: each reads the line afterwards once
// more. One who has cleared the flag in vain looks for what was published meanwhile.
func (p *Pool) minds() {
	for cleared := false; ; {
		asked := p.asked()
		step.At("budget: line read")
		if asked {
			p.setGate(words.GateAsked)
		} else {
			p.clearGate(words.GateAsked)
		}
		step.At("budget: flag changed")
		if asked && cleared {
			p.lookElsewhere()
		}
		if cleared = !asked; p.asked() == asked {
			return
		}
	}
}

// asked reports whether anybody stands in a line of the budget.
func (p *Pool) asked() bool {
	for _, s := range p.budget.shares {
		if s.asked() {
			return true
		}
	}
	return false
}

// lookElsewhere has those in the lines of the budget look for what is idle.
func (p *Pool) lookElsewhere() {
	for _, s := range p.budget.shares {
		s.rights.look()
	}
}

// wantedElsewhere reports whether what is idle in this pool is wanted in another one.
func (p *Pool) wantedElsewhere() bool {
	for _, s := range p.budget.shares {
		if s.wanted() {
			return true
		}
	}
	return false
}

// yieldsTo closes the connection in a held slot if another pool comes before w, who is the oldest who
// waits for it here; nil: nobody does. It reports whether it has. What has just been opened serves
// somebody here first: otherwise connections would be opened and closed, and nobody served.
func (p *Pool) yieldsTo(h held, c *conn, w *queue.Waiter) bool {
	if w != nil && c.born == h.word.Generation() && !p.budget.cuts() {
		return false
	}
	since := p.epoch
	if w != nil {
		began, live := w.Since()
		if !live {
			return false // who comes next?
		}
		since = p.epoch.Add(time.Duration(began))
	}
	var to uint8
	for _, s := range p.budget.shares {
		if s.yields(w != nil, since) {
			to |= s.bit
		}
	}
	if to == 0 {
		return false
	}
	step.At("settle: yields")
	p.conns.Add(uint64(words.CensusLeaving))
	p.closeFor(to, h)
	return true
}

// closeFor closes the connection in a held slot that is counted as leaving, for the lines of
// those shares.
func (p *Pool) closeFor(to uint8, h held) {
	c, word := p.empty(h)
	if c == nil {
		for _, s := range p.budget.shares {
			if to&s.bit != 0 {
				s.keeps()
			}
		}
		return
	}
	c.yielded = to // nobody else has it
	p.destroyEmptied(c, word, closedByBudget, nil, nil)
}

// longestIdle returns for how long the connection has been idle that takeOldest would take.
func (p *Pool) longestIdle() (i idleness) {
	if words.Gate(p.gate.Load()).Closed() {
		return i
	}
	now := time.Duration(p.now())
	for _, b := range *p.banks.Load() {
		for slot := range b.ring.High() {
			word := b.ring.At(slot)
			var this idleness
			switch c := b.slots[slot].Load(); word.Phase() {
			case ring.Idle:
				this = idleness{any: true, since: p.epoch.Add(now - time.Duration(p.idleFor(word))*p.sweeper.tickLength)}
			case ring.Leased:
				if c == nil {
					continue
				}
				r := c.reservedBy(word)
				if r == nil {
					continue
				}
				this = idleness{any: true, reserved: true, since: p.epoch.Add(r.since)}
			default:
				continue
			}
			if this.reserved == i.reserved {
				this.number = i.number
			}
			this.number++
			if !i.any || this.before(i) {
				i = this
			} else if this.reserved == i.reserved {
				i.number = this.number
			}
		}
	}
	return i
}

// evictFor closes what has been idle longest, if anything is, for the line of s. First it is taken,
// then it is promised: who publishes something meanwhile must not take it for a promise that
// nothing comes of.
func (p *Pool) evictFor(s *share) {
	h, ok := p.takeOldest()
	if !ok {
		return
	}
	step.At("budget: taken")
	if p.plainWaits() {
		if c := p.connIn(h.slot); h.owns(c) {
			c.yields = true // also if it is reserved
		}
		p.settleApart(h) // which goes by who came first. It may call Check
		return
	}
	if !s.yields(false, p.epoch) {
		p.settleApart(h) // others have made enough room
		return
	}
	p.conns.Add(uint64(words.CensusLeaving))
	p.closeFor(s.bit, h)
}

// cuts reports whether leases are revoked for rights of the budget that are lost.
func (b *budget) cuts() bool {
	for _, s := range b.shares {
		if s.rights.cuts() {
			return true
		}
	}
	return false
}

// cutFor ends up to n leases for what the process has lost of the rights of s, and closes their
// connections. It returns how many, and whether somebody else has ended one meanwhile, so that the connection may be in
// other hands.
func (p *Pool) cutFor(s *share, n int) (cut int, missed bool) {
	for _, b := range *p.banks.Load() {
		for i := range b.ring.High() {
			c := b.slots[i].Load()
			if c == nil || cut == n {
				continue
			}
			word := b.ring.At(i)
			if word.Phase() != ring.Leased || word.Stamp() == revokedStamp || b.slots[i].Load() != c {
				continue
			}
			if !s.yields(false, p.epoch) {
				return cut, missed // no more is lacking
			}
			step.At("budget: cuts one")
			if p.revokeFor(s.bit, Lease{c, word}, closedByBudget, ErrRevoked) {
				cut++
				continue
			}
			missed = true
			s.keeps()
		}
	}
	return cut, missed
}

// terms asks the stores of the budget in which terms their rights are, if those end by themselves. begins says that
// something is about to be opened: that is no time for it while rights are lost and nothing is being closed for them.
func (b *budget) terms(begins bool) (numbers [2]uint64, err error) {
	for i, s := range b.shares {
		if t, ok := s.rights.store.(Term); ok {
			if numbers[i], err = t.Term(); err != nil {
				return numbers, err
			}
		}
		if begins && s.rights.owes() {
			return numbers, errTermOver
		}
	}
	return numbers, nil
}

// askTerms is terms in a guard: a store is not our code.
func (b *budget) askTerms(begins bool) (numbers [2]uint64, err error) {
	err = guard("RightsStore.Term", func() (err error) {
		numbers, err = b.terms(begins)
		return err
	})
	return numbers, err
}

// errTermOver is why a connection is closed that was opened too late.
var errTermOver = errors.New("pool: the right to open it has ended meanwhile")

// budgetFailed notes that rights cannot be had. It counts as an attempt that has failed, but
// Factory.Open was not called.
func (p *Pool) budgetFailed(cause error) {
	if p.elsewhere() || p.lifetime.Err() != nil {
		return
	}
	now := time.Duration(p.now())
	err := p.config.OpenFailed(cause)
	began := p.outage.Load()
	p.lastOpen.Store(err)
	p.failed(began, now, p.retryAfter(cause, now), true)
	p.warn(&p.counters.openErrorLog, "the budget has no right to open a connection", slog.Any("error", cause))
	if told := p.mustTell(now, err); told != nil {
		p.refuseOldest(told)
	}
	p.ensureOpen(nil)
	p.openEnded() // Warm waits for the pause
}
