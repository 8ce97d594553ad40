// Package pool lends connections: of any type, each to one caller at a time, never
// more of them open than configured, and to those who must wait strictly in the
// order in which they came.
//
//	factory, err := wsconn.NewFactory("ws://localhost:8080/ws", nil)
//	p, err := pool.New(factory, pool.Config{MaxConnections: 100})
//	defer p.Close()
//
//	err = p.Do(ctx, func(ctx context.Context, conn *wsconn.Conn) error {
//		...
//	})
//
// [Pool.Do] is [Pool.Get], the call, and [Pool.Put], or [Pool.Discard] if the
// connection must not be used again.
//
// # Words
//
// A slot is a fixed place that can hold one connection. It is vacant, or a
// connection is being opened into it; then the connection is idle, or active, which
// is to say leased. A lease is what a caller holds; each lease of a slot has a
// generation of its own. A waiter is a caller of Get for whom nothing is idle. A
// hand-off gives a connection that comes back straight to the oldest waiter. A
// newcomer who overtakes a waiter would be barging. The pool is in an outage while
// opening connections keeps failing.
//
// # Guarantees
//
//   - At most [Config.MaxConnections] connections are open or being opened. (One that
//     is on its way out, in Factory.Close, is not counted, unless [Config.StrictMax]
//     says so.)
//   - A connection is lent to one caller at a time. A lease that has ended is refused,
//     also after its connection has been lent again, for the next 2^46 leases of its
//     slot.
//   - Waiters are served first come, first served, and nobody is barging. A caller
//     who is between its look for an idle connection and its place in the queue, a
//     few instructions, does not count as having come.
//   - A waiter takes whichever comes first, a connection that is returned or one that
//     is opened for it. No waiter is left beside an idle connection, or beside
//     capacity to open one.
//   - A caller whose ctx has ended gets no connection, and no connection is lost by it.
//   - Close, and Shutdown in its time, close every connection, once; one that is being
//     opened then, as soon as it is open.
//   - A panic in a function of the [Factory] becomes an error, and the slot is free
//     again. So it is when the function does not return: after ten seconds, or after
//     [Config.OpenTimeout], it is abandoned.
//   - In an outage, connections are opened one at a time, with growing pauses, and those
//     who would wait for nothing are told why at once. It ends by itself.
//
// # Errors
//
// [ErrExhausted] says that all connections have been leased for the whole of
// [Config.MaxWaitTime]: the callers are slow, or many, or one does not give back what it
// has ([Pool.Leases] tells), or MaxConnections is too low. [ErrUnavailable] says that the
// server cannot be reached; its error tells why. [ErrRejected] says that there is more
// load than MaxWaiters allows: it is meant to be shed. The error of your ctx says that
// your own time was over. Whatever it is, errors.Is finds what your factory has
// returned, if that is the reason.
//
// # Progress
//
// Get and Put take no lock. To lend and to take back, to queue, to hand off, to give
// up, to open and to close are lock-free, but for the functions of the Factory: each
// step that has to be repeated was caused by one that somebody else completed. A
// goroutine that is stopped at the worst of places holds up the slot that it has in
// hand, and the one waiter whom it has just decided to give something. Parking a
// goroutine and waking it are the runtime's, and take the lock of a channel that those
// two alone know.
//
// # Memory model
//
// What happened before [Pool.Put] returns a connection happens before the [Pool.Get]
// that lends it next returns, and before Factory.Check, Clean, and Close for it.
//
// # Limits
//
// A pool is for connections that cost something to open and serve one caller at a
// time. One that can carry many requests at once, as HTTP/2 does, needs no pool. For
// objects that are cheap to make and need no closing use [sync.Pool], and for SQL the
// pool in [database/sql].
//
// A pool that has lent a connection runs one goroutine until it is closed, unless all
// its times are without limit.
//
// Age is seen by that goroutine, about once a second. A process that was stopped may lend
// what has expired meanwhile until it has run, a moment later; a Factory.Check finds out
// what the peer has closed.
//
// # Source
//
// The idle slots are those of package ring. The queue of waiters is that of Michael
// and Scott (PODC 1996), with differences that its file names. That a waiter is served
// by whichever comes first, and that slots are taken where they lie, is known from
// HikariCP; that a returned connection is handed to the oldest waiter, from the
// channels of Go.
package pool
