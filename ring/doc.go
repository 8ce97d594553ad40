// Package ring is a circular array of slots, each of which holds one thing that is
// lent to one owner at a time: the core of a pool, without the things, which the
// caller keeps in an array of its own beside it, and without waiting.
//
// [Ring.Claim] takes a vacant slot; [Ring.Fill] leases it once there is something
// in it; [Ring.Give] ends a lease and leaves the slot to whoever comes;
// [Ring.Take] takes such a slot and leases it anew. [Word] has the whole diagram.
//
// # Guarantees
//
// A slot has one owner at a time. It changes hands by one compare-and-swap on its
// [Word], from the exact word that its owner has: a lease that has ended is told
// from the one in force, and a second Give is refused, also when the slot has been
// leased to somebody else since.
//
// A Take and a Give that find things as the last ones of their goroutine left them
// cost one atomic read-modify-write each, to one word that no other slot's users
// write. Nothing is allocated after [New], and all of a ring's memory is 8 bytes a
// slot and 1 bit, 4 KB, and 1 KB for each processor if the slots are so few that
// they can be laid apart.
//
// # Progress
//
// All methods are lock-free: whenever some goroutines go on, some call returns,
// wherever others have been stopped. At, High, Fill, Vacate, Renew, Retake, Reserve
// Regroup and Scan are wait-free as well: each has a bound to its steps. The others
// repeat a step only because another goroutine's has succeeded: Claim, when others
// raise High; Take, Give and Publish, when others change the hints of the same 64 slots.
//
// A goroutine that is stopped in the middle of a call keeps from others:
//
//   - in Claim, Take or Scan, the slot that it has won, if any, as any owner does;
//   - in Take, Give or Publish, at a few instructions, one idle slot more, but only
//     from a Take that has to search;
//   - from Scan, nothing else at all. A slot can be taken from the instant at which
//     Give or Publish has changed its word, whatever its owner does next.
//
// So a Take that finds nothing proves nothing. A Scan that finds nothing has seen
// each slot not idle at some instant of the call. These need not be the same
// instant: slots that others give and take meanwhile may all escape it. Whoever must
// not miss a slot announces itself, then scans; whoever gives one looks for such
// announcements afterwards.
//
// # Memory model
//
// In the terms of the Go memory model, each move of a slot from one phase to the
// next synchronizes before every later move of that slot. What an owner writes to
// the thing in it before Give is seen by whoever takes it next.
//
// # Limits
//
// A ring is not a queue: idle slots come back in no order, preferably to whoever
// gave them, else from the low end. Of goroutines that compete for too few slots, none is served first,
// and nobody is woken: what waits needs something above the ring, as package pool
// has. The size is fixed, up to [MaxSize]. To pass values on from some goroutines to
// others, use a channel. If the things are cheap to make and may be dropped at any
// time, use [sync.Pool].
//
// # Origins
//
// To take things where they stand, by compare-and-swap on the entry, is what the
// ConcurrentBag of HikariCP does. It has a list for each thread and one shared by
// all; here both are hints, which may be wrong, and the entry counts leases, so that
// a stale one is refused. A count in each cell that tells one turn from the next is
// the idea of Dmitry Vyukov's bounded MPMC queue. There, two shared tickets say which
// cell is next, so that all processors write them, and whoever stops between drawing
// a ticket and using the cell stops those behind; here there are none, at the price
// of the order.
package ring
