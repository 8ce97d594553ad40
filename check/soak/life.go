package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"sync"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"

	"go.uber.org/atomic"
)

// A plan is what a life is like.
type plan struct {
	config              pool.Config
	callers             int
	check, clean, watch bool
	resizes, resets     bool
	revokes             bool
	sleeps              bool          // the machine seems to sleep every now and then
	life                time.Duration // of a connection, about, by Factory.Expires; 0: none
	strict              bool          // and no more are open for the peer than MaxConnections, ever
	patience            time.Duration // of what hangs
	end                 int
}

// extraCallers may wait beside those of the plan.
const extraCallers = 100

// plan draws one.
func (w *weather) plan(callers int, patience time.Duration) plan {
	rnd := w.rand(50, 0)
	ms := func(choices ...int) time.Duration {
		d := choices[rnd.IntN(len(choices))]
		return time.Duration(d) * time.Millisecond
	}
	pick := func(choices ...int) int { return choices[rnd.IntN(len(choices))] }
	chance := func(one int) bool { return rnd.IntN(one) == 0 }
	p := plan{
		config: pool.Config{
			MaxConnections: pick(1, 2, 5, 16, 40, 150),
			MaxIdleTime:    ms(-1, 20, 200),
			MaxLifetime:    ms(0, 0, 50, 300),
			MaxWaitTime:    ms(-1, 5, 50, 300),
			MaxWaiters:     pick(0, 0, 5, 100),
			OpenTimeout:    ms(50, 300),
			CheckInterval:  ms(1, 20, -1),
			MaxOpening:     pick(0, 0, 1, 3),
			LeakAfter:      ms(0, 0, 5),
			MaxBackoff:     ms(0, 0, 5, 50),
			TimeUse:        chance(3),
			LeakCallers:    chance(2),
			OpenEagerly:    chance(4),
			StrictMax:      chance(3),
		},
		callers:  callers,
		check:    chance(2),
		clean:    chance(2),
		watch:    !chance(4),
		resizes:  chance(3),
		resets:   chance(3),
		sleeps:   chance(3),
		life:     ms(0, 0, 0, 20, 200),
		patience: patience,
		end:      rnd.IntN(endings),
		revokes:  chance(3),
	}
	if chance(3) {
		p.config.MinIdle = 1 + rnd.IntN(p.config.MaxConnections)
	}
	if patience > abandonedAfter {
		p.check, p.clean, p.config.MaxConnections = true, true, max(p.config.MaxConnections, 16)
	}
	p.strict = p.config.StrictMax && !p.resizes
	return p
}

// The ways in which a life comes to its end.
const (
	byShutdown      = iota // which waits for all leases
	byShortPatience        // Shutdown whose ctx ends
	byClose
	byBoth // several of them at the same time
	endings
)

// A life is one pool, from New until nothing is left of it.
type life struct {
	created, closed, detached atomic.Int64
	standing                  atomic.Int64 // open or being opened, as the peer counts them, in a strict pool
	hooked                    hookCounts
	ending                    atomic.Bool // Shutdown or Close is about to be called
	over                      atomic.Bool // and has returned

	*soak
	number  uint64
	plan    plan
	weather *weather
	p       *pool.Pool[*wire]
	callers sync.WaitGroup

	mu    sync.Mutex         // guards wires, which the factory's goroutines and the audits use
	wires map[*wire]struct{} // created, and neither closed nor detached
}

func (l *life) fail(format string, args ...any) {
	l.soak.fail(fmt.Sprintf("life %d: ", l.number)+format, args...)
}

// live runs one life.
func (s *soak) live(number uint64, rough, patience time.Duration) {
	l := &life{soak: s, number: number, weather: newWeather(s.seed, number, &s.met), wires: map[*wire]struct{}{}}
	l.plan = l.weather.plan(s.callers, patience)
	l.plan.config.Hooks = l.hooks()
	s.peer.life.Store(l)
	before := descriptors()
	p, err := pool.New(l.factory(), l.plan.config)
	if err != nil {
		s.fail("New: %v", err)
		return
	}
	l.p = p
	if l.plan.sleeps {
		looks := 0 // of the sweeper
		inside := (*core.Pool)(reflect.ValueOf(p).Elem().FieldByName("core").Addr().UnsafePointer()).Inside()
		inside.SetAhead(func() time.Duration { looks++; return time.Duration(looks/5) * time.Hour })
	}

	sampling := make(chan struct{})
	var samplers sync.WaitGroup
	for range 2 {
		samplers.Go(func() { (&sampler{life: l}).watch(sampling) })
	}
	l.roughTimes(rough*3/4, 1)
	l.audit()
	l.weather.rough()
	stop := make(chan struct{})
	var changing sync.WaitGroup
	changing.Go(func() { l.weather.change(stop) })
	changing.Go(func() { l.administer(stop, 4) })
	l.come(nil, 3)
	pause(nil, rough/4)
	l.die()
	close(stop)
	changing.Wait()
	close(sampling)
	samplers.Wait()
	l.nothingLeft(before)
	l.hooked.check(l)
	st := p.Stats()
	s.abandoned.Add(int64(st.Abandoned))
	s.unavailable.Add(int64(st.Unavailable))
	s.leaked.Add(int64(st.Leaked))
	s.opened.Add(int64(st.Opened))
	s.openErrors.Add(int64(st.OpenErrors))
	s.waits.Add(int64(st.Waits))
	s.lives.Inc()
	if s.verbose {
		fmt.Printf("life %d: %+v\n", number, l.plan)
		fmt.Printf("  %d created, %d closed, %d detached; %+v\n", l.created.Load(), l.closed.Load(), l.detached.Load(), st)
	}
}

// roughTimes lets callers come for a while, then waits until they have gone.
func (l *life) roughTimes(d time.Duration, kind uint64) {
	stop := make(chan struct{})
	var changing sync.WaitGroup
	changing.Go(func() { l.weather.change(stop) })
	changing.Go(func() { l.administer(stop, kind+1) })
	l.come(stop, kind)
	pause(nil, d)
	close(stop)
	changing.Wait()
	l.weather.ease()
	l.within(30*time.Second, "all callers have returned", l.callers.Wait)
}

// within fails, with the stacks of all goroutines, if f takes longer than d: whatever
// it waits for is stuck.
func (l *life) within(d time.Duration, what string, f func()) {
	t := time.AfterFunc(d, func() {
		l.fail("not in %v: %s: %+v\n%s", d, what, l.p.Stats(), stacks())
		l.giveUp()
	})
	defer t.Stop()
	f()
}

// until waits for a condition that nobody reports.
func until(limit time.Duration, cond func() bool) bool {
	for began := time.Now(); !cond(); pause(nil, time.Millisecond) {
		if time.Since(began) > limit {
			return false
		}
	}
	return true
}

// audit is for a calm with no callers in it. Nothing may have been lost in the rough
// times before.
func (l *life) audit() {
	if !until(20*time.Second, func() bool {
		s := l.p.Stats()
		return s.ActiveConnections+s.OpeningConnections+s.WaitingRequests == 0 && s.Opened == ends(s)+uint64(s.IdleConnections)
	}) {
		l.fail("the pool does not come to rest: %+v\n%s", l.p.Stats(), stacks())
	}
	// The house full. Nobody waits in vain, and all are different.
	max := l.p.Stats().MaxConnections
	leases := make(chan pool.Lease[*wire], max)
	var wg sync.WaitGroup
	for range max {
		wg.Go(func() {
			for began := time.Now(); ; {
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				lease, err := l.p.Get(ctx)
				cancel()
				if err == nil {
					l.leases.Inc()
					leases <- lease
					return
				}
				// An opening that went wrong before the calm may be told now, and
				// after an outage the pool takes a moment. Connections that have
				// grown old or died are replaced.
				if time.Since(began) > 20*time.Second {
					l.fail("in a calm, with %d connections for as many callers, Get: %v; %+v\n%s", max, err, l.p.Stats(), stacks())
					return
				}
				pause(nil, time.Millisecond)
			}
		})
	}
	wg.Wait()
	close(leases)
	seen := map[*wire]bool{}
	var all []pool.Lease[*wire]
	for lease := range leases {
		if seen[lease.Value()] {
			l.fail("a connection was lent twice")
		}
		seen[lease.Value()] = true
		all = append(all, lease)
	}
	if _, ok := l.p.TryGet(); ok {
		l.fail("TryGet returned a connection more than there may be")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	if _, err := l.p.Get(ctx); err == nil {
		l.fail("Get returned a connection more than there may be")
	}
	cancel()
	if s := l.p.Stats(); s.ActiveConnections != len(all) || s.IdleConnections != 0 {
		l.fail("%d are leased, but Stats has %+v", len(all), s)
	}
	for _, lease := range all {
		if err := l.p.Put(lease); err != nil {
			l.fail("Put: %v", err)
		}
	}
	l.audits.Inc()
}

// die ends the life of the pool, among callers and in rough times.
func (l *life) die() {
	l.ending.Store(true)
	shutdown := func(patience time.Duration) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := l.p.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			l.fail("Shutdown: %v", err)
		}
	}
	l.within(45*time.Second, "the pool is closed", func() {
		switch l.plan.end {
		case byShutdown:
			// What hangs would hold it up, and may.
			t := time.AfterFunc(100*time.Millisecond, l.weather.ease)
			if err := l.p.Shutdown(context.Background()); err != nil {
				l.fail("Shutdown: %v", err)
			}
			if t.Stop() {
				l.weather.ease()
			} else {
				<-l.weather.over()
			}
			l.over.Store(true)
			return
		case byShortPatience:
			shutdown(time.Duration(l.number%20) * time.Millisecond)
		case byClose:
			if err := l.p.Close(); err != nil {
				l.fail("Close: %v", err)
			}
		case byBoth:
			var wg sync.WaitGroup
			for n := range 4 {
				wg.Go(func() {
					if n%2 == 0 {
						_ = l.p.Close()
					} else {
						shutdown(5 * time.Millisecond)
					}
				})
			}
			wg.Wait()
		}
		l.over.Store(true)
		l.weather.ease()
	})
}

// nothingLeft checks that nothing is left of a pool that was closed, once all callers
// have gone.
func (l *life) nothingLeft(before int) {
	l.within(30*time.Second, "all callers have returned from a closed pool", l.callers.Wait)
	var left []string
	if !until(20*time.Second, func() bool { left = goroutines("github.com/S4AK4N/pool/internal/core."); return len(left) == 0 }) {
		l.fail("goroutines are left:\n%s", left)
	}
	// What Open returns too late is closed as well.
	if c, d, a := l.created.Load(), l.closed.Load(), l.detached.Load(); c != d+a {
		l.fail("%d connections were opened, %d closed, %d detached", c, d, a)
	}
	if now := 0; !until(10*time.Second, func() bool { now = descriptors(); return now <= before }) {
		l.fail("%d descriptors are open, %d were before", now, before)
	}
	s := l.p.Stats()
	if s.ActiveConnections+s.IdleConnections+s.OpeningConnections+s.WaitingRequests != 0 {
		l.fail("something is left: %+v", s)
	}
	if s.Opened != ends(s) {
		l.fail("%d were opened, but %d have ended: %+v", s.Opened, ends(s), s)
	}
	if s.Detached != uint64(l.detached.Load()) {
		l.fail("%d were detached, but Stats has %+v", l.detached.Load(), s)
	}
	if _, err := l.p.Get(context.Background()); !errors.Is(err, pool.ErrClosed) {
		l.fail("Get after the end: %v", err)
	}
	runtime.KeepAlive(l)
}
