package wsconn

import (
	"errors"
	"time"
)

// Connections stay where they are, so after the return of a server the others have too
// many. Put then retires one of those, at most one in a second, and the next Open goes to
// the server that has the fewest. With Failover, Put retires what is not on the first
// server that is in service.
//
// Nothing is closed under its user, and a pool that needs no more connections opens none:
// then the servers with too many lose some, and it is even with fewer.

var (
	errLeft  = errors.New("wsconn: retired: its server is not among the endpoints any more")
	errMoved = errors.New("wsconn: retired: other servers have fewer connections")
	errBack  = errors.New("wsconn: retired: a server that precedes its own is back")
)

// retired reports whether a cause is one of a connection that is healthy.
func retired(cause error) bool {
	return errors.Is(cause, errLeft) || errors.Is(cause, errMoved) || errors.Is(cause, errBack)
}

// spread begins to even the spread, because a server has come back or the set has changed.
// mu is held.
func (s *servers) spread() { s.move.Store(int64(longSince)) }

// retire says, when a lease ends, why its connection is not to be lent again, or nil.
func (e *server) retire(c *stream, now time.Duration) error {
	if e.left.Load() {
		return errLeft
	}
	s := e.of
	if int64(now) < s.move.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if int64(now) < s.move.Load() {
		return nil
	}
	over, even := s.surplus(e)
	if even {
		s.move.Store(int64(never))
	}
	if !over {
		return nil
	}
	if _, counted := e.streams[c]; !counted {
		return nil // it has just been closed
	}
	e.leaving[c] = true
	s.move.Store(int64(now + s.moving))
	if s.policy == Failover {
		return errBack
	}
	return errMoved
}

// surplus reports whether a connection of e is better somewhere else, and whether none is.
func (s *servers) surplus(e *server) (over, even bool) {
	if s.policy == Failover {
		over, even = false, true
		behind := false
		for _, x := range s.all {
			if behind && x.load() > 0 {
				even = false
				over = over || x == e
			}
			behind = behind || !x.aside
		}
		return over, even
	}
	least, most, n, total := 1<<30, 0, 0, 0
	for _, x := range s.all {
		if x.aside {
			continue
		}
		load := x.load()
		least, most, n, total = min(least, load), max(most, load), n+1, total+load
	}
	// One that is above the average, and would not be below another after it has moved.
	over = !e.aside && e.load() >= least+2 && e.load()*n > total
	return over, n < 2 || most-least <= 1
}

// retireIdle says why an idle connection is of no use. One that is new is left for its first
// lease: the pool would take its end for a failure of the server.
func (e *server) retireIdle(c *stream, now time.Duration) error {
	if !e.left.Load() {
		return nil
	}
	e.of.mu.Lock()
	openedAt, counted := e.streams[c]
	e.of.mu.Unlock()
	if !counted || now-openedAt < trial {
		return nil
	}
	return errLeft
}
