package core

import (
	"context"
	"log/slog"
	"time"

	"github.com/S4AK4N/pool/ring"
)

// MaxConnections is the highest number that the census can count in its 16 bits.
const MaxConnections = ring.MaxSize - 1

// Forever is the longest time that can be added to the pool's clock: 146 years.
const Forever = time.Duration(1) << 62

// A Config is the Config of the root package, checked, with its defaults filled in. A
// negative time means no limit, except that MaxLifetime and LeakAfter are zero then.
type Config struct {
	MaxConnections int
	MaxIdleTime    time.Duration
	MaxLifetime    time.Duration
	MinIdle        int
	MaxWaitTime    time.Duration
	MaxWaiters     int
	OpenTimeout    time.Duration
	OpenContext    func(context.Context) context.Context
	MaxOpening     int
	MaxBackoff     time.Duration
	MaxRetryAfter  time.Duration
	FailFastAfter  time.Duration // 0: the default
	OpenEagerly    bool
	StrictMax      bool
	CheckInterval  time.Duration
	LeakAfter      time.Duration
	LeakCallers    bool
	TimeUse        bool
	Budget         []*Rights // what is opened needs one of each; valid, and at most two
	Hooks          Hooks
	Logger         *slog.Logger // never nil
	Name           string

	// OpenFailed makes the error of an attempt to open that has failed with err.
	OpenFailed func(err error) error

	// Unavailable makes the error of a Get that would wait, or has waited, for nothing.
	Unavailable func(Unavailability) error

	// Exhausted makes the error of a wait that has lasted for MaxWaitTime.
	Exhausted func(waited time.Duration, stats Stats) error
}
