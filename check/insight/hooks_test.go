package insight

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
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

// Calls remembers the calls of hooks, one line for each.
type calls struct {
	mu    sync.Mutex
	lines []string
}

func (c *calls) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, fmt.Sprintf(format, args...))
}

// take returns the calls since the last take.
func (c *calls) take() []string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := c.lines
	c.lines = nil
	return lines
}

func (c *calls) are(t *testing.T, when string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, c.take()); diff != "" {
		t.Errorf("%s, calls of hooks (-want +got):\n%s", when, diff)
	}
}

// hooks returns hooks that remember all their calls.
func (c *calls) hooks() pool.Hooks {
	return pool.Hooks{
		Opened:   func(i pool.OpenInfo) { c.note("opened %v %v", i.Took, i.Err) },
		Closed:   func(i pool.CloseInfo) { c.note("closed %s %v", i.Reason, i.Cause) },
		Detached: func(i pool.DetachInfo) { c.note("detached %d after %v", i.Number, i.Age) },
		Waited:   func(i pool.WaitInfo) { c.note("waited %v %v", i.Waited, i.Err) },
		Rejected: func(i pool.RejectInfo) { c.note("rejected %v", i.Err) },
		Leaked:   func(lease pool.LeaseInfo) { c.note("leaked %d", lease.Conn.(*testkit.Wire).Number) },
	}
}

func TestHooksAreToldOfEachOpenAndEachWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c calls
		fails := false
		x := testkit.Exchange{Open: func(ctx context.Context, _ int) error {
			_ = testkit.Pause(ctx, testkit.OpenTime)
			if fails {
				return testkit.ErrDial
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MaxIdleTime: -1, MaxWaitTime: time.Second, MaxWaiters: 1, Hooks: c.hooks()})
		fails = true
		r := testkit.Ask(t.Context(), p)
		testkit.Sleep(testkit.OpenTime)
		r.Failed(t, "when Open fails", testkit.ErrDial)
		c.are(t, "when Open fails", "opened 100ms wrong password", "waited 100ms pool: open connection: wrong password")
		fails = false

		l := testkit.Borrow(t, p)
		c.are(t, "one opened", "opened 100ms <nil>", "waited 100ms <nil>")
		testkit.GiveBack(t, p, l)
		for range 10 {
			testkit.GiveBack(t, p, testkit.Borrow(t, p))
		}
		if l, ok := p.TryGet(); ok {
			testkit.GiveBack(t, p, l)
		}
		c.are(t, "ordinary Get and Put")

		l = testkit.Borrow(t, p)
		r = testkit.Ask(t.Context(), p)
		testkit.Sleep(testkit.OpenTime / 2)
		testkit.GiveBack(t, p, l)
		l = r.Served(t, "after the Put")
		c.are(t, "served by a return", "waited 50ms <nil>")
		testkit.Sleep(testkit.OpenTime / 2)
		c.are(t, "what was opened for it is idle", "opened 100ms <nil>")

		m := testkit.Borrow(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		r = testkit.Ask(ctx, p)
		rejected := testkit.Ask(t.Context(), p)
		rejected.Failed(t, "the second who waits", pool.ErrRejected)
		c.are(t, "the second who waits", "rejected "+pool.ErrRejected.Error())
		testkit.Sleep(300 * time.Millisecond)
		cancel()
		r.Failed(t, "canceled", context.Canceled)
		c.are(t, "canceled", "waited 300ms pool: context canceled")

		r = testkit.Ask(t.Context(), p)
		testkit.Sleep(time.Second)
		r.Failed(t, "after MaxWaitTime", pool.ErrExhausted)
		c.are(t, "after MaxWaitTime", "waited 1s "+r.Err.Error())

		r = testkit.Ask(t.Context(), p)
		testkit.Sleep(testkit.OpenTime)
		p.Close()
		r.Failed(t, "closed", pool.ErrClosed)
		if got := c.take(); !slices.Contains(got, "waited 100ms pool: closed") {
			t.Errorf("when it is closed, calls of hooks are %q", got)
		}
		_, _ = p.Put(l), p.Put(m)
	})
}

func TestHooksRejectedIsToldOfErrUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c calls
		x := testkit.Exchange{Open: func(context.Context, int) error { return testkit.ErrDial }}
		p := testkit.Start(t, x.Factory(), pool.Config{Hooks: c.hooks()})
		for range words.KeepsFailing {
			testkit.Ask(t.Context(), p).Failed(t, "failing", testkit.ErrDial)
		}
		c.take()
		r := testkit.Ask(t.Context(), p)
		r.Failed(t, "in a pause", pool.ErrUnavailable)
		c.are(t, "in a pause", "rejected "+r.Err.Error())
	})
}

// Opened is called before anybody has the connection.
func TestHooksOpenedIsCalledBeforeTheConnectionIsLent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		inHook, goOn := testkit.Obstacle(t)
		p := testkit.Start(t, x.Factory(), pool.Config{Hooks: pool.Hooks{Opened: func(pool.OpenInfo) { <-inHook }}})
		r := testkit.Ask(t.Context(), p)
		r.Pending(t, "while the hook runs")
		if got := p.Stats(); got.IdleConnections+got.ActiveConnections != 0 || got.OpeningConnections != 1 {
			t.Errorf("while the hook runs %+v, want one being opened", got)
		}
		goOn()
		testkit.GiveBack(t, p, r.Served(t, "after the hook"))
	})
}

// Each reason has its name, its counter, and its cause: what Factory.Close is given, too.
func TestHooksClosedIsToldTheReasonAndTheCause(t *testing.T) {
	var budget pool.Budget // of each pool
	tests := []struct {
		reason string
		count  func(pool.Stats) uint64
		cause  error // nil: none
		close  func(t *testing.T, p *pool.Pool[*testkit.Wire], bad, hangs *bool, broken func(int, error))
	}{
		{"idle", func(s pool.Stats) uint64 { return s.ClosedIdle }, nil, func(t *testing.T, p *pool.Pool[*testkit.Wire], _, _ *bool, _ func(int, error)) {
			testkit.Fill(t, p, 1)
			testkit.Sleep(2 * time.Minute)
		}},
		{"lifetime", func(s pool.Stats) uint64 { return s.ClosedLifetime }, nil, func(t *testing.T, p *pool.Pool[*testkit.Wire], _, _ *bool, _ func(int, error)) {
			l := testkit.Borrow(t, p)
			testkit.Sleep(20 * time.Minute)
			testkit.GiveBack(t, p, l)
		}},
		{"check", func(s pool.Stats) uint64 { return s.ClosedCheck }, testkit.ErrUnfit, func(t *testing.T, p *pool.Pool[*testkit.Wire], bad, _ *bool, _ func(int, error)) {
			testkit.Fill(t, p, 1)
			*bad = true
			p.TryGet()
		}},
		{"clean", func(s pool.Stats) uint64 { return s.ClosedClean }, testkit.ErrUnfit, func(t *testing.T, p *pool.Pool[*testkit.Wire], bad, _ *bool, _ func(int, error)) {
			l := testkit.Borrow(t, p)
			*bad = true
			testkit.GiveBack(t, p, l)
		}},
		{"watch", func(s pool.Stats) uint64 { return s.ClosedWatch }, testkit.ErrCause, func(t *testing.T, p *pool.Pool[*testkit.Wire], _, _ *bool, broken func(int, error)) {
			testkit.Fill(t, p, 1)
			broken(1, testkit.ErrCause)
		}},
		{"discard", func(s pool.Stats) uint64 { return s.ClosedDiscard }, testkit.ErrCause, func(t *testing.T, p *pool.Pool[*testkit.Wire], _, _ *bool, _ func(int, error)) {
			_ = p.Discard(testkit.Borrow(t, p), testkit.ErrCause)
		}},
		{"revoke", func(s pool.Stats) uint64 { return s.ClosedRevoke }, pool.ErrRevoked, func(t *testing.T, p *pool.Pool[*testkit.Wire], _, _ *bool, _ func(int, error)) {
			testkit.Borrow(t, p)
			p.Revoke(p.Leases()[0])
		}},
		{"reset", func(s pool.Stats) uint64 { return s.ClosedReset }, core.ErrReset, func(t *testing.T, p *pool.Pool[*testkit.Wire], _, _ *bool, _ func(int, error)) {
			testkit.Fill(t, p, 1)
			p.Reset()
		}},
		{"resize", func(s pool.Stats) uint64 { return s.ClosedResize }, nil, func(t *testing.T, p *pool.Pool[*testkit.Wire], _, _ *bool, _ func(int, error)) {
			testkit.Fill(t, p, 2)
			_ = p.Resize(1)
		}},
		{"fresh", func(s pool.Stats) uint64 { return s.ClosedFresh }, nil, func(t *testing.T, p *pool.Pool[*testkit.Wire], _, _ *bool, _ func(int, error)) {
			_ = p.Resize(1)
			testkit.Fill(t, p, 1)
			if _, err := p.GetFresh(t.Context()); err != nil {
				t.Errorf("GetFresh: %v", err)
			}
		}},
		{"budget", func(s pool.Stats) uint64 { return s.ClosedBudget }, nil, func(t *testing.T, p *pool.Pool[*testkit.Wire], _, _ *bool, _ func(int, error)) {
			testkit.Fill(t, p, 1)
			var x testkit.Exchange
			other := testkit.Start(t, x.Factory(), pool.Config{Budget: budget})
			testkit.Borrow(t, other)
			testkit.Borrow(t, other) // there is no right for it
		}},
		{"abandoned", func(s pool.Stats) uint64 { return s.ClosedAbandoned }, core.ErrAbandoned, func(t *testing.T, p *pool.Pool[*testkit.Wire], _, hangs *bool, _ func(int, error)) {
			*hangs = true
			testkit.GiveBack(t, p, testkit.Borrow(t, p))
		}},
		{"shutdown", func(s pool.Stats) uint64 { return s.ClosedShutdown }, pool.ErrClosed, func(t *testing.T, p *pool.Pool[*testkit.Wire], _, _ *bool, _ func(int, error)) {
			testkit.Borrow(t, p)
			p.Close()
		}},
	}
	if len(tests) != core.Reasons {
		t.Errorf("there are %d reasons, and tests of %d", core.Reasons, len(tests))
	}
	for _, tt := range tests {
		testkit.Bubble(t, tt.reason, func(t *testing.T) {
			type call struct {
				reason string
				cause  error
			}
			var mu sync.Mutex
			var told []call
			var given []error
			x := testkit.Exchange{Closing: func(_ *testkit.Wire, cause error) error {
				mu.Lock()
				defer mu.Unlock()
				given = append(given, cause)
				return nil
			}}
			f, broken := testkit.Watched(&x)
			bad, hangs := false, false
			f.Check = func(*testkit.Wire) error {
				if bad {
					return testkit.ErrUnfit
				}
				return nil
			}
			f.Clean = func(w *testkit.Wire) error {
				if hangs {
					time.Sleep(time.Minute)
				}
				return f.Check(w)
			}
			var log testkit.Logbook
			budget = pool.NewBudget(2)
			c := pool.Config{MaxConnections: 2, MaxIdleTime: time.Minute, CheckInterval: -1, MaxLifetime: 10 * time.Minute, Logger: log.Logger(), Budget: budget}
			c.Hooks.Closed = func(i pool.CloseInfo) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, call{i.Reason, i.Cause})
			}
			p := testkit.Start(t, f, c)
			tt.close(t, p, &bad, &hangs, broken)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if len(told) != 1 || told[0].reason != tt.reason || !errors.Is(told[0].cause, tt.cause) || tt.cause == nil && told[0].cause != nil {
				t.Fatalf("the hook was told %v, want %v and %v, once", told, tt.reason, tt.cause)
			}
			if len(given) != 1 || given[0] != told[0].cause {
				t.Errorf("Factory.Close was given %v, the hook %v", given, told[0].cause)
			}
			s := p.Stats()
			if got := tt.count(s); got != 1 {
				t.Errorf("it was counted %d times: %+v", got, s)
			}
			want := `msg="closing a connection" conn=1 reason=` + tt.reason + ` cause=`
			if got := log.With(slog.LevelDebug); !slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, want) }) {
				t.Errorf("the log has %q, want %q among it", got, want)
			}
		})
	}
}

// Hooks are called with nothing held, so they may use the pool, and panic.
func TestHooksMayUseThePoolAndPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testkit.Logbook
		fails := true
		x := testkit.Exchange{Open: func(context.Context, int) error {
			if fails {
				return testkit.ErrDial
			}
			return nil
		}}
		var p *pool.Pool[*testkit.Wire]
		use := func() {
			p.Stats()
			p.Leases()
			if l, ok := p.TryGet(); ok {
				_ = p.Put(l)
			}
			panic(testkit.ErrCause)
		}
		p = testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaiters: -1, MaxIdleTime: time.Hour, LeakAfter: time.Second, Logger: log.Logger(), Hooks: pool.Hooks{
			Opened:   func(pool.OpenInfo) { use() },
			Closed:   func(pool.CloseInfo) { use() },
			Waited:   func(pool.WaitInfo) { use() },
			Rejected: func(pool.RejectInfo) { use() },
			Leaked:   func(pool.LeaseInfo) { use() },
		}})
		testkit.Ask(t.Context(), p).Failed(t, "failing", testkit.ErrDial)
		fails = false
		l := testkit.Ask(t.Context(), p).Served(t, "opened")
		testkit.Ask(t.Context(), p).Failed(t, "when one is leased", pool.ErrRejected)
		testkit.Sleep(time.Minute)
		testkit.GiveBack(t, p, l)
		l = testkit.Borrow(t, p)
		if err := p.Discard(l, testkit.ErrCause); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		testkit.GiveBack(t, p, testkit.Borrow(t, p))
		synctest.Wait()
		testkit.AtRest(t, p, 0)
		if got := p.Stats(); got.Leaked != 1 || got.Opened != 2 || got.ClosedDiscard != 1 {
			t.Errorf("%+v, want two opened, one discarded, one leak", got)
		}
		named := regexp.MustCompile(`^msg="a hook panicked" hook=(\w+) error="Hooks\.(\w+) panicked: my cause" stack="goroutine `)
		panics := map[string]int{}
		for _, line := range log.With(slog.LevelError) {
			if m := named.FindStringSubmatch(line); m == nil || m[1] != m[2] {
				t.Errorf("the log has %.100q", line)
			} else {
				panics[m[1]]++
			}
		}
		want := map[string]int{"Opened": 3, "Closed": 1, "Waited": 3, "Rejected": 1, "Leaked": 1}
		if diff := cmp.Diff(want, panics); diff != "" {
			t.Errorf("panics in the log (-want +got):\n%s", diff)
		}
	})
}

// Each hook alone, and none: what is nil is not called.
func TestHooksMayBeNil(t *testing.T) {
	var c calls
	all := c.hooks()
	for name, tt := range map[string]struct {
		hooks pool.Hooks
		calls int
	}{
		"none":     {pool.Hooks{}, 0},
		"Opened":   {pool.Hooks{Opened: all.Opened}, 2},
		"Closed":   {pool.Hooks{Closed: all.Closed}, 1},
		"Waited":   {pool.Hooks{Waited: all.Waited}, 2},
		"Rejected": {pool.Hooks{Rejected: all.Rejected}, 1},
		"Leaked":   {pool.Hooks{Leaked: all.Leaked}, 1},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
				if attempt == 1 {
					return testkit.ErrDial
				}
				return nil
			}}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaiters: -1, LeakAfter: time.Second, Hooks: tt.hooks})
			testkit.Ask(t.Context(), p).Failed(t, "failing", testkit.ErrDial)
			l := testkit.Borrow(t, p)
			testkit.Ask(t.Context(), p).Failed(t, "when one is leased", pool.ErrRejected)
			testkit.Sleep(time.Minute)
			_ = p.Discard(l, nil)
			if got := c.take(); len(got) != tt.calls {
				t.Errorf("the hook was called %d times, want %d: %q", len(got), tt.calls, got)
			}
		})
	}
}

func TestTheLogHasTheDocumentedLevels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testkit.Logbook
		fails := false
		x := testkit.Exchange{Open: func(context.Context, int) error {
			if fails {
				return testkit.ErrDial
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3, MaxIdleTime: -1, Name: "orders", Logger: log.Logger(), FailFastAfter: testkit.AtOnce})
		step := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			got, _ := log.All()
			log.Mu.Lock()
			log.Lines, log.Times = nil, nil
			log.Mu.Unlock()
			if diff := cmp.Diff(want, got, cmp.Transformer("", func(s []string) []string {
				if s == nil {
					return []string{}
				}
				return s
			})); diff != "" {
				t.Errorf("%s, the log (-want +got):\n%s", when, diff)
			}
		}
		l := testkit.Borrow(t, p)
		step("one opened", `level=DEBUG msg="connection opened" pool=orders conn=1 took=0s`)
		testkit.GiveBack(t, p, l)
		for range 1000 {
			testkit.GiveBack(t, p, testkit.Borrow(t, p))
			if l, ok := p.TryGet(); ok {
				testkit.GiveBack(t, p, l)
			}
		}
		step("a thousand of Get and Put")
		_ = p.Discard(testkit.Borrow(t, p), testkit.ErrCause)
		step("discarded", `level=DEBUG msg="closing a connection" pool=orders conn=1 reason=discard cause="my cause" age=0s`)
		fails = true
		for range words.KeepsFailing {
			testkit.Ask(t.Context(), p).Failed(t, "failing", testkit.ErrDial)
		}
		step("failing", `level=WARN msg="opening a connection failed" pool=orders error="wrong password"`,
			`level=WARN msg="opening connections keeps failing: while none is open, Get fails at once after FailFastAfter" pool=orders`)
		fails = false
		testkit.Sleep(words.BackoffMost)
		testkit.GiveBack(t, p, testkit.Borrow(t, p))
		step("one opened in the outage", `level=DEBUG msg="connection opened" pool=orders conn=2 took=0s`)
		testkit.Sleep(core.Probation)
		step("at the end of the outage", `level=INFO msg="opening connections succeeds again" pool=orders`)
		fails = true
		_ = p.Warm(t.Context(), 2)
		step("the first failure after an outage", `level=WARN msg="opening a connection failed" pool=orders error="wrong password" more_since_last=3`)
		fails = false
		_ = p.Resize(2)
		step("resized", `level=INFO msg=resized pool=orders from=3 to=2`)
		l = testkit.Borrow(t, p)
		p.Reset()
		step("reset", `level=INFO msg=reset pool=orders`)
		testkit.GiveBack(t, p, l)
		step("put back after Reset", `level=DEBUG msg="closing a connection" pool=orders conn=2 reason=reset cause="pool: reset" age=1s`)
	})
}

// From hand to hand, and from expired wait to expired wait, nothing is logged either.
func TestWaitsAreNotLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testkit.Logbook
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxIdleTime: -1, MaxWaitTime: time.Second, MaxWaiters: 1, Logger: log.Logger()})
		l := testkit.Borrow(t, p)
		synctest.Wait()
		before, _ := log.All()
		for range 10 {
			r := testkit.Ask(t.Context(), p)
			testkit.Ask(t.Context(), p).Failed(t, "the second who waits", pool.ErrRejected)
			testkit.GiveBack(t, p, l)
			l = r.Served(t, "after the Put")
			r = testkit.Ask(t.Context(), p)
			testkit.Sleep(time.Second)
			r.Failed(t, "after MaxWaitTime", pool.ErrExhausted)
		}
		testkit.GiveBack(t, p, l)
		if got, _ := log.All(); len(got) != len(before) {
			t.Errorf("the log has %q", got[len(before):])
		}
	})
}

// limited looks at the lines of a message. It fails the test unless they are at warning
// level, and logEvery apart at least. It returns how many lines there are, and for how many
// failures they account, as they say how many more there were since the last.
func limited(t *testing.T, log *testkit.Logbook, message string) (lines, failures int) {
	t.Helper()
	more := regexp.MustCompile(` more_since_last=(\d+)$`)
	all, times := log.All()
	var last time.Time
	for i, line := range all {
		if !strings.Contains(line, message) {
			continue
		}
		if lines > 0 && times[i].Sub(last) < core.LogEvery {
			t.Errorf("%q was logged after %v, want %v at least", line, times[i].Sub(last), core.LogEvery)
		}
		if !strings.HasPrefix(line, "level=WARN ") {
			t.Errorf("%q is not at warning level", line)
		}
		last = times[i]
		lines++
		failures++
		if m := more.FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[1])
			failures += n
		}
	}
	return lines, failures
}

func TestRepeatedFailuresOfOpenAreLoggedEveryTenSecondsWithTheirNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testkit.Logbook
		x := testkit.Exchange{Open: func(context.Context, int) error { return testkit.ErrDial }}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 5, Logger: log.Logger()})
		var failures int // when the last line was logged
		for end := time.Now().Add(65 * time.Second); time.Now().Before(end); testkit.Sleep(70 * time.Millisecond) {
			lines := len(log.With(slog.LevelWarn))
			_, _ = p.Get(t.Context())
			synctest.Wait()
			if len(log.With(slog.LevelWarn)) > lines {
				failures = int(p.Stats().OpenErrors)
			}
		}
		lines, counted := limited(t, &log, "opening a connection failed")
		if lines < 6 || lines > 7 {
			t.Errorf("in 65 s there were %d lines, want 6 or 7", lines)
		}
		if counted != failures || failures < 100 {
			t.Errorf("the log accounts for %d failures, want %d, and 100 at least to tell anything", counted, failures)
		}
	})
}

func TestCallsThatDoNotReturnAreLoggedEveryTenSecondsWithTheirNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testkit.Logbook
		var x testkit.Exchange
		f := x.Factory()
		hang, release := testkit.Obstacle(t)
		f.Clean = func(*testkit.Wire) error { <-hang; return nil }
		p := testkit.Start(t, f, pool.Config{MaxConnections: 40, MaxIdleTime: -1, Logger: log.Logger()})
		var leases []pool.Lease[*testkit.Wire]
		for range 32 {
			leases = append(leases, testkit.Borrow(t, p))
		}
		for _, l := range leases[:31] {
			go func() { _ = p.Put(l) }()
			testkit.Sleep(time.Second)
		}
		testkit.Sleep(20 * time.Second)
		go func() { _ = p.Put(leases[31]) }() // which counts those that are left
		testkit.Sleep(20 * time.Second)
		if got := p.Stats().Abandoned; got != 32 {
			t.Errorf("%d calls were abandoned, want 32", got)
		}
		lines, counted := limited(t, &log, "a factory function does not return: its connection is given up")
		if lines < 4 || lines > 5 || counted != 32 {
			t.Errorf("there are %d lines, want 4 or 5, which account for %d calls, want 32", lines, counted)
		}
		release()
	})
}

// PostgREST#4630: a gauge drifts because one way out has no event. Here every connection that
// has come in is told to have gone out, once, whichever way, by its number.
func TestEveryWayInAndOutHasItsEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		open := map[uint64]bool{}
		gone := func(number uint64, age time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			if !open[number] || age != time.Minute {
				t.Errorf("connection %d has left at the age of %v; it was open: %v", number, age, open[number])
			}
			delete(open, number)
		}
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3, MaxIdleTime: -1, Hooks: pool.Hooks{
			Opened: func(i pool.OpenInfo) {
				mu.Lock()
				defer mu.Unlock()
				if i.Number == 0 || open[i.Number] || i.Err != nil {
					t.Errorf("Opened was told of %+v", i)
				}
				open[i.Number] = true
			},
			Closed:   func(i pool.CloseInfo) { gone(i.Number, i.Age) },
			Detached: func(i pool.DetachInfo) { gone(i.Number, i.Age) },
		}})
		a, b := testkit.Borrow(t, p), testkit.Borrow(t, p)
		testkit.Borrow(t, p)
		if len(open) != 3 {
			t.Errorf("%d connections are told to be open, want 3", len(open))
		}
		testkit.Sleep(time.Minute)
		if _, err := p.Detach(a); err != nil {
			t.Errorf("Detach: %v", err)
		}
		_ = p.Discard(b, testkit.ErrCause)
		p.Close()
		synctest.Wait()
		if len(open) != 0 {
			t.Errorf("at the end %v are told to be open, want none", open)
		}
	})
}

func TestHooksTellAWaitWhichConnectionItGot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var opened []uint64
		var waits []pool.WaitInfo
		hooks := pool.Hooks{
			Opened: func(i pool.OpenInfo) { opened = append(opened, i.Number) },
			Waited: func(i pool.WaitInfo) { waits = append(waits, i) },
		}
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaitTime: time.Second, Hooks: hooks})
		l := testkit.Borrow(t, p)
		if len(waits) != 1 || len(opened) != 1 || waits[0].Number != opened[0] || waits[0].Number != l.Number() || waits[0].Reused {
			t.Fatalf("opened %v, waits %v; want a wait for the one that was opened, %d", opened, waits, l.Number())
		}
		r := testkit.Ask(t.Context(), p)
		_ = p.Discard(l, testkit.ErrCause)
		synctest.Wait()
		l = r.Served(t, "by another one")
		if len(waits) != 2 || len(opened) != 2 || opened[1] == opened[0] || waits[1].Number != opened[1] || waits[1].Reused {
			t.Errorf("opened %v, waits %v; want the second wait for the second", opened, waits)
		}
		mark := l.Mark()
		testkit.GiveBack(t, p, l)
		l = testkit.Borrow(t, p) // so that GetSame has to wait
		same := make(chan pool.Lease[*testkit.Wire])
		go func() {
			l, err := p.GetSame(t.Context(), mark)
			if err != nil {
				t.Error(err)
			}
			same <- l
		}()
		synctest.Wait()
		testkit.GiveBack(t, p, l)
		l = <-same
		if len(waits) != 3 || waits[2].Number != opened[1] || !waits[2].Reused || waits[2].Err != nil {
			t.Errorf("waits %v; want that of GetSame for %d", waits, opened[1])
		}
		r = testkit.Ask(t.Context(), p)
		testkit.Sleep(time.Second)
		r.Failed(t, "after MaxWaitTime", pool.ErrExhausted)
		if len(waits) != 4 || waits[3].Number != 0 || waits[3].Reused || waits[3].Err == nil {
			t.Errorf("waits %v; want the one that failed to have no number", waits)
		}
		testkit.GiveBack(t, p, l)
	})
}

// puddle#41: a wait cannot be put into the request's trace without its ctx.
func TestHooksHaveTheCtxOfTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		var told []any
		hooks := pool.Hooks{
			Waited:   func(i pool.WaitInfo) { told = append(told, i.Ctx.Value(key{})) },
			Rejected: func(i pool.RejectInfo) { told = append(told, i.Ctx.Value(key{})) },
		}
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1, MaxWaiters: -1, Hooks: hooks})
		l, err := p.Get(context.WithValue(t.Context(), key{}, "first"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Get(context.WithValue(t.Context(), key{}, "second")); err != pool.ErrRejected {
			t.Errorf("Get returned %v, want ErrRejected", err)
		}
		if diff := cmp.Diff([]any{"first", "second"}, told); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		testkit.GiveBack(t, p, l)
	})
}

func TestJoinedHooksAreCalledInOrderWhateverOneOfThemDoes(t *testing.T) {
	var told []string
	hook := func(name string, panics bool) pool.Hooks {
		return pool.Hooks{Rejected: func(pool.RejectInfo) {
			told = append(told, name)
			if panics {
				panic(name)
			}
		}}
	}
	joined := pool.JoinHooks(hook("a", false), pool.Hooks{}, hook("b", true), hook("c", true), hook("d", false))
	func() {
		defer func() { recover() }()
		joined.Rejected(pool.RejectInfo{})
		t.Error("the panic was swallowed")
	}()
	if diff := cmp.Diff([]string{"a", "b", "c", "d"}, told); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if joined.Opened != nil || pool.JoinHooks().Waited != nil {
		t.Error("what nobody wants to be told is called")
	}
}

func TestShutdownWaitsForHooksDetachedAsForHooksClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inHook, goOn := testkit.Obstacle(t)
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{Hooks: pool.Hooks{Detached: func(pool.DetachInfo) { <-inHook }}})
		l := testkit.Borrow(t, p)
		go func() { _, _ = p.Detach(l) }()
		synctest.Wait()
		down := make(chan error, 1)
		go func() { down <- p.Shutdown(context.Background()) }()
		synctest.Wait()
		select {
		case err := <-down:
			t.Errorf("Shutdown returned %v while the hook ran", err)
		default:
		}
		goOn()
		if err := <-down; err != nil {
			t.Errorf("Shutdown returned %v", err)
		}
	})
}
