// Soak puts a pool through everything that can go wrong with connections, for as long
// as one likes:
//
//	check/soak/run        45 seconds
//	check/soak/run 30m    the long form
//	check/soak/run keys   ten minutes of a hundred thousand keys that come and go
//
// Two hundred callers use a pool whose factory fails, hangs, panics, lies and comes too
// late, whose connections die, in use or idle, and which is asked about its Stats all
// the time. A run consists of lives. In each, a new pool goes through rough times, is
// audited in a calm, and comes to its end, in one of several ways, in rough times again.
// Nothing may be left of it then: no connection, no descriptor, no goroutine, no
// waiter. Part of the connections are TCP connections to an echo server in the same
// process.
//
// What goes wrong, and when, follows from the seed that is printed at the start: the
// n-th call of each function of the factory in a life does the same in each run with
// that seed. Which caller meets it depends on the scheduler.
//
// With keys, the pools of a Group come and go: because they are unused, to make room, or by
// Remove. Now and then nobody asks for anything. Then no pool, no connection, no goroutine may
// be left, and no more memory than the first time.
//
// The program is part of the root module, because it needs nothing that the pool does
// not: go vet, staticcheck and the short form in its test cover it with the rest.
package main
