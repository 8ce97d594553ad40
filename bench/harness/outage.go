package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/atomic"
)

// Neither scenario says who has too many open: a pool may close in the background what the
// server has closed already.

// outage takes the server away for four seconds: connections are closed, and the kernel refuses
// new ones. 20 callers with 10 connections ask for one within a second, use it for a round trip
// and a millisecond, and ask again; after a failure a millisecond later.
func outage(r *run) error {
	const size, callers, within, pause = 10, 20, time.Second, time.Millisecond
	var server Server
	if err := server.Start(); err != nil {
		return err
	}
	if err := r.open(size, server.Address()); err != nil {
		return err
	}
	var stop, down atomic.Bool
	var failures, untold, dead atomic.Int64
	var mu sync.Mutex
	var served []time.Time
	var causes []string
	for range callers {
		go func() {
			for !stop.Load() {
				ctx, cancel := context.WithTimeout(context.Background(), within)
				l, err := r.pool.Get(ctx)
				if err != nil {
					if down.Load() {
						failures.Inc()
						if !tellsRefused(err) {
							untold.Inc()
							mu.Lock()
							if len(causes) < 3 && !slices.Contains(causes, err.Error()) {
								causes = append(causes, err.Error())
							}
							mu.Unlock()
						}
					}
					cancel()
					time.Sleep(pause)
					continue
				}
				if l.Conn.RoundTrip(ctx) != nil {
					dead.Inc()
					l.Drop()
					cancel()
					time.Sleep(pause)
					continue
				}
				time.Sleep(pause)
				l.Put()
				cancel()
				now := time.Now()
				mu.Lock()
				served = append(served, now)
				mu.Unlock()
			}
		}()
	}
	// With all connections open, what is served in a second is full service.
	var rate float64
	for steady := r.span(2 * time.Second); rate == 0; steady *= 2 { // once, but on a machine that is busy
		if steady > 20*time.Second {
			return errors.New("nobody was served before the outage")
		}
		time.Sleep(steady / 2)
		half := time.Now()
		time.Sleep(steady / 2)
		full := 0
		mu.Lock()
		for _, t := range served {
			if t.After(half) {
				full++
			}
		}
		mu.Unlock()
		rate = float64(full) / time.Since(half).Seconds()
	}

	before := r.dialer.Attempts()
	down.Store(true)
	if err := server.Stop(); err != nil {
		return err
	}
	time.Sleep(r.span(4 * time.Second))
	attempts := r.dialer.Attempts() - before
	down.Store(false)
	back := time.Now()
	if err := server.Start(); err != nil {
		return fmt.Errorf("its port was taken during the outage: %w", err)
	}
	r.set(Attempts, float64(attempts))
	r.set(Failures, float64(failures.Load()))
	r.set(Untold, float64(untold.Load()))
	if untold.Load() > 0 {
		r.wrong("errors in an outage did not name its cause (%s)", strings.Join(causes, "; "))
	}

	const patience, window = 8 * time.Second, 100 * time.Millisecond
	for time.Since(back) < patience {
		time.Sleep(window / 2)
		mu.Lock()
		after := served
		if i := slices.IndexFunc(after, func(t time.Time) bool { return t.After(back) }); i >= 0 {
			after = after[i:]
		} else {
			after = nil
		}
		after = slices.Clone(after)
		mu.Unlock()
		if len(after) == 0 {
			continue
		}
		if r.res.Metrics[FirstMs] == 0 {
			r.set(FirstMs, after[0].Sub(back).Seconds()*1000)
		}
		if at, ok := FullService(after, rate, window); ok {
			r.set(FullMs, at.Sub(back).Seconds()*1000)
			break
		}
	}
	stop.Store(true)
	if _, ok := r.res.Metrics[FirstMs]; !ok {
		r.wrong("nobody was served any more after an outage")
		return fmt.Errorf("nobody was served within %v after it; %d attempts in it", patience, attempts)
	}
	if _, ok := r.res.Metrics[FullMs]; !ok {
		return fmt.Errorf("no full service within %v after it; %d attempts in it", patience, attempts)
	}
	return nil
}

// FullService returns from when on nine tenths of the rate (served in a second) are reached, over a
// window.
func FullService(served []time.Time, rate float64, window time.Duration) (time.Time, bool) {
	need := int(0.9 * rate * window.Seconds())
	for i, t := range served {
		if i+need < len(served) && served[i+need].Sub(t) <= window {
			return t, true
		}
	}
	return time.Time{}, false
}

// tellsRefused reports whether err says that the server refuses, in a way that a program or at
// least a person can see.
func tellsRefused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || strings.Contains(err.Error(), "refused")
}

// restart has the server close 100 connections that have been idle for over a second, and go on
// accepting. Ten callers then do ten requests each.
func restart(r *run) error {
	const idle, callers, requests = 100, 10, 10
	r.patient()
	var server Server
	if err := server.Start(); err != nil {
		return err
	}
	defer server.Close()
	if err := r.open(idle, server.Address()); err != nil {
		return err
	}
	ctx, cancel := deadline()
	defer cancel()
	if err := fill(ctx, r.pool, idle); err != nil {
		return err
	}
	time.Sleep(1200 * time.Millisecond)
	opened := r.dialer.Opened()
	server.Cut()
	for r.dialer.alive() > 0 { // until the kernel has told all of them
		if ctx.Err() != nil {
			return errors.New("connections that the server has closed are still alive")
		}
		time.Sleep(time.Millisecond)
	}
	var broken, failures atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range callers {
		wg.Go(func() {
			for range requests {
				l, err := r.pool.Get(ctx)
				if err != nil {
					failures.Inc()
					continue
				}
				if l.Conn.RoundTrip(ctx) != nil {
					broken.Inc()
					l.Drop()
					continue
				}
				l.Put()
			}
		})
	}
	wg.Wait()
	r.set(AllMs, time.Since(began).Seconds()*1000)
	r.set(Broken, float64(broken.Load()))
	r.set(Failures, float64(failures.Load()))
	r.set(Opened, float64(r.dialer.Opened()-opened))
	if broken.Load() > 0 {
		r.wrong("a connection was lent whose peer had closed it while it was idle")
	}
	return nil
}
