package pool

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A tally is what a histogram should have: so many durations of each length.
type tally map[time.Duration]int

// has fails the test unless h has exactly the durations of the tally.
func (want tally) has(t *testing.T, what string, h Histogram) {
	t.Helper()
	var count uint64
	var sum time.Duration
	buckets := map[time.Duration]int{}
	for d, n := range want {
		count += uint64(n)
		sum += d * time.Duration(n)
		buckets[boundOf(bucketOf(d))] += n
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
		x := exchange{open: func(ctx context.Context, _ int) error {
			_ = pause(ctx, openTime)
			if fails {
				return errDial
			}
			return nil
		}}
		p := start(t, x.factory(), Config{MaxConnections: 2, MaxIdleTime: -1, MaxWaitTime: 2 * time.Second, MaxWaiters: 2})
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
		l := borrow(t, p)
		want[openTime]++
		same("one opened")
		giveBack(t, p, l)
		l = borrow(t, p)
		if _, ok := p.TryGet(); ok {
			t.Error("TryGet found one")
		}
		same("an idle one")

		fails = true
		ask(t.Context(), p)
		time.Sleep(openTime)
		synctest.Wait()
		want[openTime]++
		same("Open failed")
		fails = false
		m := borrow(t, p)
		want[openTime]++

		for i := range 3 {
			r := ask(t.Context(), p)
			time.Sleep(time.Duration(i+1) * 200 * time.Millisecond)
			giveBack(t, p, l)
			l = r.served(t, "after the Put")
			want[time.Duration(i+1)*200*time.Millisecond]++
		}
		same("three served by a return")

		ctx, cancel := context.WithCancel(t.Context())
		ask(ctx, p)
		time.Sleep(time.Second)
		cancel()
		want[time.Second]++
		same("canceled")
		ask(ctx, p)
		same("canceled before")

		for range 3 {
			ask(t.Context(), p)
			ask(t.Context(), p)
			ask(t.Context(), p).failed(t, "the third who waits", ErrRejected)
			time.Sleep(2 * time.Second)
			synctest.Wait() // they have left
			want[2*time.Second] += 2
		}
		same("six timeouts and three rejected")

		ask(t.Context(), p)
		time.Sleep(time.Millisecond)
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
		x := exchange{open: func(ctx context.Context, _ int) error {
			if down {
				<-ctx.Done()
				return errDial
			}
			return nil
		}}
		p := start(t, x.factory(), Config{MaxConnections: 100, MaxIdleTime: -1, MaxWaitTime: time.Second, OpenTimeout: time.Minute})
		fill(t, p, 100)
		before := p.Stats().WaitTime
		p.Reset()
		down = true
		for range 50 {
			ask(t.Context(), p)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		s := p.Stats()
		if got := s.WaitTime.Sub(before); got.Count != 50 || got.Quantile(0.5) < time.Second || got.Mean() != time.Second {
			t.Errorf("the waits of the outage are %v, want 50 of a second", got)
		}
		if got := s.WaitTime.Quantile(0.9); s.Timeouts != 50 || got < time.Second {
			t.Errorf("p90 of all waits is %v, want that the outage shows", got)
		}
	})
}

func TestOpenTimeHasFailedOpensInIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took time.Duration
		var result error
		deaf, release := obstacle(t)
		x := exchange{open: func(ctx context.Context, _ int) error {
			if took == 0 {
				<-deaf
				return nil
			}
			_ = pause(ctx, took)
			return result
		}}
		p := start(t, x.factory(), Config{MaxConnections: 20, MaxIdleTime: -1, MaxWaitTime: -1, OpenTimeout: 10 * time.Second})
		want := tally{}
		open := func(d time.Duration, err error, n int) {
			t.Helper()
			for range n {
				took, result = d, err
				r := ask(t.Context(), p)
				time.Sleep(d)
				r.returned()
				want[d]++
				time.Sleep(backoffMost)
			}
			want.has(t, d.String(), p.Stats().OpenTime)
		}
		open(100*time.Millisecond, nil, 3)
		open(250*time.Millisecond, errDial, 5)
		open(40*time.Millisecond, nil, 2)
		open(10*time.Second, errDial, 1) // ended by OpenTimeout
		open(time.Millisecond, nil, 1)

		took = 0
		ask(t.Context(), p)
		time.Sleep(time.Minute)
		synctest.Wait()
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

func TestLastOpenErrorIsThatOfTheLastCallOfOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results := []error{nil, errDial, errCause, nil, errDial}
		x := exchange{open: func(_ context.Context, attempt int) error { return results[attempt-1] }}
		p := start(t, x.factory(), Config{MaxConnections: 5, MaxIdleTime: -1})
		if got := p.Stats().LastOpenError; got != nil {
			t.Errorf("at first LastOpenError is %v", got)
		}
		for i, want := range results {
			ask(t.Context(), p).returned()
			got := p.Stats().LastOpenError
			if !errors.Is(got, want) || want == nil && got != nil {
				t.Errorf("after call %d LastOpenError is %v, want %v", i+1, got, want)
			}
		}
		p.Close() // whose cancellation is nobody's failure
		if got := p.Stats().LastOpenError; !errors.Is(got, errDial) {
			t.Errorf("after Close LastOpenError is %v, want what it was", got)
		}
	})
}

// bb8#147, redis#2996: a wrong password shows as a timeout. Here one line has how full the
// pool is, who waits for how long, and what failed last.
func TestExhaustedErrorOfAPoolThatCannotOpenTellsWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := exchange{open: func(ctx context.Context, attempt int) error {
			if attempt == 1 {
				return nil
			}
			_ = pause(ctx, openTime)
			return errDial
		}}
		p := start(t, x.factory(), Config{MaxConnections: 3, MaxIdleTime: -1, MaxWaitTime: 2 * time.Second})
		l := borrow(t, p)
		asker := ask(t.Context(), p) // is told the error of its own attempt
		time.Sleep(time.Millisecond)
		first := ask(t.Context(), p) // has none of its own, and may be served by a return
		time.Sleep(time.Second)
		asker.failed(t, "when its attempt fails", errDial)
		second := ask(t.Context(), p)
		time.Sleep(time.Second)
		first.failed(t, "after MaxWaitTime", ErrExhausted)
		first.failed(t, "after MaxWaitTime", errDial)
		var exhausted *ExhaustedError
		if !errors.As(first.err, &exhausted) || exhausted.Waited != 2*time.Second || !errors.Is(exhausted.Open, errDial) {
			t.Errorf("the error is %+v", first.err)
		}
		want := fmt.Sprintf("pool: connection pool exhausted: waited 2s, 1 active of 3, %d opening, 2 waiting (the first for 2s); "+
			"last error on opening: pool: open connection: wrong password", exhausted.Stats.OpeningConnections)
		if got := first.err.Error(); got != want {
			t.Errorf("the error says\n%s, want\n%s", got, want)
		}
		giveBack(t, p, l)
		second.served(t, "after the Put")
	})
}
