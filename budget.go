package pool

import (
	"time"

	"github.com/S4AK4N/pool/internal/core"
)

// A Budget bounds how many connections several pools have open together, on top of
// [Config.MaxConnections] of each: pools of any types, and, if the Budget keeps its count where
// other processes see it, pools of a whole fleet: github.com/S4AK4N/pool/contrib/fleet has one that does, on Redis or
// Valkey. [NewBudget] returns one for a process. Set
// [Config.Budget] of all the pools to it, or [GroupConfig.MaxConnections].
//
// A connection has a right of the Budget from before Factory.Open is called until Factory.Close has
// returned, or was abandoned after ten seconds; until [Pool.Detach]; or, if no connection comes of
// it, until Open has returned, also when it was abandoned long before. So the bound holds at
// every instant, whatever [Config.StrictMax] says, but for a Close that does not return.
//
// While rights are free, pools take them as they open connections. When none is, a pool whose
// callers wait for a new connection stands in line with the others, in one place however many
// callers it has:
//
//   - The right goes to the pool that has stood there longest. If it needs more, it goes to
//     the end of the line.
//   - The connection that has been idle longest in another pool (to within a second) is closed for
//     it, with the reason "budget". If nothing is idle anywhere, what has been reserved longest by
//     [Pool.PutFor] is treated so, and within the pool goes to its own callers.
//   - A connection that comes back is closed, and its right passed on, if the oldest pool in the
//     line came before the oldest caller who waits in its own pool. So a pool whose connections
//     are never idle gives way, too, and neither its callers nor those of the others overtake
//     each other.
//
// A caller who waits for a right waits in its pool's queue as for anything else: it gets what comes
// back there if that is sooner, and [Config.MaxWaitTime] and its ctx end the wait. That is neither
// opening nor failing: it begins no outage, and [Config.OpenTimeout] begins with the right.
// [Stats].AwaitingBudget says for how many connections a pool stands in line. [Config.MinIdle] and
// [Pool.Warm] take rights that are free and close nothing in other pools.
//
// A goroutine that has a lease of one pool and asks another one while the Budget is used up waits
// for itself, if all others do the same: until MaxWaitTime ends it. Take all leases that a
// goroutine needs from one pool, or leave room in the Budget for it.
//
// A Get that finds something idle has nothing to do with the Budget. Those who open or close a
// connection take a mutex of it, for some 100 ns, and so does a Put while a pool stands in line.
//
// # Implementing a Budget
//
// An implementation keeps one [Rights] for a process, made by [NewRights] with a [RightsStore],
// and returns it each time. The line, and everything that is said above, is in there. The store is
// asked for rights only when the process has none to spare, and gives them, sooner or later, by
// [Rights.Grant]. What it cannot have because its server is down it ends by [Rights.Fail]: then
// opening has failed in all pools in the line, with that cause, and is tried again after a pause, as
// in any outage. Nothing is opened meanwhile, and what is open goes on.
type Budget interface {
	// Rights returns the rights that the pools of this process draw from, the same each time. It
	// is called when a pool is made, and must not block. An error is the error of [New].
	Rights() (*Rights, error)
}

// NewBudget returns a Budget for max connections, in the pools of this process. max must be
// positive; otherwise [New] returns an error for each pool that has the Budget. There is nothing to
// close. With testing/synctest a Budget belongs to a bubble as a pool does: New returns an error
// that wraps [ErrBubble] for a pool in another place.
func NewBudget(max int) Budget { return &Rights{core.NewRights(max, nil)} }

// Rights are the rights to open connections that a process has, and the line of the pools that lack
// some. They are for those who implement a [Budget]: others need NewBudget alone. All methods
// are safe for concurrent use and do not block. They may open, close and hand out connections
// in the calling goroutine, so call them without a lock that a RightsStore needs.
type Rights struct{ in *core.Rights }

// A RightsStore has rights for [Rights], in another place. Its methods must not block, and may be
// called from any goroutine. They may call the methods of the Rights.
type RightsStore interface {
	// Want says how many rights more than it has the process could use: waiting for callers who
	// wait for them, and whether any are taken beyond that, if nobody waits anywhere: hoping pools
	// want some for MinIdle or Warm. Each call replaces the one before, and zeros say that nothing
	// is wanted any more. Calls come one at a time: after each Grant, when the figures have changed, and after
	// a Fail, unless the store has been told last that nothing is wanted.
	// The store answers by Grant or Fail, at once or later. It may fetch more than is wanted and keep it.
	Want(waiting, hoping int)

	// Give gives back n rights that no pool needs. The store may keep them for the next Want.
	Give(n int)
}

// RightsTerm is what a [RightsStore] may have, too, whose rights end by themselves, such as those that are
// leased from a server. Term is called directly before Factory.Open and when that has returned. An error,
// or another number than before, is a failed open with that cause, and what was opened is closed and
// not lent. The number changes whenever rights may have ended since Term was called. Term may block
// while it asks, as Open may, but not for long: nothing cancels it.
type RightsTerm interface {
	Term() (number uint64, err error)
}

// NewRights returns Rights that get everything from store. They have none at first.
func NewRights(store RightsStore) *Rights {
	if store == nil {
		return new(Rights) // refused by New
	}
	return &Rights{core.NewRights(0, store)}
}

// Rights returns r itself: Rights are a Budget.
func (r *Rights) Rights() (*Rights, error) { return r, nil }

// Grant adds n rights. Those that no pool needs any more go back to the store by Give, at once.
func (r *Rights) Grant(n int) { r.in.Grant(n) }

// Fail says that what was wanted cannot be had, because of err: opening has failed. What pools
// want afterwards, the store is asked again.
func (r *Rights) Fail(err error) { r.in.Fail(err) }

// Reclaim says that processes elsewhere wait for n rights. It replaces what was said before. They stand
// in the line from the first such call on: what is given up for them comes back by Give.
func (r *Rights) Reclaim(n int) { r.in.Reclaim(n) }

// Lose takes n rights away that are lost already. As many connections are closed as soon as that can be
// done without breaking a lease: the one that has been idle longest first, then those that come back.
// What is closed so does not go back by Give.
func (r *Rights) Lose(n int) { r.in.Lose(n) }

// Cut is Lose for rights that must not be exceeded any longer: leases are revoked, as by [Pool.Revoke],
// where nothing is idle. Cut returns when as many connections as are lost are being closed, or none is left.
// What is being opened is closed when Open has returned, if a [RightsTerm] says so.
func (r *Rights) Cut(n int) { r.in.Cut(n) }

// Idle returns how many connections could be closed at once for others, and since when the first of them
// has been idle. Those that [Pool.PutFor] has reserved count while no other one is idle.
func (r *Rights) Idle() (n int, since time.Time) { return r.in.Idle() }

func (r *Rights) core() *core.Rights {
	if r == nil {
		return nil
	}
	return r.in
}

// joined is the Budget of a group beside that of the Config of one of its pools, which may be nil.
type joined struct {
	group *Rights
	own   Budget
}

func (j joined) Rights() (*Rights, error) { return j.group, nil }

// rightsOf returns the rights that a pool draws from whose Config is normalized.
func rightsOf(b Budget) []*core.Rights {
	switch b := b.(type) {
	case *Rights:
		return []*core.Rights{b.core()}
	case joined:
		return append([]*core.Rights{b.group.core()}, rightsOf(b.own)...)
	}
	return nil
}
