package insight

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
	"github.com/google/go-cmp/cmp"
)

// addsUp fails the test unless the parts of s are what a pool of most can hold.
func addsUp(t *testing.T, s pool.Stats, most int) {
	t.Helper()
	sum := s.ActiveConnections + s.IdleConnections + s.OpeningConnections + s.VacantConnections()
	if sum != most || s.MaxConnections != most || min(s.ActiveConnections, s.IdleConnections, s.OpeningConnections, s.VacantConnections()) < 0 {
		t.Errorf("the parts don't add up: %+v, %d vacant", s, s.VacantConnections())
	}
}

// HikariCP#1662, #731: "timed out, idle=29", with figures taken at different instants.
// In any snapshot active, idle, opening and vacant make up MaxConnections.
func TestStatsAddUpAtEverySampleUnderLoad(t *testing.T) {
	const most = 300 // the more slots, the more happens while they are counted
	x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
		if attempt%4 == 0 {
			return testkit.ErrDial
		}
		return nil
	}}
	p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: most})
	stop := make(chan struct{})
	var load, sampler sync.WaitGroup
	for range 2 {
		sampler.Go(func() {
			for {
				addsUp(t, p.Stats(), most)
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for g := range 12 {
		load.Go(func() {
			random := rand.New(rand.NewPCG(uint64(g), 1))
			for range 60 {
				var leases []pool.Lease[*testkit.Wire]
				for range 20 {
					if l, err := p.Get(context.Background()); err == nil {
						leases = append(leases, l)
					}
				}
				for _, l := range leases {
					switch random.IntN(4) {
					case 0:
						_ = p.Discard(l, nil)
					case 1:
						_, _ = p.Detach(l)
					default:
						_ = p.Put(l)
					}
				}
			}
		})
	}
	load.Wait()
	p.Close()
	close(stop)
	sampler.Wait()
	// An open that nobody waits for any more may not have come to its end yet: Close
	// does not wait for it.
	addsUp(t, p.Stats(), most)
}

func TestStatsSaysHowThePoolStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, release := testkit.Obstacle(t)
		x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			if attempt > 2 {
				<-hang
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 4, MaxWaitTime: -1, MaxIdleTime: -1})
		l := testkit.Borrow(t, p)
		testkit.Fill(t, p, 1)
		want := pool.Stats{MaxConnections: 4, ActiveConnections: 1, IdleConnections: 1, Gets: 2, Waits: 2, Opened: 2}
		if diff := cmp.Diff(want, testkit.Figures(p)); diff != "" {
			t.Errorf("one leased, one idle (-want +got):\n%s", diff)
		}
		m := testkit.Borrow(t, p)
		first := testkit.Ask(t.Context(), p)
		testkit.Sleep(300 * time.Millisecond)
		second, third := testkit.Ask(t.Context(), p), testkit.Ask(t.Context(), p)
		testkit.Sleep(100 * time.Millisecond)
		want = pool.Stats{MaxConnections: 4, ActiveConnections: 2, OpeningConnections: 2, WaitingRequests: 3, OldestWait: 400 * time.Millisecond, Gets: 3, Waits: 5, Opened: 2}
		if diff := cmp.Diff(want, testkit.Figures(p)); diff != "" {
			t.Errorf("two leased, two being opened for three (-want +got):\n%s", diff)
		}
		testkit.GiveBack(t, p, l)
		first.Served(t, "after the Put")
		if got := p.Stats(); got.OldestWait != 100*time.Millisecond || got.WaitingRequests != 2 {
			t.Errorf("when the oldest is served %+v", got)
		}
		release()
		testkit.GiveBack(t, p, second.Served(t, "when two more are open"))
		testkit.GiveBack(t, p, third.Served(t, "when two more are open"))
		testkit.GiveBack(t, p, first.Lease)
		testkit.GiveBack(t, p, m)
		want = pool.Stats{MaxConnections: 4, IdleConnections: 4, Gets: 6, Waits: 5, Opened: 4}
		if diff := cmp.Diff(want, testkit.Figures(p)); diff != "" {
			t.Errorf("all idle (-want +got):\n%s", diff)
		}
	})
}

// Each counter is brought to a number of its own.
func TestCountersAreExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var unchecked, uncleaned, fails bool
		x := testkit.Exchange{Open: func(context.Context, int) error {
			if fails {
				return testkit.ErrDial
			}
			return nil
		}}
		f, broken := testkit.Watched(&x)
		f.Check = func(*testkit.Wire) error {
			if unchecked {
				return testkit.ErrUnfit
			}
			return nil
		}
		f.Clean = func(*testkit.Wire) error {
			if uncleaned {
				return testkit.ErrUnfit
			}
			return nil
		}
		p := testkit.Start(t, f, pool.Config{MaxConnections: 20, CheckInterval: -1, MaxIdleTime: time.Minute, MaxWaitTime: time.Second, MaxWaiters: 3, FailFastAfter: testkit.AtOnce})
		var want pool.Stats
		lend := func(n int) (leases []pool.Lease[*testkit.Wire]) {
			for range n {
				leases = append(leases, testkit.Borrow(t, p))
				synctest.Wait() // the end of its attempt would open one more for the next
			}
			return leases
		}
		put := func(leases []pool.Lease[*testkit.Wire]) {
			for _, l := range leases {
				testkit.GiveBack(t, p, l)
			}
		}
		same := func(what string) {
			t.Helper()
			synctest.Wait()
			if diff := cmp.Diff(want, testkit.Figures(p)); diff != "" {
				t.Fatalf("%s (-want +got):\n%s", what, diff)
			}
		}
		want.MaxConnections = 20
		same("new")

		put(lend(1))
		want.Gets, want.Waits, want.Opened, want.IdleConnections = 1, 1, 1, 1
		same("one opened")
		testkit.Sleep(2 * time.Minute)
		want.ClosedIdle, want.IdleConnections = 1, 0
		same("expired")

		put(lend(2))
		want.Gets, want.Waits, want.Opened, want.IdleConnections = 3, 3, 3, 2
		same("two opened")
		unchecked = true
		if _, ok := p.TryGet(); ok {
			t.Error("TryGet lent an unfit connection")
		}
		unchecked = false
		want.ClosedCheck, want.IdleConnections = 2, 0
		same("two rejected by Check")

		leases := lend(3)
		uncleaned = true
		put(leases)
		uncleaned = false
		want.Gets, want.Waits, want.Opened, want.ClosedClean = 6, 6, 6, 3
		same("three rejected by Clean")

		leases = lend(4)
		testkit.Sleep(core.Probation) // earlier it would count as an open that fails
		for _, l := range leases {
			broken(l.Value().Number, testkit.ErrCause)
			broken(l.Value().Number, testkit.ErrCause)
		}
		put(leases)
		want.Gets, want.Waits, want.Opened, want.ClosedWatch = 10, 10, 10, 4
		same("four reported broken")

		for _, l := range lend(5) {
			_ = p.Discard(l, nil)
			_ = p.Discard(l, nil)
		}
		want.Gets, want.Waits, want.Opened, want.ClosedDiscard = 15, 15, 15, 5
		same("five discarded")

		for _, l := range lend(6) {
			_, _ = p.Detach(l)
		}
		want.Gets, want.Waits, want.Opened, want.Detached = 21, 21, 21, 6
		same("six detached")

		fails = true
		for range 7 {
			testkit.Ask(t.Context(), p).Failed(t, "Open fails", testkit.ErrDial)
			testkit.Sleep(words.BackoffMost)
		}
		fails = false
		want.Waits, want.OpenErrors, want.Unavailable = 28, 7, 7-words.KeepsFailing+1
		same("seven failed")

		leases = lend(20)
		want.Gets, want.Waits, want.Opened, want.ActiveConnections = 41, 48, 41, 20
		same("twenty opened")
		ctx, cancel := context.WithCancel(t.Context())
		for range 3 {
			testkit.Ask(ctx, p)
		}
		for range 8 {
			testkit.Ask(t.Context(), p).Failed(t, "three wait", pool.ErrRejected)
		}
		cancel()
		want.Waits, want.Canceled, want.Rejected = 51, 3, 8
		same("three canceled, eight rejected")
		for range 2 {
			for range 2 {
				testkit.Ask(t.Context(), p)
			}
			testkit.Sleep(time.Second)
		}
		want.Waits, want.Timeouts = 55, 4
		same("four timeouts")

		put(leases[:9])
		p.Close()
		put(leases[9:]) // revoked
		want.ActiveConnections, want.ClosedShutdown = 0, 20
		same("closed")

		n := p.Stats()
		if sum := n.Detached + n.ClosedIdle + n.ClosedCheck + n.ClosedClean + n.ClosedWatch + n.ClosedDiscard + n.ClosedShutdown; n.Opened != sum {
			t.Errorf("Opened is %d, and what became of them %d", n.Opened, sum)
		}
	})
}

func TestGetsCountsEveryLeaseOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, clean := range []bool{false, true} {
			var x testkit.Exchange
			f := x.Factory()
			if clean {
				f.Clean = func(*testkit.Wire) error { return nil }
			}
			p := testkit.Start(t, f, pool.Config{MaxConnections: 2, MaxWaitTime: -1})
			for range 10 {
				l := testkit.Borrow(t, p)
				m, n := testkit.Ask(t.Context(), p), testkit.Ask(t.Context(), p)
				testkit.GiveBack(t, p, l)
				testkit.GiveBack(t, p, m.Served(t, "first"))
				testkit.GiveBack(t, p, n.Served(t, "second"))
				if l, ok := p.TryGet(); ok {
					testkit.GiveBack(t, p, l)
				}
			}
			if got := p.Stats().Gets; got != 40 {
				t.Errorf("clean %v: Gets is %d after 40 leases", clean, got)
			}
		}
	})
}

func TestStatsLogsEveryFieldAsAGroup(t *testing.T) {
	var s pool.Stats
	v := reflect.ValueOf(&s).Elem()
	for i := range v.NumField() { // a number of its own for each field
		switch f := v.Field(i); {
		case f.CanInt():
			f.SetInt(int64(i + 1))
		case f.CanUint():
			f.SetUint(uint64(i + 1))
		case f.Kind() == reflect.Interface:
			f.Set(reflect.ValueOf(testkit.ErrDial))
		default:
			f.FieldByName("Count").SetUint(uint64(i + 1))
		}
	}
	var log strings.Builder
	handler := slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 {
			return slog.Attr{}
		}
		return a
	}})
	slog.New(handler).Info("", "pool", s)
	want := `pool.max=1 pool.active=2 pool.idle=3 pool.reserved=4 pool.opening=5 pool.awaiting_budget=6 pool.waiting=7 pool.oldest_wait=8ns ` +
		`pool.last_open_error="wrong password" pool.gets=10 pool.waits=11 pool.same_waits=12 pool.timeouts=13 pool.canceled=14 pool.rejected=15 ` +
		`pool.unavailable=16 pool.gone=17 pool.leaked=18 ` +
		`pool.opened=19 pool.open_errors=20 pool.detached=21 pool.closed_idle=22 pool.closed_lifetime=23 pool.closed_check=24 ` +
		`pool.closed_clean=25 pool.closed_watch=26 pool.closed_discard=27 pool.closed_revoke=28 pool.closed_reset=29 pool.closed_resize=30 ` +
		`pool.closed_fresh=31 pool.closed_budget=32 pool.closed_abandoned=33 pool.closed_shutdown=34 pool.abandoned=35 ` +
		`pool.wait_time.count=36`
	got, times, _ := strings.Cut(log.String(), " pool.wait_time.p50=")
	if !strings.Contains(times, " pool.open_time.count=37 pool.open_time.p50=") {
		t.Errorf("the log of Stats has no open_time behind wait_time: %s", times)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the log of Stats (-want +got):\n%s", diff)
	}
	if got := s.LogValue(); got.Kind() != slog.KindGroup || len(got.Group()) != v.NumField() {
		t.Errorf("LogValue has %d attributes of kind %v, want a group of all %d fields", len(got.Group()), got.Kind(), v.NumField())
	}
}

// Println of a struct is a row of numbers that nobody can tell apart.
func TestStatsAsATextAreNamedAndLeaveOutWhatIsZero(t *testing.T) {
	for _, tt := range []struct {
		s    pool.Stats
		want string
	}{
		{pool.Stats{}, "max 0, active 0, idle 0, waiting 0"},
		{pool.Stats{MaxConnections: 4, ActiveConnections: 3, IdleConnections: 1, AwaitingBudget: 6, WaitingRequests: 2, OldestWait: time.Second, LastOpenError: testkit.ErrDial,
			Gets: 5, Leaked: 1, ClosedCheck: 7, WaitTime: pool.Histogram{Count: 1}},
			"max 4, active 3, idle 1, awaiting_budget 6, waiting 2, oldest_wait 1s, last_open_error (wrong password), gets 5, leaked 1, closed_check 7, wait_time (" +
				pool.Histogram{Count: 1}.String() + ")"},
		{pool.Stats{LastOpenError: errors.Join(testkit.ErrDial, testkit.ErrCause)},
			"max 0, active 0, idle 0, waiting 0, last_open_error (" + testkit.ErrDial.Error() + "; " + testkit.ErrCause.Error() + ")"},
	} {
		if got := fmt.Sprint(tt.s); got != tt.want {
			t.Errorf("Stats are\n%s, want\n%s", got, tt.want)
		}
	}
}

// A connection that the sweeper is checking is still idle, and does not count as a Get. A
// dashboard takes a counter that goes back for a restart.
func TestStatsShowWhatTheSweeperChecksAsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		f := x.Factory()
		var p *pool.Pool[*testkit.Wire]
		checks := 0
		f.Check = func(*testkit.Wire) error {
			checks++
			if got := p.Stats(); got.IdleConnections != 1 || got.ActiveConnections != 0 || got.Gets != 1 {
				t.Errorf("during a check: %+v, want one idle, and one lease so far", got)
			}
			return nil
		}
		p = testkit.Start(t, f, pool.Config{MaxConnections: 2, MaxIdleTime: -1})
		testkit.GiveBack(t, p, testkit.Borrow(t, p))
		testkit.Sleep(10 * time.Second)
		if checks < 9 {
			t.Errorf("%d checks in ten seconds", checks)
		}
	})
}

// Every exporter wrote the map of reasons by hand, and forgot the next one.
func TestClosedByHasEveryReasonUnderItsName(t *testing.T) {
	var s pool.Stats
	fields := map[string]uint64{}
	v := reflect.ValueOf(&s).Elem()
	for i := range v.NumField() {
		if reason, ok := strings.CutPrefix(v.Type().Field(i).Name, "Closed"); ok {
			v.Field(i).SetUint(uint64(i))
			fields[strings.ToLower(reason)] = uint64(i)
		}
	}
	got := map[string]uint64{}
	for reason, n := range s.ClosedBy() {
		got[reason] = n
	}
	if diff := cmp.Diff(fields, got); diff != "" {
		t.Errorf("ClosedBy (-fields +got):\n%s", diff)
	}
	if len(got) != core.Reasons {
		t.Errorf("there are %d reasons, want %d as in the core", len(got), core.Reasons)
	}
}

func TestStatsAsJSONHaveNamesUnitsAndTexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			time.Sleep(750 * time.Millisecond)
			if attempt == 2 {
				return testkit.ErrDial
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{Name: "orders", MaxConnections: 3, MaxIdleTime: -1, FailFastAfter: testkit.AtOnce})
		if p.Name() != "orders" {
			t.Errorf("the name is %q, want orders", p.Name())
		}
		_ = p.Discard(testkit.Borrow(t, p), nil)
		if _, err := p.Get(t.Context()); !errors.Is(err, testkit.ErrDial) {
			t.Errorf("the second Get returned %v, want %v", err, testkit.ErrDial)
		}
		synctest.Wait() // its attempt may still be counted
		text, err := json.Marshal(p.Stats())
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		closed := map[string]any{"idle": 0., "lifetime": 0., "check": 0., "clean": 0., "watch": 0., "discard": 1., "revoke": 0., "reset": 0., "resize": 0., "fresh": 0., "budget": 0., "abandoned": 0., "shutdown": 0.}
		times := map[string]any{"count": 2., "sum_seconds": 1.5, "buckets": []any{map[string]any{"le_seconds": 0.805306368, "count": 2.}}}
		want := map[string]any{
			"max": 3., "active": 0., "idle": 0., "reserved": 0., "opening": 0., "awaiting_budget": 0., "vacant": 3., "waiting": 0., "oldest_wait_seconds": 0.,
			"last_open_error": `pool "orders": open connection: wrong password`,
			"gets":            1., "waits": 2., "same_waits": 0., "timeouts": 0., "canceled": 0., "rejected": 0., "unavailable": 0., "gone": 0., "leaked": 0.,
			"opened": 1., "open_errors": 1., "detached": 0., "closed": closed, "abandoned": 0.,
			"wait_time": times, "open_time": times, "use_time": map[string]any{"count": 0., "sum_seconds": 0., "buckets": []any{}},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestUseTimeIsHowLongLeasesLast(t *testing.T) {
	for _, on := range []bool{false, true} {
		testkit.Bubble(t, fmt.Sprintf("TimeUse: %v", on), func(t *testing.T) {
			var x testkit.Exchange
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MaxIdleTime: -1, MaxWaitTime: -1, TimeUse: on})
			for i, end := range []func(pool.Lease[*testkit.Wire]) error{
				p.Put,
				p.PutUnused,
				func(l pool.Lease[*testkit.Wire]) error { return p.Discard(l, nil) },
				func(l pool.Lease[*testkit.Wire]) error { _, err := p.Detach(l); return err },
			} {
				l := testkit.Borrow(t, p)
				testkit.Sleep(time.Duration(i+1) * time.Second)
				if err := end(l); err != nil {
					t.Fatal(err)
				}
				if err := end(l); err != pool.ErrNotLeased {
					t.Errorf("the second end returned %v, want ErrNotLeased", err)
				}
				testkit.Sleep(time.Minute)
			}
			a := testkit.Borrow(t, p)
			b := testkit.Borrow(t, p)
			r := testkit.Ask(t.Context(), p) // the time of a wait is not that of a lease
			testkit.Sleep(5 * time.Second)
			testkit.GiveBack(t, p, a)
			c := r.Served(t, "after the Put")
			if l, ok := p.TryGet(); ok {
				t.Errorf("TryGet returned %v", l)
			}
			testkit.Sleep(6 * time.Second)
			testkit.GiveBack(t, p, b)
			testkit.GiveBack(t, p, c)
			want := pool.Histogram{}
			if on {
				want.Count, want.Sum = 7, (1+2+3+4+5+11+6)*time.Second
			}
			if got := p.Stats().UseTime; got.Count != want.Count || got.Sum != want.Sum {
				t.Errorf("UseTime has %d leases of %v, want %d of %v", got.Count, got.Sum, want.Count, want.Sum)
			}
		})
	}
}

// A hook may end its goroutine, and with it a lease that nobody has seen.
func TestTheUseTimeOfALeaseThatAHookEndsIsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, TimeUse: true, Hooks: pool.Hooks{Waited: func(pool.WaitInfo) { runtime.Goexit() }}})
		testkit.Sleep(time.Minute)
		testkit.Ask(t.Context(), p)
		synctest.Wait()
		if got := p.Stats().UseTime; got.Count != 1 || got.Sum != 0 {
			t.Errorf("UseTime has %d leases of %v, want one of 0s", got.Count, got.Sum)
		}
	})
}
