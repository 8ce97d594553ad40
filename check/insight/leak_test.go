package insight

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
)

// Ways to take a lease. Each is in a function of its own, which the report must name.
// Each also returns the line on which it took the lease.

func takeByGet(p *pool.Pool[*testkit.Wire]) (pool.Lease[*testkit.Wire], int) {
	l, _ := p.Get(context.Background())
	return l, here() - 1
}

func takeByTryGet(p *pool.Pool[*testkit.Wire]) (pool.Lease[*testkit.Wire], int) {
	l, _ := p.TryGet()
	return l, here() - 1
}

type (
	wires = *pool.Pool[*testkit.Wire]
	lease = pool.Lease[*testkit.Wire]
)

// takeByGetInlined is small enough to be inlined. It is one line: so it begins on the line
// on which it calls Get.
func takeByGetInlined(p wires) (lease, error) { return p.Get(context.Background()) }

// takeByDo leaves the lease in force until it may go on.
func takeByDo(p *pool.Pool[*testkit.Wire], goOn <-chan struct{}) (int, error) {
	err := p.Do(context.Background(), func(context.Context, *testkit.Wire) error { <-goOn; return nil })
	return here() - 1, err
}

// here returns the line that it is called from.
func here() int {
	_, _, n, _ := runtime.Caller(1)
	return n
}

// A leakLog is told of leaks.
type leakLog struct {
	mu    sync.Mutex
	infos []pool.LeaseInfo
	times []time.Time
}

func (g *leakLog) leaked(info pool.LeaseInfo) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.infos = append(g.infos, info)
	g.times = append(g.times, time.Now())
}

func (g *leakLog) all() []pool.LeaseInfo {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]pool.LeaseInfo(nil), g.infos...)
}

// takenBy fails the test unless where is a line of a function of this file, and nothing more.
func takenBy(t *testing.T, where, function string, line int) {
	t.Helper()
	head := "github.com/S4AK4N/pool/check/insight." + function + " "
	file, ok := strings.CutPrefix(where, head)
	if !ok || filepath.Base(file) != fmt.Sprintf("leak_test.go:%d", line) {
		t.Errorf("the lease was taken at %q, want %q and leak_test.go:%d", where, head, line)
	}
}

func TestALeakIsReportedWithWhereItWasTaken(t *testing.T) {
	const after = 10 * time.Second
	ways := []struct {
		name, function string
		take           func(t *testing.T, p *pool.Pool[*testkit.Wire], goOn <-chan struct{}, line *int)
	}{
		{"Get that opens", "takeByGet", func(t *testing.T, p *pool.Pool[*testkit.Wire], _ <-chan struct{}, line *int) {
			_, *line = takeByGet(p)
		}},
		{"Get of an idle one", "takeByGet", func(t *testing.T, p *pool.Pool[*testkit.Wire], _ <-chan struct{}, line *int) {
			testkit.Fill(t, p, 1)
			_, *line = takeByGet(p)
		}},
		{"Get that waits for a return", "takeByGet", func(t *testing.T, p *pool.Pool[*testkit.Wire], _ <-chan struct{}, line *int) {
			l := testkit.Borrow(t, p)
			go func() { _, *line = takeByGet(p) }()
			testkit.Sleep(time.Second)
			testkit.GiveBack(t, p, l)
		}},
		{"inlined", "takeByGetInlined", func(t *testing.T, p *pool.Pool[*testkit.Wire], _ <-chan struct{}, line *int) {
			_, _ = takeByGetInlined(p)
			at := reflect.ValueOf(takeByGetInlined).Pointer()
			_, *line = runtime.FuncForPC(at).FileLine(at)
		}},
		{"TryGet", "takeByTryGet", func(t *testing.T, p *pool.Pool[*testkit.Wire], _ <-chan struct{}, line *int) {
			testkit.Fill(t, p, 1)
			_, *line = takeByTryGet(p)
		}},
		{"Do", "takeByDo", func(t *testing.T, p *pool.Pool[*testkit.Wire], goOn <-chan struct{}, line *int) {
			testkit.Fill(t, p, 1)
			go func() { *line, _ = takeByDo(p, goOn) }()
		}},
		{"Do that waits", "takeByDo", func(t *testing.T, p *pool.Pool[*testkit.Wire], goOn <-chan struct{}, line *int) {
			go func() { *line, _ = takeByDo(p, goOn) }()
		}},
	}
	for _, way := range ways {
		for _, check := range []bool{false, true} {
			testkit.Bubble(t, fmt.Sprintf("%s, with Check: %v", way.name, check), func(t *testing.T) {
				var x testkit.Exchange
				var g leakLog
				var log testkit.Logbook
				f := x.Factory()
				if check {
					f.Check = func(*testkit.Wire) error { return nil }
				}
				p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxIdleTime: -1, LeakAfter: after, Hooks: pool.Hooks{Leaked: g.leaked}, Logger: log.Logger()})
				testkit.Inside(p).NoteEveryLease()
				goOn, end := testkit.Obstacle(t)
				var line int
				way.take(t, p, goOn, &line)
				testkit.Sleep(100 * after)
				leaks := g.all()
				if len(leaks) != 1 || p.Stats().Leaked != 1 {
					t.Fatalf("%d leaks were reported, and %d counted, want one", len(leaks), p.Stats().Leaked)
				}
				end()
				synctest.Wait() // line is known
				takenBy(t, leaks[0].Where, way.function, line)
				if got := log.With(slog.LevelWarn); len(got) != 1 ||
					!strings.Contains(got[0], `"a lease is in force for longer than LeakAfter" conn=1 held=10`) ||
					!strings.Contains(got[0], "taken_by=\""+leaks[0].Where+"\"") {
					t.Errorf("the log has %q", got)
				}
			})
		}
	}
}

// What the report says, and when it comes: not before LeakAfter, and not much later.
func TestALeakIsReportedInTimeAndOnce(t *testing.T) {
	for _, after := range []time.Duration{time.Millisecond, 50 * time.Millisecond, 333 * time.Millisecond, time.Second, 10 * time.Second, time.Minute, time.Hour} {
		testkit.Bubble(t, after.String(), func(t *testing.T) {
			var x testkit.Exchange
			var g leakLog
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxIdleTime: testkit.Day, LeakAfter: after, Hooks: pool.Hooks{Leaked: g.leaked}})
			late := after + max(after/8, 20*time.Millisecond)
			for i := range 3 {
				l := testkit.Borrow(t, p)
				began := time.Now()
				testkit.Sleep(after - 1)
				if got := len(g.all()); got != i {
					t.Errorf("lease %d was reported before LeakAfter", i+1)
				}
				testkit.Sleep(late - after + 1)
				leaks := g.all()
				if len(leaks) != i+1 {
					t.Fatalf("after %v, %d leaks were reported, want %d", late, len(leaks), i+1)
				}
				leak := leaks[i]
				if at := g.times[i].Sub(began); at < after || at > late {
					t.Errorf("it was reported after %v, want between %v and %v", at, after, late)
				}
				if leak.Conn != any(l.Value()) || !leak.Opened.Equal(l.Opened()) {
					t.Errorf("the report is of %v, opened at %v, want %v, at %v", leak.Conn, leak.Opened, l.Value(), l.Opened())
				}
				if seen := leak.Since.Sub(began); seen < 0 || seen > late-after {
					t.Errorf("the lease was seen %v after its beginning", seen)
				}
				testkit.Sleep(2 * after)
				testkit.GiveBack(t, p, l)
				testkit.Sleep(after / 7) // somewhere between two passes
			}
			if got := p.Stats().Leaked; got != 3 {
				t.Errorf("Leaked is %d, want 3", got)
			}
		})
	}
}

// The same slot is leased all the time, or the connection is in the pool's own hands,
// whose word is also Leased: nothing is reported.
func TestNoLeakIsReportedOfWhatEndsInTimeOrIsThePools(t *testing.T) {
	const after = 2 * time.Second
	work := func(*testkit.Wire) error { time.Sleep(9 * time.Second); return nil } // less than the limit for such calls
	tests := []struct {
		name   string
		change func(*pool.Factory[*testkit.Wire], *pool.Config)
		use    func(t *testing.T, p *pool.Pool[*testkit.Wire])
	}{
		{"one lease after the other", nil, func(t *testing.T, p *pool.Pool[*testkit.Wire]) {
			for range 50 {
				l := testkit.Borrow(t, p)
				testkit.Sleep(after - 1)
				testkit.GiveBack(t, p, l)
			}
		}},
		{"from hand to hand", nil, func(t *testing.T, p *pool.Pool[*testkit.Wire]) {
			var all sync.WaitGroup
			for range 3 {
				all.Go(func() {
					for range 20 {
						l := testkit.Borrow(t, p)
						time.Sleep(after - 1)
						testkit.GiveBack(t, p, l)
					}
				})
			}
			all.Wait()
		}},
		{"idle", nil, func(t *testing.T, p *pool.Pool[*testkit.Wire]) {
			testkit.Fill(t, p, 1)
			testkit.Sleep(time.Hour)
		}},
		{"checked by the sweep", func(f *pool.Factory[*testkit.Wire], c *pool.Config) { f.Check = work }, func(t *testing.T, p *pool.Pool[*testkit.Wire]) {
			testkit.Fill(t, p, 1)
			testkit.Sleep(time.Minute)
		}},
		{"checked in Get", func(f *pool.Factory[*testkit.Wire], c *pool.Config) { f.Check, c.CheckInterval = work, -1 }, func(t *testing.T, p *pool.Pool[*testkit.Wire]) {
			for range 5 {
				testkit.GiveBack(t, p, testkit.Borrow(t, p))
			}
		}},
		{"cleaned in Put", func(f *pool.Factory[*testkit.Wire], c *pool.Config) { f.Clean = work }, func(t *testing.T, p *pool.Pool[*testkit.Wire]) {
			for range 5 {
				testkit.GiveBack(t, p, testkit.Borrow(t, p))
			}
		}},
		{"on its way to the caller, under the same word", func(f *pool.Factory[*testkit.Wire], c *pool.Config) {
			c.Hooks.Waited = func(pool.WaitInfo) { time.Sleep(3 * after) }
		}, func(t *testing.T, p *pool.Pool[*testkit.Wire]) {
			l := testkit.Borrow(t, p)
			testkit.Sleep(after - 1)
			testkit.GiveBack(t, p, l)
		}},
		{"LeakAfter is zero", func(f *pool.Factory[*testkit.Wire], c *pool.Config) { c.LeakAfter = 0 }, func(t *testing.T, p *pool.Pool[*testkit.Wire]) {
			l := testkit.Borrow(t, p)
			testkit.Sleep(testkit.Day)
			if got := p.Leases(); len(got) != 1 || got[0].Where != "" {
				t.Errorf("Leases returned %+v, want one of which it is not known where it was taken", got)
			}
			testkit.GiveBack(t, p, l)
		}},
		{"detached", nil, func(t *testing.T, p *pool.Pool[*testkit.Wire]) {
			if _, err := p.Detach(testkit.Borrow(t, p)); err != nil {
				t.Fatal(err)
			}
			testkit.Sleep(time.Hour)
		}},
	}
	for _, tt := range tests {
		testkit.Bubble(t, tt.name, func(t *testing.T) {
			var x testkit.Exchange
			var g leakLog
			f, c := x.Factory(), pool.Config{MaxConnections: 1, MaxIdleTime: -1, MaxWaitTime: -1, LeakAfter: after, Hooks: pool.Hooks{Leaked: g.leaked}}
			if tt.change != nil {
				tt.change(&f, &c)
			}
			p := testkit.Start(t, f, c)
			tt.use(t, p)
			synctest.Wait()
			if got := g.all(); len(got) != 0 || p.Stats().Leaked != 0 {
				t.Errorf("%d leaks were reported, the first of %q", len(got), got[0].Where)
			}
			p.Close()
			testkit.Sleep(10 * time.Second) // a call of Check may be under way
		})
	}
}

//go:noinline
func outer(p *pool.Pool[*testkit.Wire]) pool.Lease[*testkit.Wire] { return middle(p) }

//go:noinline
func middle(p *pool.Pool[*testkit.Wire]) pool.Lease[*testkit.Wire] {
	l, _ := takeByGet(p)
	return l
}

// Until there is a leak, one caller is all that is remembered; then it is worth more.
func TestOnceThereIsALeakLaterLeasesRememberTheirCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3, LeakAfter: time.Second})
		outer(p)
		before, _ := takeByGet(p)
		testkit.Sleep(2 * time.Second)
		for _, info := range p.Leases() {
			if info.Where == "" || strings.Contains(info.Where, " < ") {
				t.Errorf("before the first leak a lease was taken at %q, want one function", info.Where)
			}
		}
		testkit.GiveBack(t, p, before)
		later := outer(p)
		for _, info := range p.Leases() {
			if info.Conn != any(later.Value()) {
				continue
			}
			if got := functionsOf(info.Where); !strings.HasPrefix(got, "takeByGet middle outer Test") {
				t.Errorf("after the first leak a lease was taken by %q, want its callers, too", got)
			}
		}
	})
}

// functionsOf returns the functions of a place and its callers.
func functionsOf(where string) string {
	var functions []string
	for at := range strings.SplitSeq(where, " < ") {
		function, _, _ := strings.Cut(at, " ")
		functions = append(functions, strings.TrimPrefix(function, "github.com/S4AK4N/pool/check/insight."))
	}
	return strings.Join(functions, " ")
}

// Where one function calls Get for all others, its place says nothing.
func TestWithLeakCallersTheFirstReportHasThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		var leaks leakLog
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3, LeakAfter: time.Second, LeakCallers: true, Hooks: pool.Hooks{Leaked: leaks.leaked}})
		l := outer(p) // the first of its connection, so its place is noted
		testkit.Sleep(2 * time.Second)
		if got := leaks.all(); len(got) != 1 || !strings.HasPrefix(functionsOf(got[0].Where), "takeByGet middle outer Test") {
			t.Errorf("reported: %v, want the lease with its callers", got)
		}
		testkit.GiveBack(t, p, l)
	})
}

func TestLeasesTellsWhoHasWhatSinceWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: testkit.Slow(testkit.OpenTime)}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 8, MaxIdleTime: -1, LeakAfter: time.Minute})
		if err := p.Resize(20); err != nil { // a second bank
			t.Fatal(err)
		}
		if err := p.Warm(t.Context(), 18); err != nil {
			t.Fatal(err)
		}
		if got := p.Leases(); len(got) != 0 {
			t.Errorf("with nothing leased Leases returned %+v", got)
		}
		testkit.Inside(p).NoteEveryLease()
		leases := map[any]pool.Lease[*testkit.Wire]{}
		began, at := time.Now(), 0
		for range 15 {
			l, line := takeByGet(p)
			leases[l.Value()], at = l, line
		}
		for _, info := range p.Leases() {
			if !info.Since.IsZero() && !info.Since.Equal(began) { // there may be a pass just now
				t.Errorf("a lease that has just begun is said to have been seen at %v", info.Since)
			}
		}
		testkit.Sleep(30 * time.Second)
		listed := p.Leases()
		numbers := map[uint64]bool{}
		for _, info := range listed {
			l, ok := leases[info.Conn]
			if !ok {
				t.Fatalf("Leases returned %+v, which is not leased, or twice", info)
			}
			delete(leases, info.Conn)
			if !info.Opened.Equal(l.Opened()) {
				t.Errorf("it was opened at %v, want %v", info.Opened, l.Opened())
			}
			if n := info.Number; n < 1 || n > p.Stats().Opened || numbers[n] {
				t.Errorf("its number is %d, of %d, or another's as well", n, p.Stats().Opened)
			}
			numbers[info.Number] = true
			if since := info.Since.Sub(began); since < 0 || since > time.Second {
				t.Errorf("the lease was seen %v after its beginning, want a second later at most", since)
			}
			takenBy(t, info.Where, "takeByGet", at)
			testkit.GiveBack(t, p, l)
		}
		if len(leases) != 0 {
			t.Errorf("%d leases are missing among %d", len(leases), len(listed))
		}
		if got := p.Leases(); len(got) != 0 {
			t.Errorf("with all put back Leases returned %+v", got)
		}
	})
}

// A connection in the pool's own hands has not been taken by anybody, no matter who had
// it before.
func TestLeasesDoesNotTakeThePoolForTheLastCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		f := x.Factory()
		checks, end := testkit.Obstacle(t)
		f.Check = func(*testkit.Wire) error { <-checks; return nil }
		p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxIdleTime: -1, LeakAfter: time.Hour})
		l, _ := takeByGet(p)
		testkit.GiveBack(t, p, l)
		testkit.Sleep(2 * time.Second) // a check by the sweep is under way
		if got := p.Leases(); len(got) != 1 || got[0].Conn != any(l.Value()) || got[0].Where != "" {
			t.Errorf("during a check Leases returned %+v, want one that nobody has taken", got)
		}
		end()
	})
}

// While other leases begin and end, what is reported about a lease belongs to that lease.
func TestLeasesIsExactUnderLoad(t *testing.T) {
	for _, after := range []time.Duration{0, time.Hour} {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 12, LeakAfter: after})
		testkit.Inside(p).NoteEveryLease()
		kept := map[any]pool.Lease[*testkit.Wire]{}
		var where string
		for range 4 {
			l, _ := takeByGet(p)
			kept[l.Value()] = l
		}
		stop := make(chan struct{})
		var load sync.WaitGroup
		for g := range 8 {
			load.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					l, err := takeByGetInlined(p)
					if err != nil {
						t.Errorf("Get: %v", err)
						return
					}
					if i%10 == g {
						_ = p.Discard(l, nil)
					} else {
						_ = p.Put(l)
					}
				}
			})
		}
		for range 500 {
			seen := map[any]bool{}
			for _, info := range p.Leases() {
				if seen[info.Conn] {
					t.Fatalf("connection %d is leased twice", info.Conn.(*testkit.Wire).Number)
				}
				seen[info.Conn] = true
				want := "github.com/S4AK4N/pool/check/insight.takeByGetInlined "
				if l, ok := kept[info.Conn]; ok {
					want = "github.com/S4AK4N/pool/check/insight.takeByGet "
					where = info.Where
					if !info.Opened.Equal(l.Opened()) {
						t.Fatalf("it was opened at %v, want %v", info.Opened, l.Opened())
					}
				}
				if after == 0 && info.Where != "" || info.Where != "" && !strings.HasPrefix(info.Where, want) {
					t.Fatalf("the lease was taken at %q, want %s", info.Where, want)
				}
			}
			for conn := range kept {
				if !seen[conn] {
					t.Fatalf("a lease that is in force is not listed")
				}
			}
		}
		close(stop)
		load.Wait()
		if after > 0 && where == "" {
			t.Error("it is never said where a lease was taken")
		}
		for _, l := range kept {
			testkit.GiveBack(t, p, l)
		}
		// A connection that was opened for a caller that was served otherwise may be on
		// its way.
		got := p.Leases()
		for end := time.Now().Add(10 * time.Second); len(got) != 0 && time.Now().Before(end); got = p.Leases() {
			runtime.Gosched()
		}
		if len(got) != 0 {
			t.Errorf("at rest Leases returned %+v", got)
		}
	}
}

// To look at the stack costs more than the rest of a Get, so it is not done for each lease.
// Still every leak is reported, and the place of one that happens again is found at the
// second time.
func TestThePlaceIsNotedOfASampleUntilThereIsALeak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		var g leakLog
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3, MaxIdleTime: -1, LeakAfter: time.Second, Hooks: pool.Hooks{Leaked: g.leaked}})
		placed := 0
		const n = 8000
		for i := range n {
			l, line := takeByGet(p)
			info := p.Leases()[0]
			if info.Where != "" {
				takenBy(t, info.Where, "takeByGet", line)
				placed++
			} else if i == 0 {
				t.Error("the place of a connection's first lease was not noted")
			}
			testkit.GiveBack(t, p, l)
		}
		// Five standard deviations of a binomial distribution with a probability of 1/32.
		if placed < n/32-5*16 || placed > n/32+5*16 {
			t.Errorf("of %d leases the place of %d was noted, want one in 32", n, placed)
		}
		var leaked []pool.Lease[*testkit.Wire]
		for i := range 3 {
			l, _ := takeByGet(p)
			leaked = append(leaked, l)
			testkit.Sleep(2 * time.Second)
			leaks := g.all()
			if len(leaks) != i+1 {
				t.Fatalf("after leak %d there are %d reports", i+1, len(leaks))
			}
			if where := leaks[i].Where; i > 0 && !strings.Contains(where, "insight.takeByGet ") {
				t.Errorf("leak %d was reported at %q", i+1, where)
			}
		}
		for _, l := range leaked {
			testkit.GiveBack(t, p, l)
		}
	})
}

// The first lease of a connection is one that begins when it has been idle, too.
// The line of the log that has no place says what to expect.
func TestTheLogOfALeakWithoutAPlaceSaysThatTheNextHasOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		var log testkit.Logbook
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, LeakAfter: time.Second, Logger: log.Logger()})
		for { // one lease in 32 is noted, and the first
			l := testkit.Borrow(t, p)
			if p.Leases()[0].Where == "" {
				break
			}
			testkit.GiveBack(t, p, l)
		}
		testkit.Sleep(10 * time.Second)
		synctest.Wait()
		const want = `taken_by="not noted; from now on it is, of every lease"`
		if got := log.With(slog.LevelWarn); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("the log has %q, want %s", got, want)
		}
	})
}

func TestThePlaceOfTheFirstLeaseOfEachConnectionIsNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 8, MaxIdleTime: -1, LeakAfter: time.Hour})
		if err := p.Warm(t.Context(), 8); err != nil {
			t.Fatal(err)
		}
		var leases []pool.Lease[*testkit.Wire]
		line := 0
		for range 8 {
			l, at := takeByGet(p)
			leases, line = append(leases, l), at
		}
		for _, info := range p.Leases() {
			takenBy(t, info.Where, "takeByGet", line)
		}
		for _, l := range leases {
			testkit.GiveBack(t, p, l)
		}
	})
}
