package opening

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
	"go.uber.org/atomic"
)

// pgx#1780, pgbouncer#585, #478: a dead backend is hammered, and callers wait out their
// whole timeout. bb8#147: a wrong password shows as a timeout.
func TestGetFailsAtOnceWithTheCauseWhileOpeningKeepsFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rejected []error
		b := testkit.NewBackend(time.Millisecond)
		b.Down.Store(true)
		p := testkit.Start(t, b.Factory(), pool.Config{MaxConnections: 5, Hooks: pool.Hooks{
			Rejected: func(i pool.RejectInfo) { rejected = append(rejected, i.Err) },
		}})
		for i := range words.KeepsFailing {
			_, err := p.Get(t.Context())
			last := i == words.KeepsFailing-1
			if !errors.Is(err, testkit.ErrDial) || errors.Is(err, pool.ErrUnavailable) != last {
				t.Errorf("call %d returned %v, want %v, and that it keeps failing: %v", i+1, err, testkit.ErrDial, last)
			}
			synctest.Wait() // the attempt has left, and begins none for the next one
		}
		if len(rejected) != 0 {
			t.Errorf("calls that tried were reported as rejected: %v", rejected)
		}
		for range 10 {
			r := testkit.Ask(t.Context(), p)
			r.Failed(t, "in the pause", pool.ErrUnavailable)
			if !errors.Is(r.Err, testkit.ErrDial) || r.Err.Error() != "pool: opening connections keeps failing: wrong password" {
				t.Errorf("the error is %q, want %v in it", r.Err, testkit.ErrDial)
			}
			if r.Took != 0 {
				t.Errorf("Get took %v, want none", r.Took)
			}
		}
		if got := b.Tried(); got != words.KeepsFailing {
			t.Errorf("Open was called %d times, want %d", got, words.KeepsFailing)
		}
		s := p.Stats()
		if s.Unavailable != 11 || s.OpenErrors != words.KeepsFailing || s.LastOpenError == nil || len(rejected) != 10 || !errors.Is(rejected[0], pool.ErrUnavailable) {
			t.Errorf("%d unavailable, %d open errors, the last %v, %d reported as rejected, want 11, %d, %v, 10",
				s.Unavailable, s.OpenErrors, s.LastOpenError, len(rejected), words.KeepsFailing, testkit.ErrDial)
		}
		testkit.AtRest(t, p, 0)
	})
}

// Jitter: clients that lost their server at the same time do not all return at the same
// time.
func TestThePauseBetweenAttemptsDoublesUpToHalfASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testkit.NewBackend(time.Millisecond)
		p := testkit.Failing(t, b, pool.Config{MaxConnections: 5})
		began := time.Now()
		for time.Since(began) < time.Minute {
			if _, err := p.Get(t.Context()); !errors.Is(err, pool.ErrUnavailable) || !errors.Is(err, testkit.ErrDial) {
				t.Fatalf("Get returned %v, want ErrUnavailable and %v", err, testkit.ErrDial)
			}
			testkit.Sleep(time.Millisecond)
		}
		asked, most := b.Since()
		if most != 1 {
			t.Errorf("%d attempts were made at the same time, want one", most)
		}
		var short, long int // of the backoffs that have reached the limit
		last := began
		for i, at := range asked {
			pause, whole := at.Sub(last), min(words.BackoffLeast<<min(i, 10), words.BackoffMost)
			if pause < whole/2 || pause > whole+3*time.Millisecond {
				t.Errorf("pause %d is %v, want %v to %v", i+1, pause, whole/2, whole)
			}
			if whole == words.BackoffMost && pause < words.BackoffMost*5/8 {
				short++
			} else if whole == words.BackoffMost && pause > words.BackoffMost*7/8 {
				long++
			}
			last = at.Add(b.Takes)
		}
		if len(asked) < 120 || len(asked) > 250 {
			t.Errorf("Open was called %d times in a minute, want once in 250 to 500 ms", len(asked))
		}
		if short < 10 || long < 10 {
			t.Errorf("of %d pauses %d are short and %d are long, want them spread", len(asked), short, long)
		}
	})
}

// All callers that come at once fail within the time of four attempts. The server has
// been asked once for each of the first 16, and then by one attempt at a time.
func TestAHundredCallersOfADeadServerAreAnsweredByFewAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testkit.NewBackend(testkit.OpenTime)
		b.Down.Store(true)
		p := testkit.Start(t, b.Factory(), pool.Config{MaxConnections: 100, MaxWaitTime: time.Hour})
		var asked []*testkit.Request[*testkit.Wire]
		for range 100 {
			asked = append(asked, testkit.Ask(t.Context(), p))
		}
		testkit.Sleep(testkit.OpenTime)
		if got := testkit.Inside(p).Outage().Failures; got != 1 {
			t.Errorf("%d attempts at the same time count as %d failures, want one", core.ColdStart, got)
		}
		testkit.Sleep(3 * testkit.OpenTime)
		for _, r := range asked {
			r.Failed(t, "after the fourth attempt", testkit.ErrDial)
		}
		if got := b.Tried(); got > core.ColdStart+3 {
			t.Errorf("Open was called %d times, want %d at the most", got, core.ColdStart+3)
		}
		testkit.Sleep(time.Hour)
		if got := b.Tried(); got > core.ColdStart+3 {
			t.Errorf("Open was called %d times when all had been told: nobody wants to know", got)
		}
		testkit.AtRest(t, p, 0)
	})
}

func TestOneProbeAtATimeAndNobodyWaitsForThatOfAnother(t *testing.T) {
	for _, up := range []bool{true, false} {
		testkit.Bubble(t, fmt.Sprint("up=", up), func(t *testing.T) {
			b := testkit.NewBackend(testkit.OpenTime)
			p := testkit.Failing(t, b, pool.Config{MaxConnections: 5})
			testkit.Sleep(words.BackoffMost)
			b.Down.Store(!up)
			probe := testkit.Ask(t.Context(), p)
			probe.Pending(t, "while it tries")
			for range 5 {
				testkit.Ask(t.Context(), p).Failed(t, "while another tries", pool.ErrUnavailable)
			}
			testkit.Sleep(testkit.OpenTime)
			if asked, most := b.Since(); len(asked) != 1 || most != 1 {
				t.Errorf("Open was called %d times, %d at the same time, want once", len(asked), most)
			}
			if !up {
				probe.Failed(t, "after its try", pool.ErrUnavailable)
				testkit.Ask(t.Context(), p).Failed(t, "after that", pool.ErrUnavailable)
				if asked, _ := b.Since(); len(asked) != 0 {
					t.Errorf("Open was called %d times in the pause", len(asked))
				}
				return
			}
			l := probe.Served(t, "after its try")
			if testkit.Inside(p).Outage().Failures != words.KeepsFailing || !errors.Is(p.Stats().LastOpenError, testkit.ErrDial) {
				t.Errorf("after one success the outage has ended: %v", p.Stats().LastOpenError)
			}
			var asked []*testkit.Request[*testkit.Wire]
			for range 4 { // that a connection is open is reason enough to wait
				asked = append(asked, testkit.Ask(t.Context(), p))
			}
			testkit.Sleep(testkit.OpenTime / 2)
			if asked, most := b.Since(); len(asked) != 1 || most != 1 {
				t.Errorf("Open was called %d times, %d at the same time, want once", len(asked), most)
			}
			testkit.GiveBack(t, p, l)
			synctest.Wait()
			if testkit.Inside(p).Outage().Failures != 0 || p.Stats().LastOpenError != nil {
				t.Errorf("after a lease that has ended clean the pool is still in an outage: %v", p.Stats().LastOpenError)
			}
			testkit.Sleep(2 * testkit.OpenTime)
			var got []pool.Lease[*testkit.Wire]
			for _, r := range asked {
				got = append(got, r.Served(t, "when the server is back"))
			}
			testkit.EndWithIdle(t, p, 4, got...)
		})
	}
}

// Callers that were waiting when the fourth attempt failed get the error, too, no matter
// whose attempt it was.
func TestAFailedProbeTellsAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testkit.NewBackend(testkit.OpenTime)
		p := testkit.Start(t, b.Factory(), pool.Config{MaxConnections: 2, MaxWaitTime: time.Hour})
		l := testkit.Borrow(t, p)
		b.Down.Store(true)
		var asked []*testkit.Request[*testkit.Wire]
		for range 100 {
			asked = append(asked, testkit.Ask(t.Context(), p))
		}
		testkit.Sleep(10 * time.Second) // meanwhile each failed attempt is told to the one that it was made for
		waiting := 0
		for _, r := range asked {
			if !r.Returned() {
				waiting++
			}
		}
		if waiting < 60 || waiting == 100 {
			t.Fatalf("%d wait while a connection is open that may come back to them, want most", waiting)
		}
		if err := p.Discard(l, testkit.ErrCause); err != nil { // now there is nothing to wait for
			t.Fatal(err)
		}
		testkit.Sleep(words.BackoffMost + testkit.OpenTime)
		for _, r := range asked {
			r.Failed(t, "when no connection is open any more", testkit.ErrDial)
		}
		testkit.AtRest(t, p, 0)
	})
}

// An open connection is worth waiting for, although none can be opened, as long as it comes
// back now and then.
func TestWithAConnectionOpenTheErrorIsTheCauseAfterFourFailuresWithNoReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testkit.NewBackend(time.Millisecond)
		p := testkit.Start(t, b.Factory(), pool.Config{MaxConnections: 10, MaxWaitTime: time.Minute})
		l := testkit.Borrow(t, p)
		b.Down.Store(true)
		for i := range words.KeepsFailing { // each is told how its own attempt ended
			began := time.Now()
			if _, err := p.Get(t.Context()); !errors.Is(err, testkit.ErrDial) || errors.Is(err, pool.ErrUnavailable) {
				t.Errorf("Get returned %v, want %v alone", err, testkit.ErrDial)
			}
			synctest.Wait() // the attempt has left, and begins none for the next one
			asked, _ := b.Since()
			if took := time.Since(began); i == 0 && (took <= time.Second || len(asked) <= words.KeepsFailing) {
				t.Errorf("the first was told after %v and %d attempts, want more than FailFastAfter and %d", took, len(asked), words.KeepsFailing)
			} else if i > 0 && len(asked) != 1 {
				t.Errorf("number %d was told after %d attempts, want its own", i+1, len(asked))
			}
		}
		r, late := testkit.Ask(t.Context(), p), testkit.Ask(t.Context(), p)
		testkit.Sleep(words.BackoffMost / 4)
		r.Pending(t, "before its attempt")
		testkit.GiveBack(t, p, l)
		l = r.Served(t, "after the Put")
		if _, err := p.Get(t.Context()); err == nil { // behind late
			t.Error("Get has lent a connection")
		}
		late.Failed(t, "before those who came later", testkit.ErrDial)
		if errors.Is(late.Err, pool.ErrUnavailable) {
			t.Errorf("Get returned %v, want %v alone", late.Err, testkit.ErrDial)
		}
		if asked, _ := b.Since(); len(asked) != words.KeepsFailing+1 {
			t.Errorf("the next two were told after %d attempts since a return, want %d and one more", len(asked), words.KeepsFailing)
		}
		testkit.EndWithIdle(t, p, 1, l)
	})
}

func TestWithAConnectionOpenThoseWhoWaitAsLongAsTheyMayAreToldThatThePoolIsExhausted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testkit.NewBackend(time.Millisecond)
		p := testkit.Start(t, b.Factory(), pool.Config{MaxConnections: 10, MaxWaitTime: 3 * time.Second, FailFastAfter: -1})
		l := testkit.Borrow(t, p)
		b.Down.Store(true)
		b.Since()
		began := time.Now()
		r, late := testkit.Ask(t.Context(), p), testkit.Ask(t.Context(), p)
		testkit.Sleep(time.Second)
		r.Pending(t, "while another may put its connection back")
		testkit.GiveBack(t, p, l)
		l = r.Served(t, "after the Put")
		testkit.Sleep(2 * time.Second)
		late.Failed(t, "after MaxWaitTime", pool.ErrExhausted)
		if !errors.Is(late.Err, testkit.ErrDial) {
			t.Errorf("the error is %q, want %v in it", late.Err, testkit.ErrDial)
		}
		// Attempts went on meanwhile, and were not hurried by those who waited.
		asked, most := b.Since()
		if n := len(asked); most != 1 || n < words.KeepsFailing+6 || n > words.KeepsFailing+20 {
			t.Errorf("Open was called %d times in %v, %d at the same time, want one at a time with pauses", n, time.Since(began), most)
		}
		b.Down.Store(false)
		other := testkit.Ask(t.Context(), p)
		testkit.Sleep(words.BackoffMost + b.Takes)
		testkit.EndWithIdle(t, p, 2, l, other.Served(t, "when the server is back"))
	})
}

// It recovers by itself: full service within a second of the server's return, and until
// then not one attempt more than the backoff allows. Callers fail soon, but none fails if the
// server is back, and the next backoff over, within FailFastAfter.
func TestServiceIsFullWithinASecondOfTheServersReturn(t *testing.T) {
	for _, failFastAfter := range []time.Duration{testkit.AtOnce, 0} {
		for _, outage := range []time.Duration{50 * time.Millisecond, 400 * time.Millisecond, 5 * time.Second, time.Minute} {
			testkit.Bubble(t, fmt.Sprintf("%v, FailFastAfter=%v", outage, failFastAfter), func(t *testing.T) {
				testServiceIsFull(t, outage, failFastAfter)
			})
		}
	}
}

func testServiceIsFull(t *testing.T, outage, failFastAfter time.Duration) {
	const takes = 10 * time.Millisecond
	b := testkit.NewBackend(takes)
	f := b.Factory()
	var gone atomic.Int64 // connections up to this number are dead
	p := testkit.Start(t, f, pool.Config{MaxConnections: 40, FailFastAfter: failFastAfter})
	soon := takes*words.KeepsFailing + words.BackoffMost
	if failFastAfter == 0 {
		soon += time.Second
	}
	stopped := make(chan struct{})
	var mu sync.Mutex
	served := map[int]time.Time{} // when each caller was first served after the return
	failed := map[int]int{}       // requests by number of the connection
	var back time.Time
	var wg sync.WaitGroup
	for caller := range 80 {
		wg.Go(func() {
			for {
				select {
				case <-stopped:
					return
				default:
				}
				began := time.Now()
				l, err := p.Get(t.Context())
				if err != nil {
					if took := time.Since(began); !errors.Is(err, testkit.ErrDial) || took > soon {
						t.Errorf("Get returned %v after %v, want %v within %v", err, took, testkit.ErrDial, soon)
					}
					if failFastAfter == 0 && outage+words.BackoffMost < time.Second {
						t.Errorf("Get returned %v in an outage of %v", err, outage)
					}
					time.Sleep(100 * time.Millisecond)
					continue
				}
				time.Sleep(2 * time.Millisecond)
				mu.Lock()
				dead := int64(l.Value().Number) <= gone.Load()
				if dead {
					failed[l.Value().Number]++
				} else if _, ok := served[caller]; !ok && !back.IsZero() {
					served[caller] = time.Now()
				}
				mu.Unlock()
				if dead {
					_ = p.Discard(l, testkit.ErrCause)
				} else {
					testkit.GiveBack(t, p, l)
				}
			}
		})
	}
	testkit.Sleep(time.Second / 4)
	open := p.Stats().Opened
	b.Since()
	b.Down.Store(true) // the server dies, and all connections with it
	gone.Store(int64(len(b.Opened())))
	testkit.Sleep(outage)
	asked, _ := b.Since()
	if got, want := len(asked), core.ColdStart+int(open)+8+int(outage/(words.BackoffMost/2)); got > want {
		t.Errorf("Open was called %d times in the outage, want %d at the most", got, want)
	}
	mu.Lock()
	b.Down.Store(false)
	back = time.Now()
	mu.Unlock()
	testkit.Sleep(2 * time.Second)
	close(stopped)
	wg.Wait()
	for caller := range 80 {
		if at, ok := served[caller]; !ok || at.Sub(back) > time.Second {
			t.Errorf("caller %d was served %v after the return, %v; want within a second", caller, at.Sub(back), ok)
		}
	}
	for number, times := range failed {
		if times != 1 {
			t.Errorf("%d requests failed on connection %d, want one", times, number)
		}
	}
	synctest.Wait()
	testkit.AtRest(t, p, 0)
}

// Nobody asks, and yet the pool is warm again soon after the server's return; and it does
// not hammer meanwhile.
func TestMinIdleIsRestoredAfterAnOutageThoughNobodyAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testkit.NewBackend(time.Millisecond)
		b.Down.Store(true)
		p := testkit.Start(t, b.Factory(), pool.Config{MaxConnections: 20, MinIdle: 10})
		testkit.Sleep(time.Second - 1)
		if asked, _ := b.Since(); len(asked) != 10 {
			t.Errorf("Open was called %d times in the first second, want 10", len(asked))
		}
		testkit.Sleep(10 * time.Minute)
		if asked, most := b.Since(); len(asked) < 500 || len(asked) > 660 || most != 1 {
			t.Errorf("Open was called %d times in ten minutes, %d at the same time, want once a second", len(asked), most)
		}
		b.Down.Store(false)
		testkit.Sleep(2*core.MaxTick + time.Second)
		if got := p.Stats(); got.IdleConnections != 10 || got.Unavailable != 0 {
			t.Errorf("%d connections are idle after the return, want 10", got.IdleConnections)
		}
	})
}

// An attempt that began before the outage was known, or in an earlier state of it, says
// nothing new when it fails.
func TestAttemptsThatFailTogetherAreOneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testkit.NewBackend(testkit.OpenTime)
		b.Down.Store(true)
		p := testkit.Start(t, b.Factory(), pool.Config{MaxConnections: 12, OpenEagerly: true})
		for round := range 2 {
			var asked []*testkit.Request[*testkit.Wire]
			for range 12 {
				asked = append(asked, testkit.Ask(t.Context(), p))
			}
			if _, most := b.Since(); round == 0 && most != 12 || round == 1 && most != 1 {
				t.Errorf("round %d: %d attempts at the same time, want all at first, one then", round, most)
			}
			testkit.Sleep(testkit.OpenTime)
			b.Since()
			if got := testkit.Inside(p).Outage().Failures; got != round+1 {
				t.Errorf("round %d counts as %d failures, want one more", round, got)
			}
			testkit.Sleep(20 * testkit.OpenTime)
			for _, r := range asked {
				r.Failed(t, "in time", testkit.ErrDial)
			}
			b.Since()
			testkit.Inside(p).SetOutage(words.Outage{}.Worse(testkit.Inside(p).Now(), 0, false)) // as after one
		}
	})
}

func TestMaxBackoffIsTheLongestPauseBetweenAttempts(t *testing.T) {
	for _, most := range []time.Duration{10 * time.Millisecond, 0, time.Minute} {
		testkit.Bubble(t, most.String(), func(t *testing.T) {
			var last time.Time
			var longest time.Duration
			x := testkit.Exchange{Open: func(context.Context, int) error {
				if !last.IsZero() {
					longest = max(longest, time.Since(last))
				}
				last = time.Now()
				return testkit.ErrDial
			}}
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 3, MaxBackoff: most})
			for range 3600 {
				_, _ = p.Get(t.Context())
				testkit.Sleep(100 * time.Millisecond)
			}
			want := most
			if want == 0 {
				want = words.BackoffMost
			}
			// Who asks comes every 100 ms.
			if longest < want/2 || longest > want+100*time.Millisecond {
				t.Errorf("the longest pause was %v, want %v less up to half, and 100 ms", longest, want)
			}
		})
	}
}
