// Package explore runs small concurrent tests of the real code in many orders: it is a
// controlled scheduler with a search on top. It needs -tags explore, with which
// [github.com/S4AK4N/pool/internal/atomic] calls it before every atomic operation.
//
//	go test -tags explore -run ^TestExplore . ./ring
//
// check/explore does that, and more. A schedule that fails is printed step by step, and as
// a string: with that in EXPLORE_REPLAY, the test repeats this one schedule.
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
//   - A goroutine is preempted only before an operation that is in a race: in a schedule
//     that was the same up to there and let it go on, another goroutine has later done an
//     operation that does not commute with it, and nothing in between made that one come
//     later. This is the partial-order reduction of Flanagan and Godefroid (Dynamic
//     Partial-Order Reduction for Model Checking Software, POPL 2005), applied to where
//     preemptions are, but not to who goes on after one, nor to who goes on when a
//     goroutine has blocked or ended: those are all tried, as with a bound on preemptions the
//     one may be within it and the other beyond (Coons, Musuvathi and McKinley, Bounded
//     Partial-Order Reduction, OOPSLA 2013).
//   - A goroutine that was preempted goes on only after another has done an operation that
//     does not commute with the one it stands before. If none has, the preemption might as
//     well have come one operation later, and that schedule is searched too, and costs no
//     more.
//   - Where several can go on, and those that begin with one of them have been searched,
//     in the others it goes on only after somebody has done what does not commute with
//     something that it would have done before it blocks. If nobody has, it might as well
//     have gone on at once, at no higher cost.
//
// Loads of a word commute, operations on different words do, and one that blocks, wakes or
// starts a goroutine commutes with nothing as far as the latter two are concerned. The
// test of all this is that small scenarios have the same outcomes without it.
//
// # What is not deterministic, and what becomes of it
//
// Addresses never matter: words and goroutines are numbered in the order in which a
// schedule meets them. sync.Pool is deterministic on one processor without the race
// detector, the collector runs between schedules only, and the ring takes the number of
// a goroutine where it takes the address of its stack otherwise. The setting-up of a
// scenario is not controlled: if it has gone another way than the first time, it is done
// again.
//
// What remains is a select that finds two cases ready, where the runtime rolls dice. A
// scenario in which that can happen says so ([Options].Selects), and a schedule that has
// to be repeated is then tried until the dice fall as before. Which way they fall in a
// schedule that is run once is left to chance. In all other scenarios, and if it is not
// to be had in 64 attempts, a repetition that differs from what was recorded is an error
// and fails the test. With -tags explore,step the pool's scenarios stop also between a
// granter's look at a ctx and its send, and after a select: then each way out of such a
// select is that of a schedule, too, in which one case alone is ready.
//
// # What it does not see
//
// Orders of operations that are not atomic ones, between two of them: those of channels,
// of sync.Mutex, and data races. What counters for statistics are at, as the pool's
// scenarios ignore them ([Run.Ignore]). What happens when time passes while a goroutine is
// stopped, unless there is a [Run.Clock]. The memory model is that of Go's atomics, in which all
// agree on one order. A goroutine that stops while it holds a sync.Mutex which another
// wants would stop the search: code under control operates under a Mutex of internal/atomic only,
// whose Lock and Unlock are operations.
package explore
