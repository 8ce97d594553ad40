// Package pool lends connections of any type: each to one caller at a time, no more of
// them open than configured, and to waiting callers first come, first served.
//
//	factory, err := wsconn.NewFactory(url, nil)
//	if err != nil {
//		return err
//	}
//	p, err := pool.New(factory, pool.Config{MaxConnections: 100})
//	if err != nil {
//		return err
//	}
//	defer p.Close()
//
//	// conn is an idle connection, a new one, or the next one that is returned.
//	return p.Do(ctx, func(ctx context.Context, conn *wsconn.Conn) error {
//		// For a server that sends nothing but replies. Others need Options.IsReply.
//		_, reply, err := conn.Exchange(ctx, websocket.MessageText, []byte("hello"))
//		if err != nil {
//			return err // the pool closes conn: the reply may still arrive
//		}
//		fmt.Printf("%s\n", reply)
//		return nil
//	})
//
// [Pool.Do] is [Pool.Get], the call, and [Pool.Put], or [Pool.Discard] if the call returns
// an error that is not marked with [Keep].
//
// # Words
//
// A slot is a fixed place for one connection. A slot is vacant, or a connection is being
// opened into it, or its connection is idle, or its connection is active: leased. A lease is
// the right to use one connection; each lease of a slot has its own generation. A waiter is
// a caller of Get for whom no connection is idle. A hand-off gives a returned connection
// directly to the oldest waiter. Barging, which never happens here, is a newcomer overtaking
// a waiter. The pool is in an outage while opening connections keeps failing.
//
// # Guarantees
//
//   - At most [Config.MaxConnections] connections are open or being opened. Beside them, as
//     many may be in Factory.Close, and a call of Factory.Open that hangs may go on (see
//     [Config.OpenTimeout]); with [Config.StrictMax] neither.
//   - A connection is lent to one caller at a time. A lease that has ended is refused, also
//     after its connection has been lent again, for the next 2^46 leases and openings in its slot.
//   - Waiters are served first come, first served. A caller has come when it stands in the
//     queue: the few instructions between its look for an idle connection and its place in
//     the queue do not count.
//   - A waiter gets a returned connection or a new one, whichever comes first. No waiter is
//     left beside an idle connection, or beside room to open one.
//   - A caller of [Pool.GetFresh] stands in the same queue, and gets only a connection whose
//     opening began after the call. What is too old for it goes to those behind it, or is
//     closed to make room for one that is not.
//   - A caller of [Pool.GetSame] gets one certain connection, or is told that it is gone. It stands
//     in no other caller's way: of those who could use a connection that comes back, whoever
//     came first gets it, whether it waits for this one or for any.
//   - A caller whose ctx has ended gets no connection, and no connection is lost by that.
//   - A lease that does not come back can be ended by [Pool.Revoke]. Its holder keeps nothing
//     but a closed connection, and ends nobody else's lease by it.
//   - No connection is lent after the time that [Factory.Expires] gave it, and one that is idle
//     then is closed.
//   - Close closes every connection, once. Shutdown does so as connections come back. What is
//     being opened at that time is canceled, or closed as soon as it is open. Shutdown waits for
//     that, and so does Close, for a second at most.
//   - A panic in a function of the [Factory] becomes an error, and the slot is free again.
//     A function that does not return is abandoned, after ten seconds or after
//     [Config.OpenTimeout], and then the slot is free as well.
//   - In an outage, connections are opened one at a time, with growing backoff, and callers
//     that could only wait for nothing fail fast with the cause. The outage ends when a
//     connection opened since the last failure has been open for a second, or when a lease
//     of it has ended clean.
//
// # Errors
//
// [ErrExhausted] says that all connections were leased for all of [Config.MaxWaitTime]:
// callers are slow or many, or one does not return its connection ([Pool.Leases] shows
// which), or MaxConnections is too low. [ErrUnavailable] says that the server cannot be
// reached, and wraps the cause. [ErrRejected] says that there is more load than MaxWaiters (or, in a
// Group, MaxPools) allows; shed it. [ErrGone] says that the connection that GetSame asks for is
// gone; begin anew on another. The error of your ctx says that your own time was up. In every case
// errors.Is finds the error of your factory, if that is the reason. So errors.Is finds
// [context.DeadlineExceeded] also in an [*OpenError] after [Config.OpenTimeout]; ctx.Err tells
// whether your own ctx has ended.
//
// # Zero and negative
//
// What zero and a negative number mean in each field of [Config]:
//
//   - MaxConnections: zero is 10, negative an error.
//   - MaxIdleTime: zero is 30 s, negative no limit.
//   - MaxLifetime: zero is no limit, negative an error.
//   - MinIdle: zero is none, negative an error.
//   - MaxWaitTime: zero is 5 s, negative no limit.
//   - MaxWaiters: zero is no limit, negative none: never queue for a connection to come back.
//   - OpenTimeout: zero is 10 s, negative no limit.
//   - MaxOpening: zero is no limit, negative an error.
//   - MaxBackoff: zero is 500 ms, negative an error.
//   - MaxRetryAfter: zero is 5 min, negative an error.
//   - FailFastAfter: zero is 1 s (none before the first connection), negative no end.
//   - CheckInterval: zero is 1 s, negative never, but for lending.
//   - LeakAfter: zero is no report, negative an error.
//   - Budget: nil is none.
//
// So a time that has a default is without limit if it is negative, and what has no default is
// off or without limit if it is zero.
//
// # When to take a Pool
//
// Take a [Pool] for one server, or for several that are alike: all its connections serve all
// callers, who wait in one queue for what comes back rather than open more than
// MaxConnections. Most programs have one for each server, made at the start and shared.
// [Pool.Do] and [Pool.Retry] are for a request and its reply in one function, Get and Put for
// everything else. What the server wants to be told once, such as a login, belongs into
// Factory.Open.
//
// # When to take a Group
//
// Take a [Group] if a connection of one kind is of no use to those who want another: one
// pool for each account, key, tenant or endpoint, made when it is first asked for and removed when
// it is not used any more.
//
//	g, err := pool.NewGroup(func(account string) (pool.Factory[*login], pool.Config, error) {
//		return logins(account), pool.Config{Name: account, MaxConnections: 5}, nil
//	}, pool.GroupConfig{MaxPools: 1000})
//	if err != nil {
//		return err
//	}
//	defer g.Close()
//
// [Group.Get] takes a key, and [Group.Put] does not need it:
//
//	lease, err := g.Get(ctx, "alice")
//	if err != nil {
//		return err
//	}
//	defer g.Put(lease)
//
// When an account has another password, there are two ways. Both end what was opened with the
// old one: at once if it is idle, else when it comes back. If the Factory reads the password in Open, call
// [Pool.Reset] of what [Group.Pool] returns: the pool stays, with its limit and its queue. Otherwise
// call [Group.Remove]: who waits goes on with a new pool, made of what the function of NewGroup
// returns now. Connections of that come on top of those of the old one that are still leased.
//
// [GroupConfig] has three fields:
//
//   - MaxPools: zero is no limit, negative an error.
//   - IdleTime: zero is one minute, negative no limit: pools stay.
//   - MaxConnections: zero is no bound over all pools, negative an error.
//
// # One budget for several pools
//
// A server, or a machine, may bear so many connections in all, whoever has them. A [Budget] bounds
// what several pools have open together, also pools of different types:
//
//	budget := pool.NewBudget(2)
//	readers, err := pool.New(reading, pool.Config{Budget: budget})
//	if err != nil {
//		return err
//	}
//	defer readers.Close()
//	writers, err := pool.New(writing, pool.Config{Budget: budget})
//	if err != nil {
//		return err
//	}
//	defer writers.Close()
//
// The bound counts everything that a server may count: what is being opened, what is in Factory.Close,
// and an Open that was abandoned and has not returned. When it is reached, a pool whose callers wait
// gets, in its turn, what has been idle longest in another one, or what comes back there: that is closed,
// with the reason "budget". A goroutine that has a lease of one pool and asks another one may wait for
// itself; [Config.MaxWaitTime] ends that. [GroupConfig] has the same as MaxConnections, over all keys.
//
// # When to take a Dialer
//
// Take the Dialer of package wsconn for a program that exists, and dials a WebSocket for each
// request: one line of it changes. It has a pool for each URL and set of headers, and never makes
// a caller wait.
//
// # Sessions: the same connection again
//
// Some servers keep state on the connection: the last response, a prompt cache. The next turn of
// a session must go where the last one went. This is for a Pool and a Group alike.
//
//	lease, err := p.GetSame(ctx, last)
//	if errors.Is(err, pool.ErrGone) {
//		lease, err = p.Get(ctx)
//	}
//	if err != nil {
//		return err
//	}
//	question := story
//	if lease.Follows(last) {
//		question = next // the server knows the rest
//	}
//	answer, err := request(lease.Value(), question)
//	if err != nil {
//		return errors.Join(err, p.Discard(lease, err))
//	}
//	fmt.Println(answer)
//	last = lease.Mark()
//	return p.PutFor(lease, time.Minute) // nobody else gets it while the user thinks
//
// [Lease.Mark] remembers the connection; the zero [Mark], of a session that begins, is of none. [Pool.PutFor]
// keeps the connection for the session for a while: without it, whether somebody else gets it meanwhile
// is luck. [Pool.GetSame] gets it back, or returns [ErrGone]; then start over on another one. [Lease.Follows]
// tells whether nobody else has had it meanwhile, so that what the server keeps is still that of
// this session.
//
// GetSame waits for whoever has the connection. That is right if the server keeps the state of
// several sessions. If it keeps that of the last request only, the wait is in vain: take
// [Pool.TryGetSame], and Get if that returns false.
//
// Where the server ends a connection after a fixed time, let [Factory].Expires return a time that
// leaves room for the longest turn. The program in examples/gateway has all of this.
//
// # Progress
//
// Get and Put take no lock, but for the first call in the life of a pool, which makes its inside
// under one, and for the mutex of a [Budget]. Apart from those two, lending, returning, queueing,
// handing off, giving up, opening and closing are lock-free, except for the functions of the Factory: a step is repeated only
// if another goroutine has completed one. A goroutine that is stopped at the worst place holds
// up the slot that it has in hand, and the one waiter that it has just decided to serve. The
// runtime parks and wakes goroutines; for that it takes the lock of a channel that only those
// two use.
//
// # Memory model
//
// What happened before [Pool.Put] returns a connection happens before the [Pool.Get] that
// lends it next returns, and before Factory.Check, Clean and Close for that connection.
//
// # Limits
//
// A pool is for connections that cost something to open and serve one caller at a time. A
// connection that carries many requests at once, as in HTTP/2, needs no pool. For objects
// that are cheap to make and need no closing use [sync.Pool]; for SQL use [database/sql].
//
// A pool costs less than 1 kB until it is first used, and some 20 kB from then on.
//
// A pool that has lent a connection runs one goroutine until it is closed, unless all its
// times are without limit and Factory.Probe and Factory.Expires are nil.
//
// That goroutine looks at the age of connections about once a second. A process that was
// stopped may lend a connection that has been idle or open for too long until the goroutine
// has run, a moment later. Factory.Check finds out whether the peer has closed it.
//
// The same goroutine notices that the machine has slept, and has what was idle probed by
// [Factory.Probe]. A Get that comes before it, in the first second, may get a connection whose
// peer is gone.
//
// # Source
//
// The protocol is in internal/core, the slots in package ring. The queue of waiters in
// internal/queue is the row of cells of Koval, Khalanskiy and Alistarh (CQS, PLDI 2023), with
// differences that its comment names. HikariCP serves a waiter with whichever connection comes first, and takes slots
// where they lie; Go's channels hand an element directly to the oldest receiver.
package pool
