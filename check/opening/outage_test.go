package opening

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
	"go.uber.org/atomic"
)

// callers ask again and again until stop is closed, each holding what it gets for a while.
// Do's error counts as a failure; the number of failures and of successes is returned by
// the function, which waits for them.
func callers(p *pool.Pool[*testkit.Wire], n int, use func(*testkit.Wire) error) (stop func() (failed, served int)) {
	var group sync.WaitGroup
	var bad, good atomic.Int64
	end := make(chan struct{})
	for range n {
		group.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				err := p.Do(context.Background(), func(_ context.Context, w *testkit.Wire) error { return use(w) })
				if err != nil {
					bad.Inc()
				} else {
					good.Inc()
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	return func() (int, int) {
		close(end)
		group.Wait()
		return int(bad.Load()), int(good.Load())
	}
}

// A restart of 300 ms failed 658 calls within a millisecond each that would have waited
// for 5 s.
func TestARestartOf300MillisecondsFailsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testkit.NewBackend(time.Millisecond)
		f := b.Factory()
		var dead atomic.Int64 // connections up to this number
		f.Check = func(w *testkit.Wire) error {
			if int64(w.Number) <= dead.Load() {
				return io.EOF
			}
			return nil
		}
		p := testkit.Start(t, f, pool.Config{MaxConnections: 10})
		stop := callers(p, 20, func(*testkit.Wire) error { time.Sleep(2 * time.Millisecond); return nil })
		testkit.Sleep(time.Second)
		b.Down.Store(true)
		dead.Store(int64(p.Stats().Opened))
		testkit.Sleep(300 * time.Millisecond)
		tried, _ := b.Since()
		b.Down.Store(false)
		testkit.Sleep(time.Second)
		failed, served := stop()
		if failed != 0 || served < 1000 {
			t.Errorf("%d calls failed, and %d were served, want none and thousands", failed, served)
		}
		if len(tried) > 40 {
			t.Errorf("the server was asked %d times, the ten at the beginning included", len(tried))
		}
	})
}

func TestAnOutageIsWaitedOutUntilFailFastAfter(t *testing.T) {
	for _, after := range []time.Duration{0, 3 * time.Second, -1} {
		testkit.Bubble(t, after.String(), func(t *testing.T) {
			b := testkit.NewBackend(time.Millisecond)
			p := testkit.Start(t, b.Factory(), pool.Config{MaxConnections: 3, MaxWaitTime: 30 * time.Second, FailFastAfter: after})
			_ = p.Discard(testkit.Borrow(t, p), nil)
			b.Down.Store(true)
			first := testkit.Ask(t.Context(), p)
			want := after
			if after == 0 {
				want = time.Second
			}
			if after < 0 {
				testkit.Sleep(30*time.Second - time.Nanosecond)
				first.Pending(t, "before MaxWaitTime")
				testkit.Sleep(2 * time.Nanosecond)
				first.Failed(t, "after MaxWaitTime", pool.ErrUnavailable)
				if errors.Is(first.Err, pool.ErrExhausted) || p.Stats().Timeouts != 0 {
					t.Errorf("a pool with nothing open is exhausted: %v", first.Err)
				}
				return
			}
			testkit.Sleep(want)
			first.Pending(t, "until FailFastAfter")
			// The next attempt that fails, or the end of the time if there is a pause then.
			testkit.Sleep(words.BackoffMost + 2*b.Takes)
			first.Failed(t, "after FailFastAfter", pool.ErrUnavailable)
			if !errors.Is(first.Err, testkit.ErrDial) {
				t.Errorf("the error is %v, want its cause in it", first.Err)
			}
			began := time.Now()
			if _, err := p.Get(t.Context()); !errors.Is(err, pool.ErrUnavailable) || time.Since(began) > words.BackoffMost {
				t.Errorf("later on Get returned %v after %v, want ErrUnavailable at once", err, time.Since(began))
			}
		})
	}
}

func TestWhenAnOutageIsOverThoseWhoWaitedAreServedFirstAndInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testkit.NewBackend(time.Millisecond)
		p := testkit.Start(t, b.Factory(), pool.Config{MaxConnections: 1, FailFastAfter: 2 * time.Second})
		_ = p.Discard(testkit.Borrow(t, p), nil)
		b.Down.Store(true)
		var asked []*testkit.Request[*testkit.Wire]
		for range 5 {
			asked = append(asked, testkit.Ask(t.Context(), p))
		}
		testkit.Sleep(900 * time.Millisecond)
		b.Down.Store(false)
		testkit.Sleep(words.BackoffMost + b.Takes)
		late := testkit.Ask(t.Context(), p)
		for i, r := range asked {
			l := r.Served(t, fmt.Sprint("in its turn: ", i))
			for _, next := range asked[i+1:] {
				next.Pending(t, "before its turn")
			}
			late.Pending(t, "behind all of them")
			testkit.GiveBack(t, p, l)
			synctest.Wait()
		}
		testkit.EndWithIdle(t, p, 1, late.Served(t, "at the end"))
	})
}

// A server that accepts and then closes (bad token, try again later) was dialed 11,884
// times in 3 s: each success ended the outage.
func TestAServerThatAcceptsAndClosesIsBackedOffFrom(t *testing.T) {
	discards := map[string]error{
		"EOF": io.EOF, "reset": fmt.Errorf("read: %w", syscall.ECONNRESET), "broken pipe": syscall.EPIPE,
		"marked": pool.PeerClosed(errors.New("status 1013")), "marked, with a pause": pool.RetryAfter(io.EOF, 10*time.Second),
	}
	ways := []string{"Watch"}
	for name := range discards {
		ways = append(ways, name)
	}
	for _, way := range ways {
		testkit.Bubble(t, way, func(t *testing.T) {
			b := testkit.NewBackend(time.Millisecond)
			f := b.Factory()
			use := func(*testkit.Wire) error { time.Sleep(time.Millisecond); return discards[way] }
			if way == "Watch" {
				f.Watch = func(_ *testkit.Wire, broken func(error)) {
					time.AfterFunc(time.Millisecond/2, func() { broken(io.EOF) })
				}
				use = func(*testkit.Wire) error { time.Sleep(time.Millisecond); return errors.New("what it says") }
			}
			p := testkit.Start(t, f, pool.Config{MaxConnections: 10, MaxWaitTime: time.Second})
			stop := callers(p, 20, use)
			testkit.Sleep(4 * time.Second)
			tried := b.Tried()
			stop()
			limit := 150
			if way == "marked, with a pause" {
				limit = 10 // all that were opened at first
			}
			if tried > limit {
				t.Errorf("the server was dialed %d times in 4 s, want %d at the most", tried, limit)
			}
			if p.Stats().LastOpenError == nil {
				t.Error("Stats does not tell why")
			}
		})
	}
}

// A connection that is revoked on probation ends under the hands of its holder, of Watch and of
// Check or Clean. None of them says that the server has ended it.
func TestARevokedConnectionIsNoFailedOpen(t *testing.T) {
	for _, way := range []string{"leased", "in Check", "in Clean"} {
		testkit.Bubble(t, way, func(t *testing.T) {
			b := testkit.NewBackend(time.Millisecond)
			f := b.Factory()
			hang, release := testkit.Obstacle(t)
			asked := func(*testkit.Wire) error { <-hang; return io.EOF }
			switch way {
			case "in Check":
				f.Check = asked
			case "in Clean":
				f.Clean = asked
			}
			report := make(chan func(error), 1)
			f.Watch = func(_ *testkit.Wire, broken func(error)) { report <- broken }
			p := testkit.Start(t, f, pool.Config{MaxConnections: 1, CheckInterval: -1, MaxIdleTime: -1})
			l := testkit.Borrow(t, p)
			put := make(chan error, 1)
			switch way {
			case "in Check":
				testkit.GiveBack(t, p, l)
				go p.TryGet()
			case "in Clean":
				go func() { put <- p.Put(l) }()
			}
			synctest.Wait()
			if infos := p.Leases(); len(infos) != 1 || !p.Revoke(infos[0]) {
				t.Fatalf("Revoke has ended none of %v", infos)
			}
			(<-report)(io.EOF)
			release()
			synctest.Wait()
			switch way {
			case "leased":
				if err := p.Discard(l, io.EOF); err != nil {
					t.Error(err)
				}
			case "in Clean":
				if err := <-put; err != nil {
					t.Error(err)
				}
			}
			if got := testkit.Inside(p).Outage().Failures; got != 0 {
				t.Errorf("it counts as %d failures, want none", got)
			}
			if got := p.Stats().ClosedRevoke; got != 1 {
				t.Errorf("%d connections were closed as revoked, want 1", got)
			}
		})
	}
}

// A server at its limit keeps what is open. That says nothing of new ones.
func TestConnectionsOpenedBeforeAnOutageDoNotEndIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testkit.NewBackend(time.Millisecond)
		p := testkit.Start(t, b.Factory(), pool.Config{MaxConnections: 10})
		l := testkit.Borrow(t, p)
		b.Down.Store(true)
		b.Since()
		waiting := make([]*testkit.Request[*testkit.Wire], 0, 20)
		for range 20 {
			waiting = append(waiting, testkit.Ask(t.Context(), p))
		}
		for _, r := range waiting { // each lease ends clean
			testkit.Sleep(100 * time.Millisecond)
			testkit.GiveBack(t, p, l)
			l = r.Served(t, "by the one that is open")
		}
		tried, most := b.Since()
		if len(tried) > 16 || most > 1 {
			t.Errorf("a server at its limit was asked %d times in 2 s, %d at a time, want one at a time with pauses", len(tried), most)
		}
		if got := testkit.Inside(p).Outage().Failures; got < words.KeepsFailing {
			t.Errorf("%d failures are known, want that the outage goes on", got)
		}
		testkit.EndWithIdle(t, p, 1, l)
	})
}

func TestWhatCallersBreakByTheirCtxIsNoFailureOfTheServer(t *testing.T) {
	ended := map[string]error{
		"canceled":           fmt.Errorf("read: %w, %w", context.Canceled, io.EOF),
		"deadline":           context.DeadlineExceeded,
		"nothing":            nil,
		"of its own account": errors.New("unexpected reply"),
	}
	for name, cause := range ended {
		testkit.Bubble(t, name, func(t *testing.T) {
			b := testkit.NewBackend(time.Millisecond)
			f := b.Factory()
			var broken []func(error)
			f.Watch = func(_ *testkit.Wire, b func(error)) { broken = append(broken, b) }
			p := testkit.Start(t, f, pool.Config{MaxConnections: 4})
			for i := range 20 {
				l := testkit.Borrow(t, p)
				if i%2 == 1 && cause != nil && errors.Is(cause, context.Canceled) {
					broken[len(broken)-1](cause) // closed by the ctx of the call
				}
				if err := p.Discard(l, cause); err != nil {
					t.Fatal(err)
				}
				if got := testkit.Inside(p).Outage().Failures; got != 0 {
					t.Fatalf("Discard with %v counts as a failed open", cause)
				}
			}
		})
	}
}

// Nobody waits, and nobody puts anything back.
func TestMinIdleAndWarmAloneEndAnOutage(t *testing.T) {
	for _, way := range []string{"MinIdle", "Warm"} {
		testkit.Bubble(t, way, func(t *testing.T) {
			b := testkit.NewBackend(time.Millisecond)
			c := pool.Config{MaxConnections: 10, MaxIdleTime: -1, CheckInterval: -1}
			if way == "MinIdle" {
				c.MinIdle = 4
			}
			b.Down.Store(true)
			p := testkit.Start(t, b.Factory(), c)
			testkit.Sleep(10 * time.Second)
			if way == "Warm" {
				for range 6 {
					if err := p.Warm(t.Context(), 4); !errors.Is(err, testkit.ErrDial) {
						t.Errorf("Warm returned %v, want %v", err, testkit.ErrDial)
					}
				}
			}
			synctest.Wait()
			if got := testkit.Inside(p).Outage().Failures; got < words.KeepsFailing {
				t.Fatalf("%d failures are known, want an outage", got)
			}
			b.Down.Store(false)
			if way == "Warm" {
				testkit.Warm(t.Context(), p, 4)
			}
			testkit.Sleep(5 * time.Second)
			s := p.Stats()
			if got := testkit.Inside(p).Outage().Failures; got != 0 || s.LastOpenError != nil || s.IdleConnections != 4 {
				t.Errorf("5 s later %d failures are known, the last is %v, %d are idle, want 0, nil, 4", got, s.LastOpenError, s.IdleConnections)
			}
		})
	}
}

func TestWarmWaitsForThePauseAndDoesNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testkit.NewBackend(time.Millisecond)
		p := testkit.Failing(t, b, pool.Config{MaxConnections: 4})
		w := testkit.Warm(t.Context(), p, 2)
		w.Pending(t, "in the pause")
		b.Down.Store(false)
		testkit.Sleep(words.BackoffMost + 10*b.Takes)
		w.Is(t, "after the pause", nil)
		if tried, most := b.Since(); len(tried) != 2 || most != 1 {
			t.Errorf("%d attempts, %d at a time, want two, one at a time", len(tried), most)
		}
	})
}

func TestOfSeveralConnectionsThatEndAtTheSameTimeOneCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testkit.NewBackend(time.Millisecond)
		p := testkit.Start(t, b.Factory(), pool.Config{MaxConnections: 16})
		leases := make([]pool.Lease[*testkit.Wire], 0, 16)
		for range 16 {
			leases = append(leases, testkit.Borrow(t, p))
		}
		for _, l := range leases {
			_ = p.Discard(l, io.EOF)
		}
		if got := testkit.Inside(p).Outage().Failures; got != 1 {
			t.Errorf("16 connections that ended at the same time count as %d failures, want one", got)
		}
	})
}

// What has proven itself may end in whatever way.
func TestAConnectionThatHasLeftProbationIsNoFailedOpen(t *testing.T) {
	for _, way := range []string{"a lease", "a second", "PutUnused"} {
		testkit.Bubble(t, way, func(t *testing.T) {
			b := testkit.NewBackend(time.Millisecond)
			p := testkit.Start(t, b.Factory(), pool.Config{MaxConnections: 1})
			l := testkit.Borrow(t, p)
			switch way {
			case "a lease":
				testkit.GiveBack(t, p, l)
				l = testkit.Borrow(t, p)
			case "a second":
				testkit.Sleep(core.Probation)
			case "PutUnused": // says nothing
				if err := p.PutUnused(l); err != nil {
					t.Fatal(err)
				}
				l = testkit.Borrow(t, p)
			}
			_ = p.Discard(l, io.EOF)
			want := 0
			if way == "PutUnused" {
				want = 1
			}
			if got := testkit.Inside(p).Outage().Failures; got != want {
				t.Errorf("after %s it counts as %d failures, want %d", way, got, want)
			}
		})
	}
}

// A server's limit of 3 below a pool of 10 failed callers who were due a connection 5 ms
// later (PEERS.md: 12 of them, where HikariCP and psycopg_pool fail nobody).
func TestAServersLimitBelowThatOfThePoolFailsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var open atomic.Int64
		var refused atomic.Int64
		x := testkit.Exchange{
			Open: func(context.Context, int) error {
				if open.Inc() > 3 {
					open.Dec()
					refused.Inc()
					return testkit.ErrDial
				}
				return nil
			},
			Closing: func(*testkit.Wire, error) error { open.Dec(); return nil },
		}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 10, MaxWaitTime: time.Second})
		stop := callers(p, 20, func(*testkit.Wire) error { time.Sleep(5 * time.Millisecond); return nil })
		testkit.Sleep(4 * time.Second)
		failed, served := stop()
		if failed != 0 || served < 1000 {
			t.Errorf("%d calls failed, %d were served, want none and thousands", failed, served)
		}
		if got := refused.Load(); got > 40 {
			t.Errorf("the server refused %d times in 4 s, want pauses", got)
		}
	})
}

func TestACallerIsToldAfterFourFailuresInARowWithNothingComingBack(t *testing.T) {
	for _, back := range []bool{false, true} {
		testkit.Bubble(t, fmt.Sprint("something comes back: ", back), func(t *testing.T) {
			b := testkit.NewBackend(time.Millisecond)
			p := testkit.Start(t, b.Factory(), pool.Config{MaxConnections: 10, MaxWaitTime: -1})
			kept, moving := testkit.Borrow(t, p), testkit.Borrow(t, p)
			b.Down.Store(true)
			began := time.Now()
			if back {
				other := testkit.Ask(t.Context(), p) // somebody always waits, and something always comes
				waiter := testkit.Ask(t.Context(), p)
				for time.Since(began) < 10*time.Second {
					testkit.Sleep(200 * time.Millisecond)
					testkit.GiveBack(t, p, moving)
					moving = other.Served(t, "by what has come back")
					other, waiter = waiter, testkit.Ask(t.Context(), p)
					waiter.Pending(t, "while connections come back")
				}
				testkit.GiveBack(t, p, moving)
				testkit.GiveBack(t, p, other.Served(t, "at the end"))
				testkit.EndWithIdle(t, p, 2, kept, waiter.Served(t, "at the end"))
				return
			}
			r := testkit.Ask(t.Context(), p)
			testkit.Sleep(time.Second)
			r.Pending(t, "until FailFastAfter")
			testkit.Sleep(words.BackoffMost + b.Takes)
			r.Failed(t, "after the next failure", testkit.ErrDial)
			if errors.Is(r.Err, pool.ErrUnavailable) {
				t.Errorf("the error is %v, but two connections are open", r.Err)
			}
			var open *pool.OpenError
			if !errors.As(r.Err, &open) {
				t.Errorf("the error is %v, want an OpenError", r.Err)
			}
			testkit.EndWithIdle(t, p, 2, kept, moving)
		})
	}
}

// The cure for a server of which one backend in four is dead is not a pause.
func TestAServerOfWhichSomeAttemptsFailIsNotBackedOffFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testkit.NewBackend(5 * time.Millisecond)
		opens := b.Open
		b.Open = func(ctx context.Context, attempt int) error {
			_ = opens(ctx, attempt)
			if attempt%4 == 0 {
				return testkit.ErrDial
			}
			return nil
		}
		p := testkit.Start(t, b.Factory(), pool.Config{MaxConnections: 60, MaxWaitTime: time.Minute, FailFastAfter: -1})
		began := time.Now()
		var asked []*testkit.Request[*testkit.Wire]
		for range 60 {
			asked = append(asked, testkit.Ask(t.Context(), p))
		}
		var leases []pool.Lease[*testkit.Wire]
		for _, r := range asked {
			<-r.Done
			leases = append(leases, r.Served(t, "with a connection of its own"))
		}
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("60 long leases took %v, want that the time of 80 attempts is enough", took)
		}
		testkit.EndWithIdle(t, p, 60, leases...)
	})
}

// hanging is a server that swallows attempts to connect while it is down.
type hanging struct {
	under atomic.Int64 // first: a 32-bit processor wants them aligned
	most  atomic.Int64
	testkit.Exchange
	down atomic.Bool
	late time.Duration // what an attempt takes when it is well
	deaf bool          // Open does not return when its ctx ends
}

func newHanging(t *testing.T) *hanging {
	h := &hanging{late: time.Millisecond}
	never, _ := testkit.Obstacle(t)
	h.Open = func(ctx context.Context, _ int) error {
		n := h.under.Inc()
		defer h.under.Dec()
		for old := h.most.Load(); n > old && !h.most.CompareAndSwap(old, n); old = h.most.Load() {
		}
		if h.down.Load() {
			if h.deaf {
				<-never
				return testkit.ErrDial
			}
			select {
			case <-never:
			case <-ctx.Done():
			}
			return ctx.Err()
		}
		return testkit.Pause(ctx, h.late)
	}
	return h
}

// A load balancer that swallows SYNs: callers got "exhausted, 0 active of 10" for 15 s, and
// 20 attempts ran at the same time.
func TestServiceIsBackWithinASecondThoughAttemptsHang(t *testing.T) {
	for _, most := range []int{1, 2, 10} {
		for _, warm := range []bool{true, false} {
			for _, outage := range []time.Duration{500 * time.Millisecond, 3300 * time.Millisecond, 12 * time.Second, 47 * time.Second} {
				testkit.Bubble(t, fmt.Sprintf("%d connections, connected before=%v, %v", most, warm, outage), func(t *testing.T) {
					h := newHanging(t)
					p := testkit.Start(t, h.Factory(), pool.Config{MaxConnections: most})
					if warm {
						l := testkit.Borrow(t, p)
						defer func() { testkit.AtRest(t, p, 0) }()
						_ = p.Discard(l, nil)
					}
					h.down.Store(true)
					var back atomic.Bool
					var first time.Time
					stop := callers(p, 5, func(*testkit.Wire) error {
						if back.CompareAndSwap(false, true) {
							first = time.Now()
						}
						return nil
					})
					testkit.Sleep(1500 * time.Millisecond)
					h.most.Store(0)
					testkit.Sleep(max(outage-1500*time.Millisecond, 0))
					if got := h.most.Load(); got > core.MostHanging {
						t.Errorf("%d attempts ran at the same time, want %d at the most", got, core.MostHanging)
					}
					if outage < 1500*time.Millisecond {
						outage = 1500 * time.Millisecond
					}
					h.down.Store(false)
					began := time.Now()
					testkit.Sleep(2 * time.Second)
					stop()
					if took := first.Sub(began); !back.Load() || took > time.Second {
						t.Errorf("service is back after %v, want a second at the most", took)
					}
					synctest.Wait()
					testkit.Sleep(15 * time.Second) // what still hangs
				})
			}
		}
	}
}

// Warm leaves a server alone that answers nothing: no more attempts of it hang at the same time.
func TestAWarmHasNoMoreAttemptsThatHangThanCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHanging(t)
		p := testkit.Start(t, h.Factory(), pool.Config{OpenTimeout: time.Minute, MaxWaitTime: -1})
		_ = p.Discard(testkit.Borrow(t, p), nil)
		h.down.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		r := testkit.Ask(ctx, p)
		testkit.Sleep(3 * time.Second) // it is an outage by now
		cancel()
		r.Failed(t, "its ctx has ended", context.Canceled)
		w := testkit.Warm(t.Context(), p, 8)
		testkit.Sleep(30 * time.Second)
		w.Pending(t, "the server answers nothing")
		if got := h.most.Load(); got != core.MostHanging {
			t.Errorf("%d attempts ran at the same time, want %d", got, core.MostHanging)
		}
		p.Close()
		w.Is(t, "the pool is closed", pool.ErrClosed)
	})
}

// The same when Open does not even listen to its ctx, and with StrictMax.
func TestAttemptsThatHangLeaveRoomAlsoIfTheyDoNotListen(t *testing.T) {
	for _, strict := range []bool{false, true} {
		testkit.Bubble(t, fmt.Sprint("StrictMax=", strict), func(t *testing.T) {
			h := newHanging(t)
			h.deaf = true
			p := testkit.Start(t, h.Factory(), pool.Config{MaxConnections: 2, StrictMax: strict})
			_ = p.Discard(testkit.Borrow(t, p), nil)
			h.down.Store(true)
			var back atomic.Int64
			stop := callers(p, 5, func(*testkit.Wire) error { back.Inc(); return nil })
			testkit.Sleep(8 * time.Second)
			h.down.Store(false)
			testkit.Sleep(3 * time.Second)
			stop()
			if back.Load() == 0 {
				t.Error("3 s after the return of the server nobody is served")
			}
			if got := p.Stats().Abandoned; got == 0 {
				t.Error("nothing was abandoned")
			}
		})
	}
}

// With StrictMax the only slot must be given up for another attempt. If it is known how long
// opening takes, no attempt keeps it for longer than that.
func TestWithStrictMaxTheOnlySlotDoesNotHangForLong(t *testing.T) {
	for _, outage := range []time.Duration{5 * time.Second, 20 * time.Second} {
		testkit.Bubble(t, outage.String(), func(t *testing.T) {
			h := newHanging(t)
			p := testkit.Start(t, h.Factory(), pool.Config{MaxConnections: 1, StrictMax: true})
			_ = p.Discard(testkit.Borrow(t, p), nil)
			h.down.Store(true)
			var first atomic.Int64
			began := time.Now()
			stop := callers(p, 5, func(*testkit.Wire) error {
				first.CompareAndSwap(0, int64(time.Since(began)))
				return nil
			})
			testkit.Sleep(outage)
			h.down.Store(false)
			testkit.Sleep(2 * time.Second)
			stop()
			if took := time.Duration(first.Load()) - outage; took <= 0 || took > time.Second {
				t.Errorf("service is back after %v, want a second at the most", took)
			}
			if got := h.OpenAtMost(); got > 1 {
				t.Errorf("%d connections were open at the same time, want one", got)
			}
			if got := h.most.Load(); got > 1 {
				t.Errorf("%d attempts were made at the same time, want one", got)
			}
			testkit.Sleep(15 * time.Second)
			testkit.AtRest(t, p, 0)
		})
	}
}

// A slow server is none that hangs: what it opens at last is used, also if there is room for
// one connection only, and nobody knows yet how slow it is.
func TestASlowServerIsReachedThoughItsAttemptsAreOverdue(t *testing.T) {
	for _, most := range []int{1, 2, 10} {
		for _, strict := range []bool{false, true} {
			testkit.Bubble(t, fmt.Sprintf("%d, StrictMax=%v", most, strict), func(t *testing.T) {
				h := newHanging(t)
				h.late = 3 * time.Second
				p := testkit.Start(t, h.Factory(), pool.Config{MaxConnections: most, MaxWaitTime: time.Minute, StrictMax: strict})
				began := time.Now()
				var asked []*testkit.Request[*testkit.Wire]
				for range 3 {
					asked = append(asked, testkit.Ask(t.Context(), p))
				}
				for _, r := range asked {
					<-r.Done
					testkit.GiveBack(t, p, r.Served(t, "at last"))
				}
				limit := 3 * time.Second
				if strict && most == 1 {
					limit = 15 * time.Second // it must give up an attempt before it begins another one
				}
				if took := time.Since(began); took > limit+time.Second {
					t.Errorf("all were served after %v, want %v", took, limit)
				}
				if got := h.OpenAtMost(); got > most {
					t.Errorf("%d connections were open at the same time, want %d", got, most)
				}
				testkit.Sleep(20 * time.Second)
				testkit.AtRest(t, p, 0)
				// Now it is known how slow it is.
				p.Reset()
				h.most.Store(0)
				testkit.GiveBack(t, p, testkit.Borrow(t, p))
				if got := h.most.Load(); got != 1 {
					t.Errorf("%d attempts for one caller, want one: they are not overdue", got)
				}
			})
		}
	}
}

// What an attempt that was set aside opens when all are open is closed, and nobody sees it.
func TestWhatIsOpenedBeyondMaxConnectionsIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn, release := testkit.Obstacle(t)
		x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			if attempt == 1 {
				<-goOn
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		r := testkit.Ask(t.Context(), p)
		testkit.Sleep(2 * time.Second)
		l := r.Served(t, "by the second attempt, which has the slot")
		release()
		synctest.Wait()
		testkit.AtRest(t, p, 1)
		opened := x.Opened()
		if len(opened) != 2 {
			t.Fatalf("%d were opened, want 2", len(opened))
		}
		for _, w := range opened {
			if n := len(w.ClosedWith()); (w == l.Value()) != (n == 0) || n > 1 {
				t.Errorf("connection %d was closed %d times", w.Number, n)
			}
		}
		if s := p.Stats(); s.Opened != 1 || s.OpenErrors != 0 {
			t.Errorf("%d opened, %d open errors, want 1 and 0", s.Opened, s.OpenErrors)
		}
		testkit.EndWithIdle(t, p, 1, l)
	})
}

// "exhausted, 0 active of 10" makes operators raise MaxConnections while dials hang.
func TestAWaitThatRunsOutWithNothingOpenSaysWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHanging(t)
		h.down.Store(true)
		p := testkit.Start(t, h.Factory(), pool.Config{Name: "orders", MaxConnections: 10, MaxWaitTime: 4 * time.Second})
		_, err := p.Get(t.Context())
		var e *pool.UnavailableError
		if !errors.Is(err, pool.ErrUnavailable) || errors.Is(err, pool.ErrExhausted) || !errors.As(err, &e) {
			t.Fatalf("Get returned %v, want ErrUnavailable", err)
		}
		if e.Pool != "orders" || e.Waited < 4*time.Second || e.Opening < 1 || e.OpeningFor < 4*time.Second || e.Open == nil {
			t.Errorf("the error has %+v in it", e)
		}
		if !strings.Contains(err.Error(), "under way, the first for 4s") {
			t.Errorf("the error is %q", err)
		}
		if s := p.Stats(); s.Unavailable != 1 || s.Timeouts != 0 {
			t.Errorf("%d unavailable, %d timeouts, want 1 and 0", s.Unavailable, s.Timeouts)
		}
		// The same for a ctx that ends.
		p.Reset()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err = p.Get(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "an attempt is under way for 300ms") {
			t.Errorf("Get returned %v, want the end of its ctx, and what is under way", err)
		}
	})
}

// A server that asked for 30 s was dialed 31 times in 5 s.
func TestAServerThatAsksForAPauseGetsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pauses := []time.Duration{30 * time.Second, 10 * time.Minute}
		x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			if attempt <= len(pauses) {
				return fmt.Errorf("dial: %w", pool.RetryAfter(testkit.ErrDial, pauses[attempt-1]))
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 5})
		began := time.Now()
		until := func(after time.Duration, err error) {
			t.Helper()
			var e *pool.UnavailableError
			if !errors.As(err, &e) || !errors.Is(err, testkit.ErrDial) || !e.RetryAt.Equal(began.Add(after)) {
				t.Errorf("Get returned %v, want ErrUnavailable until %v", err, began.Add(after))
			}
		}
		get := func() error {
			l, err := p.Get(t.Context())
			if err == nil {
				testkit.GiveBack(t, p, l)
			}
			return err
		}
		if err := get(); !errors.Is(err, testkit.ErrDial) {
			t.Errorf("the first Get returned %v, want %v", err, testkit.ErrDial)
		}
		for time.Since(began) < 30*time.Second {
			until(30*time.Second, get())
			testkit.Sleep(time.Second)
		}
		if got := x.Tried(); got != 1 {
			t.Errorf("Open was called %d times in 30 s, want once", got)
		}
		_ = get()
		began = time.Now()
		until(5*time.Minute, get()) // capped by MaxRetryAfter
		p.Reset()
		if err := get(); err != nil {
			t.Errorf("after Reset Get returned %v, want a connection", err)
		}
	})
}

// Of several attempts under way the longest pause counts, whichever fails first.
func TestOfSeveralPausesTheLongestCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			time.Sleep(time.Duration(attempt) * time.Millisecond)
			return pool.RetryAfter(testkit.ErrDial, []time.Duration{0, 2 * time.Second, 20 * time.Second, 8 * time.Second}[attempt])
		}}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 5, FailFastAfter: -1, MaxWaitTime: time.Second})
		began := time.Now()
		var asked []*testkit.Request[*testkit.Wire]
		for range 3 {
			asked = append(asked, testkit.Ask(t.Context(), p))
		}
		testkit.Sleep(time.Second + time.Millisecond)
		for _, r := range asked {
			r.Failed(t, "after MaxWaitTime", pool.ErrUnavailable)
			var e *pool.UnavailableError
			if want := began.Add(20*time.Second + 2*time.Millisecond); errors.As(r.Err, &e) && !e.RetryAt.Equal(want) {
				t.Errorf("the pause lasts until %v, want %v", e.RetryAt, want)
			}
		}
		if got := x.Tried(); got != 3 {
			t.Errorf("Open was called %d times, want three times", got)
		}
	})
}

// What has been idle for too long is lent in an outage only while nothing else is open: a
// server at its limit has others that are in order.
func TestWhatHasBeenIdleForTooLongIsLentWhileNothingElseIsOpen(t *testing.T) {
	for _, other := range []bool{false, true} {
		testkit.Bubble(t, fmt.Sprint("another one is open: ", other), func(t *testing.T) {
			b := testkit.NewBackend(time.Millisecond)
			p := testkit.Start(t, b.Factory(), pool.Config{MaxConnections: 10, MinIdle: 1, MaxIdleTime: 10 * time.Second, MaxWaitTime: time.Second})
			var l pool.Lease[*testkit.Wire]
			if other {
				l = testkit.Borrow(t, p)
			}
			testkit.Sleep(2 * time.Second)
			b.Down.Store(true)
			testkit.Sleep(30 * time.Second)
			r := testkit.Ask(t.Context(), p)
			testkit.Sleep(time.Second)
			if other {
				r.Failed(t, "though one is idle, for too long", testkit.ErrDial)
				testkit.GiveBack(t, p, l)
			} else {
				testkit.GiveBack(t, p, r.Served(t, "by what there is"))
			}
			synctest.Wait()
			testkit.AtRest(t, p, 0)
		})
	}
}

func TestWhatHasBeenIdleForTooLongIsNotLentWhileAnotherIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testkit.NewBackend(time.Millisecond)
		p := testkit.Start(t, b.Factory(), pool.Config{MaxConnections: 3, MinIdle: 2, MaxIdleTime: 10 * time.Second, MaxWaitTime: -1})
		if err := p.Warm(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		leases := []pool.Lease[*testkit.Wire]{testkit.Borrow(t, p), testkit.Borrow(t, p)}
		for _, l := range leases {
			testkit.GiveBack(t, p, l)
		}
		testkit.Sleep(8 * time.Second)
		b.Down.Store(true)
		young, err := p.GetSame(t.Context(), leases[1].Mark())
		if err != nil {
			t.Fatal(err)
		}
		testkit.GiveBack(t, p, young)
		testkit.Sleep(4 * time.Second)
		if got := p.Stats(); got.IdleConnections != 2 || got.LastOpenError == nil {
			t.Fatalf("%d are idle, want both, because none can be opened instead (%v)", got.IdleConnections, got.LastOpenError)
		}
		l, err := p.GetSame(t.Context(), leases[0].Mark())
		if !errors.Is(err, pool.ErrGone) {
			t.Errorf("GetSame lends what has been idle for 12 s (%v, %v), want ErrGone", l.Value(), err)
		}
		synctest.Wait()
		testkit.AtRest(t, p, 0)
	})
}

// The failure of an attempt that was under way when another one failed says nothing new, also if
// a connection has been opened meanwhile: that ends the outage.
func TestAFailureFromBeforeTheOutageLeavesTheTrialAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, _, result := stuck(t)
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 5, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1})
		served := testkit.Ask(t.Context(), p)
		ctx, cancel := context.WithCancel(t.Context())
		others := []*testkit.Request[*testkit.Wire]{testkit.Ask(ctx, p), testkit.Ask(ctx, p)}
		cancel()
		for _, r := range others {
			r.Failed(t, "after its cancel", context.Canceled)
		}
		testkit.Sleep(time.Millisecond)
		result(2, testkit.ErrDial)
		result(1, nil)
		result(3, pool.RetryAfter(testkit.ErrDial, 0)) // no pause
		if got := testkit.Inside(p).Outage().Failures; got != 1 {
			t.Errorf("%d failures are counted, want one", got)
		}
		testkit.Sleep(core.Probation + 10*time.Millisecond)
		if got := testkit.Inside(p).Outage().Failures; got != 0 {
			t.Errorf("%d failures are counted after a second, want that the outage is over", got)
		}
		testkit.EndWithIdle(t, p, 1, served.Served(t, "by the first attempt"))
	})
}

// A connection has come back since the last failure. That another attempt asks for a pause
// changes nothing about it.
func TestWhatHasComeBackCountsAlsoAfterALongerPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, _, result := stuck(t)
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 5, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1, FailFastAfter: -1})
		var waits []*testkit.Request[*testkit.Wire]
		for range 4 {
			waits = append(waits, testkit.Ask(t.Context(), p))
		}
		result(1, nil)
		result(2, testkit.ErrDial)
		testkit.GiveBack(t, p, waits[0].Served(t, "by the first attempt"))
		result(3, pool.RetryAfter(testkit.ErrDial, 5*time.Second))
		result(4, testkit.ErrDial)
		testkit.Sleep(5*time.Second + time.Millisecond)
		if got := x.Tried(); got != 5 {
			t.Fatalf("Open was called %d times, want a fifth time, after the pause", got)
		}
		result(5, testkit.ErrDial)
		if got := testkit.Inside(p).Outage(); got.Failures != 2 || got.Dry != 1 {
			t.Errorf("%d failures, %d since something came back, want 2 and 1", got.Failures, got.Dry)
		}
		result(6, nil)
		for _, w := range waits[1:] {
			testkit.GiveBack(t, p, w.Served(t, "in the end"))
		}
		result(7, nil) // the outage is over: it was begun for the last
		testkit.EndWithIdle(t, p, 3)
	})
}

// In an outage connections are opened one at a time. When it is over, all that are needed are
// begun, while the one that was begun in it goes on.
func TestWhenAnOutageIsOverAllThatAreNeededAreOpened(t *testing.T) {
	for _, warm := range []bool{false, true} {
		testkit.Bubble(t, fmt.Sprint("Warm=", warm), func(t *testing.T) {
			x, _, result := stuck(t)
			p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 5, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1, OpenEagerly: true, FailFastAfter: -1})
			first := testkit.Ask(t.Context(), p)
			result(1, testkit.ErrDial)
			result(2, nil)
			l := first.Served(t, "by the second attempt")
			testkit.Sleep(core.Probation - 200*time.Millisecond)
			var waits []*testkit.Request[*testkit.Wire]
			var warming *testkit.Warming
			want := 4 // two are without a connection after the Put
			if warm {
				warming = testkit.Warm(t.Context(), p, 4)
				want = 5
			} else {
				for range 3 {
					waits = append(waits, testkit.Ask(t.Context(), p))
				}
			}
			if got := x.Tried(); got != 3 {
				t.Fatalf("Open was called %d times, want a third time", got)
			}
			testkit.GiveBack(t, p, l) // goes to one who waits, and ends the outage
			if warm {
				testkit.Sleep(250 * time.Millisecond) // nobody does, so the sweeper ends it
			}
			synctest.Wait()
			if got := x.Tried(); got != want {
				t.Errorf("Open was called %d times after the outage, want %d times", got, want)
			}
			for i := 3; i <= want; i++ {
				result(i, nil)
			}
			if warm {
				warming.Is(t, "when all are open", nil)
			}
			for _, w := range waits {
				testkit.GiveBack(t, p, w.Served(t, "in the end"))
			}
			testkit.EndWithIdle(t, p, want-1)
		})
	}
}

// A connection on probation is broken, by which end is not known. It shows nothing.
func TestABrokenConnectionDoesNotEndAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			if attempt == 1 {
				return testkit.ErrDial
			}
			return nil
		}}
		f, broken := testkit.Watched(x)
		p := testkit.Start(t, f, pool.Config{MaxConnections: 5, MaxWaitTime: -1, MaxIdleTime: -1, FailFastAfter: -1})
		l := testkit.Borrow(t, p)
		broken(1, context.Canceled)
		testkit.Sleep(core.Probation + 10*time.Millisecond)
		if got := testkit.Inside(p).Outage().Failures; got != 1 {
			t.Errorf("%d failures are counted, want one", got)
		}
		testkit.GiveBack(t, p, l)
		testkit.EndWithIdle(t, p, 0)
	})
}

func TestAConnectionThatEndsInAClosedPoolIsNoFailedOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := new(testkit.Exchange)
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 1})
		l := testkit.Borrow(t, p)
		done := make(chan error, 1)
		go func() { done <- p.Shutdown(t.Context()) }()
		synctest.Wait()
		if err := p.Discard(l, io.EOF); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Errorf("Shutdown returned %v", err)
		}
		if got := p.Stats().LastOpenError; got != nil {
			t.Errorf("the last error of an open is %v, want none", got)
		}
	})
}

// Whose end of a connection it was, as Check, Watch and Discard tell it.
func TestWhatPeersEndCountsAndWhatUsersEndDoesNot(t *testing.T) {
	for name, tt := range map[string]struct {
		watch, check, discard error
		want                  int
	}{
		"Watch, the peer":         {watch: testkit.ErrCause, want: 1},
		"Watch, a ctx":            {watch: fmt.Errorf("read: %w", context.Canceled)},
		"Watch, a ctx's deadline": {watch: fmt.Errorf("read: %w", context.DeadlineExceeded)},
		"Watch, the user's Close": {watch: fmt.Errorf("read: %w", net.ErrClosed)},
		"Check":                   {check: testkit.ErrUnfit, want: 1},
		"Check, in vain":          {check: context.DeadlineExceeded, want: 1},
		"Discard, for no end":     {discard: testkit.ErrCause},
		"Discard, marked":         {discard: pool.PeerClosed(testkit.ErrCause), want: 1}, // whatever Factory.PeerClosed says
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			x := new(testkit.Exchange)
			f, broken := testkit.Watched(x)
			f.Check = func(*testkit.Wire) error { return tt.check }
			f.PeerClosed = func(error) bool { return false }
			p := testkit.Start(t, f, pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1, CheckInterval: -1})
			if err := p.Warm(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			if tt.watch != nil {
				broken(1, tt.watch)
			} else if l, ok := p.TryGet(); ok != (tt.check == nil) {
				t.Errorf("whether a connection was lent is %v", ok)
			} else if ok {
				if err := p.Discard(l, tt.discard); err != nil {
					t.Error(err)
				}
			}
			synctest.Wait()
			if got := testkit.Inside(p).Outage().Failures; got != tt.want {
				t.Errorf("%d failures are counted, want %d", got, tt.want)
			}
		})
	}
}

// One failure is enough if the server has asked for a pause.
func TestInAPauseThatTheServerHasAskedForCallersAreToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &testkit.Exchange{Open: func(context.Context, int) error { return pool.RetryAfter(testkit.ErrDial, 10*time.Second) }}
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 5, MaxWaitTime: -1, MaxIdleTime: -1, FailFastAfter: testkit.AtOnce})
		for range 2 {
			testkit.Ask(t.Context(), p).Failed(t, "in the pause", testkit.ErrDial)
		}
		if got := x.Tried(); got != 1 {
			t.Errorf("Open was called %d times, want once", got)
		}
	})
}
