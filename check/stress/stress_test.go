package stress

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
	"go.uber.org/atomic"
)

// A tagged connection knows who uses it.
type tagged struct {
	user   atomic.Int64 // 0: nobody
	uses   int          // for the race detector: the holder of the connection writes it
	closes atomic.Int32
	away   bool // detached
	broken func(error)
}

// A stress is a pool under random actions of many goroutines.
type stress struct {
	t     *testing.T
	p     *pool.Pool[*tagged]
	seed  uint64
	pause func(rnd *rand.Rand) // what a caller does with a connection
	mu    sync.Mutex
	conns []*tagged
	opens atomic.Int64 // that have succeeded
}

func newStress(t *testing.T, seed uint64, config pool.Config, f func(*pool.Factory[*tagged])) *stress {
	t.Logf("seed %d", seed)
	s := &stress{t: t, seed: seed, pause: func(rnd *rand.Rand) {
		for range rnd.IntN(4) {
			runtime.Gosched()
		}
	}}
	factory := pool.Factory[*tagged]{Open: s.open, Close: s.close, Watch: s.watch}
	if f != nil {
		f(&factory)
	}
	p, err := pool.New(factory, config)
	if err != nil {
		t.Fatal(err)
	}
	s.p = p
	return s
}

func (s *stress) open(context.Context) (*tagged, error) {
	if rand.IntN(8) == 0 {
		return nil, testkit.ErrDial
	}
	c := new(tagged)
	s.mu.Lock()
	s.conns = append(s.conns, c)
	s.mu.Unlock()
	s.opens.Inc()
	return c, nil
}

func (s *stress) close(c *tagged, cause error) error {
	if c.closes.Inc() != 1 {
		s.t.Error("a connection was closed twice")
	}
	if user := c.user.Load(); user != 0 && cause != pool.ErrClosed {
		s.t.Errorf("the connection of caller %d was closed: %v", user, cause)
	}
	return nil
}

func (s *stress) watch(c *tagged, broken func(error)) { c.broken = broken }

// use marks c as used by one caller, for as long as f runs.
func (s *stress) use(id int64, c *tagged, f func()) {
	if !c.user.CompareAndSwap(0, id) {
		s.t.Errorf("caller %d was lent the connection of caller %d", id, c.user.Load())
		return
	}
	if c.closes.Load() != 0 && !words.Gate(testkit.Inside(s.p).Gate.Load()).Closed() {
		s.t.Errorf("caller %d was lent a closed connection", id)
	}
	c.uses++
	f()
	c.user.CompareAndSwap(id, 0)
}

// caller does n random things, or goes on until the pool is closed.
func (s *stress) caller(id int64) {
	rnd := rand.New(rand.NewPCG(s.seed, uint64(id)))
	var stale pool.Lease[*tagged]
	for {
		var l pool.Lease[*tagged]
		var err error
		if rnd.IntN(8) == 0 {
			ok := false
			if rnd.IntN(2) == 0 {
				l, ok = s.p.TryGet()
			} else if l, ok = s.p.TryGetSame(stale.Mark()); ok && l.Value() != stale.Value() {
				s.t.Errorf("caller %d was lent another connection than that of its Mark", id)
			}
			if !ok {
				if words.Gate(testkit.Inside(s.p).Gate.Load()).Closed() {
					return
				}
				s.pause(rnd)
				continue
			}
		} else {
			ctx, cancel := context.Background(), context.CancelFunc(func() {})
			switch rnd.IntN(6) {
			case 0:
				ctx, cancel = context.WithTimeout(ctx, time.Duration(rnd.IntN(200))*time.Microsecond)
			case 1:
				ctx, cancel = context.WithCancel(ctx)
				go cancel()
			case 2:
				ctx = testkit.NewEnding()
			}
			same := stale != (pool.Lease[*tagged]{}) && rnd.IntN(3) == 0
			if same {
				l, err = s.p.GetSame(ctx, stale.Mark())
			} else {
				l, err = s.p.Get(ctx)
			}
			if same && err == nil && l.Value() != stale.Value() {
				s.t.Errorf("caller %d was lent another connection than that of its Mark", id)
			}
			if same && errors.Is(err, pool.ErrGone) {
				stale = pool.Lease[*tagged]{}
			} else if err != nil && !errors.Is(err, testkit.ErrDial) && !errors.Is(err, pool.ErrClosed) && !errors.Is(err, pool.ErrExhausted) &&
				!errors.Is(err, pool.ErrUnavailable) && !errors.Is(err, pool.ErrRejected) && ctx.Err() == nil {
				s.t.Errorf("Get: %v", err)
			}
			cancel()
		}
		if errors.Is(err, pool.ErrClosed) {
			return
		}
		if err != nil {
			s.pause(rnd)
			continue
		}
		c := l.Value()
		s.use(id, c, func() { s.pause(rnd) })
		if s.p.Put(stale) != pool.ErrNotLeased {
			s.t.Error("a stale Put was not refused")
		}
		s.finish(rnd, l)
		stale = l
	}
}

// finish ends a lease in one of many ways.
func (s *stress) finish(rnd *rand.Rand, l pool.Lease[*tagged]) {
	c := l.Value()
	var err error
	switch rnd.IntN(20) {
	case 0:
		err = s.p.Discard(l, testkit.ErrCause)
	case 1:
		if _, err = s.p.Detach(l); err == nil {
			c.away = true
		} else if err != pool.ErrClosed {
			s.t.Errorf("Detach: %v", err)
		} else {
			err = nil
		}
	case 2: // breaks in use
		c.broken(testkit.ErrCause)
		err = s.p.Put(l)
	case 6:
		err = s.p.PutUnused(l)
	case 7, 8, 9:
		err = s.p.PutFor(l, time.Duration(rnd.IntN(1000))*time.Microsecond)
	case 3: // breaks at the same time
		done := make(chan struct{})
		go func() {
			c.broken(testkit.ErrCause)
			close(done)
		}()
		err = s.p.Put(l)
		<-done
	case 4: // two Puts at the same time
		var other error
		done := make(chan struct{})
		go func() {
			other = s.p.Put(l)
			close(done)
		}()
		err = s.p.Put(l)
		<-done
		if (err == nil) == (other == nil) {
			s.t.Errorf("of two Puts of one lease, one returned %v, the other %v", err, other)
		}
		err = nil
	case 5: // breaks when it is anybody's
		err = s.p.Put(l)
		c.broken(testkit.ErrCause)
	default:
		err = s.p.Put(l)
	}
	if err != nil {
		s.t.Errorf("ending a lease returned %v", err)
	}
}

// over checks that everything has come out even in a closed pool.
func (s *stress) over() {
	s.t.Helper()
	testkit.AtRest(s.t, s.p, 0)
	away := 0
	for _, c := range s.conns {
		if c.away {
			away++
			if c.closes.Load() != 0 {
				s.t.Error("a detached connection was closed")
			}
		} else if c.closes.Load() != 1 {
			s.t.Errorf("a connection was closed %d times", c.closes.Load())
		}
	}
	st := s.p.Stats()
	ends := st.Detached + st.ClosedIdle + st.ClosedCheck + st.ClosedClean + st.ClosedWatch + st.ClosedDiscard + st.ClosedShutdown
	if st.Opened != uint64(s.opens.Load()) || st.Opened != ends || st.Detached != uint64(away) {
		s.t.Errorf("opened %d, counted as opened %d, as closed or detached %d; detached %d, counted %d",
			s.opens.Load(), st.Opened, ends, away, st.Detached)
	}
	if n := testkit.Inside(s.p).Unclosed.Load(); n != 0 {
		s.t.Errorf("%d connections are counted as not closed", n)
	}
	s.t.Logf("%d leases, %d waits, %d cancelled, %d opened, %d opens failed", st.Gets, st.Waits, st.Canceled, st.Opened, st.OpenErrors)
}

// stressTime is how long each of the stress tests lasts: POOL_STRESS, or 2 s in all.
func stressTime(t *testing.T, tests int) time.Duration {
	d := 2 * time.Second
	if v := os.Getenv("POOL_STRESS"); v != "" {
		var err error
		if d, err = time.ParseDuration(v); err != nil {
			t.Fatal(err)
		}
	} else if testing.Short() {
		d = 300 * time.Millisecond
	}
	return d / time.Duration(tests)
}

var stressConfigs = []struct {
	name    string
	config  pool.Config
	callers int
	factory func(*pool.Factory[*tagged])
}{
	{"few", pool.Config{MaxConnections: 2}, 16, nil},
	{"one", pool.Config{MaxConnections: 1, MaxWaitTime: 2 * time.Millisecond}, 6, nil},
	{"enough", pool.Config{MaxConnections: 12}, 12, nil},
	{"limited", pool.Config{MaxConnections: 3, MaxWaiters: 4}, 12, nil},
	{"checked", pool.Config{MaxConnections: 4, CheckInterval: time.Millisecond, MaxIdleTime: 20 * time.Millisecond}, 8,
		func(f *pool.Factory[*tagged]) {
			f.Check = func(*tagged) error {
				if rand.IntN(50) == 0 {
					return testkit.ErrUnfit
				}
				return nil
			}
			f.Clean = func(*tagged) error {
				switch rand.IntN(50) {
				case 0:
					return testkit.ErrUnfit
				case 1:
					panic(testkit.ErrUnfit)
				}
				return nil
			}
		}},
}

// The exclusive owner tag: a connection is in one caller's hands at a time. And all
// comes out even when the pool is closed in the midst of it.
func TestRandomActionsOfMany(t *testing.T) {
	for _, c := range stressConfigs {
		for name, end := range map[string]func(p *pool.Pool[*tagged]) error{
			"Close":    func(p *pool.Pool[*tagged]) error { return p.Close() },
			"Shutdown": func(p *pool.Pool[*tagged]) error { return p.Shutdown(context.Background()) },
		} {
			t.Run(c.name+" "+name, func(t *testing.T) {
				s := newStress(t, rand.Uint64(), c.config, c.factory)
				var wg sync.WaitGroup
				for id := range int64(c.callers) {
					wg.Go(func() { s.caller(id + 1) })
				}
				<-time.After(stressTime(t, 2*len(stressConfigs)))
				if err := end(s.p); err != nil {
					t.Errorf("it returned %v", err)
				}
				wg.Wait()
				testkit.AwaitPools(t)
				s.over()
			})
		}
	}
}

// The same on a clock on which everything that is due happens at the same instant.
func TestRandomActionsAtTheSameInstant(t *testing.T) {
	for _, c := range stressConfigs {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStress(t, rand.Uint64(), c.config, c.factory)
				s.pause = func(rnd *rand.Rand) { time.Sleep(time.Duration(1+rnd.IntN(4)) * 50 * time.Microsecond) }
				var wg sync.WaitGroup
				for id := range int64(c.callers) {
					wg.Go(func() { s.caller(id + 1) })
				}
				rounds := 200
				if testing.Short() {
					rounds = 40
				}
				time.Sleep(time.Duration(rounds) * 100 * time.Microsecond)
				if err := s.p.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				wg.Wait()
				synctest.Wait()
				s.over()
			})
		})
	}
}
