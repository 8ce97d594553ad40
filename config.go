package pool

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/S4AK4N/pool/internal/core"
)

// Defaults of [Config], in force where a field is zero.
const (
	defaultMaxConnections = 10
	defaultMaxIdleTime    = 30 * time.Second
	defaultMaxWaitTime    = 5 * time.Second
	defaultOpenTimeout    = 10 * time.Second
	defaultCheckInterval  = time.Second
	defaultMaxBackoff     = 500 * time.Millisecond
	defaultMaxRetryAfter  = 5 * time.Minute
)

// Config holds the limits of a [Pool]. The zero Config is valid.
type Config struct {
	// MaxConnections is the upper bound on connections that are open or being opened. At
	// most 65,535. Up to MaxConnections more may be in Factory.Close: further ones count as
	// open until they are closed. So a server sees twice MaxConnections at most, but for
	// connections whose Open hung, went on without a slot or was abandoned (see OpenTimeout),
	// and returned later. They are closed. For a server that counts its connections set
	// StrictMax.
	// If zero, 10 is used. Negative is an error.
	MaxConnections int

	// MaxIdleTime is how long a connection may be idle. It is closed after MaxIdleTime,
	// at most 12.5 % (or 20 ms, if that is more) later. With MinIdle an expired
	// connection stays open until its replacement is open, but it is lent only in an
	// outage, while nothing else is open. A small load keeps using the same few connections,
	// so that the others expire.
	// If zero, 30 s is used. Negative: idle connections never expire.
	MaxIdleTime time.Duration

	// MaxLifetime is how long a connection may be open. Each gets a limit of its own,
	// drawn at random within 10 % of MaxLifetime when it is opened, so that connections
	// of the same age are not all replaced at once. A connection that is leased when
	// its life ends is closed when it comes back. If Factory.Expires says so, it ends earlier.
	// If zero, there is no limit. Negative is an error.
	MaxLifetime time.Duration

	// MinIdle is the number of connections to keep idle, in addition to those that are
	// leased, as far as MaxConnections allows. About once a second the pool opens what is
	// missing. A connection that expires is replaced before it is closed, used or not; to
	// keep the same connections for long, set a long MaxIdleTime, or a negative one and
	// MaxLifetime. At most MaxConnections.
	// If zero, none are kept. Negative is an error.
	MinIdle int

	// MaxWaitTime is how long a Get waits for a connection before it returns
	// [ErrExhausted] or, if no connection is open, [ErrUnavailable].
	// If zero, 5 s is used. Negative: only the ctx of Get ends a wait.
	MaxWaitTime time.Duration

	// MaxWaiters is the number of callers that may wait at the same time, in addition to
	// those for whom a connection is or can be opened. A Get beyond that returns
	// [ErrRejected] at once.
	// If zero, there is no limit. Negative: never queue for a connection to come back.
	MaxWaiters int

	// OpenTimeout is how long a call of Factory.Open may take: then its ctx ends. If
	// Open has not returned one second later, it is abandoned: its slot is free again,
	// and what it returns is closed.
	// One that has not returned after a second (half a second if it began in an outage), or
	// after twice the time that opening usually takes if that is longer, counts as failed (see
	// [ErrUnavailable]), and others are made beside it, one at a time. Then at most three are
	// under way: the first, which goes on until OpenTimeout, the last, and one that has just
	// been canceled in favor of that. If there is no room beside it, the first goes on without
	// a slot; with StrictMax it is canceled.
	// If zero, 10 s is used. Negative: no limit, except for what is given up so.
	OpenTimeout time.Duration

	// OpenContext returns the ctx whose values Factory.Open gets, for a call of Get (or Warm)
	// with the given ctx. It is called in Get, in the caller's goroutine, before Get waits and
	// before anything is held. Only the values of what it returns count, not its end. An Open
	// that is called for those who wait, and not for one Get in particular, gets the values of
	// the one that has waited longest. A connection outlives the Get that it is opened for, so
	// return values that may be used for longer: a trace, not the token of a user.
	// If nil, and if it returns nil, Open gets no values.
	OpenContext func(ctx context.Context) context.Context

	// MaxOpening is the number of connections that may be opened at the same time.
	// If zero, only MaxConnections and OpenEagerly limit it. Negative is an error.
	MaxOpening int

	// MaxBackoff is the longest pause between two attempts to open in an outage. The first
	// pause is 25 ms, and each is twice as long as the one before. Up to half of a pause is
	// jitter.
	// If zero, 500 ms is used. Negative is an error.
	MaxBackoff time.Duration

	// MaxRetryAfter is the longest pause that a server may ask for. See [RetryAfter].
	// If zero, 5 min is used. Negative is an error.
	MaxRetryAfter time.Duration

	// FailFastAfter is how long an outage must have lasted before a Get that would wait for
	// nothing returns [ErrUnavailable] at once, and before the error of an attempt is given
	// to a caller at all. An outage begins with the first attempt that fails. Until then
	// callers wait, as for anything else: a server that is back by then, less MaxBackoff
	// until that is noticed, fails nobody.
	// If zero, 1 s is used or, as long as the pool has never had a connection, none. To
	// tell callers at once, set a nanosecond. Negative: they wait for as long as they may.
	FailFastAfter time.Duration

	// OpenEagerly opens a connection for each waiting caller, for MinIdle and for Warm at
	// once. It suits servers to which connecting is cheap.
	// If false, the pool opens as many at a time as it has open, and 16 if it has none.
	// It opens one for each waiting caller only when the first of them has waited for
	// twice the time that opening takes. So neither a burst of short requests, which
	// returning connections serve soon, nor MinIdle after an outage causes a connection
	// storm.
	OpenEagerly bool

	// StrictMax counts a connection as open until Factory.Close has returned, at most
	// ten seconds. It is for servers that count connections.
	// If false, the slot is free for another connection as soon as Factory.Close begins,
	// unless MaxConnections others are being closed already.
	StrictMax bool

	// CheckInterval is the time between two calls of Factory.Check for an idle
	// connection. It has no effect if Factory.Check is nil.
	// If zero, 1 s is used. Negative: Check is called for lending only.
	CheckInterval time.Duration

	// LeakAfter is how long a lease may be in force before it is reported: once, at
	// warning level in the log, to Hooks.Leaked, and in Stats. The report comes late by at
	// most an eighth of LeakAfter (at least 20 ms, at most 2 s). It says where the lease was
	// taken, if that was noted: of one lease in 32, drawn at random, and of the first of
	// each connection. After the first report it is noted of every lease, with the callers of
	// that place. So each leak is reported, and one that happens again is located at the
	// second time. It costs a Get some 20 ns, and some 500 ns after the first report.
	// If zero, nothing is reported, at no cost. Negative is an error.
	//
	// A leak keeps its slot until [Pool.Revoke] ends the lease, which Hooks.Leaked may call.
	LeakAfter time.Duration

	// LeakCallers notes the callers of that place, up to 16, wherever the place is noted, and not only
	// after the first report. It is for programs in which one function calls Get for all others. It
	// costs a Get some 20 ns more on average.
	// If false, a place is noted without its callers until there is a report. It has no effect
	// if LeakAfter is zero.
	LeakCallers bool

	// TimeUse counts how long each lease lasts, in Stats.UseTime. That costs a Get and a Put
	// some 100 ns together.
	// If false, nothing is counted, at no cost.
	TimeUse bool

	// Budget bounds what this pool has open together with others that have the same Budget, also
	// pools of other types, and with some budgets those of other processes. See [Budget].
	// If nil, only MaxConnections bounds it.
	Budget Budget

	// Hooks are called for events other than an ordinary Get or Put.
	Hooks Hooks

	// Logger receives all events other than an ordinary Get or Put. Debug level:
	// connections opened and closed. Info level: Reset, Resize, the end of an outage.
	// Warning level: failures to open, leaks, functions that do not return. A failure
	// that repeats is logged every 10 s. A Handler that blocks delays whoever logs,
	// including the goroutine that ends waits and closes idle connections.
	// If nil, nothing is logged.
	Logger *slog.Logger

	// Name tells this pool from others: in its log, in [Pool.Name], and in the text of
	// [ExhaustedError], [OpenError] and ErrUnavailable.
	Name string
}

// normalize checks c and fills in its defaults.
func (c Config) normalize() (Config, error) {
	if err := checkMax("Config.MaxConnections", c.MaxConnections); err != nil {
		return c, err
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = defaultMaxConnections
	}
	switch {
	case c.MaxLifetime < 0:
		return c, fmt.Errorf("pool: Config.MaxLifetime is negative: %v", c.MaxLifetime)
	case c.MinIdle < 0:
		return c, fmt.Errorf("pool: Config.MinIdle is negative: %d", c.MinIdle)
	case c.MinIdle > c.MaxConnections:
		return c, fmt.Errorf("pool: Config.MinIdle is over MaxConnections: %d of %d", c.MinIdle, c.MaxConnections)
	case c.MaxOpening < 0:
		return c, fmt.Errorf("pool: Config.MaxOpening is negative: %d", c.MaxOpening)
	case c.MaxBackoff < 0:
		return c, fmt.Errorf("pool: Config.MaxBackoff is negative: %v", c.MaxBackoff)
	case c.MaxRetryAfter < 0:
		return c, fmt.Errorf("pool: Config.MaxRetryAfter is negative: %v", c.MaxRetryAfter)
	case c.LeakAfter < 0:
		return c, fmt.Errorf("pool: Config.LeakAfter is negative: %v", c.LeakAfter)
	}
	if c.Budget != nil {
		rights, err := c.Budget.Rights()
		if err == nil {
			err = rights.core().Valid()
		}
		if err != nil {
			return c, fmt.Errorf("pool: Config.Budget: %w", err)
		}
		c.Budget = rights // asked once
	}
	c.MaxLifetime = min(c.MaxLifetime, core.Forever/2)
	c.LeakAfter = min(c.LeakAfter, core.Forever)
	c.FailFastAfter = min(c.FailFastAfter, core.Forever)
	normalizeTime(&c.MaxBackoff, defaultMaxBackoff)
	normalizeTime(&c.MaxRetryAfter, defaultMaxRetryAfter)
	normalizeTime(&c.MaxIdleTime, defaultMaxIdleTime)
	normalizeTime(&c.MaxWaitTime, defaultMaxWaitTime)
	normalizeTime(&c.OpenTimeout, defaultOpenTimeout)
	normalizeTime(&c.CheckInterval, defaultCheckInterval)
	if c.Logger == nil {
		c.Logger = discard
	} else if c.Name != "" {
		c.Logger = c.Logger.With(slog.String("pool", c.Name))
	}
	return c, nil
}

// discard is the Logger of pools that log nothing.
var discard = slog.New(slog.DiscardHandler)

// normalizeTime fills in the default of a time and limits it to what the clock can count.
func normalizeTime(d *time.Duration, byDefault time.Duration) {
	if *d == 0 {
		*d = byDefault
	}
	*d = min(*d, core.Forever)
}

// checkMax checks a value for MaxConnections.
func checkMax(what string, n int) error {
	if n < 0 {
		return fmt.Errorf("pool: %s is negative: %d", what, n)
	}
	if n > core.MaxConnections {
		return fmt.Errorf("pool: %s is over %d: %d", what, core.MaxConnections, n)
	}
	return nil
}

// bare returns c for the core. c is normalized.
func (c Config) bare(unboxed func(any) any) core.Config {
	return core.Config{
		MaxConnections: c.MaxConnections,
		MaxIdleTime:    c.MaxIdleTime,
		MaxLifetime:    c.MaxLifetime,
		MinIdle:        c.MinIdle,
		MaxWaitTime:    c.MaxWaitTime,
		MaxWaiters:     c.MaxWaiters,
		OpenTimeout:    c.OpenTimeout,
		OpenContext:    c.OpenContext,
		MaxOpening:     c.MaxOpening,
		MaxBackoff:     c.MaxBackoff,
		MaxRetryAfter:  c.MaxRetryAfter,
		FailFastAfter:  c.FailFastAfter,
		OpenEagerly:    c.OpenEagerly,
		StrictMax:      c.StrictMax,
		CheckInterval:  c.CheckInterval,
		LeakAfter:      c.LeakAfter,
		LeakCallers:    c.LeakCallers,
		TimeUse:        c.TimeUse,
		Hooks:          c.Hooks.bare(unboxed),
		Logger:         c.Logger,
		Name:           c.Name,
		Budget:         rightsOf(c.Budget),
		OpenFailed:     c.openFailed,
		Unavailable:    c.unavailable,
		Exhausted:      c.exhausted,
	}
}
