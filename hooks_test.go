package pool

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

	"github.com/google/go-cmp/cmp"
)

// A logbook keeps what is logged, one line of text for each record, with the time of the
// bubble left out.
type logbook struct {
	mu    sync.Mutex
	lines []string
	times []time.Time
}

func (b *logbook) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, strings.TrimSpace(string(line)))
	b.times = append(b.times, time.Now())
	return len(line), nil
}

func (b *logbook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

// all returns the lines, and when they were logged.
func (b *logbook) all() ([]string, []time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.lines), slices.Clone(b.times)
}

// with returns the lines of a level.
func (b *logbook) with(level slog.Level) (lines []string) {
	all, _ := b.all()
	for _, line := range all {
		if rest, ok := strings.CutPrefix(line, "level="+level.String()+" "); ok {
			lines = append(lines, rest)
		}
	}
	return lines
}

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
func (c *calls) hooks() Hooks {
	return Hooks{
		Opened:   func(took time.Duration, err error) { c.note("opened %v %v", took, err) },
		Closed:   func(reason string, cause error) { c.note("closed %s %v", reason, cause) },
		Waited:   func(waited time.Duration, err error) { c.note("waited %v %v", waited, err) },
		Rejected: func(err error) { c.note("rejected %v", err) },
		Leaked:   func(lease LeaseInfo) { c.note("leaked %d", lease.Conn.(*wire).number) },
	}
}

func TestHooksAreToldOfEachOpenAndEachWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c calls
		fails := false
		x := exchange{open: func(ctx context.Context, _ int) error {
			_ = pause(ctx, openTime)
			if fails {
				return errDial
			}
			return nil
		}}
		p := start(t, x.factory(), Config{MaxConnections: 2, MaxIdleTime: -1, MaxWaitTime: time.Second, MaxWaiters: 1, Hooks: c.hooks()})
		l := borrow(t, p)
		c.are(t, "one opened", "opened 100ms <nil>", "waited 100ms <nil>")
		giveBack(t, p, l)
		for range 10 {
			giveBack(t, p, borrow(t, p))
		}
		if l, ok := p.TryGet(); ok {
			giveBack(t, p, l)
		}
		c.are(t, "ordinary Get and Put")

		l = borrow(t, p)
		fails = true
		r := ask(t.Context(), p)
		time.Sleep(openTime)
		r.failed(t, "when Open fails", errDial)
		c.are(t, "when Open fails", "opened 100ms wrong password", "waited 100ms pool: open connection: wrong password")
		fails = false

		r = ask(t.Context(), p)
		time.Sleep(openTime / 2)
		giveBack(t, p, l)
		l = r.served(t, "after the Put")
		c.are(t, "served by a return", "waited 50ms <nil>")
		time.Sleep(openTime / 2)
		c.are(t, "what was opened for it is idle", "opened 100ms <nil>")

		m := borrow(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		r = ask(ctx, p)
		rejected := ask(t.Context(), p)
		rejected.failed(t, "the second who waits", ErrRejected)
		c.are(t, "the second who waits", "rejected "+ErrRejected.Error())
		time.Sleep(300 * time.Millisecond)
		cancel()
		r.failed(t, "canceled", context.Canceled)
		c.are(t, "canceled", "waited 300ms pool: context canceled")

		r = ask(t.Context(), p)
		time.Sleep(time.Second)
		r.failed(t, "after MaxWaitTime", ErrExhausted)
		c.are(t, "after MaxWaitTime", "waited 1s "+r.err.Error())

		r = ask(t.Context(), p)
		time.Sleep(openTime)
		p.Close()
		r.failed(t, "closed", ErrClosed)
		if got := c.take(); !slices.Contains(got, "waited 100ms pool: closed") {
			t.Errorf("when it is closed, calls of hooks are %q", got)
		}
		_, _ = p.Put(l), p.Put(m)
	})
}

func TestHooksRejectedIsToldOfErrUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c calls
		x := exchange{open: func(context.Context, int) error { return errDial }}
		p := start(t, x.factory(), Config{Hooks: c.hooks()})
		for range keepsFailing {
			ask(t.Context(), p).failed(t, "failing", errDial)
		}
		c.take()
		r := ask(t.Context(), p)
		r.failed(t, "in a pause", ErrUnavailable)
		c.are(t, "in a pause", "rejected "+r.err.Error())
	})
}

// Opened is called while the connection is nobody's yet.
func TestHooksOpenedIsCalledBeforeTheConnectionIsLent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		inHook, goOn := obstacle(t)
		p := start(t, x.factory(), Config{Hooks: Hooks{Opened: func(time.Duration, error) { <-inHook }}})
		r := ask(t.Context(), p)
		r.pending(t, "while the hook runs")
		if got := p.Stats(); got.IdleConnections+got.ActiveConnections != 0 || got.OpeningConnections != 1 {
			t.Errorf("while the hook runs %+v, want one being opened", got)
		}
		goOn()
		giveBack(t, p, r.served(t, "after the hook"))
	})
}

// Each reason has its name, its counter, and its cause: what Factory.Close is given, too.
func TestHooksClosedIsToldTheReasonAndTheCause(t *testing.T) {
	tests := []struct {
		reason reason
		count  func(Stats) uint64
		cause  error // nil: none
		close  func(t *testing.T, p *Pool[*wire], bad *bool, broken func(int, error))
	}{
		{closedByIdleTime, func(s Stats) uint64 { return s.ClosedIdle }, nil, func(t *testing.T, p *Pool[*wire], _ *bool, _ func(int, error)) {
			fill(t, p, 1)
			time.Sleep(2 * time.Minute)
		}},
		{closedByLifetime, func(s Stats) uint64 { return s.ClosedLifetime }, nil, func(t *testing.T, p *Pool[*wire], _ *bool, _ func(int, error)) {
			l := borrow(t, p)
			time.Sleep(20 * time.Minute)
			giveBack(t, p, l)
		}},
		{closedByCheck, func(s Stats) uint64 { return s.ClosedCheck }, errUnfit, func(t *testing.T, p *Pool[*wire], bad *bool, _ func(int, error)) {
			fill(t, p, 1)
			*bad = true
			p.TryGet()
		}},
		{closedByClean, func(s Stats) uint64 { return s.ClosedClean }, errUnfit, func(t *testing.T, p *Pool[*wire], bad *bool, _ func(int, error)) {
			l := borrow(t, p)
			*bad = true
			giveBack(t, p, l)
		}},
		{closedByWatch, func(s Stats) uint64 { return s.ClosedWatch }, errCause, func(t *testing.T, p *Pool[*wire], _ *bool, broken func(int, error)) {
			fill(t, p, 1)
			broken(1, errCause)
		}},
		{closedByDiscard, func(s Stats) uint64 { return s.ClosedDiscard }, errCause, func(t *testing.T, p *Pool[*wire], _ *bool, _ func(int, error)) {
			_ = p.Discard(borrow(t, p), errCause)
		}},
		{closedByReset, func(s Stats) uint64 { return s.ClosedReset }, errReset, func(t *testing.T, p *Pool[*wire], _ *bool, _ func(int, error)) {
			fill(t, p, 1)
			p.Reset()
		}},
		{closedByResize, func(s Stats) uint64 { return s.ClosedResize }, nil, func(t *testing.T, p *Pool[*wire], _ *bool, _ func(int, error)) {
			fill(t, p, 2)
			_ = p.Resize(1)
		}},
		{closedAbandoned, func(s Stats) uint64 { return s.ClosedAbandoned }, errAbandoned, func(t *testing.T, p *Pool[*wire], _ *bool, _ func(int, error)) {
			p.factory.Clean = func(*wire) error { time.Sleep(time.Minute); return nil }
			giveBack(t, p, borrow(t, p))
		}},
		{closedByShutdown, func(s Stats) uint64 { return s.ClosedShutdown }, ErrClosed, func(t *testing.T, p *Pool[*wire], _ *bool, _ func(int, error)) {
			borrow(t, p)
			p.Close()
		}},
	}
	if len(tests) != int(reasons) {
		t.Errorf("there are %d reasons, and tests of %d", reasons, len(tests))
	}
	for _, tt := range tests {
		bubble(t, tt.reason.String(), func(t *testing.T) {
			type call struct {
				reason string
				cause  error
			}
			var mu sync.Mutex
			var told []call
			var given []error
			x := exchange{closing: func(_ *wire, cause error) error {
				mu.Lock()
				defer mu.Unlock()
				given = append(given, cause)
				return nil
			}}
			f, broken := watched(&x)
			bad := false
			f.Check = func(*wire) error {
				if bad {
					return errUnfit
				}
				return nil
			}
			f.Clean = f.Check
			var log logbook
			c := Config{MaxConnections: 2, MaxIdleTime: time.Minute, CheckInterval: -1, MaxLifetime: 10 * time.Minute, Logger: log.logger()}
			c.Hooks.Closed = func(reason string, cause error) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, call{reason, cause})
			}
			p := start(t, f, c)
			tt.close(t, p, &bad, broken)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if len(told) != 1 || told[0].reason != tt.reason.String() || !errors.Is(told[0].cause, tt.cause) || tt.cause == nil && told[0].cause != nil {
				t.Fatalf("the hook was told %v, want %v and %v, once", told, tt.reason, tt.cause)
			}
			if len(given) != 1 || given[0] != told[0].cause {
				t.Errorf("Factory.Close was given %v, the hook %v", given, told[0].cause)
			}
			s := p.Stats()
			if got := tt.count(s); got != 1 {
				t.Errorf("it was counted %d times: %+v", got, s)
			}
			want := `msg="closing a connection" conn=1 reason=` + tt.reason.String() + ` cause=`
			if got := log.with(slog.LevelDebug); !slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, want) }) {
				t.Errorf("the log has %q, want %q among it", got, want)
			}
		})
	}
}

// Hooks are called with nothing held, so they may use the pool, and panic.
func TestHooksMayUseThePoolAndPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logbook
		fails := true
		x := exchange{open: func(context.Context, int) error {
			if fails {
				return errDial
			}
			return nil
		}}
		var p *Pool[*wire]
		use := func() {
			p.Stats()
			p.Leases()
			if l, ok := p.TryGet(); ok {
				_ = p.Put(l)
			}
			panic(errCause)
		}
		p = start(t, x.factory(), Config{MaxConnections: 1, MaxWaiters: -1, MaxIdleTime: time.Hour, LeakAfter: time.Second, Logger: log.logger(), Hooks: Hooks{
			Opened:   func(time.Duration, error) { use() },
			Closed:   func(string, error) { use() },
			Waited:   func(time.Duration, error) { use() },
			Rejected: func(error) { use() },
			Leaked:   func(LeaseInfo) { use() },
		}})
		ask(t.Context(), p).failed(t, "failing", errDial)
		fails = false
		l := ask(t.Context(), p).served(t, "opened")
		ask(t.Context(), p).failed(t, "when one is leased", ErrRejected)
		time.Sleep(time.Minute)
		giveBack(t, p, l)
		l = borrow(t, p)
		if err := p.Discard(l, errCause); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		giveBack(t, p, borrow(t, p))
		synctest.Wait()
		atRest(t, p, 0)
		if got := p.Stats(); got.Leaked != 1 || got.Opened != 2 || got.ClosedDiscard != 1 {
			t.Errorf("%+v, want two opened, one discarded, one leak", got)
		}
		named := regexp.MustCompile(`^msg="a hook panicked" hook=(\w+) error="Hooks\.(\w+) panicked: my cause" stack="goroutine `)
		panics := map[string]int{}
		for _, line := range log.with(slog.LevelError) {
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
		hooks Hooks
		calls int
	}{
		"none":     {Hooks{}, 0},
		"Opened":   {Hooks{Opened: all.Opened}, 2},
		"Closed":   {Hooks{Closed: all.Closed}, 1},
		"Waited":   {Hooks{Waited: all.Waited}, 2},
		"Rejected": {Hooks{Rejected: all.Rejected}, 1},
		"Leaked":   {Hooks{Leaked: all.Leaked}, 1},
	} {
		bubble(t, name, func(t *testing.T) {
			x := exchange{open: func(_ context.Context, attempt int) error {
				if attempt == 1 {
					return errDial
				}
				return nil
			}}
			p := start(t, x.factory(), Config{MaxConnections: 1, MaxWaiters: -1, LeakAfter: time.Second, Hooks: tt.hooks})
			ask(t.Context(), p).failed(t, "failing", errDial)
			l := borrow(t, p)
			ask(t.Context(), p).failed(t, "when one is leased", ErrRejected)
			time.Sleep(time.Minute)
			_ = p.Discard(l, nil)
			if got := c.take(); len(got) != tt.calls {
				t.Errorf("the hook was called %d times, want %d: %q", len(got), tt.calls, got)
			}
		})
	}
}

func TestTheLogHasTheDocumentedLevels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logbook
		fails := false
		x := exchange{open: func(context.Context, int) error {
			if fails {
				return errDial
			}
			return nil
		}}
		p := start(t, x.factory(), Config{MaxConnections: 3, MaxIdleTime: -1, Name: "orders", Logger: log.logger()})
		step := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			got, _ := log.all()
			log.mu.Lock()
			log.lines, log.times = nil, nil
			log.mu.Unlock()
			if diff := cmp.Diff(want, got, cmp.Transformer("", func(s []string) []string {
				if s == nil {
					return []string{}
				}
				return s
			})); diff != "" {
				t.Errorf("%s, the log (-want +got):\n%s", when, diff)
			}
		}
		l := borrow(t, p)
		step("one opened", `level=DEBUG msg="connection opened" pool=orders conn=1 took=0s`)
		giveBack(t, p, l)
		for range 1000 {
			giveBack(t, p, borrow(t, p))
			if l, ok := p.TryGet(); ok {
				giveBack(t, p, l)
			}
		}
		step("a thousand of Get and Put")
		_ = p.Discard(borrow(t, p), errCause)
		step("discarded", `level=DEBUG msg="closing a connection" pool=orders conn=1 reason=discard cause="my cause" age=0s`)
		fails = true
		for range keepsFailing {
			ask(t.Context(), p).failed(t, "failing", errDial)
		}
		step("failing", `level=WARN msg="opening a connection failed" pool=orders error="wrong password"`,
			`level=WARN msg="opening connections keeps failing: from now on Get fails at once while none is open" pool=orders`)
		fails = false
		time.Sleep(backoffMost)
		giveBack(t, p, borrow(t, p))
		step("at the end of the outage",
			`level=DEBUG msg="connection opened" pool=orders conn=2 took=0s`,
			`level=INFO msg="opening connections succeeds again" pool=orders`)
		_ = p.Resize(2)
		step("resized", `level=INFO msg=resized pool=orders from=3 to=2`)
		l = borrow(t, p)
		p.Reset()
		step("reset", `level=INFO msg=reset pool=orders`)
		giveBack(t, p, l)
		step("put back after Reset", `level=DEBUG msg="closing a connection" pool=orders conn=2 reason=reset cause="pool: reset" age=0s`)
	})
}

// From hand to hand, and from expired wait to expired wait, nothing is logged either.
func TestWaitsAreNotLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logbook
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 1, MaxIdleTime: -1, MaxWaitTime: time.Second, MaxWaiters: 1, Logger: log.logger()})
		l := borrow(t, p)
		synctest.Wait()
		before, _ := log.all()
		for range 10 {
			r := ask(t.Context(), p)
			ask(t.Context(), p).failed(t, "the second who waits", ErrRejected)
			giveBack(t, p, l)
			l = r.served(t, "after the Put")
			r = ask(t.Context(), p)
			time.Sleep(time.Second)
			r.failed(t, "after MaxWaitTime", ErrExhausted)
		}
		giveBack(t, p, l)
		if got, _ := log.all(); len(got) != len(before) {
			t.Errorf("the log has %q", got[len(before):])
		}
	})
}

// limited looks at the lines of a message. It fails the test unless they are at warning
// level, and logEvery apart at least. It returns how many lines there are, and for how many
// failures they account, as they say how many more there were since the last.
func limited(t *testing.T, log *logbook, message string) (lines, failures int) {
	t.Helper()
	more := regexp.MustCompile(` more_since_last=(\d+)$`)
	all, times := log.all()
	var last time.Time
	for i, line := range all {
		if !strings.Contains(line, message) {
			continue
		}
		if lines > 0 && times[i].Sub(last) < logEvery {
			t.Errorf("%q was logged after %v, want %v at least", line, times[i].Sub(last), logEvery)
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
		var log logbook
		x := exchange{open: func(context.Context, int) error { return errDial }}
		p := start(t, x.factory(), Config{MaxConnections: 5, Logger: log.logger()})
		var failures int // when the last line was logged
		for end := time.Now().Add(65 * time.Second); time.Now().Before(end); time.Sleep(70 * time.Millisecond) {
			lines := len(log.with(slog.LevelWarn))
			_, _ = p.Get(t.Context())
			synctest.Wait()
			if len(log.with(slog.LevelWarn)) > lines {
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
		var log logbook
		var x exchange
		f := x.factory()
		hang, release := obstacle(t)
		f.Clean = func(*wire) error { <-hang; return nil }
		p := start(t, f, Config{MaxConnections: 40, MaxIdleTime: -1, Logger: log.logger()})
		var leases []Lease[*wire]
		for range 32 {
			leases = append(leases, borrow(t, p))
		}
		for _, l := range leases[:31] {
			go func() { _ = p.Put(l) }()
			time.Sleep(time.Second)
		}
		time.Sleep(20 * time.Second)
		go func() { _ = p.Put(leases[31]) }() // which counts those that are left
		time.Sleep(20 * time.Second)
		synctest.Wait()
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
