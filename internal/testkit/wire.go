package testkit

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
)

// A Wire is the connection that tests of the pool use. It remembers every cause
// that it was closed with.
type Wire struct {
	Number int        // counts from 1, in the order of opening
	mu     sync.Mutex // guards Closes
	Closes []error
}

func (w *Wire) ClosedWith() []error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]error(nil), w.Closes...)
}

// An Exchange opens and closes wires, and counts them. Its functions, where they are
// not nil, are called in Open and in Close.
type Exchange struct {
	Open    func(ctx context.Context, attempt int) error
	Closing func(w *Wire, cause error) error

	Mu       sync.Mutex // guards what follows
	attempts int
	Wires    []*Wire
	Now      int // open at this time
	Most     int // that were open at the same time
}

var (
	ErrDial  = errors.New("wrong password")
	ErrUnfit = errors.New("unfit")
	ErrCause = errors.New("my cause")
)

func (x *Exchange) Factory() pool.Factory[*Wire] {
	return pool.Factory[*Wire]{Open: x.dial, Close: x.HangUp}
}

func (x *Exchange) dial(ctx context.Context) (*Wire, error) {
	x.Mu.Lock()
	x.attempts++
	attempt := x.attempts
	x.Mu.Unlock()
	if x.Open != nil {
		if err := x.Open(ctx, attempt); err != nil {
			return nil, err
		}
	}
	x.Mu.Lock()
	defer x.Mu.Unlock()
	w := &Wire{Number: len(x.Wires) + 1}
	x.Wires = append(x.Wires, w)
	x.Now++
	x.Most = max(x.Most, x.Now)
	return w, nil
}

func (x *Exchange) HangUp(w *Wire, cause error) error {
	w.mu.Lock()
	w.Closes = append(w.Closes, cause)
	w.mu.Unlock()
	x.Mu.Lock()
	x.Now--
	x.Mu.Unlock()
	if x.Closing != nil {
		return x.Closing(w, cause)
	}
	return nil
}

// Tried returns how often Open was called.
func (x *Exchange) Tried() int {
	x.Mu.Lock()
	defer x.Mu.Unlock()
	return x.attempts
}

// Opened returns the wires that were opened.
func (x *Exchange) Opened() []*Wire {
	x.Mu.Lock()
	defer x.Mu.Unlock()
	return append([]*Wire(nil), x.Wires...)
}

// OpenAtMost returns how many were open at the same time.
func (x *Exchange) OpenAtMost() int {
	x.Mu.Lock()
	defer x.Mu.Unlock()
	return x.Most
}

// AllClosedOnce fails the test unless every wire has been closed exactly once.
func (x *Exchange) AllClosedOnce(t *testing.T) {
	t.Helper()
	for _, w := range x.Opened() {
		if got := len(w.ClosedWith()); got != 1 {
			t.Errorf("connection %d was closed %d times, want once", w.Number, got)
		}
	}
}

// Bubble runs a subtest in which time is synthetic.
func Bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// Start makes a pool that is closed when the test ends.
func Start[T any](t *testing.T, f pool.Factory[T], c pool.Config) *pool.Pool[T] {
	t.Helper()
	p, err := pool.New(f, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func Borrow[T any](t *testing.T, p *pool.Pool[T]) pool.Lease[T] {
	t.Helper()
	l, err := p.Get(context.Background())
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	return l
}

func GiveBack[T any](t *testing.T, p *pool.Pool[T], l pool.Lease[T]) {
	t.Helper()
	if err := p.Put(l); err != nil {
		t.Fatalf("Put: %v", err)
	}
}

// Fill opens n connections, which are idle then.
func Fill[T any](t *testing.T, p *pool.Pool[T], n int) {
	t.Helper()
	leases := make([]pool.Lease[T], n)
	for i := range leases {
		leases[i] = Borrow(t, p)
	}
	for _, l := range leases {
		GiveBack(t, p, l)
	}
}

// A request is a Get in a goroutine of its own. Its fields say nothing until done is
// closed.
type Request[T any] struct {
	Done  chan struct{}
	Lease pool.Lease[T]
	Err   error
	Took  time.Duration
}

// Ask begins a Get, and returns when it waits or has returned.
func Ask[T any](ctx context.Context, p *pool.Pool[T]) *Request[T] { return ask(ctx, p.Get) }

// AskFresh is Ask for GetFresh.
func AskFresh[T any](ctx context.Context, p *pool.Pool[T]) *Request[T] { return ask(ctx, p.GetFresh) }

// AskSame is Ask for GetSame.
func AskSame[T any](ctx context.Context, p *pool.Pool[T], m pool.Mark) *Request[T] {
	return ask(ctx, func(ctx context.Context) (pool.Lease[T], error) { return p.GetSame(ctx, m) })
}

func ask[T any](ctx context.Context, get func(context.Context) (pool.Lease[T], error)) *Request[T] {
	r := &Request[T]{Done: make(chan struct{})}
	began := time.Now()
	go func() {
		r.Lease, r.Err = get(ctx)
		r.Took = time.Since(began)
		close(r.Done)
	}()
	synctest.Wait()
	return r
}

// Returned reports whether Get has returned.
func (r *Request[T]) Returned() bool {
	synctest.Wait()
	select {
	case <-r.Done:
		return true
	default:
		return false
	}
}

func (r *Request[T]) Pending(t *testing.T, when string) {
	t.Helper()
	if r.Returned() {
		t.Fatalf("%s: Get has returned (%v, %v), want it to wait", when, r.Lease.Value(), r.Err)
	}
}

func (r *Request[T]) Served(t *testing.T, when string) pool.Lease[T] {
	t.Helper()
	if !r.Returned() {
		t.Fatalf("%s: Get waits, want a lease", when)
	}
	if r.Err != nil {
		t.Fatalf("%s: Get returned %v, want a lease", when, r.Err)
	}
	return r.Lease
}

func (r *Request[T]) Failed(t *testing.T, when string, want error) {
	t.Helper()
	if !r.Returned() {
		t.Fatalf("%s: Get waits, want %v", when, want)
	}
	if !errors.Is(r.Err, want) {
		t.Fatalf("%s: Get returned (%v, %v), want %v", when, r.Lease.Value(), r.Err, want)
	}
	if r.Lease != (pool.Lease[T]{}) {
		t.Errorf("%s: Get returned a lease beside its error", when)
	}
}

// Obstacle returns a channel to wait for, and a function that closes it. It is closed
// at the end of the test in any case.
func Obstacle(t *testing.T) (closed <-chan struct{}, remove func()) {
	c := make(chan struct{})
	remove = sync.OnceFunc(func() { close(c) })
	t.Cleanup(remove)
	return c, remove
}

func Opens[T any](v T) func(context.Context) (T, error) {
	return func(context.Context) (T, error) { return v, nil }
}

// AtOnce is a Config.FailFastAfter: callers are told from the first failure on.
const AtOnce = time.Nanosecond

// Pause takes so long, or until ctx ends.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Sleep is time.Sleep for the goroutine of a test in a bubble. When it returns, all others have done
// what they had to do at that instant as well. Otherwise it is a matter of luck who is first:
// the test that looks, or the sweeper, or a timer, whose time has come.
func Sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// Slow returns a function for exchange.open that takes so long.
func Slow(d time.Duration) func(context.Context, int) error {
	return func(ctx context.Context, _ int) error { return Pause(ctx, d) }
}

// Enders are the three ways to end a lease.
var Enders = map[string]func(*pool.Pool[*Wire], pool.Lease[*Wire]) error{
	"Put":     func(p *pool.Pool[*Wire], l pool.Lease[*Wire]) error { return p.Put(l) },
	"Discard": func(p *pool.Pool[*Wire], l pool.Lease[*Wire]) error { return p.Discard(l, ErrCause) },
	"Detach": func(p *pool.Pool[*Wire], l pool.Lease[*Wire]) error {
		w, err := p.Detach(l)
		if err != nil && w != nil {
			panic("Detach returned a connection beside its error")
		}
		return err
	},
}

// OpenTime is how long opening takes in these tests. It is not yet overdue then.
const OpenTime = 100 * time.Millisecond

const Day = 24 * time.Hour

// Watched returns a factory whose connections can be broken by number.
func Watched(x *Exchange) (f pool.Factory[*Wire], broken func(number int, cause error)) {
	var mu sync.Mutex // guards reports
	reports := map[int]func(error){}
	f = x.Factory()
	f.Watch = func(w *Wire, broken func(error)) {
		mu.Lock()
		defer mu.Unlock()
		if reports[w.Number] != nil {
			panic("Watch was called twice")
		}
		reports[w.Number] = broken
	}
	return f, func(number int, cause error) {
		mu.Lock()
		report := reports[number]
		mu.Unlock()
		report(cause)
	}
}

// SameContext is an OpenContext that gives Open all values of its caller.
func SameContext(ctx context.Context) context.Context { return ctx }
