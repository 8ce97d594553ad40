package lending

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/histogram"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
	"github.com/google/go-cmp/cmp"
)

// A tally is what a histogram should have: so many durations of each length.
type tally map[time.Duration]int

// has fails the test unless h has exactly the durations of the tally.
func (want tally) has(t *testing.T, what string, h pool.Histogram) {
	t.Helper()
	var count uint64
	var sum time.Duration
	buckets := map[time.Duration]int{}
	for d, n := range want {
		count += uint64(n)
		sum += d * time.Duration(n)
		buckets[histogram.BoundOf(histogram.BucketOf(d))] += n
	}
	got := map[time.Duration]int{}
	for bound, n := range h.All() {
		if n > 0 {
			got[bound] = int(n)
		}
	}
	if h.Count != count || h.Sum != sum {
		t.Errorf("%s: %d durations of %v in all, want %d of %v", what, h.Count, h.Sum, count, sum)
	}
	if diff := cmp.Diff(buckets, got); diff != "" {
		t.Errorf("%s, by bucket (-want +got):\n%s", what, diff)
	}
}

// vitess-gh#238: only successful waits were recorded, so the outage did not show. Here
// every wait counts, however it ended, and nothing that did not wait.
func TestWaitTimeHasFailedWaitsInIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := false
		x := testkit.Exchange{Open: func(ctx context.Context, _ int) error {
			_ = testkit.Pause(ctx, testkit.OpenTime)
			if fails {
				return testkit.ErrDial
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MaxIdleTime: -1, MaxWaitTime: 2 * time.Second, MaxWaiters: 2})
		want := tally{}
		same := func(when string) {
			t.Helper()
			synctest.Wait()
			s := p.Stats()
			want.has(t, when, s.WaitTime)
			if s.WaitTime.Count != s.Waits {
				t.Errorf("%s: %d waits are in the histogram, and %d were counted", when, s.WaitTime.Count, s.Waits)
			}
		}
		same("at first")
		fails = true
		r := testkit.Ask(t.Context(), p)
		testkit.Sleep(testkit.OpenTime)
		r.Failed(t, "while there never was a connection", testkit.ErrDial)
		want[testkit.OpenTime]++
		same("Open failed")
		fails = false
		l := testkit.Borrow(t, p)
		want[testkit.OpenTime]++
		same("one opened")
		testkit.GiveBack(t, p, l)
		l = testkit.Borrow(t, p)
		if _, ok := p.TryGet(); ok {
			t.Error("TryGet found one")
		}
		same("an idle one")
		m := testkit.Borrow(t, p)
		want[testkit.OpenTime]++

		for i := range 3 {
			r := testkit.Ask(t.Context(), p)
			testkit.Sleep(time.Duration(i+1) * 200 * time.Millisecond)
			testkit.GiveBack(t, p, l)
			l = r.Served(t, "after the Put")
			want[time.Duration(i+1)*200*time.Millisecond]++
		}
		same("three served by a return")

		ctx, cancel := context.WithCancel(t.Context())
		testkit.Ask(ctx, p)
		testkit.Sleep(time.Second)
		cancel()
		want[time.Second]++
		same("canceled")
		testkit.Ask(ctx, p)
		same("canceled before")

		for range 3 {
			testkit.Ask(t.Context(), p)
			testkit.Ask(t.Context(), p)
			testkit.Ask(t.Context(), p).Failed(t, "the third who waits", pool.ErrRejected)
			testkit.Sleep(2 * time.Second)
			synctest.Wait() // they have left
			want[2*time.Second] += 2
		}
		same("six timeouts and three rejected")

		testkit.Ask(t.Context(), p)
		testkit.Sleep(time.Millisecond)
		p.Close()
		want[time.Millisecond]++
		same("closed")
		_, _ = p.Put(l), p.Put(m)
	})
}

// The same in an outage: its waits show at the quantile that people watch.
func TestAnOutageShowsInWaitTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := false
		x := testkit.Exchange{Open: func(ctx context.Context, _ int) error {
			if down {
				<-ctx.Done()
				return testkit.ErrDial
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 100, MaxIdleTime: -1, MaxWaitTime: time.Second, OpenTimeout: time.Minute})
		testkit.Fill(t, p, 100)
		before := p.Stats().WaitTime
		p.Reset()
		down = true
		for range 50 {
			testkit.Ask(t.Context(), p)
		}
		testkit.Sleep(time.Second)
		s := p.Stats()
		if got := s.WaitTime.Sub(before); got.Count != 50 || got.Quantile(0.5) < time.Second || got.Mean() != time.Second {
			t.Errorf("the waits of the outage are %v, want 50 of a second", got)
		}
		if got := s.WaitTime.Quantile(0.9); got < time.Second {
			t.Errorf("p90 of all waits is %v, want that the outage shows", got)
		}
		if s.Unavailable != 50 || s.Timeouts != 0 {
			t.Errorf("%d unavailable, %d timeouts, want 50, 0: nothing was open", s.Unavailable, s.Timeouts)
		}
	})
}

func TestOpenTimeHasFailedOpensInIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took time.Duration
		var result error
		deaf, release := testkit.Obstacle(t)
		x := testkit.Exchange{Open: func(ctx context.Context, _ int) error {
			if took == 0 {
				<-deaf
				return nil
			}
			_ = testkit.Pause(ctx, took)
			return result
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 20, MaxIdleTime: -1, MaxWaitTime: -1, OpenTimeout: 10 * time.Second})
		want := tally{}
		open := func(d time.Duration, err error, n int) {
			t.Helper()
			for range n {
				took, result = d, err
				ctx, cancel := context.WithCancel(t.Context())
				r := testkit.Ask(ctx, p)
				if err != nil {
					cancel() // so that no other attempt is made for it
				}
				testkit.Sleep(d)
				r.Returned()
				cancel()
				want[d]++
				testkit.Sleep(words.BackoffMost)
			}
			want.has(t, d.String(), p.Stats().OpenTime)
		}
		open(100*time.Millisecond, nil, 3)
		open(250*time.Millisecond, testkit.ErrDial, 5)
		open(40*time.Millisecond, nil, 2)
		open(10*time.Second, testkit.ErrDial, 1) // ended by OpenTimeout
		open(time.Millisecond, nil, 1)

		took = 0
		ctx, cancel := context.WithCancel(t.Context())
		testkit.Ask(ctx, p)
		cancel()
		testkit.Sleep(time.Minute)
		want[11*time.Second]++
		want.has(t, "abandoned after the second that it is given", p.Stats().OpenTime)
		release()
		synctest.Wait()
		want.has(t, "what was abandoned has ended", p.Stats().OpenTime)
		if s := p.Stats(); s.OpenTime.Count != s.Opened+s.OpenErrors || s.Opened != 6 || s.OpenErrors != 7 || s.Abandoned != 1 {
			t.Errorf("%+v, want 6 opened, 7 errors, 1 abandoned, and all of them in OpenTime", s)
		}
	})
}

// One success says little. The error is kept until the outage is over.
func TestLastOpenErrorIsThatOfTheLastFailureUntilTheOutageIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var result error
		x := testkit.Exchange{Open: func(context.Context, int) error { return result }}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 5, MaxIdleTime: -1, FailFastAfter: testkit.AtOnce})
		is := func(when string, want error) {
			t.Helper()
			synctest.Wait()
			if got := p.Stats().LastOpenError; !errors.Is(got, want) || want == nil && got != nil {
				t.Errorf("%s LastOpenError is %v, want %v", when, got, want)
			}
		}
		is("at first", nil)
		for i, call := range []struct {
			result error
			stays  time.Duration // how long the connection is open
			want   error
		}{
			{nil, 0, nil},
			{testkit.ErrDial, 0, testkit.ErrDial},
			{testkit.ErrCause, 0, testkit.ErrCause},
			{nil, core.Probation - 1, testkit.ErrCause},
			{testkit.ErrDial, 0, testkit.ErrDial},
			{nil, core.Probation, nil},
			{testkit.ErrDial, 0, testkit.ErrDial},
		} {
			result = call.result
			r := testkit.Ask(t.Context(), p)
			if result != nil {
				r.Failed(t, fmt.Sprint("call ", i+1), result)
			} else {
				l := r.Served(t, fmt.Sprint("call ", i+1))
				testkit.Sleep(call.stays)
				_ = p.Discard(l, nil)
			}
			is(fmt.Sprintf("after call %d", i+1), call.want)
		}
		if got := x.Tried(); got != 7 {
			t.Errorf("Open was called %d times, want 7", got)
		}
		p.Close() // whose cancellation is nobody's failure
		if got := p.Stats().LastOpenError; !errors.Is(got, testkit.ErrDial) {
			t.Errorf("after Close LastOpenError is %v, want what it was", got)
		}
	})
}

// bb8#147, redis#2996: a wrong password shows as a timeout. Here one line has how full the
// pool is, who waits for how long, and what failed last.
func TestExhaustedErrorOfAPoolThatCannotOpenTellsWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: func(ctx context.Context, attempt int) error {
			if attempt == 1 {
				return nil
			}
			_ = testkit.Pause(ctx, testkit.OpenTime)
			return testkit.ErrDial
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3, MaxIdleTime: -1, MaxWaitTime: 2 * time.Second, FailFastAfter: -1})
		l := testkit.Borrow(t, p)
		asker := testkit.Ask(t.Context(), p) // may be served by a return, although its attempts fail
		testkit.Sleep(time.Millisecond)
		first := testkit.Ask(t.Context(), p) // the same, with no attempt of its own
		testkit.Sleep(time.Second)
		second := testkit.Ask(t.Context(), p)
		testkit.Sleep(time.Second - 2*time.Millisecond)
		asker.Pending(t, "before MaxWaitTime")
		testkit.Sleep(time.Millisecond)
		asker.Failed(t, "after MaxWaitTime", pool.ErrExhausted)
		asker.Failed(t, "after MaxWaitTime", testkit.ErrDial)
		first.Pending(t, "before MaxWaitTime")
		testkit.Sleep(time.Millisecond)
		first.Failed(t, "after MaxWaitTime", pool.ErrExhausted)
		first.Failed(t, "after MaxWaitTime", testkit.ErrDial)
		var exhausted *pool.ExhaustedError
		if !errors.As(first.Err, &exhausted) || exhausted.Waited != 2*time.Second || !errors.Is(exhausted.Open, testkit.ErrDial) {
			t.Errorf("the error is %+v", first.Err)
		}
		want := fmt.Sprintf("pool: connection pool exhausted: waited 2s, 1 active of 3, %d opening, 2 waiting (the first for 2s); "+
			"last error on opening: pool: open connection: wrong password", exhausted.Stats.OpeningConnections)
		if got := first.Err.Error(); got != want {
			t.Errorf("the error says\n%s, want\n%s", got, want)
		}
		testkit.GiveBack(t, p, l)
		second.Served(t, "after the Put")
	})
}
