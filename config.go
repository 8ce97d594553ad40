package pool

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/S4AK4N/pool/ring"
)

// Defaults of [Config], in force where a field is zero.
const (
	defaultMaxConnections = 10
	defaultMaxIdleTime    = 30 * time.Second
	defaultMaxWaitTime    = 5 * time.Second
	defaultOpenTimeout    = 10 * time.Second
	defaultCheckInterval  = time.Second
)

// maxConnections is the most that the census can count, in 16 bits.
const maxConnections = ring.MaxSize - 1

// Config holds the limits of a [Pool]. The zero Config is valid.
type Config struct {
	// MaxConnections is the number of connections that may be open at the same
	// time, those being opened included. At most 65,535.
	// If zero, 10 is used. Negative is an error.
	MaxConnections int

	// MaxIdleTime is how long a connection may lie idle before it is closed.
	// None is closed for it earlier, and none later by more than an eighth of
	// it, or 20 ms if that is more.
	// If zero, 30 s is used. Negative means that idle connections never expire.
	MaxIdleTime time.Duration

	// MaxWaitTime is how long a Get waits for a connection before it returns
	// [ErrExhausted].
	// If zero, 5 s is used. Negative means that only its ctx ends a wait.
	MaxWaitTime time.Duration

	// MaxWaiters is the number of callers that may wait at the same time,
	// beyond those for whom a connection is or can be opened. One more gets
	// [ErrRejected] at once.
	// Zero means no limit. Negative means that nobody waits.
	MaxWaiters int

	// OpenTimeout is how long a call of Factory.Open may take: the ctx that
	// Open is given ends then.
	// If zero, 10 s is used. Negative means no limit.
	OpenTimeout time.Duration

	// CheckInterval is the time between two calls of Factory.Check for a
	// connection that lies idle. It means nothing if Factory.Check is nil.
	// If zero, 1 s is used. Negative means that Check is called in Get only.
	CheckInterval time.Duration

	// Logger receives what the pool does, but for the ordinary Get and Put: at
	// debug level what is opened and closed, at warning level what could not be
	// opened.
	// Nil means silence.
	Logger *slog.Logger

	// Name tells the pool from others in logs.
	Name string
}

// normalize checks c and fills in its defaults.
func (c Config) normalize() (Config, error) {
	switch {
	case c.MaxConnections < 0:
		return c, fmt.Errorf("pool: Config.MaxConnections is negative: %d", c.MaxConnections)
	case c.MaxConnections > maxConnections:
		return c, fmt.Errorf("pool: Config.MaxConnections is over %d: %d", maxConnections, c.MaxConnections)
	case c.MaxConnections == 0:
		c.MaxConnections = defaultMaxConnections
	}
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

// forever is the longest time that can be added to the pool's clock: 146 years.
const forever = time.Duration(1) << 62

// normalizeTime fills in the default of a time, and cuts off what cannot be counted.
func normalizeTime(d *time.Duration, byDefault time.Duration) {
	if *d == 0 {
		*d = byDefault
	}
	*d = min(*d, forever)
}
