package stress

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
)

// operate changes the pool at random, until stopped is closed: what an operator does.
func (s *stress) operate(most int, stopped <-chan struct{}) {
	rnd := rand.New(rand.NewPCG(s.seed, 1<<40))
	for {
		select {
		case <-stopped:
			return
		default:
		}
		switch rnd.IntN(8) {
		case 0:
			s.p.Reset()
		case 1:
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			err := s.p.Warm(ctx, rnd.IntN(most))
			if errors.Is(err, pool.ErrExhausted) || errors.Is(err, pool.ErrRejected) {
				s.t.Errorf("Warm: %v", err)
			}
			cancel()
		default:
			if err := s.p.Resize(1 + rnd.IntN(most)); err != nil && err != pool.ErrClosed {
				s.t.Errorf("Resize: %v", err)
			}
		}
		s.pause(rnd)
	}
}

// even checks that everything has come out even in a closed pool, whatever connections
// were closed for.
func (s *stress) even() {
	s.t.Helper()
	testkit.AtRest(s.t, s.p, 0)
	away := 0
	for _, c := range s.conns {
		switch closes := c.closes.Load(); {
		case c.away:
			away++
			if closes != 0 {
				s.t.Error("a detached connection was closed")
			}
		case closes != 1:
			s.t.Errorf("a connection was closed %d times", closes)
		}
	}
	st := s.p.Stats()
	ends := st.Detached + testkit.Inside(s.p).Closed()
	if st.Opened != uint64(s.opens.Load()) || st.Opened != ends || st.Detached != uint64(away) {
		s.t.Errorf("opened %d, counted as opened %d, as closed or detached %d; detached %d, counted %d",
			s.opens.Load(), st.Opened, ends, away, st.Detached)
	}
	s.t.Logf("%d leases, %d waits, %d opened, %d opens failed; closed %d by Resize, %d by Reset, %d for their lifetime",
		st.Gets, st.Waits, st.Opened, st.OpenErrors, st.ClosedResize, st.ClosedReset, st.ClosedLifetime)
}

var resizeConfigs = []struct {
	name    string
	config  pool.Config
	callers int
	most    int // that Resize grows to
}{
	{"one", pool.Config{MaxConnections: 1}, 12, 3},
	{"many", pool.Config{MaxConnections: 8, MinIdle: 4, MaxLifetime: time.Millisecond, MaxIdleTime: 20 * time.Millisecond}, 16, 40},
	{"strict", pool.Config{MaxConnections: 4, StrictMax: true, MaxOpening: 2, OpenEagerly: true, LeakAfter: time.Hour}, 12, 12},
	{"limited", pool.Config{MaxConnections: 3, MaxWaiters: 4, MinIdle: 1, MaxWaitTime: time.Millisecond}, 12, 9},
}

// The exclusive owner tag, and no connection closed in anybody's hands (see stress.close),
// while the pool is resized, reset and warmed. And all comes out even.
func TestRandomActionsOfManyWhileThePoolChanges(t *testing.T) {
	for _, c := range resizeConfigs {
		t.Run(c.name, func(t *testing.T) {
			s := newStress(t, rand.Uint64(), c.config, nil)
			var wg sync.WaitGroup
			for id := range int64(c.callers) {
				wg.Go(func() { s.caller(id + 1) })
			}
			stopped := make(chan struct{})
			wg.Go(func() { s.operate(c.most, stopped) })
			<-time.After(stressTime(t, 3*len(resizeConfigs)))
			if err := s.p.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			close(stopped)
			wg.Wait()
			testkit.AwaitPools(t)
			s.even()
		})
	}
}

// The same on a clock on which everything that is due happens at the same instant.
func TestRandomActionsAtTheSameInstantWhileThePoolChanges(t *testing.T) {
	for _, c := range resizeConfigs {
		testkit.Bubble(t, c.name, func(t *testing.T) {
			s := newStress(t, rand.Uint64(), c.config, nil)
			s.pause = func(rnd *rand.Rand) { time.Sleep(time.Duration(1+rnd.IntN(4)) * 50 * time.Microsecond) }
			var wg sync.WaitGroup
			for id := range int64(c.callers) {
				wg.Go(func() { s.caller(id + 1) })
			}
			stopped := make(chan struct{})
			wg.Go(func() { s.operate(c.most, stopped) })
			time.Sleep(50 * time.Millisecond)
			if err := s.p.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			close(stopped)
			wg.Wait()
			synctest.Wait()
			s.even()
		})
	}
}

// Resize and Reset while 64 goroutines work. Nobody fails, nobody loses the connection that
// it has, and afterwards exactly as many are open as may be.
func TestResizeAndResetWhileSixtyFourWork(t *testing.T) {
	for _, reset := range []bool{false, true} {
		t.Run(fmt.Sprint("Reset=", reset), func(t *testing.T) {
			s := newStress(t, rand.Uint64(), pool.Config{MaxConnections: 8, MaxWaitTime: -1, MaxIdleTime: -1}, func(f *pool.Factory[*tagged]) {
				open := f.Open
				f.Open = func(ctx context.Context) (c *tagged, err error) {
					for c == nil { // without the failures
						c, err = open(ctx)
					}
					return c, err
				}
			})
			stopped := make(chan struct{})
			var wg sync.WaitGroup
			for id := range int64(64) {
				wg.Go(func() {
					rnd := rand.New(rand.NewPCG(s.seed, uint64(id)))
					for {
						select {
						case <-stopped:
							return
						default:
						}
						l, err := s.p.Get(context.Background())
						if err != nil {
							t.Errorf("Get: %v", err)
							return
						}
						s.use(id+1, l.Value(), func() { s.pause(rnd) })
						if err := s.p.Put(l); err != nil {
							t.Errorf("Put: %v", err)
						}
					}
				})
			}
			rnd := rand.New(rand.NewPCG(s.seed, 1<<40))
			for end := time.After(stressTime(t, 10)); ; s.pause(rnd) {
				select {
				case <-end:
				default:
					if reset && rnd.IntN(4) == 0 {
						s.p.Reset()
					} else if err := s.p.Resize(1 + rnd.IntN(64)); err != nil {
						t.Errorf("Resize: %v", err)
					}
					continue
				}
				break
			}
			for _, n := range []int{3, 150, 17} { // beyond the first bank as well
				if err := s.p.Resize(n); err != nil {
					t.Fatal(err)
				}
			}
			close(stopped)
			wg.Wait()
			// All of them at once: as many as may be are served, and no more.
			leases := make(chan pool.Lease[*tagged], 17)
			for range 17 {
				wg.Go(func() {
					l, err := s.p.Get(context.Background())
					if err != nil {
						t.Errorf("Get: %v", err)
					}
					leases <- l
				})
			}
			wg.Wait()
			if _, ok := s.p.TryGet(); ok {
				t.Error("one more was lent than may be open")
			}
			// What was being opened when 150 were allowed may still be on its way out.
			c := words.Census(testkit.Inside(s.p).Conns.Load())
			for end := time.Now().Add(5 * time.Second); c.Open() != 17 && time.Now().Before(end); c = words.Census(testkit.Inside(s.p).Conns.Load()) {
				runtime.Gosched()
			}
			if c.Open() != 17 || c.Max() != 17 || c.Opening() != 0 || c.Leaving() != 0 {
				t.Errorf("%d are open of %d, %d being opened, %d leaving, want 17, 17, 0, 0", c.Open(), c.Max(), c.Opening(), c.Leaving())
			}
			for range 17 {
				if err := s.p.Put(<-leases); err != nil {
					t.Error(err)
				}
			}
			if err := s.p.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			testkit.AwaitPools(t)
			s.even()
		})
	}
}
