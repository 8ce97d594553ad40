package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"runtime"
	"time"

	"github.com/S4AK4N/pool"
)

var (
	errFault    = errors.New("the same error every time")
	errReported = errors.New("reported broken")
)

// befall does what a fault at any place does. It returns after a hang or a delay.
func (l *life) befall(f fault, rnd *rand.Rand, ctx context.Context) error {
	switch f {
	case fails:
		return errFault
	case panics:
		if rnd.IntN(2) == 0 {
			panic("at the disco")
		}
		panic(errFault)
	case exits:
		runtime.Goexit()
	case slow:
		pause(l.weather.over(), time.Duration(rnd.IntN(20))*time.Millisecond)
	case hangs:
		if ctx == nil {
			ctx = context.Background()
		}
		t := time.NewTimer(l.plan.patience)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.weather.over():
		case <-t.C:
		}
	case deaf:
		pause(l.weather.over(), time.Duration(rnd.Int64N(int64(l.plan.patience))))
	}
	return nil
}

func (l *life) factory() pool.Factory[*wire] {
	f := pool.Factory[*wire]{Open: l.open, Close: l.close}
	if l.plan.check {
		f.Check = l.check
	}
	if l.plan.clean {
		f.Clean = l.clean
	}
	if l.plan.watch {
		f.Watch = l.watch
	}
	if l.plan.sleeps {
		f.Probe = l.probe
	}
	if l.plan.life > 0 {
		f.Expires = l.expires
	}
	return f
}

func (l *life) open(ctx context.Context) (*wire, error) {
	fault, rnd := l.weather.next(atOpen)
	w := &wire{life: l, orphan: fault == both}
	if l.plan.strict {
		// The pool does not count any more what takes too long (nor do we, from a
		// little earlier on), and closes it when it comes.
		late := time.AfterFunc(l.plan.config.OpenTimeout+100*time.Millisecond, w.uncount)
		defer late.Stop()
		w.counts.Store(true)
		if n := l.standing.Inc(); n > int64(l.plan.config.MaxConnections) {
			l.fail("%d connections are open or being opened, for the peer, of at most %d; abandoned %d", n, l.plan.config.MaxConnections, l.p.Stats().Abandoned)
		}
	}
	opened := false
	defer func() {
		if !opened {
			w.uncount()
		}
	}()
	if err := l.befall(fault, rnd, ctx); err != nil {
		return nil, err
	}
	if fault == nilConn {
		return nil, nil
	}
	if rnd.IntN(3) == 0 {
		var d net.Dialer
		tcp, err := d.DialContext(context.WithoutCancel(ctx), "tcp", l.peer.Addr().String())
		if err != nil {
			return nil, err
		}
		w.tcp = tcp
	}
	if w.orphan {
		w.hangUp()
		return w, errFault
	}
	opened = true
	w.number = l.created.Inc()
	l.mu.Lock()
	l.wires[w] = struct{}{}
	l.mu.Unlock()
	return w, nil
}

func (l *life) watch(w *wire, broken func(error)) {
	w.broken.Store(&broken)
	fault, rnd := l.weather.next(atWatch)
	switch fault {
	case early:
		broken(errReported)
	case twice:
		go func() {
			for range 2 {
				pause(l.weather.over(), time.Duration(rnd.IntN(20))*time.Millisecond)
				broken(errReported)
			}
		}()
	case late: // see close
	default:
		_ = l.befall(fault, rnd, nil)
	}
}

// expires gives each wire a life between nothing and twice that of the plan.
func (l *life) expires(w *wire) time.Time {
	fault, rnd := l.weather.next(atExpires)
	if l.befall(fault, rnd, nil) != nil {
		return time.Now().Add(-time.Hour)
	}
	return time.Now().Add(time.Duration(rnd.Int64N(2 * int64(l.plan.life))))
}

// exclusively is for Check, Probe and Clean, which are promised that nobody else uses w.
func (l *life) exclusively(w *wire, as int64, at place) error {
	if !w.user.CompareAndSwap(nobody, as) {
		l.fail("%s was called for connection %d while %d has it", placeNames[at], w.number, w.user.Load())
		return nil
	}
	defer w.user.CompareAndSwap(as, nobody)
	if w.closes.Load() != 0 && !l.ending.Load() && !w.revoked.Load() {
		l.fail("%s was called for connection %d, which is closed", placeNames[at], w.number)
	}
	w.uses++
	fault, rnd := l.weather.next(at)
	if fault == hangs {
		w.hung.Store(time.Now().UnixNano())
		defer w.hung.Store(0)
	}
	return l.befall(fault, rnd, nil)
}

func (l *life) check(w *wire) error { return l.exclusively(w, checker, atCheck) }
func (l *life) clean(w *wire) error { return l.exclusively(w, cleaner, atClean) }

func (l *life) probe(_ context.Context, w *wire) error { return l.exclusively(w, prober, atProbe) }

func (l *life) close(w *wire, cause error) error {
	if w.orphan {
		l.fail("a connection that Open returned beside an error has been closed")
	}
	revoked := errors.Is(cause, pool.ErrRevoked) && l.plan.revokes
	w.revoked.Store(revoked) // before closes: its holder may be about to get it
	if n := w.closes.Inc(); n != 1 {
		l.fail("connection %d was closed %d times, now for %v", w.number, n, cause)
		return nil
	}
	// Close or Revoke may end a lease while its holder calls Detach.
	ended := revoked || errors.Is(cause, pool.ErrClosed)
	if w.gone.Load() || w.away.Load() && !ended {
		l.fail("connection %d was closed after it was detached", w.number)
	}
	if user := w.user.Load(); user != nobody && !ended && !l.ending.Load() && !w.abandoned(user) {
		l.fail("connection %d was closed while %d has it: %v", w.number, user, cause)
	}
	l.mu.Lock()
	delete(l.wires, w)
	l.mu.Unlock()
	defer l.closed.Inc() // also if it panics
	defer w.uncount()
	fault, rnd := l.weather.next(atClose)
	if fault == hangs && l.plan.patience > abandonedAfter {
		w.uncount() // the pool may stop waiting
	}
	if rnd.IntN(2) == 0 {
		defer w.hangUp()
	} else {
		w.hangUp()
	}
	if b := w.broken.Load(); b != nil && rnd.IntN(8) == 0 {
		(*b)(errReported) // too late
	}
	return l.befall(fault, rnd, nil)
}

// abandonedAfter is a little less than what the pool allows Check and Clean.
const abandonedAfter = 9 * time.Second

// abandoned reports whether the pool has had to give up a call of Check or Clean.
func (w *wire) abandoned(user int64) bool {
	began := w.hung.Load()
	return user < 0 && began != 0 && time.Since(time.Unix(0, began)) > abandonedAfter
}
