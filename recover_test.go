package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/atomic"
)

// A backend is a server that may be down, and notes when it is asked for a connection.
type backend struct {
	exchange
	down  atomic.Bool
	takes time.Duration // what its answer takes, a refusal too

	noted sync.Mutex
	asked []time.Time
	under int // attempts under way
	most  int // at the same time, since the last call of since
}

func newBackend(takes time.Duration) *backend {
	b := &backend{takes: takes}
	b.open = func(context.Context, int) error {
		b.noted.Lock()
		b.asked = append(b.asked, time.Now())
		b.under++
		b.most = max(b.most, b.under)
		b.noted.Unlock()
		time.Sleep(b.takes)
		b.noted.Lock()
		b.under--
		b.noted.Unlock()
		if b.down.Load() {
			return errDial
		}
		return nil
	}
	return b
}

// since returns when it was asked, and how many were at the same time, since the last
// call.
func (b *backend) since() (asked []time.Time, most int) {
	b.noted.Lock()
	defer b.noted.Unlock()
	asked, most = b.asked, b.most
	b.asked, b.most = nil, b.under
	return asked, most
}

// failing returns a pool whose server is down, which it knows by now.
func failing(t *testing.T, b *backend, c Config) *Pool[*wire] {
	t.Helper()
	b.down.Store(true)
	p := start(t, b.factory(), c)
	for range keepsFailing {
		if _, err := p.Get(t.Context()); !errors.Is(err, errDial) {
			t.Fatalf("Get returned %v, want %v", err, errDial)
		}
	}
	synctest.Wait()
	b.since()
	return p
}

// pgx#1780, pgbouncer#585, #478: a dead backend is hammered, and callers wait out their
// whole timeout. bb8#147: a wrong password shows as a timeout.
func TestGetFailsAtOnceWithTheCauseWhileOpeningKeepsFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rejected []error
		b := newBackend(time.Millisecond)
		b.down.Store(true)
		p := start(t, b.factory(), Config{MaxConnections: 5, Hooks: Hooks{
			Rejected: func(err error) { rejected = append(rejected, err) },
		}})
		for i := range keepsFailing {
			_, err := p.Get(t.Context())
			last := i == keepsFailing-1
			if !errors.Is(err, errDial) || errors.Is(err, ErrUnavailable) != last {
				t.Errorf("call %d returned %v, want %v, and that it keeps failing: %v", i+1, err, errDial, last)
			}
		}
		if len(rejected) != 0 {
			t.Errorf("calls that tried were reported as rejected: %v", rejected)
		}
		for range 10 {
			r := ask(t.Context(), p)
			r.failed(t, "in the pause", ErrUnavailable)
			if !errors.Is(r.err, errDial) || r.err.Error() != "pool: opening connections keeps failing: wrong password" {
				t.Errorf("the error is %q, want %v in it", r.err, errDial)
			}
			if r.took != 0 {
				t.Errorf("Get took %v, want none", r.took)
			}
		}
		if got := b.tried(); got != keepsFailing {
			t.Errorf("Open was called %d times, want %d", got, keepsFailing)
		}
		s := p.Stats()
		if s.Unavailable != 11 || s.OpenErrors != keepsFailing || s.LastOpenError == nil || len(rejected) != 10 || !errors.Is(rejected[0], ErrUnavailable) {
			t.Errorf("%d unavailable, %d open errors, the last %v, %d reported as rejected, want 11, %d, %v, 10",
				s.Unavailable, s.OpenErrors, s.LastOpenError, len(rejected), keepsFailing, errDial)
		}
		atRest(t, p, 0)
	})
}

// Jitter: those who lost their server at the same time do not come back to it at the same
// time.
func TestThePauseBetweenAttemptsDoublesUpToHalfASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(time.Millisecond)
		p := failing(t, b, Config{MaxConnections: 5})
		began := time.Now()
		for time.Since(began) < time.Minute {
			if _, err := p.Get(t.Context()); !errors.Is(err, ErrUnavailable) || !errors.Is(err, errDial) {
				t.Fatalf("Get returned %v, want ErrUnavailable and %v", err, errDial)
			}
			time.Sleep(time.Millisecond)
		}
		asked, most := b.since()
		if most != 1 {
			t.Errorf("%d attempts were made at the same time, want one", most)
		}
		var short, long int // of the pauses that have reached the limit
		last := began
		for i, at := range asked {
			pause, whole := at.Sub(last), min(backoffLeast<<min(i, 10), backoffMost)
			if pause < whole/2 || pause > whole+3*time.Millisecond {
				t.Errorf("pause %d is %v, want %v to %v", i+1, pause, whole/2, whole)
			}
			if whole == backoffMost && pause < backoffMost*5/8 {
				short++
			} else if whole == backoffMost && pause > backoffMost*7/8 {
				long++
			}
			last = at.Add(b.takes)
		}
		if len(asked) < 120 || len(asked) > 250 {
			t.Errorf("Open was called %d times in a minute, want once in 250 to 500 ms", len(asked))
		}
		if short < 10 || long < 10 {
			t.Errorf("of %d pauses %d are short and %d are long, want them spread", len(asked), short, long)
		}
	})
}

// All who come at once are told within the time of four attempts, and the server has been
// asked once for each of the first 16, and by one at a time then.
func TestAHundredCallersOfADeadServerAreAnsweredByFewAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(openTime)
		b.down.Store(true)
		p := start(t, b.factory(), Config{MaxConnections: 100, MaxWaitTime: time.Hour})
		var asked []*request[*wire]
		for range 100 {
			asked = append(asked, ask(t.Context(), p))
		}
		time.Sleep(openTime)
		synctest.Wait()
		if got := outage(p.outage.Load()).failures(); got != 1 {
			t.Errorf("%d attempts at the same time count as %d failures, want one", coldStart, got)
		}
		time.Sleep(3 * openTime)
		for _, r := range asked {
			r.failed(t, "after the fourth attempt", errDial)
		}
		if got := b.tried(); got > coldStart+3 {
			t.Errorf("Open was called %d times, want %d at the most", got, coldStart+3)
		}
		time.Sleep(time.Hour)
		if got := b.tried(); got > coldStart+3 {
			t.Errorf("Open was called %d times when all had been told: nobody wants to know", got)
		}
		atRest(t, p, 0)
	})
}

func TestOneProbeAtATimeAndNobodyWaitsForThatOfAnother(t *testing.T) {
	for _, up := range []bool{true, false} {
		bubble(t, fmt.Sprint("up=", up), func(t *testing.T) {
			b := newBackend(openTime)
			p := failing(t, b, Config{MaxConnections: 5})
			time.Sleep(backoffMost)
			b.down.Store(!up)
			probe := ask(t.Context(), p)
			probe.pending(t, "while it tries")
			for range 5 {
				ask(t.Context(), p).failed(t, "while another tries", ErrUnavailable)
			}
			time.Sleep(openTime)
			if asked, most := b.since(); len(asked) != 1 || most != 1 {
				t.Errorf("Open was called %d times, %d at the same time, want once", len(asked), most)
			}
			if !up {
				probe.failed(t, "after its try", ErrUnavailable)
				ask(t.Context(), p).failed(t, "after that", ErrUnavailable)
				if asked, _ := b.since(); len(asked) != 0 {
					t.Errorf("Open was called %d times in the pause", len(asked))
				}
				return
			}
			got := []Lease[*wire]{probe.served(t, "after its try")}
			if p.outage.Load() != 0 || p.Stats().LastOpenError != nil {
				t.Errorf("after a success the pool is still in an outage: %v", p.Stats().LastOpenError)
			}
			var asked []*request[*wire]
			for range 4 { // one of them at a time only because there is one connection
				asked = append(asked, ask(t.Context(), p))
			}
			time.Sleep(3 * openTime)
			for _, r := range asked {
				got = append(got, r.served(t, "when the server is back"))
			}
			endWithIdle(t, p, 5, got...)
		})
	}
}

// endWithIdle puts the leases back and checks that the pool is at rest, with n idle.
func endWithIdle(t *testing.T, p *Pool[*wire], n int, leases ...Lease[*wire]) {
	t.Helper()
	for _, l := range leases {
		giveBack(t, p, l)
	}
	synctest.Wait()
	atRest(t, p, 0)
	if got := p.Stats().IdleConnections; got != n {
		t.Errorf("%d connections are idle at the end, want %d", got, n)
	}
}

// Those who waited already when the fourth attempt failed are told as well, whoever made
// it.
func TestAFailedProbeTellsAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(openTime)
		p := start(t, b.factory(), Config{MaxConnections: 2, MaxWaitTime: time.Hour})
		l := borrow(t, p)
		b.down.Store(true)
		var asked []*request[*wire]
		for range 20 {
			asked = append(asked, ask(t.Context(), p))
		}
		time.Sleep(10 * time.Second)
		waiting := 0
		for _, r := range asked {
			if !r.returned() {
				waiting++
			}
		}
		if waiting < 10 {
			t.Fatalf("%d wait while a connection is open that may come back to them, want most", waiting)
		}
		if err := p.Discard(l, errCause); err != nil { // now there is nothing to wait for
			t.Fatal(err)
		}
		time.Sleep(backoffMost + openTime)
		for _, r := range asked {
			r.failed(t, "when no connection is open any more", errDial)
		}
		atRest(t, p, 0)
	})
}

// What is open is worth waiting for, though nothing can be opened.
func TestWithAConnectionOpenNobodyIsToldThatThereIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(time.Millisecond)
		p := start(t, b.factory(), Config{MaxConnections: 10, MaxWaitTime: 3 * time.Second})
		l := borrow(t, p)
		b.down.Store(true)
		for range keepsFailing { // each is told how its own attempt ended
			if _, err := p.Get(t.Context()); !errors.Is(err, errDial) || errors.Is(err, ErrUnavailable) {
				t.Errorf("Get returned %v, want %v alone", err, errDial)
			}
		}
		b.since()
		began := time.Now()
		r, late := ask(t.Context(), p), ask(t.Context(), p)
		time.Sleep(time.Second)
		r.pending(t, "while another may put its connection back")
		giveBack(t, p, l)
		l = r.served(t, "after the Put")
		time.Sleep(2 * time.Second)
		late.failed(t, "after MaxWaitTime", ErrExhausted)
		if !errors.Is(late.err, errDial) {
			t.Errorf("the error is %q, want %v in it", late.err, errDial)
		}
		// Attempts went on meanwhile, and were not hurried by those who waited.
		asked, most := b.since()
		if n := len(asked); most != 1 || n < 6 || n > 20 {
			t.Errorf("Open was called %d times in %v, %d at the same time, want one at a time with pauses", n, time.Since(began), most)
		}
		b.down.Store(false)
		other := ask(t.Context(), p)
		time.Sleep(backoffMost + b.takes)
		endWithIdle(t, p, 2, l, other.served(t, "when the server is back"))
	})
}

// Recovers by itself: full service within a second of the server's return, and until then
// not one attempt more than the pauses allow.
func TestServiceIsFullWithinASecondOfTheServersReturn(t *testing.T) {
	for _, outage := range []time.Duration{50 * time.Millisecond, 5 * time.Second, time.Minute} {
		bubble(t, outage.String(), func(t *testing.T) {
			b := newBackend(10 * time.Millisecond)
			f := b.factory()
			var gone atomic.Int64 // connections up to this number are dead
			p := start(t, f, Config{MaxConnections: 40})
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
							if took := time.Since(began); !errors.Is(err, errDial) || took > time.Second {
								t.Errorf("Get returned %v after %v, want %v, soon", err, took, errDial)
							}
							time.Sleep(100 * time.Millisecond)
							continue
						}
						time.Sleep(2 * time.Millisecond)
						mu.Lock()
						dead := int64(l.Value().number) <= gone.Load()
						if dead {
							failed[l.Value().number]++
						} else if _, ok := served[caller]; !ok && !back.IsZero() {
							served[caller] = time.Now()
						}
						mu.Unlock()
						if dead {
							_ = p.Discard(l, errCause)
						} else {
							giveBack(t, p, l)
						}
					}
				})
			}
			time.Sleep(time.Second / 4)
			open := p.Stats().Opened
			b.since()
			b.down.Store(true) // the server dies, and all connections with it
			gone.Store(int64(len(b.opened())))
			time.Sleep(outage)
			asked, _ := b.since()
			if got, want := len(asked), coldStart+int(open)+8+int(outage/(backoffMost/2)); got > want {
				t.Errorf("Open was called %d times in the outage, want %d at the most", got, want)
			}
			mu.Lock()
			b.down.Store(false)
			back = time.Now()
			mu.Unlock()
			time.Sleep(2 * time.Second)
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
			atRest(t, p, 0)
		})
	}
}

// Nobody asks, and yet the pool is warm again soon after the server's return; and it does
// not hammer meanwhile.
func TestMinIdleIsRestoredAfterAnOutageThoughNobodyAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(time.Millisecond)
		b.down.Store(true)
		p := start(t, b.factory(), Config{MaxConnections: 20, MinIdle: 10})
		time.Sleep(time.Second - 1)
		if asked, _ := b.since(); len(asked) != 10 {
			t.Errorf("Open was called %d times in the first second, want 10", len(asked))
		}
		time.Sleep(10 * time.Minute)
		if asked, most := b.since(); len(asked) < 500 || len(asked) > 660 || most != 1 {
			t.Errorf("Open was called %d times in ten minutes, %d at the same time, want once a second", len(asked), most)
		}
		b.down.Store(false)
		time.Sleep(2*maxTick + time.Second)
		synctest.Wait()
		if got := p.Stats(); got.IdleConnections != 10 || got.Unavailable != 0 {
			t.Errorf("%d connections are idle after the return, want 10", got.IdleConnections)
		}
	})
}

// An attempt that began before the outage was known, or in an earlier state of it, says
// nothing new when it fails.
func TestAttemptsThatFailTogetherAreOneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(openTime)
		b.down.Store(true)
		p := start(t, b.factory(), Config{MaxConnections: 12, OpenEagerly: true})
		for round := range 2 {
			var asked []*request[*wire]
			for range 12 {
				asked = append(asked, ask(t.Context(), p))
			}
			if _, most := b.since(); round == 0 && most != 12 || round == 1 && most != 1 {
				t.Errorf("round %d: %d attempts at the same time, want all at first, one then", round, most)
			}
			time.Sleep(openTime)
			synctest.Wait()
			b.since()
			if got := outage(p.outage.Load()).failures(); got != round+1 {
				t.Errorf("round %d counts as %d failures, want one more", round, got)
			}
			time.Sleep(20 * openTime)
			for _, r := range asked {
				r.failed(t, "in time", errDial)
			}
			b.since()
			p.outage.Store(uint64(outage(0).worse(time.Duration(p.now())))) // as after one
		}
	})
}

func TestTheWordOfAnOutageHoldsNumbersAndTimesForLong(t *testing.T) {
	var o outage
	for i := range 1000 {
		now := time.Duration(i) * 30 * day // 82 years
		o = o.worse(now)
		if got, want := o.failures(), min(i+1, 255); got != want {
			t.Fatalf("after %d failures it counts %d, want %d", i+1, got, want)
		}
		if got := o.failedAt(); got != now {
			t.Fatalf("it says %v, want %v", got, now)
		}
		pause := o.retryAt() - now
		if i+1 < keepsFailing {
			if o.retryAt() != 0 {
				t.Errorf("after %d failures there is a pause of %v", i+1, pause)
			}
		} else if pause <= 0 || pause > backoffMost {
			t.Errorf("after %d failures there is a pause of %v", i+1, pause)
		}
	}
}
