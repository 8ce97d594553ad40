// Package ring is a circular array of slots. Each slot stands for one thing, which has
// one owner at a time. The ring is the core of a pool without the things and without
// waiting: the caller keeps the things in an array of its own.
//
// [Ring.Claim] takes a vacant slot. [Ring.Fill] leases it once there is something in it.
// [Ring.Give] ends a lease and makes the slot idle. [Ring.Take] takes an idle slot and
// leases it anew. [Word] has the whole diagram.
//
// # Guarantees
//
// A slot has one owner at a time. It changes hands by one compare-and-swap on its [Word],
// from the exact word that its owner has. So a lease that has ended is never taken for
// the one in force: a second Give is refused, even if the slot has been leased to
// somebody else since.
//
// A Take and a Give cost one atomic read-modify-write each, if they find things as the
// last Take and Give of their goroutine left them. They write one word, which no user of
// another slot writes. Nothing is allocated after [New]. A ring takes 8 bytes and 1 bit
// for each slot, and 4 KB. If the slots are few, their words are laid apart, which takes
// up to 1 KB for each processor.
//
// # Progress
//
// All methods are lock-free: while some goroutines run, some call returns, no matter
// where other goroutines have been stopped. At, High, Fill, Vacate, Renew, Retake,
// Reserve, Regroup and Scan are also wait-free: the number of their steps is bounded. The
// others repeat a step only because another goroutine has completed one: Claim, when
// others raise High; Take, Give and Publish, when others change the hints of the same 64
// slots.
//
// A goroutine that is stopped in the middle of a call withholds from others:
//
//   - in Claim, Take or Scan, the slot that it has won, if any, as any owner does;
//   - in Take, Give or Publish, at a few instructions, one idle slot more, but only
//     from a Take that has to search;
//   - from Scan, nothing else at all. A slot can be taken from the instant at which
//     Give or Publish has changed its word, whatever its owner does next.
//
// So a Take that finds nothing proves nothing. A Scan that finds nothing has seen each
// slot not idle at some instant of the call. These need not be the same instant: slots
// that others give and take meanwhile may all escape it. A caller that must not miss a
// slot announces itself first and scans afterwards. A caller that gives a slot looks for
// such announcements after Give.
//
// # Memory model
//
// In the terms of the Go memory model, each move of a slot from one phase to the next
// synchronizes before every later move of that slot. What an owner writes to the thing in
// it before Give is seen by its next owner.
//
// # Limits
//
// A ring is not a queue. Idle slots are reused in no order: Take prefers the slot that
// its goroutine gave last, and otherwise takes one from the low end. Goroutines that
// compete for too few slots are not served in any order, and nobody is woken: waiting
// needs something above the ring, as package pool has. The size is fixed, up to
// [MaxSize]. To pass values from some goroutines to others, use a channel. If the things
// are cheap to make and may be dropped at any time, use [sync.Pool].
//
// # Origins
//
// To take things where they stand, by compare-and-swap on the entry, is what the
// ConcurrentBag of HikariCP does. It has a list for each thread and one shared by all.
// Here both are hints, which may be wrong, and the entry counts leases, so that a stale
// lease is refused. A count in each cell that tells one turn from the next is the idea of
// Dmitry Vyukov's bounded MPMC queue. There, two shared tickets say which cell is next:
// all processors write them, and a goroutine that stops between drawing a ticket and
// using the cell stops those behind it. Here there are no tickets; the price is that
// there is no order.
package ring
