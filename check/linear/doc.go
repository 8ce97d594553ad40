// Package linear checks that what callers of a pool saw of each other can be told as
// a story in which one thing happens after the other. It has tests only:
//
//	check/linear/run          what CI does, half a minute
//	check/linear/run long     ten minutes, or as long as LINEAR_TIME says, also with
//	                          -race and with a shaken schedule
//	check/linear/run mutants  errors put into the pool, each of which must be found
//
// Callers do random things to a pool of one to three connections. Each call is written
// down with the time before and after it, and so is each call into the factory. From
// time to time all callers stop, and what lies between two such stops is given to
// porcupine, which looks for an order that agrees with the times and with the
// specification in spec_test.go.
//
// # What is linearizable, by contract
//
// Get, TryGet, GetSame and TryGetSame that lend a connection, Put, PutFor, Discard, Detach, Revoke, Shutdown and Close, a
// report of Watch, and each of them that is refused with ErrNotLeased or ErrClosed:
// each takes effect at one instant between its call and its return. A Get that ends
// with its ctx, after MaxWaitTime, with MaxWaiters or with an error on opening takes
// no effect. Some things need more words:
//
//   - To open is the pool's own affair. A connection exists, and counts, from some
//     instant after Factory.Open has returned it, but before it is lent. What GetFresh is
//     lent was begun to be opened after the call: each such call is asked by itself.
//   - A connection that the pool closes for a reason of its own, such as its age, is
//     gone at some instant before Factory.Close is called.
//   - Close revokes leases one after the other. Detach may still succeed after others
//     have seen that the pool is closed, as long as Factory.Close has not been called.
//   - Detach ends the lease, and then takes the connection. If Close or Revoke has come in
//     between, it says so, and others may have been told before that the lease had ended.
//   - PutFor reserves a connection: only those have it then who ask by its Mark. That ends when somebody
//     waits who finds nothing else, and who that is, and whether the waiter has left meanwhile, cannot be
//     seen. So a Get may have it. A TryGet may not, unless some Get was under way since. And at
//     each stop all that was reserved is found by its Mark.
//   - TryGet returns false if nothing is idle or somebody waits. It is not promised
//     that nothing is idle at one and the same instant: of connections that others
//     give and take meanwhile, all may escape it. It is promised for each of them by
//     itself. And a call of Put, which has an end as well as a beginning, may leave the
//     connection to others at its end. So a TryGet that was refused is taken for one
//     look at each connection: it was not idle at some instant of the call. Nothing is
//     concluded if a Get was under way, who may have waited, nor about a connection
//     that was closed in the end, and that another TryGet may have had in hand, nor if
//     Check was still looking at a connection for a Get whose ctx had ended.
//
// That waiters are served in the order in which they stand in line cannot be seen in
// the times of calls, since a call is not in line yet when it begins. It is checked by
// itself, with the instant at which a waiter was linked, in fifo_step_test.go.
//
// # Groups
//
// Of a Group, Get and TryGet that lend something, and Remove, take effect at one instant: all are served by the pool
// that the key has then, and none by one that was made, or begun to be made, before a Remove. See group_test.go.
package linear
