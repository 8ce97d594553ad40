package ending

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
)

// Lives remembers when connections were opened and closed, and why.
type lives struct {
	mu     sync.Mutex
	births map[*testkit.Wire]time.Time
	deaths []death
}

type death struct {
	at    time.Time
	age   time.Duration
	cause error
}

// of returns a factory whose connections it watches.
func (v *lives) of(x *testkit.Exchange) pool.Factory[*testkit.Wire] {
	v.births = map[*testkit.Wire]time.Time{}
	f := x.Factory()
	f.Watch = func(w *testkit.Wire, _ func(error)) {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.births[w] = time.Now()
	}
	x.Closing = func(w *testkit.Wire, cause error) error {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.deaths = append(v.deaths, death{time.Now(), time.Since(v.births[w]), cause})
		return nil
	}
	return f
}

func (v *lives) closed() []death {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.deaths)
}

// ageOf returns how long a connection has been open.
func (v *lives) ageOf(w *testkit.Wire) time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	return time.Since(v.births[w])
}

// lifetimeLimits returns what MaxLifetime means for a connection: it is closed by the
// sweeper no earlier and no later, nor by a Put after late.
func lifetimeLimits(l time.Duration) (least, late time.Duration) {
	return l - l/10, l + l/10 + min(max(l/64, core.MinTick), core.MaxTick)
}

// evenly fails the test unless the ages are spread evenly over MaxLifetime and 10 % on
// either side: so many in each of ten parts, give or take five standard deviations.
func evenly(t *testing.T, l time.Duration, ages []time.Duration) {
	t.Helper()
	least, width := l-l/10, l/5
	var parts [10]int
	for _, age := range ages {
		parts[min(max(int(float64(age-least)/float64(width)*10), 0), 9)]++
	}
	mean := float64(len(ages)) / 10
	for i, n := range parts {
		if math.Abs(float64(n)-mean) > 5*math.Sqrt(mean) {
			t.Errorf("in part %d of 10 between %v and %v are %d of %d lifetimes, want about a tenth: %v", i+1, least, least+width, n, len(ages), parts)
		}
	}
}

// vitess#20118: the jitter was truncated to nothing.
func TestTheJitterOfALifetimeIsATenthEitherWay(t *testing.T) {
	for _, l := range []time.Duration{time.Microsecond, 10 * time.Millisecond, time.Second, 90 * time.Second, time.Hour, 365 * testkit.Day, math.MaxInt64} {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxLifetime: l})
		l := min(l, core.Forever/2)
		const now = 12345 * time.Second
		var ages []time.Duration
		for range 5000 {
			age := testkit.Inside(p).LifetimeOf(now) - now
			if least := l - l/10; age < least || age > l+l/10 {
				t.Fatalf("of a MaxLifetime of %v became %v", l, age)
			}
			ages = append(ages, age)
		}
		evenly(t, l, ages)
	}
}

// pgx#1437: the jitter was drawn again at every look, so a connection that was looked at
// often died young. Here each connection is looked at hundreds of times.
func TestTheJitterOfALifetimeIsSettledAtBirth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, l = 1000, 10 * time.Minute
		var x testkit.Exchange
		var v lives
		p := testkit.Start(t, v.of(&x), pool.Config{MaxConnections: n, MaxLifetime: l, MaxIdleTime: -1})
		if err := p.Warm(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		least, late := lifetimeLimits(l)
		late += 40 * time.Second // as the last of them are no more than an eighth at a time
		testkit.Sleep(late)
		var ages []time.Duration
		for _, d := range v.closed() {
			if d.age < least || d.age > late || d.cause != nil {
				t.Fatalf("a connection was closed after %v with %v, want between %v and %v, and no cause", d.age, d.cause, least, late)
			}
			ages = append(ages, d.age)
		}
		if got := p.Stats(); got.ClosedLifetime != n || len(ages) != n {
			t.Errorf("%d were closed, ClosedLifetime is %d, want %d", len(ages), got.ClosedLifetime, n)
		}
		evenly(t, l, ages)
	})
}

func TestAnIdleConnectionIsClosedAfterItsLifetime(t *testing.T) {
	for _, l := range []time.Duration{10 * time.Millisecond, 777 * time.Millisecond, time.Minute, time.Hour} {
		testkit.Bubble(t, l.String(), func(t *testing.T) {
			least, late := lifetimeLimits(l)
			for i := range 5 {
				var x testkit.Exchange
				var v lives
				p := testkit.Start(t, v.of(&x), pool.Config{MaxConnections: 1, MaxLifetime: l, MaxIdleTime: testkit.Day})
				testkit.Sleep(time.Duration(i) * 1234567) // anywhere between two passes
				testkit.Fill(t, p, 1)
				testkit.Sleep(late)
				got := v.closed()
				if len(got) != 1 || p.Stats().ClosedLifetime != 1 {
					t.Fatalf("number %d: %+v, want it closed", i+1, p.Stats())
				}
				if d := got[0]; d.age < least || d.cause != nil {
					t.Errorf("it was closed after %v with %v, want between %v and %v, and no cause", d.age, d.cause, least, late)
				}
			}
		})
	}
}

func TestZeroMaxLifetimeIsNoLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxIdleTime: -1, CheckInterval: -1})
		testkit.Fill(t, p, 3)
		testkit.Sleep(100 * 365 * testkit.Day)
		if got := p.Stats(); got.IdleConnections != 3 {
			t.Errorf("after a hundred years %+v, want three idle", got)
		}
	})
}

func TestALeasedConnectionIsClosedWhenItComesBackAfterItsLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		var v lives
		p := testkit.Start(t, v.of(&x), pool.Config{MaxConnections: 1, MaxLifetime: time.Minute})
		l := testkit.Borrow(t, p)
		testkit.Sleep(time.Hour)
		if got := v.closed(); len(got) != 0 {
			t.Fatalf("it was closed in its user's hands, after %v", got[0].age)
		}
		testkit.GiveBack(t, p, l)
		synctest.Wait()
		if got := v.closed(); len(got) != 1 || got[0].cause != nil || p.Stats().ClosedLifetime != 1 {
			t.Errorf("after its Put: closed %+v, %+v", got, p.Stats())
		}
	})
}

// pgx#2562: a connection that is always busy outlives its lifetime. Here it is busy with
// one caller that never pauses, or with many, of which one always waits, so that it goes
// from hand to hand.
func TestAConnectionThatIsAlwaysBusyIsClosedAtPutAfterItsLifetime(t *testing.T) {
	for _, callers := range []int{1, 8} {
		testkit.Bubble(t, fmt.Sprintf("%d callers", callers), func(t *testing.T) {
			const l, use, lives2 = 10 * time.Second, 10 * time.Millisecond, 10
			var x testkit.Exchange
			var v lives
			p := testkit.Start(t, v.of(&x), pool.Config{MaxConnections: 1, MaxLifetime: l, MaxIdleTime: -1})
			_, late := lifetimeLimits(l)
			end := time.Now().Add(lives2 * l)
			var load sync.WaitGroup
			for range callers {
				load.Go(func() {
					for time.Now().Before(end) {
						lease, err := p.Get(t.Context())
						if err != nil {
							t.Errorf("Get: %v", err)
							return
						}
						if age := v.ageOf(lease.Value()); age > late {
							t.Errorf("a connection was lent at the age of %v, want none older than %v", age, late)
						}
						time.Sleep(use)
						_ = p.Put(lease)
					}
				})
			}
			load.Wait()
			synctest.Wait()
			got := p.Stats()
			if got.ClosedLifetime < lives2-2 || got.Opened-got.ClosedLifetime > 1 {
				t.Errorf("in %d lifetimes %d connections were opened and %d closed after theirs", lives2, got.Opened, got.ClosedLifetime)
			}
			for _, d := range v.closed() {
				if d.age > late+use {
					t.Errorf("one was closed after %v, want %v at most", d.age, late+use)
				}
			}
		})
	}
}

func TestReplacementsOfConnectionsOfTheSameAgeAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, l = 100, 100 * time.Second // so 5 a second are due, for 20 seconds
		var x testkit.Exchange
		var v lives
		p := testkit.Start(t, v.of(&x), pool.Config{MaxConnections: n, MaxLifetime: l, MaxIdleTime: -1})
		if err := p.Warm(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		testkit.Sleep(2 * l)
		perSecond := map[int64]int{}
		for _, d := range v.closed() {
			perSecond[d.at.Unix()]++
		}
		if got := len(v.closed()); got != n {
			t.Fatalf("%d were closed, want %d", got, n)
		}
		for second, closed := range perSecond {
			if closed > 20 {
				t.Errorf("in second %d, %d of %d connections were closed, want about 5", second, closed, n)
			}
		}
		if len(perSecond) < 15 {
			t.Errorf("they were closed in %d different seconds, want about 20", len(perSecond))
		}
	})
}

// A stuck handler blocks the goroutine that logs a warning, until the test releases it.
type stuck struct {
	slog.Handler
	until <-chan struct{}
}

func (s stuck) Enabled(_ context.Context, level slog.Level) bool { return level == slog.LevelWarn }

func (s stuck) Handle(context.Context, slog.Record) error {
	<-s.until
	return nil
}

// stalled is a pool that was stopped for so long, as a process is: its sweeper is stuck in
// its log. (It reports a lease that does not end, which the caller has in hand.)
func stalled(t *testing.T, f pool.Factory[*testkit.Wire], c pool.Config, d time.Duration) (p *pool.Pool[*testkit.Wire], inHand pool.Lease[*testkit.Wire]) {
	t.Helper()
	c.LeakAfter = 10 * time.Millisecond
	inLog, goOn := testkit.Obstacle(t)
	c.Logger = slog.New(stuck{slog.DiscardHandler, inLog})
	p = testkit.Start(t, f, c)
	if err := p.Warm(t.Context(), c.MaxConnections); err != nil {
		t.Fatal(err)
	}
	inHand = testkit.Borrow(t, p)
	testkit.Sleep(d)
	if got := p.Stats(); got.Leaked != 1 || got.ClosedLifetime != 0 {
		t.Fatalf("%+v, want that the sweeper is stuck, and has closed nothing", got)
	}
	goOn()
	return p, inHand
}

// A process that was stopped for longer than MaxLifetime has nothing but connections
// whose time is over. To close all of them would leave it without any.
func TestAfterAStopNoMoreThanAnEighthAreReplacedAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, l = 100, time.Minute
		var x testkit.Exchange
		var v lives
		p, inHand := stalled(t, v.of(&x), pool.Config{MaxConnections: n, MaxLifetime: l, MaxIdleTime: -1}, 10*l)
		testkit.GiveBack(t, p, inHand)
		testkit.Sleep(10 * time.Minute)
		atOnce := map[time.Time]int{}
		for _, d := range v.closed() {
			if atOnce[d.at]++; atOnce[d.at] == n/8+1 {
				t.Errorf("more than %d of %d were closed at the same time", n/8, n)
			}
		}
		if got := p.Stats(); got.ClosedLifetime != n {
			t.Errorf("%d were closed in the end, want all %d", got.ClosedLifetime, n)
		}
	})
}

func TestAfterAStopNoMoreThanAnEighthOfTheLeasedAreReplacedAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, l = 96, time.Minute
		var x testkit.Exchange
		var v lives
		p, inHand := stalled(t, v.of(&x), pool.Config{MaxConnections: n, MaxLifetime: l, MaxIdleTime: -1}, 10*l)
		leases := []pool.Lease[*testkit.Wire]{inHand}
		for range n/2 - 1 { // the sweeper has not gone on yet
			l, ok := p.TryGet()
			if !ok {
				t.Fatal("TryGet found nothing")
			}
			leases = append(leases, l)
		}
		synctest.Wait() // the pass that was stuck is over
		before := len(v.closed())
		for _, l := range leases {
			testkit.GiveBack(t, p, l)
		}
		synctest.Wait()
		if got := len(v.closed()) - before; before > n/8 || got > n/8 {
			t.Errorf("%d idle ones were closed in the first pass, and %d at Put, want no more than %d", before, got, n/8)
		}
		testkit.Sleep(10 * time.Minute)
		if got := p.Stats(); got.ClosedLifetime != n {
			t.Errorf("%d were closed in the end, want all %d", got.ClosedLifetime, n)
		}
	})
}
