package core

import (
	"slices"
	std "sync/atomic"
	"time"

	"github.com/S4AK4N/pool/internal/step"
)

// A share is what one pool has of Rights, and its place in their line. Its fields are guarded by
// the mutex.
type share struct {
	rights *Rights
	pool   *Pool // nil: outside, or lost
	bit    uint8 // which of the pool's shares it is: 1 or 2

	has   int       // rights
	wants int       // how many more, in the line; 0: not in the line
	since time.Time // its place in the line
	hopes bool      // in hoping
	held  int       // its place in holders, plus 1; 0: none

	asking int // calls of ask that are under way: they take what comes meanwhile
	got    int // what has come meanwhile

	asks std.Int32 // wants, for those who read it without the mutex. Changed under it
}

// ask takes up to n rights if they are free. s stands in the line for the rest from then on, and
// not for what it stood there for before. If the pool has got rights since granted was read, it does
// nothing: the caller has looked too early.
func (s *share) ask(n int, since time.Time, granted uint32) (got int) {
	r := s.rights
	step.At("budget: asks")
	r.enter()
	if s.pool.budget.granted.Load() != granted {
		r.mu.Unlock()
		return 0
	}
	waited := len(r.line) > 0
	got = r.takeFree(s, n)
	s.pool.budget.holds(got)
	if n -= got; s.wants > 0 && s.since.After(since) {
		since = s.since // it has had its turn since
	}
	r.place(s, n, since)
	s.asking++
	r.leave(waited)
	if n > 0 {
		r.look()
	}
	r.enter()
	s.asking--
	got, s.got = got+s.got, 0
	r.mu.Unlock()
	return got
}

// take takes up to n rights that are free, for a caller who takes nothing from others. If it gets
// fewer and hopes, openEnded is called when one is free.
func (s *share) take(n int, hopes bool) (got int) {
	r := s.rights
	step.At("budget: takes")
	r.enter()
	waited := len(r.line) > 0
	got = r.takeFree(s, n)
	if got < n && hopes && !s.hopes {
		s.hopes = true
		r.hoping = append(r.hoping, s)
	}
	r.leave(waited)
	return got
}

// takeFree gives s up to n rights that are free. While any is, the line is empty.
func (r *Rights) takeFree(s *share, n int) int {
	n = min(n, r.free)
	r.free -= n
	r.hold(s, n)
	return n
}

// giveBack gives back n rights. yielded says that the connection was closed for the line.
func (s *share) giveBack(n int, yielded bool) {
	r := s.rights
	step.At("budget: gives back")
	r.enter()
	waited := len(r.line) > 0
	r.hold(s, -n)
	r.free += n
	if yielded {
		r.coming--
	}
	r.leave(waited)
}

// quit takes s out of the line. Those who hope are others: a Warm goes on when the callers have gone to another line.
func (s *share) quit() {
	r := s.rights
	r.enter()
	waited := len(r.line) > 0
	r.place(s, 0, time.Time{})
	r.leave(waited)
}

// hopesNot says that a caller hopes no more for what is free. If that leaves rights for which nobody hopes, they go
// back to the store. It reports whether the pool has hoped.
func (s *share) hopesNot() (hoped bool) {
	r := s.rights
	step.At("budget: hopes no more")
	r.enter()
	waited := len(r.line) > 0
	hoped, s.hopes = s.hopes, false
	r.hoping = slices.DeleteFunc(r.hoping, func(o *share) bool { return o == s })
	r.leave(waited)
	return hoped
}

// yields reports whether the pool must close a connection that has come back, for another one in
// the line: that came before the oldest who waits in the pool, which is since, or nobody waits. The
// pool closes it, or calls keeps.
//
// A pool's own place in the line is never older than the oldest who waits in it. Otherwise it
// would get the right that it gives up.
func (s *share) yields(waits bool, since time.Time) bool {
	r := s.rights
	step.At("budget: yields")
	r.enter()
	waited := len(r.line) > 0
	if s.wants > 0 && s.since.Before(since) { // so somebody waits: otherwise since is when the pool was made
		r.place(s, s.wants, since)
	}
	yes := r.lacking(s, waits, since) > r.coming
	if yes {
		r.coming++
	}
	r.leave(waited)
	return yes
}

// lacking returns how many rights are lacking in the line, without those of s. If somebody waits in
// the pool of s, only those count who came before since, and one for each: then it is the turn of others.
func (r *Rights) lacking(s *share, waits bool, since time.Time) (n int) {
	for _, o := range r.line {
		switch {
		case waits && o.since.After(since):
			return n
		case o == s:
		case waits && o != &r.lost:
			n++
		default:
			n += o.wants
		}
	}
	return n
}

// wanted reports whether what is idle in the pool is wanted in the line.
func (s *share) wanted() bool {
	r := s.rights
	r.enter()
	defer r.mu.Unlock()
	return r.lacking(s, false, time.Time{}) > r.coming
}

// asked reports whether anybody stands in the line.
func (s *share) asked() bool {
	r := s.rights
	r.enter()
	defer r.mu.Unlock()
	return len(r.line) > 0
}

// short reports whether s lacks a right for which no connection is being closed.
func (s *share) short() bool {
	r := s.rights
	r.enter()
	defer r.mu.Unlock()
	n := 0
	for _, o := range r.line {
		if n += o.wants; o == s {
			return n > r.coming
		}
	}
	return false
}

// keeps takes back what yields has promised: somebody else closes the connection, or uses it.
func (s *share) keeps() {
	r := s.rights
	r.enter()
	r.coming--
	r.mu.Unlock()
	r.look()
}
