package main

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/S4AK4N/pool"

	"go.uber.org/atomic"
)

// administer does to the pool what operators do, until end.
func (l *life) administer(end <-chan struct{}, kind uint64) {
	rnd := l.weather.rand(kind, 1<<20)
	for pause(end, time.Duration(1+rnd.IntN(60))*time.Millisecond) {
		if l.plan.resizes {
			n := 1 + rnd.IntN(2*l.plan.config.MaxConnections)
			if err := l.p.Resize(n); err == nil {
				l.resizes.Inc()
			} else if !l.ending.Load() || !errors.Is(err, pool.ErrClosed) {
				l.fail("Resize: %v", err)
			}
		}
		if l.plan.resets && rnd.IntN(4) == 0 {
			l.p.Reset()
			l.resets.Inc()
		}
		for _, lease := range l.p.Leases() {
			if lease.Conn == nil || lease.Opened.IsZero() {
				l.fail("Leases has %+v", lease)
			}
			if l.plan.revokes && rnd.IntN(64) == 0 && l.p.Revoke(lease) {
				l.revoked.Inc()
			}
		}
	}
}

// hookCounts is what hooks were told.
type hookCounts struct {
	opened, failed, closed, detached, waited, rejected, leaked atomic.Int64
}

// hooks count, and now and then panic or, where that does not end a caller, exit.
func (l *life) hooks() pool.Hooks {
	h := &l.hooked
	count := func(n *atomic.Int64) {
		n.Inc()
		if l.weather.calm.Load() {
			return
		}
		switch rand.IntN(400) {
		case 0:
			panic(errFault)
		case 1:
			if n != &h.waited && n != &h.rejected {
				runtime.Goexit()
			}
		}
	}
	return pool.Hooks{
		Opened: func(info pool.OpenInfo) {
			if (info.Err == nil) != (info.Number > 0) {
				l.fail("Opened was told of %+v", info)
			}
			if info.Err == nil {
				count(&h.opened)
			} else {
				count(&h.failed)
			}
		},
		Closed:   func(pool.CloseInfo) { count(&h.closed) },
		Detached: func(pool.DetachInfo) { count(&h.detached) },
		Waited:   func(pool.WaitInfo) { count(&h.waited) },
		Rejected: func(pool.RejectInfo) { count(&h.rejected) },
		Leaked: func(lease pool.LeaseInfo) {
			if lease.Conn == nil {
				l.fail("Leaked was told of %+v", lease)
			}
			count(&h.leaked)
		},
	}
}

// check compares with Stats, at the end of a life.
func (h *hookCounts) check(l *life) {
	s := l.p.Stats()
	closed := int64(ends(s) - s.Detached)
	if h.opened.Load() != int64(s.Opened) || h.failed.Load() != int64(s.OpenErrors) || h.closed.Load() != closed || h.leaked.Load() != int64(s.Leaked) || h.detached.Load() != int64(s.Detached) {
		l.fail("hooks were told of %d opened, %d failed, %d closed, %d detached, %d leaked; Stats has %d closed and %+v",
			h.opened.Load(), h.failed.Load(), h.closed.Load(), h.detached.Load(), h.leaked.Load(), closed, s)
	}
	if h.waited.Load() > int64(s.Waits) || h.rejected.Load() > int64(s.Rejected+s.Unavailable) {
		l.fail("hooks were told of %d waits and %d rejections, Stats has %+v", h.waited.Load(), h.rejected.Load(), s)
	}
}
