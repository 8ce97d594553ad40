package core

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/S4AK4N/pool/internal/words"

	"github.com/S4AK4N/pool/internal/leftover"
)

func TestMain(m *testing.M) { leftover.Main(m) }

var (
	errDial  = errors.New("wrong password")
	errUnfit = errors.New("unfit")
	errCause = errors.New("my cause")
)

// bare returns a factory of boxes with nothing in them.
func bare() Factory {
	return Factory{
		Open:  func(context.Context) (any, error) { return new(int), nil },
		Close: func(any, error) error { return nil },
	}
}

// start makes a pool that is closed when the test ends. A zero time in c means no limit.
func start(tb testing.TB, f Factory, c Config) *Pool {
	tb.Helper()
	never := func(d *int64) {
		if *d == 0 {
			*d = -1
		}
	}
	never((*int64)(&c.MaxIdleTime))
	never((*int64)(&c.MaxWaitTime))
	never((*int64)(&c.OpenTimeout))
	never((*int64)(&c.CheckInterval))
	c.MaxBackoff = words.BackoffMost
	c.OpenFailed = func(err error) error { return err }
	c.Logger = slog.New(slog.DiscardHandler)
	p := new(Pool)
	p.Init(c.Name, c.MaxConnections, func() (Factory, Config) { return f, c })
	p.Wake()
	tb.Cleanup(func() { p.Close() })
	return p
}

func borrow(tb testing.TB, p *Pool) Lease {
	tb.Helper()
	l, err := p.Get(context.Background())
	if err != nil {
		tb.Fatalf("Get: %v", err)
	}
	return l
}

func giveBack(tb testing.TB, p *Pool, l Lease) {
	tb.Helper()
	if err := p.Put(l); err != nil {
		tb.Fatalf("Put: %v", err)
	}
}

// idle fails the test unless n connections are idle, and nothing else is open.
func idle(tb testing.TB, p *Pool, when string, want int) {
	tb.Helper()
	if s := p.Stats(); s.IdleConnections != want || s.ActiveConnections != 0 || s.OpeningConnections != 0 {
		tb.Errorf("%s: %d idle, %d active, %d opening, want %d, 0, 0", when, s.IdleConnections, s.ActiveConnections, s.OpeningConnections, want)
	}
}
