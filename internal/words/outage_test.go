package words

import (
	"testing"
	"time"
)

func TestTheWordOfAnOutageHoldsNumbersAndTimesForLong(t *testing.T) {
	var o Outage
	for i := range 1000 {
		now := time.Duration(i) * 30 * 24 * time.Hour // 82 years
		o = o.Worse(now)
		if got, want := o.Failures(), min(i+1, 255); got != want {
			t.Fatalf("after %d failures it counts %d, want %d", i+1, got, want)
		}
		if got := o.FailedAt(); got != now {
			t.Fatalf("it says %v, want %v", got, now)
		}
		pause := o.RetryAt(BackoffMost) - now
		if i+1 < KeepsFailing {
			if o.RetryAt(BackoffMost) != 0 {
				t.Errorf("after %d failures there is a pause of %v", i+1, pause)
			}
		} else if pause <= 0 || pause > BackoffMost {
			t.Errorf("after %d failures there is a pause of %v", i+1, pause)
		}
	}
}

// Up to half of a backoff is jitter, however long it is.
func TestTheJitterIsUpToHalfOfTheBackoff(t *testing.T) {
	for _, most := range []time.Duration{BackoffLeast, BackoffMost, 8 * time.Second, time.Minute, time.Hour} {
		least, longest := most, time.Duration(0)
		for i := range 1000 {
			var o Outage
			for range 100 {
				o = o.Worse(time.Duration(i) * time.Millisecond)
			}
			backoff := o.RetryAt(most) - o.FailedAt()
			least, longest = min(least, backoff), max(longest, backoff)
		}
		if least < most/2 || least > most*6/10 || longest > most || longest < most*9/10 {
			t.Errorf("with a backoff of %v the pauses are %v to %v, want half of it to all", most, least, longest)
		}
	}
}
