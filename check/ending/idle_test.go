package ending

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/ring"
)

// deep calls f so many calls further down the stack, and returns where that is.
func deep(calls int, f func()) uintptr {
	var frame [256]byte
	if calls > 0 {
		return deep(calls-1, f) + uintptr(frame[calls])
	}
	f()
	return uintptr(unsafe.Pointer(&frame))
}

// go#43173, r2d2 0.8.3, HikariCP#2417: after a burst, a steady small load keeps every
// connection warm, and the pool never shrinks. The load is 1 to 5 callers at a time, at
// random, each a goroutine of its own, with a stack of its own, so that each looks for its
// connection somewhere else.
func TestAfterABurstThePoolShrinksToItsWorkingSet(t *testing.T) {
	const (
		idle   = 10 * time.Second
		burst  = 100
		atOnce = 5
	)
	for name, first := range map[string]int{"one bank": burst, "two banks": 60, "many banks": 7} {
		for seed := range uint64(2) {
			testkit.Bubble(t, fmt.Sprintf("%s, seed %d", name, seed), func(t *testing.T) {
				var x testkit.Exchange
				p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: first, MaxIdleTime: idle})
				for n := first; ; n = min(2*n, burst) {
					if err := p.Resize(n); err != nil {
						t.Fatal(err)
					}
					if n == burst {
						break
					}
				}
				testkit.Fill(t, p, burst)
				if got := p.Stats().IdleConnections; got != burst {
					t.Fatalf("after the burst %d are idle, want %d", got, burst)
				}
				random := rand.New(rand.NewPCG(seed, 43173))
				var mu sync.Mutex
				stacks := map[uintptr]bool{}
				for end := time.Now().Add(idle * 3 / 2); time.Now().Before(end); testkit.Sleep(10 * time.Millisecond) {
					for range 1 + random.IntN(atOnce) {
						depth, use := random.IntN(40), time.Duration(random.IntN(10))*time.Millisecond
						go func() {
							var l pool.Lease[*testkit.Wire]
							var err error
							at := deep(depth, func() { l, err = p.Get(t.Context()) })
							if err != nil {
								t.Errorf("Get: %v", err)
								return
							}
							time.Sleep(use)
							deep(depth/2, func() { _ = p.Put(l) })
							mu.Lock()
							defer mu.Unlock()
							stacks[at>>11] = true
						}()
					}
				}
				synctest.Wait()
				if got := p.Stats(); got.IdleConnections+got.ActiveConnections > atOnce || got.ClosedIdle < burst-atOnce {
					t.Errorf("after 1.5 MaxIdleTime %d are open, want the %d that are in use: %+v", got.IdleConnections+got.ActiveConnections, atOnce, got)
				}
				if got := x.Tried(); got != burst {
					t.Errorf("Open was called %d times, want %d times, for the burst", got, burst)
				}
				if len(stacks) < 16 {
					t.Errorf("the callers had %d different stacks, too few to tell anything", len(stacks))
				}
			})
		}
	}
}

// sampled calls f every 10 ms for so long.
func sampled(d time.Duration, f func()) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		synctest.Wait()
		f()
	}
}

// fewestIdle returns the smallest number that was idle for so long.
func fewestIdle(p *pool.Pool[*testkit.Wire], d time.Duration) int {
	fewest := core.MaxConnections
	sampled(d, func() { fewest = min(fewest, p.Stats().IdleConnections) })
	return fewest
}

// pgx#1164, bb8#123: the sweeper goes below the minimum for a whole period. What expires is
// replaced before it is removed, however long that takes.
func TestExpiryDoesNotGoBelowMinIdle(t *testing.T) {
	const idle, life = 3 * time.Second, 4 * time.Second
	with := func(c pool.Config, most int) pool.Config {
		c.MaxConnections, c.MinIdle = most, 5
		return c
	}
	forIdle, forLife, both := pool.Config{MaxIdleTime: idle}, pool.Config{MaxIdleTime: -1, MaxLifetime: life}, pool.Config{MaxIdleTime: idle, MaxLifetime: life}
	tests := []struct {
		name   string
		config pool.Config
		open   func(ctx context.Context, attempt int) error
		below  int           // by how many it may be below
		life   time.Duration // of a connection, at least
	}{
		{"idle time", with(forIdle, 20), nil, 0, idle},
		{"lifetime", with(forLife, 20), nil, 0, life},
		{"both", with(both, 20), nil, 0, idle},
		{"short times", with(pool.Config{MaxIdleTime: 300 * time.Millisecond, MaxLifetime: 400 * time.Millisecond}, 20), nil, 0, 300 * time.Millisecond},
		{"slow dials", with(both, 20), testkit.Slow(700 * time.Millisecond), 0, idle},
		{"dials slower than the times", with(both, 20), testkit.Slow(5 * time.Second), 0, idle},
		{"dials one at a time", with(pool.Config{MaxIdleTime: idle, MaxLifetime: life, MaxOpening: 1}, 20), testkit.Slow(200 * time.Millisecond), 0, idle},
		{"every second dial fails", with(both, 20), func(ctx context.Context, attempt int) error {
			if attempt%2 == 0 {
				return testkit.ErrDial
			}
			return testkit.Pause(ctx, 50*time.Millisecond)
		}, 0, idle},
		{"room for one more", with(both, 6), testkit.Slow(50 * time.Millisecond), 0, idle},
		{"no room", with(both, 5), nil, 1, idle},
		{"no room, slow dials", with(both, 5), testkit.Slow(100 * time.Millisecond), 1, idle},
		{"StrictMax", with(pool.Config{MaxIdleTime: idle, MaxLifetime: life, StrictMax: true}, 20), testkit.Slow(50 * time.Millisecond), 0, idle},
	}
	for _, tt := range tests {
		testkit.Bubble(t, tt.name, func(t *testing.T) {
			x := testkit.Exchange{Open: tt.open}
			p := testkit.Start(t, x.Factory(), tt.config)
			testkit.Sleep(20 * time.Second) // until it has what it needs
			before := p.Stats()
			if fewest := fewestIdle(p, 30*time.Second); fewest < 5-tt.below {
				t.Errorf("%d were idle at one time, want 5, or %d fewer", fewest, tt.below)
			}
			opened := p.Stats().Opened - before.Opened
			if opened < 5*3 {
				t.Errorf("%d were opened in 30s, want that all are replaced again and again", opened)
			}
			// A connection that is due soon is replaced early, but not so early that it
			// is a waste.
			if most := 5 * (2*uint64(30*time.Second/tt.life) + 2); opened > most {
				t.Errorf("%d were opened in 30s, want %d at most", opened, most)
			}
		})
	}
}

// A connection that stays until it is replaced is not handed out once it has been idle
// for too long. So it is replaced a little earlier, and there are always MinIdle
// connections that can be handed out, if opening takes no longer than before.
func TestMinIdleConnectionsCanBeLentAllTheTime(t *testing.T) {
	for _, dial := range []time.Duration{0, 50 * time.Millisecond, 700 * time.Millisecond} {
		testkit.Bubble(t, dial.String(), func(t *testing.T) {
			x := testkit.Exchange{Open: testkit.Slow(dial)}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 20, MinIdle: 5, MaxIdleTime: 8 * time.Second})
			testkit.Sleep(20 * time.Second)
			fewest := core.MaxConnections
			sampled(30*time.Second, func() {
				fit := 0
				for _, s := range testkit.Inside(p).Slots() {
					if s.Word.Phase() == ring.Idle && !s.IdleLong {
						fit++
					}
				}
				fewest = min(fewest, fit)
			})
			if fewest < 5 {
				t.Errorf("%d could be lent at one time, want 5", fewest)
			}
		})
	}
}

func TestMinIdleIsKeptWhileNothingCanBeOpened(t *testing.T) {
	for name, c := range map[string]pool.Config{
		"lifetime":  {MaxIdleTime: -1, MaxLifetime: 4 * time.Second},
		"idle time": {MaxIdleTime: 3 * time.Second},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			var fails atomic.Bool
			x := testkit.Exchange{Open: func(context.Context, int) error {
				if fails.Load() {
					return testkit.ErrDial
				}
				return nil
			}}
			c.MaxConnections, c.MinIdle = 20, 5
			p := testkit.Start(t, x.Factory(), c)
			testkit.Sleep(time.Second)
			fails.Store(true)
			if fewest := fewestIdle(p, 30*time.Second); fewest < 5 {
				t.Errorf("%d were idle at one time while opening failed, want the 5 that there were", fewest)
			}
		})
	}
}

// A connection that has been idle for too long stays until its replacement is open, and
// is not handed out.
func TestWhatIsKeptForMinIdleIsNotLentAfterMaxIdleTime(t *testing.T) {
	for _, way := range []string{"Get", "TryGet"} {
		testkit.Bubble(t, way, func(t *testing.T) {
			const dial = 8 * time.Second
			x := testkit.Exchange{Open: func(ctx context.Context, attempt int) error {
				return testkit.Pause(ctx, dial) // so that an open that takes so long is none that hangs
			}}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 20, MinIdle: 2, MaxIdleTime: time.Second, MaxWaitTime: -1})
			testkit.Sleep(dial + 2*time.Second)
			if got := p.Stats(); got.IdleConnections != 2 || got.OpeningConnections != 2 {
				t.Fatalf("%+v, want two idle, and two being opened in their place", got)
			}
			if way == "TryGet" {
				if l, ok := p.TryGet(); ok {
					t.Errorf("TryGet lent connection %d, which has been idle for too long", l.Value().Number)
				}
				return
			}
			l := testkit.Borrow(t, p)
			if l.Value().Number <= 2 {
				t.Errorf("Get lent connection %d, which has been idle for too long", l.Value().Number)
			}
			testkit.GiveBack(t, p, l)
		})
	}
}

func TestNewOpensMinIdleConnectionsAndDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: testkit.Slow(testkit.OpenTime)}
		began := time.Now()
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 20, MinIdle: 7, MaxIdleTime: -1, MaxWaitTime: -1})
		if got := time.Since(began); got != 0 {
			t.Errorf("New took %v", got)
		}
		testkit.Sleep(testkit.OpenTime)
		testkit.IdleIs(t, p, "when they are open", 7)
		testkit.Sleep(time.Hour)
		testkit.IdleIs(t, p, "an hour later", 7)
		if got := x.Tried(); got != 7 {
			t.Errorf("Open was called %d times, want 7", got)
		}
	})
}

// Within a little more than the second after which the pool looks.
func TestMinIdleIsRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		f, broken := testkit.Watched(&x)
		p := testkit.Start(t, f, pool.Config{MaxConnections: 10, MinIdle: 4, MaxIdleTime: -1})
		const soon = 1100 * time.Millisecond
		testkit.Sleep(soon)
		testkit.IdleIs(t, p, "at first", 4)
		var leases []pool.Lease[*testkit.Wire]
		for range 3 {
			leases = append(leases, testkit.Borrow(t, p))
		}
		testkit.Sleep(soon)
		testkit.IdleIs(t, p, "beside three that are leased", 4)
		for range 5 {
			leases = append(leases, testkit.Borrow(t, p))
		}
		testkit.Sleep(soon)
		testkit.IdleIs(t, p, "beside eight that are leased, as far as MaxConnections allows", 2)
		for _, l := range leases[:7] {
			testkit.GiveBack(t, p, l)
		}
		_ = p.Discard(leases[7], testkit.ErrCause)
		testkit.Sleep(soon)
		testkit.IdleIs(t, p, "when all are back", 9)
		for i := range 9 { // who they are does not matter
			if number := i + 1; x.Opened()[i] != leases[7].Value() {
				broken(number, testkit.ErrCause)
			}
		}
		testkit.Sleep(soon)
		testkit.IdleIs(t, p, "when most have broken", 4)
		p.Reset()
		testkit.Sleep(soon)
		testkit.IdleIs(t, p, "after Reset", 4)
		if err := p.Resize(2); err != nil {
			t.Fatal(err)
		}
		testkit.Sleep(soon)
		testkit.IdleIs(t, p, "after Resize to fewer than MinIdle", 2)
		if err := p.Resize(30); err != nil {
			t.Fatal(err)
		}
		testkit.Sleep(soon)
		testkit.IdleIs(t, p, "after Resize to more", 4)
	})
}

// What a burst has left over MinIdle expires; that many do not.
func TestThePoolShrinksToMinIdleAndNoFurther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 50, MinIdle: 3, MaxIdleTime: 4 * time.Second})
		testkit.Fill(t, p, 50)
		fewest := fewestIdle(p, 6*time.Second)
		if got := p.Stats().IdleConnections; got > 6 || fewest < 3 {
			t.Errorf("after 1.5 MaxIdleTime %d are idle, and were %d at one time, want 3, or up to 6 while they are replaced", got, fewest)
		}
	})
}
