package words

import (
	"math/bits"
	"time"
)

// An Outage says how opening connections fails. Times are on the pool's clock. The zero
// Outage is none. After the first failure, connections are opened one at a time. From the
// fourth failure on there is a backoff before each attempt. It doubles with each failure.
type Outage struct {
	Failures int           // how often opening has failed in a row, 255 at most
	Dry      int           // how many of them have followed each other with nothing coming back in between
	Since    time.Duration // when it failed first
	FailedAt time.Duration // when it failed last
	Until    time.Duration // the server has asked not to be tried before
}

const (
	// KeepsFailing is the number of failures in a row that begins the backoff.
	KeepsFailing = 4

	// BackoffLeast and BackoffMost are the first and, by default, the longest backoff.
	BackoffLeast = 25 * time.Millisecond
	BackoffMost  = 500 * time.Millisecond
)

// Worse returns the outage with one more failure. back says that a connection has come back
// since the last one, and until is when the server may be tried again.
func (o Outage) Worse(at, until time.Duration, back bool) Outage {
	if o.Failures == 0 {
		o.Since = at
	}
	if back {
		o.Dry = 0
	}
	o.Failures = min(o.Failures+1, 255)
	o.Dry = min(o.Dry+1, 255)
	o.FailedAt = max(o.FailedAt, at)
	o.Until = max(o.Until, until)
	return o
}

// RetryAt returns when the next attempt may begin: after the backoff, which is most at the
// longest, and not before the server wants it. Up to half of the backoff is jitter. The
// outage alone determines the jitter, so that all callers get the same time.
func (o Outage) RetryAt(most time.Duration) time.Duration {
	if o.Failures < KeepsFailing {
		return o.Until
	}
	backoff := min(BackoffLeast<<min(o.Failures-KeepsFailing, 20), most)
	random := uint64(o.FailedAt/time.Microsecond<<8+time.Duration(o.Failures)) * 0x9E3779B97F4A7C15 // 2^64 divided by the golden ratio: neighbours are far apart
	jitter, _ := bits.Mul64(random, uint64(backoff/2))
	return max(o.FailedAt+backoff-time.Duration(jitter), o.Until)
}
