package opening

import (
	"context"
	"io"
	"log/slog"
	"math"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/google/go-cmp/cmp"
)

// The longest of times must not overflow when they are added to a clock.
func TestExtremeTimesNeitherExpireAtOnceNorSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		f := x.Factory()
		f.Check = func(*testkit.Wire) error { return testkit.ErrUnfit }
		p := testkit.Start(t, f, pool.Config{
			MaxConnections: 1,
			MaxWaitTime:    math.MaxInt64,
			MaxIdleTime:    math.MaxInt64,
			OpenTimeout:    math.MaxInt64,
			CheckInterval:  math.MaxInt64,
		})
		l := testkit.Borrow(t, p)
		r := testkit.Ask(t.Context(), p)
		testkit.Sleep(50 * 365 * 24 * time.Hour)
		r.Pending(t, "after 50 years")
		testkit.GiveBack(t, p, l)
		testkit.GiveBack(t, p, r.Served(t, "after the Put"))
		testkit.Sleep(50 * 365 * 24 * time.Hour)
		if got := p.Stats(); got.IdleConnections != 1 || got.Timeouts != 0 {
			t.Errorf("after 100 years %+v, want one idle connection", got)
		}
	})
}

func TestTheLongestOfTimesThatArePassedForDoNotExpireAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MaxIdleTime: math.MaxInt64, MaxLifetime: math.MaxInt64, LeakAfter: math.MaxInt64})
		testkit.Fill(t, p, 2)
		l := testkit.Borrow(t, p)
		testkit.Sleep(time.Hour)
		if got := p.Stats(); got.IdleConnections != 1 || got.Leaked != 0 {
			t.Errorf("after an hour %+v, want one idle, none leaked", got)
		}
		testkit.GiveBack(t, p, l)
		if got := p.Stats(); got.IdleConnections != 2 {
			t.Errorf("after the Put %+v, want two idle", got)
		}
	})
}

func TestShortestTimesWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		f := x.Factory()
		f.Check = func(*testkit.Wire) error { return nil }
		p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxWaitTime: 1, MaxIdleTime: 1, CheckInterval: time.Millisecond, LeakAfter: 1})
		l := testkit.Borrow(t, p)
		r := testkit.Ask(t.Context(), p)
		testkit.Sleep(time.Nanosecond)
		r.Failed(t, "after a nanosecond", pool.ErrExhausted)
		testkit.GiveBack(t, p, l)
		testkit.Sleep(time.Second)
		if got := p.Stats().ClosedIdle; got != 1 {
			t.Errorf("ClosedIdle is %d after a second, want 1", got)
		}
	})
}

func TestNewOpensNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x testkit.Exchange
		p := testkit.Start(t, x.Factory(), pool.Config{})
		testkit.Sleep(time.Hour)
		if got := x.Tried(); got != 0 {
			t.Errorf("Open was called %d times, want none", got)
		}
		if diff := cmp.Diff(pool.Stats{MaxConnections: 10}, p.Stats()); diff != "" {
			t.Errorf("Stats of a new pool (-want +got):\n%s", diff)
		}
	})
}

func TestNameAndLoggerTellWhatHappens(t *testing.T) {
	var log strings.Builder
	handler := slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})
	x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
		if attempt == 2 {
			return testkit.ErrDial
		}
		return nil
	}}
	p := testkit.Start(t, x.Factory(), pool.Config{Name: "orders", Logger: slog.New(handler), MaxConnections: 1, FailFastAfter: testkit.AtOnce})
	l := testkit.Borrow(t, p)
	_ = p.Discard(l, testkit.ErrCause)
	if _, err := p.Get(t.Context()); err == nil {
		t.Fatal("Get succeeded, want the error of Open")
	}
	p.Close()
	for _, want := range []string{
		"level=DEBUG msg=\"connection opened\" pool=orders",
		"level=DEBUG msg=\"closing a connection\" pool=orders conn=1 reason=discard cause=\"my cause\"",
		"level=WARN msg=\"opening a connection failed\" pool=orders error=\"wrong password\"",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, log.String())
		}
	}
}

func TestNewRefusesAConfigAndNamesTheField(t *testing.T) {
	tests := []struct {
		give  pool.Config
		field string
	}{
		{pool.Config{MaxConnections: -1}, "Config.MaxConnections"},
		{pool.Config{MaxConnections: math.MinInt}, "Config.MaxConnections"},
		{pool.Config{MaxConnections: 65536}, "Config.MaxConnections"},
		{pool.Config{MaxConnections: math.MaxInt}, "Config.MaxConnections"},
		{pool.Config{MaxLifetime: -1}, "Config.MaxLifetime"},
		{pool.Config{MaxLifetime: math.MinInt64}, "Config.MaxLifetime"},
		{pool.Config{MinIdle: -1}, "Config.MinIdle"},
		{pool.Config{MinIdle: 11}, "Config.MinIdle"}, // MaxConnections is 10 if it is zero
		{pool.Config{MinIdle: 4, MaxConnections: 3}, "Config.MinIdle"},
		{pool.Config{MaxOpening: -1}, "Config.MaxOpening"},
		{pool.Config{LeakAfter: -1}, "Config.LeakAfter"},
		{pool.Config{LeakAfter: math.MinInt64}, "Config.LeakAfter"},
	}
	for _, tt := range tests {
		p, err := pool.New(new(testkit.Exchange).Factory(), tt.give)
		if p != nil || err == nil || !strings.Contains(err.Error(), tt.field) {
			t.Errorf("pool.New(%+v) = %v, %v, want an error that names %s", tt.give, p, err, tt.field)
		}
	}
}

type (
	closer        struct{ closed *int }
	pointerCloser struct{}
)

func (c closer) Close() error         { *c.closed++; return io.ErrClosedPipe }
func (c *pointerCloser) Close() error { return nil }

func validate[T any](f pool.Factory[T]) error {
	p, err := pool.New(f, pool.Config{})
	if err == nil {
		_ = p.Close()
	}
	return err
}

func TestNewRequiresOpenAndAWayToClose(t *testing.T) {
	tests := []struct {
		name  string
		err   error
		field string // "" means that it is valid
	}{
		{"no Open", validate(pool.Factory[closer]{}), "Factory.Open"},
		{"no Open, with Close", validate(pool.Factory[int]{Close: func(int, error) error { return nil }}), "Factory.Open"},
		{"no Close, int", validate(pool.Factory[int]{Open: testkit.Opens(1)}), "Factory.Close"},
		{"no Close, any", validate(pool.Factory[any]{Open: testkit.Opens[any](closer{new(int)})}), "Factory.Close"},
		{"no Close, closer by address only", validate(pool.Factory[pointerCloser]{Open: testkit.Opens(pointerCloser{})}), "Factory.Close"},
		{"no Close, a closer", validate(pool.Factory[closer]{Open: testkit.Opens(closer{new(int)})}), ""},
		{"no Close, pointer to a closer", validate(pool.Factory[*pointerCloser]{Open: testkit.Opens(new(pointerCloser))}), ""},
		{"no Close, io.Closer", validate(pool.Factory[io.Closer]{Open: testkit.Opens[io.Closer](closer{new(int)})}), ""},
		{"no Close, net.Conn", validate(pool.Factory[net.Conn]{Open: testkit.Opens[net.Conn](nil)}), ""},
		{"Close, int", validate(pool.Factory[int]{Open: testkit.Opens(1), Close: func(int, error) error { return nil }}), ""},
	}
	for _, tt := range tests {
		switch {
		case tt.field == "" && tt.err != nil:
			t.Errorf("%s: New returned %v, want nil", tt.name, tt.err)
		case tt.field != "" && (tt.err == nil || !strings.Contains(tt.err.Error(), tt.field)):
			t.Errorf("%s: New returned %v, want an error that names %s", tt.name, tt.err, tt.field)
		}
	}
}

func TestTsOwnCloseIsCalledWhereTheFactoryHasNone(t *testing.T) {
	closed := 0
	concrete := testkit.Start(t, pool.Factory[closer]{Open: testkit.Opens(closer{&closed})}, pool.Config{})
	testkit.GiveBack(t, concrete, testkit.Borrow(t, concrete))
	concrete.Close() // waits for it
	if closed != 1 {
		t.Errorf("a concrete T was closed %d times, want once", closed)
	}
	iface := testkit.Start(t, pool.Factory[io.Closer]{Open: testkit.Opens[io.Closer](closer{&closed})}, pool.Config{})
	testkit.GiveBack(t, iface, testkit.Borrow(t, iface))
	iface.Close()
	if closed != 2 {
		t.Errorf("an interface T was closed %d times, want once", closed-1)
	}
}
