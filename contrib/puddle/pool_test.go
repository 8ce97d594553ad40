package puddle_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/jackc/puddle/v2"
)

// bubble runs a test in which time is synthetic.
func bubble(t *testing.T, f func(t *testing.T)) { synctest.Test(t, f) }

var errDown = errors.New("the server is down")

// A server constructs resources: numbers from 1 on. It counts, and fails while it is down.
type server struct {
	takes     time.Duration
	down      atomic.Bool
	attempts  atomic.Int64
	made      atomic.Int64
	destroyed atomic.Int64
}

func (s *server) construct(ctx context.Context) (int, error) {
	s.attempts.Add(1)
	time.Sleep(s.takes)
	if s.down.Load() {
		return 0, errDown
	}
	return int(s.made.Add(1)), nil
}

func (s *server) destroy(int) { s.destroyed.Add(1) }

func start[T any](t *testing.T, constructor puddle.Constructor[T], destructor puddle.Destructor[T], size int32) *puddle.Pool[T] {
	t.Helper()
	p, err := puddle.NewPool(&puddle.Config[T]{Constructor: constructor, Destructor: destructor, MaxSize: size})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func acquire[T any](t *testing.T, p *puddle.Pool[T]) *puddle.Resource[T] {
	t.Helper()
	res, err := p.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// figures compares what Stat counts: constructing, acquired, idle, total.
func figures[T any](t *testing.T, p *puddle.Pool[T], when string, want ...int32) {
	t.Helper()
	synctest.Wait()
	s := p.Stat()
	if got := []int32{s.ConstructingResources(), s.AcquiredResources(), s.IdleResources(), s.TotalResources()}; !slices.Equal(got, want) {
		t.Errorf("%s: %v constructing, acquired, idle, in all; want %v", when, got, want)
	}
}

func panics(t *testing.T, what, want string, f func()) {
	t.Helper()
	defer func() {
		if got := recover(); got != want {
			t.Errorf("%s panics with %v, want %q", what, got, want)
		}
	}()
	f()
}

// What all this is for: with puddle each caller constructs for itself, as fast as it can.
func TestInAnOutageFewAttemptsAreMadeHoweverManyCallersThereAre(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &server{takes: time.Millisecond}
		p := start(t, s.construct, s.destroy, 4)
		acquire(t, p).Destroy()
		s.down.Store(true)
		before := s.attempts.Load()
		ctx, cancel := context.WithCancel(t.Context())
		var callers sync.WaitGroup
		var failed, served atomic.Int64
		for range 64 {
			callers.Go(func() {
				for ctx.Err() == nil {
					res, err := p.Acquire(ctx)
					switch {
					case err == nil:
						served.Add(1)
						time.Sleep(time.Millisecond)
						res.Release()
					case ctx.Err() == nil:
						failed.Add(1)
						if !errors.Is(err, errDown) {
							t.Errorf("a caller is told %v, want the cause", err)
						}
						time.Sleep(time.Millisecond)
					}
				}
			})
		}
		time.Sleep(900 * time.Millisecond)
		if failed.Load() != 0 {
			t.Errorf("%d callers have failed in the first 900 ms, want them to wait", failed.Load())
		}
		time.Sleep(4*time.Second - 900*time.Millisecond)
		if got := s.attempts.Load() - before; got > 30 || got < 5 {
			t.Errorf("%d attempts in an outage of 4 s, want 5 to 30", got)
		}
		if failed.Load() == 0 || served.Load() != 0 {
			t.Errorf("%d callers failed and %d were served, want some and none", failed.Load(), served.Load())
		}
		s.down.Store(false)
		time.Sleep(time.Second)
		if served.Load() == 0 {
			t.Error("nobody was served within a second after the outage")
		}
		cancel()
		callers.Wait()
	})
}

func TestCallersAreServedInTheOrderInWhichTheyCame(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &server{}
		p := start(t, s.construct, s.destroy, 1)
		res := acquire(t, p)
		var mu sync.Mutex
		var order []int
		var callers sync.WaitGroup
		for i := range 20 {
			callers.Go(func() {
				res, err := p.Acquire(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				if i%3 == 0 {
					res.Destroy() // the next one gets a new one
				} else {
					res.Release()
				}
			})
			synctest.Wait()
		}
		res.Release()
		callers.Wait()
		if len(order) != 20 || !slices.IsSorted(order) {
			t.Errorf("served in the order %v", order)
		}
	})
}

func TestACallerGetsWhatIsReleasedWhileTheConstructorHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		first := true
		hang := make(chan struct{})
		p := start(t, func(context.Context) (string, error) {
			if first {
				first = false
				return "first", nil
			}
			<-hang
			return "second", nil
		}, func(string) {}, 2)
		res := acquire(t, p)
		var got *puddle.Resource[string]
		go func() { got, _ = p.Acquire(t.Context()) }()
		figures(t, p, "while one is constructed for a caller", 1, 1, 0, 2)
		res.Release()
		figures(t, p, "when the other has been released", 1, 1, 0, 2)
		if got == nil || got.Value() != "first" {
			t.Fatal("the caller has not got what was released")
		}
		close(hang)
		figures(t, p, "when it has been constructed", 0, 1, 1, 2)
		got.Release()
	})
}

func TestErrorsAreThoseOfPuddleWhereThereIsNothingToAdd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &server{}
		s.down.Store(true)
		p := start(t, s.construct, s.destroy, 1)
		if _, err := p.Acquire(t.Context()); err != errDown {
			t.Errorf("a pool that never had a resource: %v, want the error of the Constructor as it is", err)
		}
		synctest.Wait() // its caller is told a moment before its place is free
		if err := p.CreateResource(t.Context()); err != errDown {
			t.Errorf("CreateResource: %v, want the error of the Constructor as it is", err)
		}
		p.Reset() // ends the outage
		s.down.Store(false)
		res := acquire(t, p)
		if err := p.CreateResource(t.Context()); err != puddle.ErrNotAvailable {
			t.Errorf("CreateResource in a full pool: %v, want %v", err, puddle.ErrNotAvailable)
		}
		if _, err := p.TryAcquire(t.Context()); err != puddle.ErrNotAvailable {
			t.Errorf("TryAcquire in a full pool: %v, want %v", err, puddle.ErrNotAvailable)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Acquire(ctx); err != context.DeadlineExceeded {
			t.Errorf("Acquire in a full pool: %v, want that of its ctx as it is", err)
		}
		if _, err := p.Acquire(ctx); err != context.DeadlineExceeded {
			t.Errorf("Acquire with a ctx that has ended: %v, want that of its ctx as it is", err)
		}
		if got := p.Stat().CanceledAcquireCount(); got != 2 {
			t.Errorf("%d have ended with their ctx, want 2", got)
		}
		res.Destroy()
		synctest.Wait()
		s.down.Store(true)
		ctx, cancel = context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if _, err := p.Acquire(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errDown) {
			t.Errorf("a ctx that ends in an outage: %v, want both its error and the cause", err)
		}
		waited := make(chan error)
		go func() {
			_, err := p.Acquire(context.Background())
			waited <- err
		}()
		if err := <-waited; !errors.Is(err, errDown) || !errors.Is(err, pool.ErrUnavailable) {
			t.Errorf("in an outage: %v, want the cause, and that it keeps failing", err)
		}
		p.Close()
		if _, err := p.Acquire(t.Context()); err != puddle.ErrClosedPool {
			t.Errorf("closed: %v, want %v", err, puddle.ErrClosedPool)
		}
		if _, err := p.TryAcquire(t.Context()); err != puddle.ErrClosedPool {
			t.Errorf("closed: %v, want %v", err, puddle.ErrClosedPool)
		}
		if err := p.CreateResource(t.Context()); err != puddle.ErrClosedPool {
			t.Errorf("closed: %v, want %v", err, puddle.ErrClosedPool)
		}
		if got := p.AcquireAllIdle(); got != nil {
			t.Errorf("closed: %d idle, want none", len(got))
		}
	})
}

func TestCloseRefusesThoseWhoWaitAtOnceAndWaitsForTheRest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &server{}
		p := start(t, s.construct, s.destroy, 1)
		res := acquire(t, p)
		refused, closed := make(chan error, 1), make(chan struct{})
		go func() {
			_, err := p.Acquire(context.Background())
			refused <- err
		}()
		synctest.Wait()
		go func() {
			p.Close()
			close(closed)
		}()
		synctest.Wait()
		select {
		case err := <-refused:
			if err != puddle.ErrClosedPool {
				t.Errorf("who waits is told %v, want %v", err, puddle.ErrClosedPool)
			}
		default:
			t.Error("who waits is not told")
		}
		select {
		case <-closed:
			t.Error("Close has returned while a resource was acquired")
		default:
		}
		res.Release()
		<-closed
		if s.destroyed.Load() != 1 {
			t.Errorf("%d destroyed, want 1", s.destroyed.Load())
		}
		p.Close() // again
	})
}

func TestAPanicInAConstructorIsAnError(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := start(t, func(context.Context) (int, error) { panic("oh") }, func(int) {}, 1)
		if _, err := p.Acquire(t.Context()); err == nil || !strings.Contains(err.Error(), "oh") {
			t.Errorf("Acquire returned %v, want the panic", err)
		}
	})
}

func TestAPanicInADestructorEndsNothingElse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := start(t, func(context.Context) (int, error) { return 0, nil }, func(int) { panic("oh") }, 1)
		acquire(t, p).Destroy()
		acquire(t, p).Release()
		p.Reset()
		acquire(t, p).Release()
		p.Close()
	})
}

func TestNilIsAResourceLikeAny(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := start(t, func(context.Context) (*int, error) { return nil, nil }, func(*int) {}, 1)
		res := acquire(t, p)
		if res.Value() != nil {
			t.Error("it is not nil any more")
		}
		res.Release()
	})
}

func TestTheConstructorOfAnAcquireHasItsValuesAndNotItsEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		type key struct{}
		var got context.Context
		p := start(t, func(ctx context.Context) (int, error) {
			got = ctx
			return 1, nil
		}, func(int) {}, 1)
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "mine"), time.Second)
		defer cancel()
		res, err := p.Acquire(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, ends := got.Deadline(); got.Value(key{}) != "mine" || ends {
			t.Errorf("it got the value %v, and a deadline: %v; want mine and none", got.Value(key{}), ends)
		}
		res.Release()
	})
}

// pgxpool bounds by it what it constructs for MinConns.
func TestTheConstructorOfACreateResourceEndsWithItsCtx(t *testing.T) {
	type key struct{}
	for _, c := range []struct {
		name string
		end  func(ctx context.Context) (context.Context, context.CancelFunc)
		want error
	}{
		{"deadline", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		}, context.DeadlineExceeded},
		{"cancel", func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return ctx, cancel
		}, context.Canceled},
	} {
		for _, try := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/TryAcquire=%v", c.name, try), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					ended := make(chan error, 1)
					p := start(t, func(ctx context.Context) (int, error) {
						if ctx.Value(key{}) != "mine" {
							t.Error("it has not got the values")
						}
						<-ctx.Done()
						ended <- ctx.Err()
						return 0, ctx.Err()
					}, func(int) {}, 1)
					ctx, cancel := c.end(context.WithValue(context.Background(), key{}, "mine"))
					defer cancel()
					if try {
						_, _ = p.TryAcquire(ctx)
					} else if err := p.CreateResource(ctx); !errors.Is(err, c.want) {
						t.Errorf("CreateResource returned %v, want %v", err, c.want)
					}
					if err := <-ended; err != c.want {
						t.Errorf("the ctx of the Constructor ended by %v, want %v", err, c.want)
					}
					figures(t, p, "afterwards", 0, 0, 0, 0)
				})
			})
		}
	}
}

func TestTheConstructorOfACreateResourceEndsWithItsCtxWhateverOpenContextSays(t *testing.T) {
	t.Cleanup(func() { puddle.Configure(nil) })
	type key struct{}
	for name, values := range map[string]func(context.Context) context.Context{
		"nil": nil, "returns nil": func(context.Context) context.Context { return nil },
		"another": func(context.Context) context.Context {
			return context.WithValue(context.Background(), key{}, "another")
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				puddle.Configure(func(c *pool.Config) { c.OpenContext = values })
				p := start(t, func(ctx context.Context) (int, error) {
					if got := ctx.Value(key{}); got == "mine" || (got != nil) != (name == "another") {
						t.Errorf("it has got the value %v", got)
					}
					<-ctx.Done()
					return 0, ctx.Err()
				}, func(int) {}, 1)
				ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), key{}, "mine"), time.Second)
				defer cancel()
				if err := p.CreateResource(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("CreateResource returned %v, want its deadline", err)
				}
				figures(t, p, "afterwards", 0, 0, 0, 0)
			})
		})
	}
}

// A Constructor may acquire something of another pool with the ctx that it gets.
func TestWhatBoundsAConstructorBoundsNoOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var inner context.Context
		below := start(t, func(ctx context.Context) (int, error) {
			inner = ctx
			return 1, nil
		}, func(int) {}, 1)
		p := start(t, func(ctx context.Context) (int, error) {
			res, err := below.Acquire(ctx)
			if err != nil {
				return 0, err
			}
			defer res.Release()
			return res.Value(), nil
		}, func(int) {}, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.CreateResource(ctx); err != nil {
			t.Fatal(err)
		}
		if _, ends := inner.Deadline(); ends {
			t.Error("the Constructor of the pool below has the deadline of another pool's CreateResource")
		}
	})
}

func TestTryAcquireConstructsInTheBackgroundUpToMaxSize(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &server{takes: time.Second}
		p := start(t, s.construct, s.destroy, 3)
		for range 100 {
			if _, err := p.TryAcquire(t.Context()); err != puddle.ErrNotAvailable {
				t.Errorf("TryAcquire returned %v, want %v", err, puddle.ErrNotAvailable)
			}
		}
		figures(t, p, "after many calls", 3, 0, 0, 3)
		time.Sleep(time.Second)
		figures(t, p, "when they are constructed", 0, 0, 3, 3)
		res, err := p.TryAcquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		res.Release()
		if got := s.attempts.Load(); got != 3 {
			t.Errorf("%d constructed, want 3", got)
		}
	})
}

func TestTryAcquireLeavesNoCrowdBehindInAnOutage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &server{}
		p := start(t, s.construct, s.destroy, 3)
		s.down.Store(true)
		for range 4 { // from then on there are pauses
			_ = p.CreateResource(t.Context())
		}
		synctest.Wait()
		before := runtime.NumGoroutine()
		for range 1000 {
			_, _ = p.TryAcquire(t.Context())
		}
		synctest.Wait()
		if got := runtime.NumGoroutine() - before; got > 3 {
			t.Errorf("%d goroutines wait to construct something, want at most MaxSize", got)
		}
		s.down.Store(false)
		time.Sleep(2 * time.Second)
		figures(t, p, "after the outage", 0, 0, 3, 3)
	})
}

func TestAResourceTellsItsTimes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &server{}
		p := start(t, s.construct, s.destroy, 1)
		time.Sleep(time.Hour)
		made := time.Now()
		res := acquire(t, p)
		idle := func(when string, want time.Duration) {
			t.Helper()
			if got := res.IdleDuration(); got != want {
				t.Errorf("%s: idle for %v, want %v", when, got, want)
			}
		}
		idle("just made", 0)
		time.Sleep(time.Second)
		idle("never released", time.Second)
		first := res.LastUsedNanotime()
		res.Release()
		time.Sleep(2 * time.Hour) // only its user closes what is idle
		res = acquire(t, p)
		idle("released two hours ago", 2*time.Hour)
		if got := time.Duration(res.LastUsedNanotime() - first); got != time.Second {
			t.Errorf("released %v after it was made, want 1s", got)
		}
		res.ReleaseUnused()
		time.Sleep(time.Second)
		res = acquire(t, p)
		idle("released unused since", 2*time.Hour+time.Second)
		if !res.CreationTime().Equal(made) {
			t.Errorf("made at %v, want %v", res.CreationTime(), made)
		}
		res.Hijack()
		if res.Value() != 1 || !res.CreationTime().Equal(made) || res.LastUsedNanotime() == 0 {
			t.Error("a hijacked resource cannot be looked at")
		}
		idle("hijacked", 2*time.Hour+time.Second)
		figures(t, p, "hijacked", 0, 0, 0, 0)
	})
}

func TestWhoHasNotAcquiredAResourceIsToldByAPanic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &server{}
		p := start(t, s.construct, s.destroy, 1)
		const access = "tried to access resource that is not acquired or hijacked"
		for end, f := range map[string]func(*puddle.Resource[int]){
			"Release": (*puddle.Resource[int]).Release, "ReleaseUnused": (*puddle.Resource[int]).ReleaseUnused,
			"Destroy": (*puddle.Resource[int]).Destroy, "Hijack": (*puddle.Resource[int]).Hijack,
		} {
			res := acquire(t, p)
			f(res)
			panics(t, "Release after "+end, "tried to release resource that is not acquired", res.Release)
			panics(t, "ReleaseUnused after "+end, "tried to release resource that is not acquired", res.ReleaseUnused)
			panics(t, "Destroy after "+end, "tried to destroy resource that is not acquired", res.Destroy)
			panics(t, "Hijack after "+end, "tried to hijack resource that is not acquired", res.Hijack)
			if end != "Hijack" {
				panics(t, "Value after "+end, access, func() { res.Value() })
				panics(t, "CreationTime after "+end, access, func() { res.CreationTime() })
				panics(t, "LastUsedNanotime after "+end, access, func() { res.LastUsedNanotime() })
				panics(t, "IdleDuration after "+end, access, func() { res.IdleDuration() })
			}
			synctest.Wait()
		}
	})
}

func TestStatCountsWhoHasAcquiredAndWhoHasWaited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &server{takes: time.Second}
		p := start(t, s.construct, s.destroy, 1)
		acquire(t, p).Release() // waits for a second
		acquire(t, p).Release()
		all := p.AcquireAllIdle()
		if len(all) != 1 {
			t.Fatalf("%d idle, want 1", len(all))
		}
		go func() {
			time.Sleep(2 * time.Second)
			all[0].Release()
		}()
		acquire(t, p).Release() // waits for two
		st := p.Stat()
		if st.AcquireCount() != 3 || st.EmptyAcquireCount() != 2 {
			t.Errorf("%d acquired and %d have waited, want 3 and 2", st.AcquireCount(), st.EmptyAcquireCount())
		}
		if st.EmptyAcquireWaitTime() != 3*time.Second || st.AcquireDuration() != 3*time.Second+50*time.Nanosecond {
			t.Errorf("waited for %v, of %v; want 3s, and 50ns more for the one that has not", st.EmptyAcquireWaitTime(), st.AcquireDuration())
		}
		if st.CanceledAcquireCount() != 0 || st.MaxResources() != 1 {
			t.Errorf("%d canceled, at most %d; want 0 and 1", st.CanceledAcquireCount(), st.MaxResources())
		}
	})
}

// puddle: what is being destroyed has its place until it is. A server that counts sees no more than MaxSize.
func TestWhatIsBeingDestroyedKeepsItsPlaceAndCountsNoMore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var open, most atomic.Int64
		p := start(t, func(context.Context) (int, error) {
			if n := open.Add(1); n > most.Load() {
				most.Store(n)
			}
			return 0, nil
		}, func(int) {
			time.Sleep(time.Second)
			open.Add(-1)
		}, 2)
		for range 5 {
			a, b := acquire(t, p), acquire(t, p)
			a.Destroy()
			figures(t, p, "while one is destroyed", 0, 1, 0, 1)
			b.Destroy()
			figures(t, p, "while both are destroyed", 0, 0, 0, 0)
		}
		if most.Load() != 2 {
			t.Errorf("%d at a time, want 2", most.Load())
		}
	})
}

// The network may be gone: then a Destructor takes long, and those who wait need not.
func TestAfterAResetNobodyWaitsForADestructor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var s server
		p := start(t, s.construct, func(n int) {
			if n <= 2 {
				time.Sleep(15 * time.Second)
			}
			s.destroy(n)
		}, 2)
		held := acquire(t, p)
		acquire(t, p).Release()
		p.Reset()
		figures(t, p, "after the Reset", 0, 1, 0, 1)
		began := time.Now()
		other := acquire(t, p)
		held.Release() // of before the Reset
		figures(t, p, "when the old one has come back", 0, 1, 0, 1)
		last := acquire(t, p)
		if took := time.Since(began); took != 0 {
			t.Errorf("who came after a Reset has waited for %v", took)
		}
		other.Release()
		last.Release()
		p.Close()
		if s.destroyed.Load() != 4 {
			t.Errorf("%d are destroyed when Close returns, want all 4", s.destroyed.Load())
		}
	})
}

func TestAMaxSizeThatNobodyHasIsAllowed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &server{}
		p := start(t, s.construct, s.destroy, 1<<31-1)
		acquire(t, p).Release()
		if got := p.Stat().MaxResources(); got != 1<<31-1 {
			t.Errorf("MaxResources is %d, want what was asked for", got)
		}
	})
	for _, size := range []int32{0, -1} {
		if _, err := puddle.NewPool(&puddle.Config[int]{MaxSize: size}); err == nil {
			t.Errorf("MaxSize %d is no error", size)
		}
	}
}

func TestAcquireAndReleaseDoNotAllocate(t *testing.T) {
	s := &server{}
	p := start(t, s.construct, s.destroy, 1)
	acquire(t, p).Release()
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() {
		res, _ := p.Acquire(ctx)
		res.Release()
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// A logbook is a logger's output.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(line)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// logging makes slog.Default write to a logbook until the test ends.
func logging(t *testing.T) *logbook {
	l := new(logbook)
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(l, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	return l
}

// inALibrary and inAProgram are what callers of a pool in a library look like.
func inALibrary(p *puddle.Pool[int]) *puddle.Resource[int] {
	res, _ := p.Acquire(context.Background())
	return res
}

func inAProgram(p *puddle.Pool[int]) *puddle.Resource[int] { res := inALibrary(p); return res }

func TestALeakIsLoggedWithWhoHasAcquired(t *testing.T) {
	log := logging(t)
	for _, c := range []struct {
		set   string
		after time.Duration
	}{{"", 5 * time.Minute}, {"3s", 3 * time.Second}, {"0", 0}, {"soon", 5 * time.Minute}, {"-3s", 5 * time.Minute}} {
		t.Run("PUDDLE_LEAK_AFTER="+c.set, func(t *testing.T) {
			t.Setenv("PUDDLE_LEAK_AFTER", c.set)
			bubble(t, func(t *testing.T) {
				s := &server{}
				p := start(t, s.construct, s.destroy, 1)
				res := inAProgram(p)
				before := len(log.String())
				time.Sleep(c.after - 1)
				synctest.Wait()
				if got := log.String()[before:]; c.after > 0 && got != "" {
					t.Errorf("before its time: %q, want nothing", got)
				}
				time.Sleep(10 * time.Second)
				synctest.Wait()
				got := log.String()[before:]
				if c.after == 0 {
					if got != "" {
						t.Errorf("switched off: %q, want nothing", got)
					}
				} else if !strings.Contains(got, "inALibrary") || !strings.Contains(got, "inAProgram") || strings.Count(got, "\n") != 1 {
					t.Errorf("logged %q, want one line that names both functions", got)
				}
				if c.after == 5*time.Minute && c.set != "" && !strings.Contains(log.String(), c.set) {
					t.Errorf("%q is not objected to", c.set)
				}
				res.Release()
			})
		})
	}
}

func TestConfigureReachesPoolsThatOthersMake(t *testing.T) {
	t.Cleanup(func() { puddle.Configure(nil) })
	bubble(t, func(t *testing.T) {
		var leaked []pool.LeaseInfo
		var p *puddle.Pool[int]
		puddle.Configure(func(c *pool.Config) {
			if c.MaxConnections != 3 || !c.StrictMax || c.Name != "puddle" || c.MaxWaitTime >= 0 {
				t.Errorf("it is given %+v", *c)
			}
			c.Name, c.LeakAfter, c.MaxWaitTime, c.OpenContext, c.Logger = "orders", time.Second, 10*time.Second, nil, nil
			c.Hooks.Leaked = func(info pool.LeaseInfo) {
				leaked = append(leaked, info)
				if !p.Native().Revoke(info) {
					t.Error("the lease has not been revoked")
				}
			}
		})
		s := &server{}
		p = start(t, s.construct, s.destroy, 3)
		puddle.Configure(nil)
		res := acquire(t, p)
		if got := p.Native().Leases(); len(got) != 1 || got[0].Conn != 1 {
			t.Errorf("leases %v, want one of the value 1", got)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if len(leaked) != 1 || leaked[0].Conn != 1 || s.destroyed.Load() != 1 {
			t.Errorf("reported %v, %d destroyed, want one report with the value 1, which has been destroyed", leaked, s.destroyed.Load())
		}
		res.Release() // of what has been revoked
		figures(t, p, "revoked", 0, 0, 0, 0)
		if p.Native().Name() != "orders" {
			t.Errorf("its name is %q", p.Native().Name())
		}
	})
	puddle.Configure(func(c *pool.Config) { c.MaxLifetime = -1 })
	if _, err := puddle.NewPool(&puddle.Config[int]{MaxSize: 1}); err == nil {
		t.Error("what Configure has set is invalid, and NewPool returns no error")
	}
}

func TestPoolsAreThoseThatHaveNotBeenClosed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		among := func(p *puddle.Pool[int]) bool {
			for n := range puddle.Pools() {
				if n == p.Native() {
					return true
				}
			}
			return false
		}
		s := &server{}
		a, b := start(t, s.construct, s.destroy, 1), start(t, s.construct, s.destroy, 2)
		acquire(t, b).Release()
		if !among(a) || !among(b) {
			t.Error("not all pools are there")
		}
		for n := range puddle.Pools() {
			if n == b.Native() && n.Stats().Gets != 1 {
				t.Errorf("its figures are %+v, want one lease", n.Stats())
			}
		}
		b.Close()
		if !among(a) || among(b) {
			t.Error("not only the one that was closed has gone")
		}
		for range puddle.Pools() {
			break
		}
	})
}
