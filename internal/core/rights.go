package core

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/step"
)

// Rights are what a process may have open, in all pools that draw from them, and the line in
// which these pools stand. Each connection has a right from before its opening begins until it is
// closed. A pool that lacks rights has one place in the line, however many it lacks.
//
// This is the one place in which several pools share a mutex. It is taken by those who open and
// close connections, and by who ends a lease while a pool stands in the line. It is held for a few
// plain steps: neither an atomic operation nor a call of a pool or of a store is made under it.
//
// How many wait in a pool, what is idle in it and its flag in the gate are atomics of that pool,
// the line is under the mutex. So there are races between the two. Each side does its own step
// first and looks at the other's afterwards:
//
//	ask:  stands in the line, sets the flag in the gate of each pool that has rights; then looks
//	      for what is idle there (look)
//	Put, settle:  publish the slot; then read the gate, and what the line wants (wanted)
//
//	ask:  stands in the line; then reads again how many wait (lackOf)
//	whoever ends a wait:  lowers the gate; then reads whether the pool stands in the line (fewerWait)
//
//	whoever sets or clears the flag (minds):  reads the line, changes the flag; then reads the line
//	      again. One who sets it anew looks for what was published while it was clear
type Rights struct {
	calls atomic.Uint64 // calls of what follows; for the explorer, which sees atomics alone
	epoch time.Time     // when it was made: see place.go
	store Store         // where further rights come from; nil: from nowhere
	err   error         // why there are none at all

	mu      sync.Mutex // guards what follows, and the fields of each share; see above who takes it
	free    int        // rights that nobody has
	line    []*share   // who lack rights, the oldest first
	holders []*share   // who have rights
	hoping  []*share   // who take what is free and had not enough, since they were told last
	coming  int        // connections that are being closed for the line
	telling bool       // the store is being told how many are wanted
	toldOf  [2]int     // what it was told: for the line, and for those who hope
	outside share      // those in other processes who wait, as one in the line
	lost    share      // rights that this process has lost, as one who comes before all
	cutting bool       // what is lost is not waited for: leases are revoked for it
}

// A Store is where Rights get further rights from. It is the one of the root package.
type Store interface {
	Want(waiting, hoping int)
	Give(n int)
}

// A Term is what a Store may have, too, whose rights end by themselves. It is the one of the root
// package.
type Term interface {
	Term() (number uint64, err error)
}

// NewRights returns max rights, or those that a store grants.
func NewRights(max int, store Store) *Rights {
	r := &Rights{free: max, store: store, epoch: time.Now()}
	if store == nil && max <= 0 {
		r.err, r.free = fmt.Errorf("pool: NewBudget: max must be positive: %d", max), 0
	}
	r.outside.rights, r.lost.rights = r, r
	return r
}

var errNoRights = errors.New("pool: Config.Budget returned no Rights")

// Valid returns why a pool cannot draw from r, or nil.
func (r *Rights) Valid() error {
	switch {
	case r == nil:
		return errNoRights
	case r.err != nil:
		return r.err
	case Elsewhere(r.epoch):
		return ErrBubble
	}
	return nil
}

// enter begins a call, leave ends it, with what it has to do without the mutex.
func (r *Rights) enter() {
	r.calls.Inc()
	r.mu.Lock()
}

// A settlement is what a call has to do when it has released the mutex.
type settlement struct {
	grants  []grant
	told    []*share // who hoped, and may try again
	minding []*share // whose flags in the gate must be changed
	give    int      // to the store
}

type grant struct {
	*share
	n int
}

// leave ends a call that began with enter. waited says whether the line was empty then.
func (r *Rights) leave(waited bool) {
	var s settlement
	r.dispatch(&s)
	if (len(r.line) > 0) != waited {
		s.minding = slices.Clone(r.holders)
	}
	r.mu.Unlock()
	for _, h := range s.minding {
		h.pool.minds()
	}
	if s.give > 0 {
		r.store.Give(s.give)
	}
	for _, g := range s.grants {
		g.pool.granted(g.share, g.n)
	}
	for _, h := range s.told {
		h.pool.hopeAnew()
	}
	if r.store != nil {
		r.tell()
	}
}

// dispatch gives free rights to the line, one to each in turn: whoever has got one goes to the
// end. What nobody in the line needs may be taken by those who hope, and goes back to the store.
func (r *Rights) dispatch(to *settlement) {
	for r.free > 0 && len(r.line) > 0 {
		s := r.line[0]
		r.free--
		now := time.Now()
		if s == &r.lost {
			now = time.Time{} // it stays in front
		}
		if s.pool != nil {
			s.pool.budget.holds(1) // before asks is lowered: see openWithin
		}
		r.place(s, s.wants-1, now)
		switch s {
		case &r.lost:
			r.cutting = r.cutting && s.wants > 0
		case &r.outside:
			to.give++
		default:
			r.hold(s, 1)
			if s.asking > 0 {
				s.got++ // it is just about to look
			} else if i := slices.IndexFunc(to.grants, func(g grant) bool { return g.share == s }); i >= 0 {
				to.grants[i].n++
			} else {
				to.grants = append(to.grants, grant{s, 1})
			}
		}
	}
	if r.free == 0 {
		return
	}
	for _, s := range r.hoping {
		s.hopes = false
	}
	to.told, r.hoping = r.hoping, nil
	if r.store != nil && len(to.told) == 0 { // else they are there until the next call: those who hope may take them
		to.give += r.free
		r.free = 0
	}
}

// place gives s its place in the line, among those who came before and after since, for so many
// rights. Of the same instant, the one that is there already comes first.
func (r *Rights) place(s *share, wants int, since time.Time) {
	if s.wants > 0 {
		i := slices.Index(r.line, s)
		r.line = slices.Delete(r.line, i, i+1)
	}
	s.wants = wants
	s.asks.Store(int32(min(wants, math.MaxInt32)))
	if wants <= 0 {
		return
	}
	s.since = since
	i := len(r.line)
	for i > 0 && r.line[i-1].since.After(since) {
		i--
	}
	r.line = slices.Insert(r.line, i, s)
}

// hold adds so many rights to those that s has.
func (r *Rights) hold(s *share, n int) {
	s.has += n
	switch {
	case s.has > 0 && s.held == 0:
		r.holders = append(r.holders, s)
		s.held = len(r.holders)
	case s.has <= 0 && s.held > 0:
		last := r.holders[len(r.holders)-1]
		r.holders[s.held-1], last.held = last, s.held
		r.holders[len(r.holders)-1] = nil
		r.holders, s.held = r.holders[:len(r.holders)-1], 0
	}
}

// look closes what has been idle longest in any pool, for others that stand in the line, and what has
// been reserved longest, if nothing is idle. A pool that stands in the line itself may have something
// idle: nobody waits there any more, and it is about to leave, or who waits needs a fresh one. If those who stand in the line have
// something reserved themselves, that is theirs first (lapse).
func (r *Rights) look() {
	for {
		step.At("budget: looks")
		r.enter()
		lacking := r.lacking(nil, false, time.Time{})
		if lacking <= r.coming {
			r.mu.Unlock()
			return
		}
		var others, asking []*share
		for _, s := range r.holders {
			if lacking-s.wants > r.coming { // of others than itself
				others = append(others, s)
			}
		}
		for _, s := range r.line {
			if s.pool != nil {
				asking = append(asking, s)
			}
		}
		r.mu.Unlock()

		reserved := false
		for _, s := range asking {
			reserved = reserved || s.pool.reserved.Load() > 0
		}
		var from *share
		var longest idleness
		for _, s := range others {
			if i := s.pool.longestIdle(); i.any && !(i.reserved && reserved) && (from == nil || i.before(longest)) {
				from, longest = s, i
			}
		}
		step.At("budget: has looked")
		if from == nil {
			for _, s := range asking {
				s.pool.ensureLapse()
			}
			return
		}
		from.pool.evictFor(from) // then look again, also if somebody else has taken it
	}
}

// tell tells the store how many rights are wanted. One goroutine at a time does, until it has told
// the last.
func (r *Rights) tell() {
	r.enter()
	if r.telling {
		r.mu.Unlock()
		return
	}
	r.telling = true
	for {
		want := [2]int{0, len(r.hoping)}
		for _, s := range r.line {
			if s.pool != nil {
				want[0] += s.wants
			}
		}
		if want == r.toldOf {
			break
		}
		r.toldOf = want
		r.mu.Unlock()
		r.store.Want(want[0], want[1])
		r.enter()
	}
	r.telling = false
	r.mu.Unlock()
}

// Grant adds rights that the store has granted.
func (r *Rights) Grant(n int) {
	r.enter()
	waited := len(r.line) > 0
	r.free += n
	r.toldOf = [2]int{-1, -1} // the store counts from here on: it is told also if as many are wanted as before
	r.leave(waited)
}

// Fail ends all that is asked for: none of it can be had, because of err.
func (r *Rights) Fail(err error) {
	r.enter()
	waited := len(r.line) > 0
	var asking []*share
	for _, s := range append(slices.Clone(r.line), r.hoping...) {
		if s.pool != nil && !slices.Contains(asking, s) {
			asking = append(asking, s)
			r.place(s, 0, time.Time{})
			s.hopes = false
		}
	}
	r.hoping = nil
	if r.toldOf != [2]int{} { // the store may hear later what was wanted before, or is asked for as much again
		r.toldOf = [2]int{-1, -1}
	} // else it knows that nothing is: one that fails whatever it is told would be told so for ever
	r.leave(waited)
	for _, s := range asking {
		s.pool.budgetFailed(err)
	}
}

// Reclaim says that n rights are wanted in other processes.
func (r *Rights) Reclaim(n int) {
	r.enter()
	waited := len(r.line) > 0
	since := time.Now()
	if r.outside.wants > 0 {
		since = r.outside.since
	}
	r.place(&r.outside, n, since)
	r.leave(waited)
	r.look()
}

// Lose says that n more rights are lost.
func (r *Rights) Lose(n int) {
	r.enter()
	waited := len(r.line) > 0
	r.place(&r.lost, r.lost.wants+n, time.Time{})
	r.leave(waited)
	r.look()
}

// Cut says that n more rights are lost, and that leases are revoked where nothing is idle.
//
// The race: here what is lost stands in the line and cutting is set, then the slots are looked at.
// What has just been opened is stored in its slot, then cutting is read (yieldsTo).
func (r *Rights) Cut(n int) {
	r.enter()
	waited := len(r.line) > 0
	r.place(&r.lost, r.lost.wants+n, time.Time{})
	r.cutting = r.lost.wants > 0
	r.leave(waited)
	r.look()
	for {
		step.At("budget: cuts")
		r.enter()
		lacking, holders := r.lost.wants-r.coming, slices.Clone(r.holders)
		r.mu.Unlock()
		again := false
		for _, s := range holders {
			if lacking <= 0 {
				return
			}
			n, missed := s.pool.cutFor(s, lacking)
			lacking -= n
			again = again || n > 0 || missed
		}
		if !again {
			return
		}
	}
}

// cuts reports whether leases are revoked for what is lost.
func (r *Rights) cuts() bool {
	r.enter()
	defer r.mu.Unlock()
	return r.cutting && r.lost.wants > r.coming
}

// owes reports whether rights are lost for which no connection is being closed.
func (r *Rights) owes() bool {
	if r.store == nil {
		return false // none is ever lost
	}
	r.enter()
	defer r.mu.Unlock()
	return r.lost.wants > r.coming
}

// Idle returns how many connections could be closed at once for others, and since when the first of
// them has been of no use. What is reserved counts only while nothing is idle.
func (r *Rights) Idle() (n int, since time.Time) {
	r.enter()
	holders := slices.Clone(r.holders)
	r.mu.Unlock()
	var longest idleness
	for _, s := range holders {
		i := s.pool.longestIdle()
		if !i.any {
			continue
		}
		if n == 0 || longest.reserved && !i.reserved {
			longest, n = i, i.number
		} else if longest.reserved == i.reserved {
			n += i.number
			if i.before(longest) {
				longest = i
			}
		}
	}
	return n, longest.since
}

// An idleness says for how long something has been idle in a pool.
type idleness struct {
	any, reserved bool
	since         time.Time
	number        int // of those that are so
}

// before reports whether what is idle so is closed before that. What is reserved comes last.
func (i idleness) before(o idleness) bool {
	if i.reserved != o.reserved {
		return o.reserved
	}
	return i.since.Before(o.since)
}
