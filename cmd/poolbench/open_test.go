package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
)

// A staged source has no network: a request takes as long as the test says.
type staged struct {
	dial, wait time.Duration
	trip       func(n int) time.Duration // of the n-th request, from 0 on
	fail       func(n int) error

	mu   sync.Mutex
	n    int
	at   []time.Duration // when each exchange began, since the first
	zero time.Time
	over int
}

func (s *staged) get(ctx context.Context) (held, error) {
	time.Sleep(s.wait + s.dial)
	return held{dialed: s.dial}, nil
}

func (s *staged) exchange(ctx context.Context, h held, m *message) error {
	s.mu.Lock()
	if s.n == 0 {
		s.zero = time.Now()
	}
	n := s.n
	s.n++
	s.at = append(s.at, time.Since(s.zero))
	s.mu.Unlock()
	time.Sleep(s.trip(n))
	if s.fail != nil {
		return s.fail(n)
	}
	return nil
}

// sent returns how many exchanges have begun.
func (s *staged) sent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

func (s *staged) put(held, error) {}
func (s *staged) ended()          { s.over++ }
func (s *staged) usage() occupancy {
	return occupancy{inUse: 1, waiting: 2, open: 3, dials: int64(s.sent())}
}
func (s *staged) stats() *pool.Stats    { return nil }
func (s *staged) spread() []serverCount { return nil }
func (s *staged) close()                {}

func always(d time.Duration) func(int) time.Duration { return func(int) time.Duration { return d } }

// stagedLoad returns a load on s that needs no network.
func stagedLoad(s source, clients int, rate float64, warmup, duration time.Duration) *load {
	return &load{source: s, clients: clients, size: 32, rate: rate, warmup: warmup, duration: duration, grace: time.Minute}
}

// One client, ten requests in a second, each of which takes 250 ms: each begins 150 ms later
// than it should, and as late as the one before besides. Measured from when they begin, all
// would take 250 ms. No two things happen at the same time, here and below.
func TestAnOpenLoopMeasuresFromWhenARequestIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &staged{trip: always(250 * time.Millisecond)}
		out := stagedLoad(s, 1, 10, 0, 990*time.Millisecond).run(t.Context())
		// Due at 0, 100, 200 and 300 ms; begun at 0, 250, 500 and 750 ms.
		if out.latency.count != 4 || out.latency.max != 700*time.Millisecond || out.latency.mean() != 475*time.Millisecond {
			t.Errorf("%d replies, mean %v, at most %v; want 4, 475ms, 700ms", out.latency.count, out.latency.mean(), out.latency.max)
		}
		if out.waits.max != 450*time.Millisecond || out.waits.mean() != 225*time.Millisecond {
			t.Errorf("waits: mean %v, at most %v; want 225ms, 450ms", out.waits.mean(), out.waits.max)
		}
		if out.trips.max != 250*time.Millisecond || out.trips.mean() != 250*time.Millisecond {
			t.Errorf("round trips: mean %v, at most %v; want 250ms", out.trips.mean(), out.trips.max)
		}
		if out.unserved != 6 {
			t.Errorf("%d unserved, want 6 of 10", out.unserved)
		}
		if s.over != 1 {
			t.Errorf("the source was told %d times that no more are begun", s.over)
		}
	})
}

// A stall of a second in a server that otherwise needs a millisecond: half of the requests
// are late, though only one was under way.
func TestAStallMakesAllRequestsLateThatAreDueMeanwhile(t *testing.T) {
	stall := func(n int) time.Duration {
		if n == 50 {
			return time.Second
		}
		return time.Millisecond
	}
	synctest.Test(t, func(t *testing.T) {
		open := stagedLoad(&staged{trip: stall}, 1, 100, 0, 2*time.Second).run(t.Context())
		if got := open.latency.percentile(75); got < 400*time.Millisecond {
			t.Errorf("open loop: three quarters within %v", got)
		}
		closed := stagedLoad(&staged{trip: stall}, 1, 0, 0, 2*time.Second).run(t.Context())
		if got := closed.latency.percentile(99.8); got > 2*time.Millisecond || closed.latency.max != time.Second {
			t.Errorf("closed loop: 99.8 %% within %v, all within %v", got, closed.latency.max)
		}
	})
}

func TestAnOpenLoopKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &staged{trip: always(30 * time.Millisecond)}
		out := stagedLoad(s, 10, 50, 0, 1990*time.Millisecond).run(t.Context())
		if s.n != 100 || out.answered+2 < 100 || out.latency.count != 100 || out.unserved != 0 {
			t.Errorf("%d sent, %d answered in time and %d in all, %d unserved; want 100", s.n, out.answered, out.latency.count, out.unserved)
		}
		for i, at := range s.at {
			if want := time.Duration(i) * 20 * time.Millisecond; at != want {
				t.Fatalf("request %d was sent at %v, want %v", i, at, want)
			}
		}
		if out.latency.max != 30*time.Millisecond || out.waits.max != 0 {
			t.Errorf("latency %v, wait %v", out.latency.max, out.waits.max)
		}
	})
}

func TestTheRateIsNoLowerAfterFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &staged{trip: always(0), fail: func(n int) error {
			if n%2 == 0 {
				return errors.New("no")
			}
			return nil
		}}
		out := stagedLoad(s, 1, 1000, 0, 999500*time.Microsecond).run(t.Context())
		if out.errors != 500 || out.latency.count != 500 || out.unserved != 0 {
			t.Errorf("%d errors, %d replies, %d unserved; want 500, 500, 0", out.errors, out.latency.count, out.unserved)
		}
	})
}

func TestWaitDialAndRoundTripAddUpToTheLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &staged{wait: 5 * time.Millisecond, dial: 20 * time.Millisecond, trip: always(100 * time.Millisecond)}
		out := stagedLoad(s, 3, 0, 0, time.Second).run(t.Context())
		if out.latency.mean() != 125*time.Millisecond || out.waits.mean() != 5*time.Millisecond || out.trips.mean() != 100*time.Millisecond {
			t.Errorf("latency %v, wait %v, round trip %v; want 125ms, 5ms, 100ms", out.latency.mean(), out.waits.mean(), out.trips.mean())
		}
	})
}

// In the warm-up requests take a second and fail; afterwards 10 ms.
func TestTheWarmUpDoesNotCount(t *testing.T) {
	for name, rate := range map[string]float64{"closed loop": 0, "open loop": 100} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				cold := func() bool { return time.Since(start) < 2*time.Second }
				s := &staged{trip: func(int) time.Duration {
					if cold() {
						return 500 * time.Millisecond
					}
					return 10 * time.Millisecond
				}, fail: func(int) error {
					if cold() {
						return errors.New("cold")
					}
					return nil
				}}
				l := stagedLoad(s, 100, rate, 3*time.Second, time.Second)
				var begun time.Duration
				var dials int
				l.begin = func() { begun, dials = time.Since(start), s.sent() }
				l.samplePeriod = 10 * time.Millisecond
				out := l.run(t.Context())
				if begun != 3*time.Second || out.elapsed != time.Second {
					t.Errorf("began to count after %v, for %v", begun, out.elapsed)
				}
				if out.errors != 0 || len(out.first) != 0 || out.unserved != 0 {
					t.Errorf("%d errors %q, %d unserved", out.errors, out.first, out.unserved)
				}
				if out.latency.max != 10*time.Millisecond {
					t.Errorf("latency up to %v", out.latency.max)
				}
				if want := uint64(s.n - dials); out.latency.count < want || out.latency.count > want+100 {
					t.Errorf("%d counted, %d sent meanwhile", out.latency.count, want)
				}
				var inSeries int64
				for _, part := range out.series {
					inSeries += part.dials
				}
				if inSeries > int64(s.n-dials) {
					t.Errorf("%d dials in the series, %d were made meanwhile", inSeries, s.n-dials)
				}
			})
		})
	}
}

func TestAnInterruptInTheWarmUpMeasuresNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(500*time.Millisecond, cancel)
		l := stagedLoad(&staged{trip: always(10 * time.Millisecond)}, 3, 0, time.Second, time.Second)
		l.samplePeriod = 10 * time.Millisecond
		out := l.run(ctx)
		if out.elapsed != 0 || out.latency.count != 0 || out.answered != 0 || len(out.series) != 0 {
			t.Errorf("got %+v", out)
		}
	})
}

func TestTheSeriesHasAllThatWasAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &staged{trip: always(7 * time.Millisecond)}
		l := stagedLoad(s, 5, 0, 0, 10*time.Second)
		l.samplePeriod = samplePeriod
		out := l.run(t.Context())
		if n := len(out.series); n < samplesKept-1 || n > samplesKept+1 {
			t.Errorf("%d parts", n)
		}
		var answered uint64
		var last time.Duration
		for _, part := range out.series {
			answered += part.answered
			if part.end <= last {
				t.Errorf("a part ends at %v, the one before at %v", part.end, last)
			}
			last = part.end
			if part.inUse != 1 || part.waiting != 2 || part.open != 3 {
				t.Errorf("in use %v, waiting %v, open %v; want 1, 2, 3", part.inUse, part.waiting, part.open)
			}
		}
		if answered+10 < out.answered || answered > out.answered {
			t.Errorf("%d in the series, %d answered", answered, out.answered)
		}
	})
}

func TestAScheduleIsEven(t *testing.T) {
	start := time.Now()
	s := schedule{start: start, rate: 3}
	var got []time.Duration
	for range 4 {
		got = append(got, s.take().Sub(start).Round(time.Millisecond))
	}
	if want := []time.Duration{0, 333 * time.Millisecond, 667 * time.Millisecond, time.Second}; !slices.Equal(got, want) {
		t.Errorf("due at %v, want %v", got, want)
	}
	for _, c := range []struct {
		from, to time.Duration
		want     uint64
	}{
		{0, 0, 0}, {0, 1, 1}, {0, time.Second, 3}, {0, time.Second + 1, 4}, {time.Second, 2 * time.Second, 3},
		{1, 333 * time.Millisecond, 0}, {333 * time.Millisecond, 334 * time.Millisecond, 1}, {0, time.Hour, 3 * 3600},
	} {
		if got := s.due(start.Add(c.from), start.Add(c.to)); got != c.want {
			t.Errorf("%d are due from %v to %v, want %d", got, c.from, c.to, c.want)
		}
	}
}

func TestWhatIsDueWhenTheLoadEndsIsBegun(t *testing.T) {
	stop := make(chan struct{})
	close(stop)
	if !waitUntil(time.Now(), stop) {
		t.Error("what is due is not begun")
	}
	if waitUntil(time.Now().Add(time.Hour), stop) {
		t.Error("what is due in an hour is begun")
	}
}
