package wsconn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/coder/websocket"
)

// goesAway reports whether the peer has closed with a code by which a server says that
// others should be used: going away, service restart, try again later.
func goesAway(err error) bool {
	switch websocket.CloseStatus(err) {
	case websocket.StatusGoingAway, websocket.StatusServiceRestart, websocket.StatusTryAgainLater:
		return true
	}
	return false
}

// endedByPeer reports whether the peer, or the network, has ended a connection.
func endedByPeer(err error) bool {
	if websocket.CloseStatus(err) >= 0 {
		return true
	}
	var timeout net.Error
	return errors.Is(err, errLost) && !(errors.As(err, &timeout) && timeout.Timeout())
}

// fail sets a server aside, or keeps it there for longer, because of something that began at
// the given time. What began before the last failure says nothing new, but for the pause that
// it may ask for.
func (s *servers) fail(e *server, began time.Duration, err error) {
	now := since()
	e.err = err
	pause, asked := pool.RetryAfterOf(err)
	pause = min(pause, mostPause)
	if began < e.since && (e.aside || !asked) {
		if asked && now+pause > e.until {
			e.asked, e.until = true, now+pause
			s.schedule(now)
		}
		return
	}
	if !e.aside && now-e.since >= steady {
		e.failures = 0
	}
	e.failures++
	if asked {
		e.until = now + pause
	} else {
		e.until = now + asideFor(e.failures)
	}
	e.aside, e.asked, e.since = true, asked, now
	if e.fell != nil {
		close(e.fell)
		e.fell = nil
	}
	s.schedule(now)
}

// asideFor returns how long a server is set aside after so many failures in a row.
func asideFor(failures int) time.Duration {
	d := mostAside
	if failures < 6 {
		d = min(leastAside<<(failures-1), mostAside)
	}
	return d - rand.N(d/5) // so that not all processes come back at the same moment
}

// succeeded puts a server back in service, if it was set aside. Its failures are forgotten
// only when it has been in service for a while: one that accepts only to close would
// otherwise have no backoff.
func (s *servers) succeeded(e *server) {
	e.err = nil
	if !e.aside {
		return
	}
	e.aside, e.asked, e.since = false, false, since()
	s.schedule(e.since) // it may be the first in service, which others are probed beside
	s.spread()
}

// stalled sets a server aside that has not answered, for limit, a dial that began at the
// given time.
func (s *servers) stalled(e *server, began time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !e.aside && began >= e.since {
		s.fail(e, began, fmt.Errorf("wsconn: dial %s: no answer within %v", e.shown, (since()-began).Round(time.Millisecond)))
	}
}

// schedule notes when a probe or Discover is due. mu is held.
func (s *servers) schedule(now time.Duration) {
	due := never
	if s.discover != nil && s.asking == nil {
		due = s.askedAt + s.interval
	}
	if slices.ContainsFunc(s.all, func(e *server) bool { return !e.aside }) {
		for _, e := range s.all {
			if e.aside && !e.probing {
				due = min(due, e.until)
			}
		}
	}
	s.duty.Store(int64(due))
}

// tend starts what is due: a probe of each server that has been set aside for long enough, if
// another one is in service, and Discover.
func (s *servers) tend(now time.Duration) {
	if int64(now) >= s.duty.Load() {
		s.tendSlow(now)
	}
}

func (s *servers) tendSlow(now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.all, func(e *server) bool { return !e.aside }) {
		for _, e := range s.all {
			if e.aside && !e.probing && now >= e.until {
				e.probing = true
				go s.probe(s.background(), e)
			}
		}
	}
	if s.discover != nil && s.asking == nil && now-s.askedAt >= s.interval {
		s.ask(now)
	}
	s.schedule(now)
}

// background returns the context of what is done beside Open, and before its end.
func (s *servers) background() context.Context {
	if s.behind == nil {
		s.behind, s.quit = context.WithCancel(context.Background())
	}
	return s.behind
}

// rest ends what is under way when nobody is left for whom it is done.
func (s *servers) rest() {
	if s.opens == 0 && s.open == 0 && s.behind != nil {
		s.quit()
		s.behind, s.quit = nil, nil
	}
}

// probe dials a server that is set aside, and asks it for a sign of life.
func (s *servers) probe(ctx context.Context, e *server) {
	began := since()
	var conn *Conn
	err := errEnded
	defer func() { s.probed(ctx, e, began, conn, err) }()
	defer caught("a function in Options", &err)
	// By the measure of a dial: one that callers would not wait for is not back.
	limited, cancel := context.WithTimeout(ctx, s.limit())
	conn, err = e.d.dial(limited)
	if err == nil { // OnConnect may not have heeded it
		err = limited.Err()
	}
	cancel()
	if err == nil && s.d.options.PingInterval >= 0 {
		// One that accepts may close at once.
		limited, cancel = context.WithTimeout(ctx, s.limit())
		defer cancel()
		err = conn.stream.probe(limited, conn)
	}
}

// probed notes what has come of a probe.
func (s *servers) probed(ctx context.Context, e *server, began time.Duration, conn *Conn, err error) {
	s.mu.Lock()
	e.probing = false
	switch {
	case ctx.Err() != nil && err != nil:
	case err == nil:
		s.succeeded(e)
	default:
		e.failed++
		s.fail(e, began, err)
	}
	s.schedule(since())
	s.mu.Unlock()
	if conn != nil {
		stop := context.AfterFunc(ctx, func() { conn.stream.abort() })
		defer stop()
		e.d.closeConn(conn, err)
	}
}
