// Package behaviour asks all pools the same questions: what happens to a caller who waits when
// the pool is closed, whether a dial outlives the caller who wanted it, and others whose answer
// one might take for granted. Each question has a few possible answers, of which a run gives one,
// and for each pool a guess, written down before the first run. The page is made of the answers,
// and says which guesses were wrong.
//
// One process asks one question of one pool, so that one that hangs can be ended, and one that
// takes its process with it is seen to do so.
package behaviour
