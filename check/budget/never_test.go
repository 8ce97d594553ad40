package budget

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
)

// A chatter is a connection of another type.
type chatter struct{ wire *testkit.Wire }

// A sheet is what a random caller does with pools of any type.
type sheet interface {
	use(ctx context.Context, random *rand.Rand)
	manage(ctx context.Context, random *rand.Rand)
	shutdown()
	stats() pool.Stats
}

// A usedPool is a pool of one type.
type usedPool[T any] struct {
	t *testing.T
	p *pool.Pool[T]
}

func (u usedPool[T]) stats() pool.Stats { return u.p.Stats() }
func (u usedPool[T]) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := u.p.Shutdown(ctx); err != nil {
		u.t.Errorf("Shutdown: %v", err)
	}
}

// use takes a lease in one of the ways that there are, and ends it in another.
func (u usedPool[T]) use(ctx context.Context, random *rand.Rand) {
	if random.IntN(3) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(random.IntN(200))*time.Millisecond)
		defer cancel()
	}
	get := u.p.Get
	if random.IntN(8) == 0 {
		get = u.p.GetFresh
	}
	l, err := get(ctx)
	if err != nil {
		var opening *pool.OpenError
		if !errors.As(err, &opening) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, pool.ErrExhausted) && !errors.Is(err, pool.ErrUnavailable) &&
			!errors.Is(err, pool.ErrClosed) {
			u.t.Errorf("Get returned %v", err)
		}
		return
	}
	pause(random, 60)
	switch random.IntN(12) {
	case 0:
		_ = u.p.Discard(l, testkit.ErrCause)
	case 1, 2:
		m := l.Mark()
		_ = u.p.PutFor(l, time.Duration(random.IntN(2000))*time.Millisecond)
		pause(random, 500)
		if l, err = u.p.GetSame(ctx, m); err == nil {
			pause(random, 60)
			_ = u.p.Put(l)
		}
	case 3:
		for _, i := range u.p.Leases() {
			u.p.Revoke(i)
			break
		}
		_ = u.p.Put(l)
	case 4:
		_ = u.p.PutUnused(l)
	default:
		_ = u.p.Put(l)
	}
}

func (u usedPool[T]) manage(ctx context.Context, random *rand.Rand) {
	pause(random, 3000)
	switch random.IntN(3) {
	case 0:
		u.p.Reset()
	case 1:
		_ = u.p.Resize(1 + random.IntN(6))
	default:
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_ = u.p.Warm(ctx, 1)
	}
}

func pause(random *rand.Rand, most int) {
	time.Sleep(time.Duration(random.IntN(most*1000)) * time.Microsecond)
}

// troubled returns a server some of whose opens and closes are slow, fail, or hang for longer than
// the pool waits for them. A Close that hangs for so long is not counted any more: its right is
// given back then, whatever the server sees.
func troubled(random *rand.Rand) *server {
	var mu sync.Mutex // guards random
	draw := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n)
	}
	s := new(server)
	s.open = func(ctx context.Context) error {
		switch draw(20) {
		case 0:
			return testkit.ErrDial
		case 1:
			time.Sleep(time.Duration(draw(20_000)) * time.Millisecond) // whatever ctx says
			return nil
		case 2:
			return testkit.Pause(ctx, time.Duration(draw(5000))*time.Millisecond)
		}
		time.Sleep(time.Duration(draw(20_000)) * time.Microsecond)
		return nil
	}
	s.close = func() error {
		switch draw(10) {
		case 0:
			time.Sleep(time.Duration(draw(9000)) * time.Millisecond)
		case 1:
			return testkit.ErrCause
		default:
			time.Sleep(time.Duration(draw(20_000)) * time.Microsecond)
		}
		return nil
	}
	return s
}

// Several pools of different types, with one budget for all and one for some: neither is exceeded
// at any instant, and everything is there again at the end.
func TestABudgetIsNeverExceeded(t *testing.T) {
	for i := range 6 {
		testkit.Bubble(t, fmt.Sprint(i), func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			neverExceeded(t, seed, i)
		})
	}
}

func neverExceeded(t *testing.T, seed uint64, variant int) {
	random := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }
	const max, inner = 5, 3
	b := pool.NewBudget(max)
	var all, some gauge
	config := func(i int) pool.Config {
		c := pool.Config{Budget: b, MaxConnections: 4, MaxWaitTime: 3 * time.Second, MaxIdleTime: time.Second, OpenTimeout: 4 * time.Second}
		r := random(uint64(i))
		c.StrictMax = r.IntN(3) == 0
		c.OpenEagerly = r.IntN(2) == 0
		if r.IntN(3) == 0 {
			c.MinIdle = 1
		}
		if r.IntN(3) == 0 {
			c.MaxLifetime = 2 * time.Second
		}
		c.FailFastAfter = time.Duration(r.IntN(3)-1) * time.Millisecond
		return c
	}
	var sheets []sheet
	plain := testkit.Start(t, troubled(random(100)).factory(&all), config(0))
	sheets = append(sheets, usedPool[*testkit.Wire]{t, plain})
	of := troubled(random(101)).factory(&all)
	sheets = append(sheets, usedPool[chatter]{t, testkit.Start(t, pool.Factory[chatter]{
		Open: func(ctx context.Context) (chatter, error) {
			w, err := of.Open(ctx)
			return chatter{w}, err
		},
		Close: func(c chatter, cause error) error { return of.Close(c.wire, cause) },
		Check: func(chatter) error { return nil },
	}, config(1))})
	// Two are of a group with a bound of its own.
	g, err := pool.NewGroup(func(key int) (pool.Factory[*testkit.Wire], pool.Config, error) {
		return troubled(random(uint64(200+key))).factory(&all, &some), config(2 + key), nil
	}, pool.GroupConfig{MaxConnections: inner})
	if err != nil {
		t.Fatal(err)
	}
	for key := range 2 {
		l, err := g.Get(t.Context(), key)
		if err == nil {
			_ = g.Put(l)
		}
		p, _ := g.Pool(key)
		sheets = append(sheets, usedPool[*testkit.Wire]{t, p})
	}
	var callers sync.WaitGroup
	for i, u := range sheets {
		for k := range 1 + 6*(variant%3) {
			callers.Go(func() {
				r := random(uint64(1000 + 100*i + k))
				for range 100 {
					u.use(context.Background(), r)
					pause(r, 80)
				}
			})
		}
		callers.Go(func() {
			r := random(uint64(2000 + i))
			for range 4 {
				u.manage(context.Background(), r)
			}
		})
	}
	callers.Wait()
	var opened, yielded uint64
	for _, u := range sheets {
		s := u.stats()
		opened, yielded = opened+s.Opened, yielded+s.ClosedBudget
		u.shutdown()
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	testkit.Sleep(time.Minute) // what hangs returns
	t.Logf("%d opened, %d closed for another pool, at most %d and %d at the same time", opened, yielded, all.highest(), some.highest())
	if yielded == 0 {
		t.Error("nothing was closed for another pool")
	}
	all.never(t, max)
	some.never(t, inner)
	allBack(t, b, max)
}
