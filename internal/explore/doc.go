// Package explore runs small concurrent tests of the real code in many orders: it is a
// controlled scheduler with a search on top. It needs -tags explore, with which
// [github.com/S4AK4N/pool/internal/atomic] calls it before every atomic operation.
//
// # How a schedule is made
//
// Each schedule is a synctest bubble of its own, on one processor. A goroutine that is
// about to do an atomic operation stops. When all have stopped, ended, or are blocked in
// a channel, the controller picks one of those that have stopped, and lets it go on to
// its next operation. What a goroutine does in between, channels, timers and go
// statements among it, needs no help: synctest knows when it is over. A goroutine that
// the code under test starts comes under control at its first operation.
//
// # What is searched
//
// First all schedules in which at most so many times a goroutine that could go on is
// kept from it (a preemption): none, then one, and so on up to the bound. What a
// goroutine does when it blocks or ends costs nothing, so all who could go on then are
// tried. Then random schedules in the manner of PCT (Burckhardt and others, A Randomized
// Scheduler with Probabilistic Guarantees of Finding Bugs, ASPLOS 2010): random
// priorities, and a few steps at which whoever runs falls behind all others.
//
// Three reductions, none of which loses an outcome within the bound:
//
//   - A goroutine is preempted only before an operation at a place in the code that has,
//     in any schedule so far, touched a word that another goroutine touched too, one of
//     them writing. Other operations commute with all that others do, so that a preemption
//     before one of them is one before the next that does not. Whenever a place comes to
//     be known as such, the search begins again.
//   - Loads commute with loads.
//   - A goroutine that was preempted goes on only after another has done an operation that
//     does not commute with the one it stands before, or one that has blocked, woken or
//     started a goroutine. If none has, the preemption might as well have come one
//     operation later, and that schedule is searched too, and costs no more.
//
// Their test is that small scenarios have the same outcomes without them.
//
// # What is not deterministic, and what becomes of it
//
// Addresses never matter: words and goroutines are numbered in the order in which a
// schedule meets them. sync.Pool is deterministic on one processor without the race
// detector, the collector runs between schedules only, and the ring takes the number of
// a goroutine where it takes the address of its stack otherwise.
//
// What remains is a select that finds two cases ready, where the runtime rolls dice. A
// scenario in which that can happen says so ([Options].Selects), and a schedule that has
// to be repeated is then tried until the dice fall as before. In the pool each way out of
// such a select is also that of a schedule in which one case alone is ready, so none
// escapes the search. In all other scenarios, and if it is not to be had in 64 attempts,
// a repetition that differs from what was recorded is an error and fails the test.
//
// # What it does not see
//
// Orders of operations that are not atomic ones, between two of them: those of channels,
// of mutexes, and data races. The memory model is that of Go's atomics, in which all
// agree on one order. A goroutine that stops while it holds a mutex which another
// wants would stop the search: code under control must not operate under a mutex.
package explore
