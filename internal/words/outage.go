package words

import (
	"math/bits"
	"time"
)

// An Outage says how opening connections fails:
//
//	63..56  failures: how often opening has failed since it last succeeded
//	55..0   when it failed last, on the pool's clock in microseconds
//
// Zero is no outage. After the first failure, connections are opened one at a time. From
// the fourth failure on there is a backoff before each attempt. It doubles with each
// failure, up to BackoffMost.
type Outage uint64

const (
	// OutageFailure is one failure.
	OutageFailure Outage = 1 << 56
	outageTime           = OutageFailure - 1

	// KeepsFailing is the number of failures in a row that begins the backoff.
	KeepsFailing = 4

	// BackoffLeast and BackoffMost are the first and the longest backoff.
	BackoffLeast = 25 * time.Millisecond
	BackoffMost  = 500 * time.Millisecond
)

// Failures returns how often opening has failed in a row, 255 at most.
func (o Outage) Failures() int { return int(o >> 56) }

// FailedAt returns when opening failed last, on the pool's clock.
func (o Outage) FailedAt() time.Duration { return time.Duration(o&outageTime) * time.Microsecond }

// Worse returns the outage with one more failure, now.
func (o Outage) Worse(now time.Duration) Outage {
	return min(o>>56+1, 255)<<56 | Outage(now/time.Microsecond)&outageTime
}

// RetryAt returns when the backoff is over. Up to half of the backoff is jitter. The word
// alone determines the jitter, so that all callers get the same time.
func (o Outage) RetryAt(most time.Duration) time.Duration {
	if o.Failures() < KeepsFailing {
		return 0
	}
	backoff := min(BackoffLeast<<min(o.Failures()-KeepsFailing, 20), most)
	random := uint64(o) * 0x9E3779B97F4A7C15 // 2^64 divided by the golden ratio: neighbours are far apart
	jitter, _ := bits.Mul64(random, uint64(backoff/2))
	return o.FailedAt() + backoff - time.Duration(jitter)
}
