package pool

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

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestConfigHasTheDocumentedEffectiveValues(t *testing.T) {
	defaults := Config{
		MaxConnections: 10,
		MaxIdleTime:    30 * time.Second,
		MaxWaitTime:    5 * time.Second,
		MaxWaiters:     0,
		OpenTimeout:    10 * time.Second,
		CheckInterval:  time.Second,
	}
	with := func(change func(*Config)) Config {
		c := defaults
		change(&c)
		return c
	}
	tests := []struct {
		name      string
		give      Config
		effective Config
	}{
		{"zero", Config{}, defaults},
		{"MaxConnections 1", Config{MaxConnections: 1}, with(func(c *Config) { c.MaxConnections = 1 })},
		{"MaxConnections 65535", Config{MaxConnections: 65535}, with(func(c *Config) { c.MaxConnections = 65535 })},
		{"MaxIdleTime 1ns", Config{MaxIdleTime: 1}, with(func(c *Config) { c.MaxIdleTime = 1 })},
		{"MaxIdleTime negative", Config{MaxIdleTime: -1}, with(func(c *Config) { c.MaxIdleTime = -1 })},
		{"MaxIdleTime longest", Config{MaxIdleTime: math.MaxInt64}, with(func(c *Config) { c.MaxIdleTime = forever })},
		{"MaxWaitTime 1ns", Config{MaxWaitTime: 1}, with(func(c *Config) { c.MaxWaitTime = 1 })},
		{"MaxWaitTime negative", Config{MaxWaitTime: math.MinInt64}, with(func(c *Config) { c.MaxWaitTime = math.MinInt64 })},
		{"MaxWaitTime longest", Config{MaxWaitTime: math.MaxInt64}, with(func(c *Config) { c.MaxWaitTime = forever })},
		{"MaxWaiters", Config{MaxWaiters: 7}, with(func(c *Config) { c.MaxWaiters = 7 })},
		{"MaxWaiters negative", Config{MaxWaiters: -1}, with(func(c *Config) { c.MaxWaiters = -1 })},
		{"MaxWaiters most", Config{MaxWaiters: math.MaxInt}, with(func(c *Config) { c.MaxWaiters = math.MaxInt })},
		{"OpenTimeout negative", Config{OpenTimeout: -1}, with(func(c *Config) { c.OpenTimeout = -1 })},
		{"OpenTimeout longest", Config{OpenTimeout: math.MaxInt64}, with(func(c *Config) { c.OpenTimeout = forever })},
		{"CheckInterval negative", Config{CheckInterval: -1}, with(func(c *Config) { c.CheckInterval = -1 })},
		{"CheckInterval longest", Config{CheckInterval: math.MaxInt64}, with(func(c *Config) { c.CheckInterval = forever })},
		{"MaxLifetime 1ns", Config{MaxLifetime: 1}, with(func(c *Config) { c.MaxLifetime = 1 })},
		{"MaxLifetime longest", Config{MaxLifetime: math.MaxInt64}, with(func(c *Config) { c.MaxLifetime = forever / 2 })},
		{"MinIdle", Config{MinIdle: 3}, with(func(c *Config) { c.MinIdle = 3 })},
		{"MinIdle most", Config{MinIdle: 10}, with(func(c *Config) { c.MinIdle = 10 })},
		{"MaxOpening", Config{MaxOpening: 3}, with(func(c *Config) { c.MaxOpening = 3 })},
		{"MaxOpening most", Config{MaxOpening: math.MaxInt}, with(func(c *Config) { c.MaxOpening = math.MaxInt })},
		{"OpenEagerly", Config{OpenEagerly: true}, with(func(c *Config) { c.OpenEagerly = true })},
		{"StrictMax", Config{StrictMax: true}, with(func(c *Config) { c.StrictMax = true })},
		{"LeakAfter 1ns", Config{LeakAfter: 1}, with(func(c *Config) { c.LeakAfter = 1 })},
		{"LeakAfter longest", Config{LeakAfter: math.MaxInt64}, with(func(c *Config) { c.LeakAfter = forever })},
		{"Name", Config{Name: "db"}, with(func(c *Config) { c.Name = "db" })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.give.normalize()
			if err != nil {
				t.Fatal(err)
			}
			if got.Logger == nil {
				t.Error("Logger is nil, want a silent one")
			}
			if diff := cmp.Diff(tt.effective, got, cmpopts.IgnoreFields(Config{}, "Logger")); diff != "" {
				t.Errorf("effective values (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNewRefusesAConfigAndNamesTheField(t *testing.T) {
	tests := []struct {
		give  Config
		field string
	}{
		{Config{MaxConnections: -1}, "Config.MaxConnections"},
		{Config{MaxConnections: math.MinInt}, "Config.MaxConnections"},
		{Config{MaxConnections: 65536}, "Config.MaxConnections"},
		{Config{MaxConnections: math.MaxInt}, "Config.MaxConnections"},
		{Config{MaxLifetime: -1}, "Config.MaxLifetime"},
		{Config{MaxLifetime: math.MinInt64}, "Config.MaxLifetime"},
		{Config{MinIdle: -1}, "Config.MinIdle"},
		{Config{MinIdle: 11}, "Config.MinIdle"}, // MaxConnections is 10 if it is zero
		{Config{MinIdle: 4, MaxConnections: 3}, "Config.MinIdle"},
		{Config{MaxOpening: -1}, "Config.MaxOpening"},
		{Config{LeakAfter: -1}, "Config.LeakAfter"},
		{Config{LeakAfter: math.MinInt64}, "Config.LeakAfter"},
	}
	for _, tt := range tests {
		p, err := New(new(exchange).factory(), tt.give)
		if p != nil || err == nil || !strings.Contains(err.Error(), tt.field) {
			t.Errorf("New(%+v) = %v, %v, want an error that names %s", tt.give, p, err, tt.field)
		}
	}
}

// The longest of times must not overflow when they are added to a clock.
func TestExtremeTimesNeitherExpireAtOnceNorSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		f := x.factory()
		f.Check = func(*wire) error { return errUnfit }
		p := start(t, f, Config{
			MaxConnections: 1,
			MaxWaitTime:    math.MaxInt64,
			MaxIdleTime:    math.MaxInt64,
			OpenTimeout:    math.MaxInt64,
			CheckInterval:  math.MaxInt64,
		})
		l := borrow(t, p)
		r := ask(t.Context(), p)
		time.Sleep(50 * 365 * 24 * time.Hour)
		r.pending(t, "after 50 years")
		giveBack(t, p, l)
		giveBack(t, p, r.served(t, "after the Put"))
		time.Sleep(50 * 365 * 24 * time.Hour)
		if got := p.Stats(); got.IdleConnections != 1 || got.Timeouts != 0 {
			t.Errorf("after 100 years %+v, want one idle connection", got)
		}
	})
}

func TestTheLongestOfTimesThatArePassedForDoNotExpireAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{MaxConnections: 2, MaxIdleTime: math.MaxInt64, MaxLifetime: math.MaxInt64, LeakAfter: math.MaxInt64})
		fill(t, p, 2)
		l := borrow(t, p)
		time.Sleep(time.Hour)
		if got := p.Stats(); got.IdleConnections != 1 || got.Leaked != 0 {
			t.Errorf("after an hour %+v, want one idle, none leaked", got)
		}
		giveBack(t, p, l)
		if got := p.Stats(); got.IdleConnections != 2 {
			t.Errorf("after the Put %+v, want two idle", got)
		}
	})
}

func TestShortestTimesWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		f := x.factory()
		f.Check = func(*wire) error { return nil }
		p := start(t, f, Config{MaxConnections: 1, MaxWaitTime: 1, MaxIdleTime: 1, CheckInterval: time.Millisecond, LeakAfter: 1})
		l := borrow(t, p)
		r := ask(t.Context(), p)
		time.Sleep(time.Nanosecond)
		r.failed(t, "after a nanosecond", ErrExhausted)
		giveBack(t, p, l)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := p.Stats().ClosedIdle; got != 1 {
			t.Errorf("ClosedIdle is %d after a second, want 1", got)
		}
	})
}

func TestNewOpensNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x exchange
		p := start(t, x.factory(), Config{})
		time.Sleep(time.Hour)
		if got := x.tried(); got != 0 {
			t.Errorf("Open was called %d times, want none", got)
		}
		if diff := cmp.Diff(Stats{MaxConnections: 10}, p.Stats()); diff != "" {
			t.Errorf("Stats of a new pool (-want +got):\n%s", diff)
		}
	})
}

// closer is an io.Closer as a value; pointerCloser is one only by its address.
type (
	closer        struct{ closed *int }
	pointerCloser struct{}
)

func (c closer) Close() error         { *c.closed++; return io.ErrClosedPipe }
func (c *pointerCloser) Close() error { return nil }

func validate[T any](f Factory[T]) error {
	p, err := New(f, Config{})
	if err == nil {
		_ = p.Close()
	}
	return err
}

func opens[T any](v T) func(context.Context) (T, error) {
	return func(context.Context) (T, error) { return v, nil }
}

func TestNewRequiresOpenAndAWayToClose(t *testing.T) {
	tests := []struct {
		name  string
		err   error
		field string // "" means that it is valid
	}{
		{"no Open", validate(Factory[closer]{}), "Factory.Open"},
		{"no Open, with Close", validate(Factory[int]{Close: func(int, error) error { return nil }}), "Factory.Open"},
		{"no Close, int", validate(Factory[int]{Open: opens(1)}), "Factory.Close"},
		{"no Close, any", validate(Factory[any]{Open: opens[any](closer{new(int)})}), "Factory.Close"},
		{"no Close, closer by address only", validate(Factory[pointerCloser]{Open: opens(pointerCloser{})}), "Factory.Close"},
		{"no Close, a closer", validate(Factory[closer]{Open: opens(closer{new(int)})}), ""},
		{"no Close, pointer to a closer", validate(Factory[*pointerCloser]{Open: opens(new(pointerCloser))}), ""},
		{"no Close, io.Closer", validate(Factory[io.Closer]{Open: opens[io.Closer](closer{new(int)})}), ""},
		{"no Close, net.Conn", validate(Factory[net.Conn]{Open: opens[net.Conn](nil)}), ""},
		{"Close, int", validate(Factory[int]{Open: opens(1), Close: func(int, error) error { return nil }}), ""},
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
	concrete := start(t, Factory[closer]{Open: opens(closer{&closed})}, Config{})
	giveBack(t, concrete, borrow(t, concrete))
	concrete.Close() // waits for it
	if closed != 1 {
		t.Errorf("a concrete T was closed %d times, want once", closed)
	}
	iface := start(t, Factory[io.Closer]{Open: opens[io.Closer](closer{&closed})}, Config{})
	giveBack(t, iface, borrow(t, iface))
	iface.Close()
	if closed != 2 {
		t.Errorf("an interface T was closed %d times, want once", closed-1)
	}
}

func TestNameAndLoggerTellWhatHappens(t *testing.T) {
	var log strings.Builder
	handler := slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})
	x := exchange{open: func(_ context.Context, attempt int) error {
		if attempt == 2 {
			return errDial
		}
		return nil
	}}
	p := start(t, x.factory(), Config{Name: "orders", Logger: slog.New(handler), MaxConnections: 1})
	l := borrow(t, p)
	_ = p.Discard(l, errCause)
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
