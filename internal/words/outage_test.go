package words

import (
	"testing"
	"time"
)

func TestAnOutageCountsItsFailuresAndHasAPauseFromTheFourthOn(t *testing.T) {
	var o Outage
	for i := range 1000 {
		now := time.Duration(i+1) * 30 * 24 * time.Hour // 82 years
		o = o.Worse(now, 0, false)
		if want := min(i+1, 255); o.Failures != want || o.Dry != want {
			t.Fatalf("after %d failures it counts %d, of them %d with nothing coming back, want %d", i+1, o.Failures, o.Dry, want)
		}
		if o.FailedAt != now || o.Since != 30*24*time.Hour {
			t.Fatalf("it began at %v and is at %v, want the first and the last failure, %v", o.Since, o.FailedAt, now)
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

func TestWhatComesBackBeginsTheCountOfDryFailuresAnew(t *testing.T) {
	var o Outage
	for i, back := range []bool{false, false, true, false, false} {
		o = o.Worse(time.Duration(i), 0, back)
	}
	if o.Failures != 5 || o.Dry != 3 {
		t.Errorf("%d failures, %d since something came back, want 5 and 3", o.Failures, o.Dry)
	}
}

func TestWhatTheServerAsksForHoldsFromTheFirstFailureAndTheLongestCounts(t *testing.T) {
	o := Outage{}.Worse(time.Second, time.Minute, false)
	if got := o.RetryAt(BackoffMost); got != time.Minute {
		t.Errorf("after one failure the next attempt is at %v, want %v", got, time.Minute)
	}
	for range KeepsFailing {
		o = o.Worse(2*time.Second, 30*time.Second, false)
	}
	if got := o.RetryAt(BackoffMost); got != time.Minute {
		t.Errorf("when asked for less, the next attempt is at %v, want %v", got, time.Minute)
	}
	o = o.Worse(time.Hour, 0, false)
	if got := o.RetryAt(BackoffMost); got <= time.Hour || got > time.Hour+BackoffMost {
		t.Errorf("an hour later the next attempt is at %v, want a backoff after %v", got, time.Hour)
	}
}

// Up to half of a backoff is jitter, however long it is.
func TestTheJitterIsUpToHalfOfTheBackoff(t *testing.T) {
	for _, most := range []time.Duration{BackoffLeast, BackoffMost, 8 * time.Second, time.Minute, time.Hour} {
		least, longest := most, time.Duration(0)
		for i := range 1000 {
			var o Outage
			for range 100 {
				o = o.Worse(time.Duration(i)*time.Millisecond, 0, false)
			}
			backoff := o.RetryAt(most) - o.FailedAt
			least, longest = min(least, backoff), max(longest, backoff)
		}
		if least < most/2 || least > most*6/10 || longest > most || longest < most*9/10 {
			t.Errorf("with a backoff of %v the pauses are %v to %v, want half of it to all", most, least, longest)
		}
	}
}
