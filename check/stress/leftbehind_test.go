package stress

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
	"go.uber.org/atomic"
)

// A mixture is a pool of a random kind under callers who wait without a limit. Connections are
// reserved for an hour. So whoever is left behind beside one that he could have waits for an
// hour, or for ever.
type mixture struct {
	t     *testing.T
	seed  uint64
	p     *pool.Pool[*tagged]
	ahead atomic.Duration // what the wall clock is ahead
	sizes bool            // the pool is resized
	slow  bool            // functions of the factory take some time
	fails bool            // opening does, now and then
}

// mostWait is longer than any wait of these callers, and shorter than a reservation: an outage
// has pauses of half a second.
const mostWait = time.Minute

func newMixture(t *testing.T, seed uint64) *mixture {
	rnd := rand.New(rand.NewPCG(seed, 0))
	one := func(n int) bool { return rnd.IntN(n) == 0 }
	m := &mixture{t: t, seed: seed, sizes: one(3), slow: one(2), fails: one(3)}
	c := pool.Config{MaxConnections: 1 + rnd.IntN(4), MaxWaitTime: -1, MaxIdleTime: -1, FailFastAfter: -1, StrictMax: one(4)}
	f := pool.Factory[*tagged]{Open: m.open, Close: m.close, Watch: func(c *tagged, broken func(error)) { c.broken = broken }}
	if one(2) {
		c.MaxIdleTime = time.Duration(1+rnd.IntN(100)) * time.Second
	}
	if one(3) {
		c.CheckInterval = time.Duration(1+rnd.IntN(5)) * time.Millisecond
	}
	if one(4) {
		c.MaxLifetime = time.Second
	}
	if one(4) {
		c.MaxOpening = 1
	}
	if one(2) {
		f.Check = m.check
	}
	if one(3) {
		f.Probe = func(_ context.Context, c *tagged) error { return m.check(c) }
	}
	if one(4) {
		f.Clean, f.CleanOnlyLooks = m.check, one(2)
	}
	if one(3) {
		f.Expires = func(*tagged) time.Time { return time.Now().Add(time.Duration(1+rand.IntN(20)) * time.Millisecond) }
	}
	m.p = testkit.Start(t, f, c)
	testkit.Inside(m.p).SetAhead(m.ahead.Load)
	return m
}

func (m *mixture) pause() {
	if m.slow && rand.IntN(2) == 0 {
		time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
	}
}

func (m *mixture) open(context.Context) (*tagged, error) {
	m.pause()
	if m.fails && rand.IntN(4) == 0 {
		return nil, testkit.ErrDial
	}
	return new(tagged), nil
}

func (m *mixture) close(c *tagged, _ error) error {
	m.pause()
	if c.closes.Inc() != 1 {
		m.t.Error("a connection was closed twice, or after Detach")
	}
	return nil
}

func (m *mixture) check(*tagged) error {
	m.pause()
	if rand.IntN(20) == 0 {
		return testkit.ErrUnfit
	}
	return nil
}

// get asks for a connection in one of many ways. last is an earlier lease of the caller.
func (m *mixture) get(rnd *rand.Rand, last pool.Lease[*tagged]) (l pool.Lease[*tagged], ok bool) {
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	switch rnd.IntN(6) {
	case 0:
		ctx, cancel = context.WithTimeout(ctx, time.Duration(rnd.IntN(1000))*time.Microsecond)
	case 1:
		ctx, cancel = context.WithCancel(ctx)
		soon := rnd.IntN(5)
		go func() {
			for range soon {
				runtime.Gosched()
			}
			cancel()
		}()
	}
	defer cancel()
	var err error
	same, began := false, time.Now()
	switch k := rnd.IntN(20); {
	case k < 6:
		same = true
		l, err = m.p.GetSame(ctx, last.Mark())
	case k < 8:
		if l, same = m.p.TryGetSame(last.Mark()); !same {
			return l, false
		}
	case k < 10:
		l, err = m.p.GetFresh(ctx)
	case k < 11:
		l, ok = m.p.TryGet()
		return l, ok
	default:
		l, err = m.p.Get(ctx)
	}
	if d := time.Since(began); d > mostWait {
		m.t.Errorf("somebody was left behind for %v", d)
	}
	switch {
	case err == nil && same && l.Value() != last.Value():
		m.t.Error("somebody was lent another connection than that of his Mark")
	case err != nil && ctx.Err() == nil && !errors.Is(err, testkit.ErrDial) && !errors.Is(err, pool.ErrGone):
		m.t.Errorf("an ask failed with %v", err)
	}
	return l, err == nil
}

// end ends a lease in one of many ways, while somebody else does something to the pool.
func (m *mixture) end(rnd *rand.Rand, l pool.Lease[*tagged]) {
	p, c := m.p, l.Value()
	size, short := 1+rnd.IntN(4), time.Duration(rnd.IntN(1000))*time.Microsecond
	var err error
	switch rnd.IntN(24) {
	case 0:
		err = p.Discard(l, nil)
	case 1:
		if _, err = p.Detach(l); err == nil {
			c.closes.Inc()
		}
	case 2:
		c.broken(testkit.ErrCause)
		err = p.Put(l)
	case 3:
		go p.Reset()
		err = p.Put(l)
	case 4:
		for _, i := range p.Leases() {
			if i.Number == l.Number() {
				p.Revoke(i)
			}
		}
		err = p.Put(l)
	case 5:
		if m.sizes {
			go p.Resize(size)
		}
		err = p.Put(l)
	case 6:
		go m.ahead.Add(time.Hour)
		err = p.Put(l)
	case 7, 8:
		err = p.PutUnused(l)
	case 9, 10, 11, 12, 13, 14, 15:
		err = p.PutFor(l, time.Hour)
	case 16, 17:
		err = p.PutFor(l, short)
	default:
		err = p.Put(l)
	}
	if err != nil && !errors.Is(err, pool.ErrRevoked) {
		m.t.Errorf("ending a lease returned %v", err)
	}
}

func (m *mixture) caller(id int64) {
	rnd := rand.New(rand.NewPCG(m.seed, uint64(id)))
	var last pool.Lease[*tagged]
	for range 60 {
		l, ok := m.get(rnd, last)
		if !ok {
			continue
		}
		c := l.Value()
		if !c.user.CompareAndSwap(0, id) {
			m.t.Errorf("caller %d was lent the connection of caller %d", id, c.user.Load())
		}
		c.uses++
		switch rnd.IntN(4) {
		case 0:
			time.Sleep(time.Duration(rnd.IntN(1000)) * time.Microsecond)
		case 1:
			runtime.Gosched()
		}
		c.user.Store(0)
		m.end(rnd, l)
		last = l
	}
}

// Whatever is done to the pool meanwhile, nobody waits beside a connection that he could have: not
// one who waits for any, not one who waits for a single one, and not beside what is reserved.
func TestNobodyIsLeftBehind(t *testing.T) {
	pools := 100
	if testing.Short() {
		pools = 25
	}
	for range pools {
		seed := rand.Uint64()
		synctest.Test(t, func(t *testing.T) {
			m := newMixture(t, seed)
			var wg sync.WaitGroup
			for id := range 2 + seed%7 {
				wg.Go(func() { m.caller(int64(id) + 1) })
			}
			wg.Wait()
			time.Sleep(2 * time.Second) // an outage is over, and what was under way
			synctest.Wait()
			testkit.AtRest(t, m.p, 0)
			m.p.Close()
			testkit.AtRest(t, m.p, 0)
		})
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}
