// Package fleet bounds how many connections all processes of a fleet have open together. It keeps the count on a Redis
// or Valkey server.
//
// An account of an API may allow 100 connections, a database 500, whoever asks. Forty processes of a
// service cannot each have a [pool.Config.MaxConnections] that adds up. A [Budget] is what they have in common: each
// connection has a right of it, from before it is opened until it is closed.
//
//	budget, err := fleet.NewBudget(client, "account-7", 100, nil)
//	if err != nil {
//		return err
//	}
//	defer budget.Close()
//	p, err := pool.New(factory, pool.Config{Budget: budget, MaxConnections: 50})
//
// See [pool.Budget] for what pools do with a budget: who comes first, what is closed for whom, what waits. All of that holds for
// the fleet. A process has one place in the queue at the server, and its pools have theirs in the line of the process.
//
// # When to use something else
//
// For a database, a proxy such as pgbouncer or ProxySQL does more: it shares connections between processes, where this
// shares only the right to open one. If the number of processes is fixed and all have as much to do, divide: a MaxConnections for each needs
// no server. This is for what has no proxy and is used unevenly.
//
// # What it promises
//
// Rights never exceed max, at any instant. That holds through restarts of the server with all its data, with old ones and with none,
// and when a replica takes over that has missed the last grants. So connections never exceed max as long as all
// processes run and reach the server. What a process has that does not is another matter, because others get its rights when its lease is over:
//
//   - A process is killed: connections do not exceed max. Its kernel closes them, and its rights are free after a Lease.
//   - A process is cut off from the server: they exceed max by what it has leased at 3/5 of a Lease, until that comes back. What is idle
//     is closed by then. With [Options].Strict leases are revoked then, and max is not exceeded.
//   - A process is stopped for longer than a Lease: they exceed max by all that it has, until it wakes up. Then it closes what is idle, with
//     Strict everything. With [Options].Fence max is not exceeded.
//   - The server is restarted, or a replica takes over: max is not exceeded. Nothing is granted for one Lease, in which processes say what they have. One
//     that was stopped for longer than a Lease until then gets nothing back: others may have it.
//   - The server is down, or silent: max is not exceeded. Nothing is opened, and after 3/5 of a Lease each process is cut off.
//   - A wall clock is set, of the server or of a process: max is not exceeded.
//
// docs/fleet.md of the repository has this as a table, and how each row is tested.
//
// A process that has been stopped opens nothing before it has asked the server, and a connection that was dialed too late, because the process
// stood still between the question and the dial, is closed and not lent.
//
// # What a single server cannot promise
//
//   - Two servers that both take themselves for the master grant twice as much. Set min-replicas-to-write 1, and
//     min-replicas-max-lag to less than a third of a Lease: then an old master that is cut off stops granting.
//   - A process that is stopped keeps its sockets open, and nobody but the server at the other end can close them: that is what [Options].Fence is for.
//   - A server that evicts or expires keys, or a hand that edits them, changes the count. The keys begin with {name}:fleet:.
//   - Its clock may jump once in each Lease. Each jump costs processes a third of a Lease. One that jumps three times in a Lease
//     ends leases early.
//
// # An outage of the server
//
// Nothing is opened while the server cannot be reached. What is idle is lent as ever, for 3/5 of a Lease. Then the process cannot know any more
// whether others have its rights: what is idle is closed, what is leased is closed when it comes back. So Lease is also for how long a
// fleet does without its server: with a longer one it bears a longer outage, and rights of a process that has died come back later.
//
// # How the server must be configured
//
// Redis 7 or Valkey 7.2 or later, with Sentinel, as a cluster (all keys of a budget are in one slot), or alone. docs/fleet.md has what a user must be allowed.
//
//   - maxmemory-policy noeviction. Any allkeys policy may evict the count.
//   - appendonly yes, appendfsync everysec. Without, a restart loses the count: no harm, but for the Lease of grace.
//   - When the server is restarted, or another one takes over, nothing is granted for one Lease. So a budget that a server has never seen begins
//     with that wait; [Options].Found avoids it, where it is certain that nobody has anything.
//
// # What it costs
//
// A Get of what is idle has nothing to do with the server. An open takes one round trip. While more than a quarter of the rights are free
// they are fetched ahead, up to nine, and go back if they are not used within a third of a Lease. A process at rest sends one
// request each third of a Lease. One that waits for a right sends five a second, though it is told by a notice when it should ask: notices may be lost.
package fleet
