package pool

import (
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
)

// Config holds the limits of a [Pool]. The zero Config is valid.
type Config struct {
	// MaxConnections is the number of connections that may be open at the same
	// time, those being opened included. At most 65,535.
	// If zero, 10 is used. Negative is an error.
	MaxConnections int

	// MaxIdleTime is how long a connection may lie idle before it is closed.
	// None is closed for it earlier, and none later by more than an eighth of
	// it, or 20 ms if that is more; with MinIdle an expired one stays open until
	// another is open in its place, but is lent only in an outage. A small load
	// uses the same few connections, so that the rest expire.
	// If zero, 30 s is used. Negative means that idle connections never expire.
	MaxIdleTime time.Duration

	// MaxLifetime is how long a connection may be open, give or take 10 %, chosen
	// at random when it is opened, so that those of the same age are not replaced
	// at the same time. One that is leased then is closed when it comes back.
	// Zero means no limit. Negative is an error.
	MaxLifetime time.Duration

	// MinIdle is the number of connections to keep idle, beside those that are
	// leased, as far as MaxConnections allows. The pool looks about once a second,
	// and opens what is missing. What expires, used or not, is replaced before it is
	// closed: to keep the same ones for long, make MaxIdleTime long, or negative and
	// set MaxLifetime. At most MaxConnections.
	// Zero means none. Negative is an error.
	MinIdle int

	// MaxWaitTime is how long a Get waits for a connection before it returns
	// [ErrExhausted].
	// If zero, 5 s is used. Negative means that only its ctx ends a wait.
	MaxWaitTime time.Duration

	// MaxWaiters is the number of callers that may wait at the same time,
	// beyond those for whom a connection is or can be opened. One more gets
	// [ErrRejected] at once.
	// Zero means no limit. Negative means that nobody waits for one to come back.
	MaxWaiters int

	// OpenTimeout is how long a call of Factory.Open may take: the ctx that
	// Open is given ends then. If Open goes on for a second longer it is
	// abandoned: its slot is free again, and what it returns is closed.
	// If zero, 10 s is used. Negative means no limit.
	OpenTimeout time.Duration

	// MaxOpening is the number of connections that may be being opened at the same
	// time.
	// Zero means no limit but MaxConnections and what OpenEagerly says. Negative is
	// an error.
	MaxOpening int

	// OpenEagerly opens one connection for each caller who waits, at once. It is for
	// servers to which connecting is cheap.
	// If false, as many are opened at a time as there are already, 16 if there is
	// none, and one for each caller only when the first of them has waited for
	// twice the time that opening takes: most of a crowd of short requests is
	// served by what others return before anything could be opened for it.
	OpenEagerly bool

	// StrictMax counts a connection as open until Factory.Close has returned, or for
	// ten seconds if it does not, for servers that count theirs.
	// If false, a slot is free for another as soon as its connection is being
	// closed.
	StrictMax bool

	// CheckInterval is the time between two calls of Factory.Check for a
	// connection that lies idle. It means nothing if Factory.Check is nil.
	// If zero, 1 s is used. Negative means that Check is called in Get only.
	CheckInterval time.Duration

	// LeakAfter is how long a lease may be in force before it is reported, once: at
	// warning level in the log, to Hooks.Leaked, and in Stats. The report says
	// where the lease was taken. It comes late by up to an eighth of LeakAfter, but
	// no more than 2 s, or 20 ms if that is more. Remembering where costs each Get
	// some 200 ns.
	// Zero means no report, and costs nothing. Negative is an error.
	LeakAfter time.Duration

	// Hooks are called when something happens that is not an ordinary Get or Put.
	Hooks Hooks

	// Logger receives what the pool does, but for the ordinary Get and Put: at
	// debug level what is opened and closed, at info level Reset, Resize, and the
	// end of an outage, at warning level what could not be opened, what leaks, and
	// functions that do not return. What fails again and again is logged every
	// 10 s. A Handler that blocks holds up whoever logs, and with it the end of
	// waits and of idle connections.
	// Nil means silence.
	Logger *slog.Logger

	// Name tells the pool from others, in its log and in the errors of Get.
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
	case c.LeakAfter < 0:
		return c, fmt.Errorf("pool: Config.LeakAfter is negative: %v", c.LeakAfter)
	}
	c.MaxLifetime = min(c.MaxLifetime, core.Forever/2)
	c.LeakAfter = min(c.LeakAfter, core.Forever)
	normalizeTime(&c.MaxIdleTime, defaultMaxIdleTime)
	normalizeTime(&c.MaxWaitTime, defaultMaxWaitTime)
	normalizeTime(&c.OpenTimeout, defaultOpenTimeout)
	normalizeTime(&c.CheckInterval, defaultCheckInterval)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Name != "" {
		c.Logger = c.Logger.With(slog.String("pool", c.Name))
	}
	return c, nil
}

// normalizeTime fills in the default of a time, and cuts off what cannot be counted.
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
		MaxOpening:     c.MaxOpening,
		OpenEagerly:    c.OpenEagerly,
		StrictMax:      c.StrictMax,
		CheckInterval:  c.CheckInterval,
		LeakAfter:      c.LeakAfter,
		Hooks:          c.Hooks.bare(unboxed),
		Logger:         c.Logger,
		Name:           c.Name,
		Exhausted:      c.exhausted,
	}
}
