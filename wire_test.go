package pool

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A wire is the connection of the tests in this package. It remembers every cause
// that it was closed with.
type wire struct {
	number int // counts from 1, in the order of opening
	mu     sync.Mutex
	closes []error
}

func (w *wire) closedWith() []error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]error(nil), w.closes...)
}

// An exchange opens and closes wires, and counts them. Its functions, where they are
// not nil, are called in Open and in Close.
type exchange struct {
	open    func(ctx context.Context, attempt int) error
	closing func(w *wire, cause error) error

	mu       sync.Mutex
	attempts int
	wires    []*wire
	now      int // open at this time
	most     int // that were open at the same time
}

var (
	errDial  = errors.New("wrong password")
	errUnfit = errors.New("unfit")
	errCause = errors.New("my cause")
)

func (x *exchange) factory() Factory[*wire] {
	return Factory[*wire]{Open: x.dial, Close: x.hangUp}
}

func (x *exchange) dial(ctx context.Context) (*wire, error) {
	x.mu.Lock()
	x.attempts++
	attempt := x.attempts
	x.mu.Unlock()
	if x.open != nil {
		if err := x.open(ctx, attempt); err != nil {
			return nil, err
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	w := &wire{number: len(x.wires) + 1}
	x.wires = append(x.wires, w)
	x.now++
	x.most = max(x.most, x.now)
	return w, nil
}

func (x *exchange) hangUp(w *wire, cause error) error {
	w.mu.Lock()
	w.closes = append(w.closes, cause)
	w.mu.Unlock()
	x.mu.Lock()
	x.now--
	x.mu.Unlock()
	if x.closing != nil {
		return x.closing(w, cause)
	}
	return nil
}

// tried returns how often Open was called.
func (x *exchange) tried() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.attempts
}

// opened returns the wires that were opened.
func (x *exchange) opened() []*wire {
	x.mu.Lock()
	defer x.mu.Unlock()
	return append([]*wire(nil), x.wires...)
}

// openAtMost returns how many were open at the same time.
func (x *exchange) openAtMost() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.most
}

// allClosedOnce fails the test unless every wire has been closed exactly once.
func (x *exchange) allClosedOnce(t *testing.T) {
	t.Helper()
	for _, w := range x.opened() {
		if got := len(w.closedWith()); got != 1 {
			t.Errorf("connection %d was closed %d times, want once", w.number, got)
		}
	}
}

// bubble runs a subtest in which time is synthetic.
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// start makes a pool that is closed when the test ends.
func start[T any](t *testing.T, f Factory[T], c Config) *Pool[T] {
	t.Helper()
	p, err := New(f, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func borrow[T any](t *testing.T, p *Pool[T]) Lease[T] {
	t.Helper()
	l, err := p.Get(context.Background())
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	return l
}

func giveBack[T any](t *testing.T, p *Pool[T], l Lease[T]) {
	t.Helper()
	if err := p.Put(l); err != nil {
		t.Fatalf("Put: %v", err)
	}
}

// fill opens n connections, which are idle then.
func fill[T any](t *testing.T, p *Pool[T], n int) {
	t.Helper()
	leases := make([]Lease[T], n)
	for i := range leases {
		leases[i] = borrow(t, p)
	}
	for _, l := range leases {
		giveBack(t, p, l)
	}
}

// A request is a Get in a goroutine of its own. Its fields say nothing until done is
// closed.
type request[T any] struct {
	done  chan struct{}
	lease Lease[T]
	err   error
	took  time.Duration
}

// ask begins a Get, and returns when it waits or has returned.
func ask[T any](ctx context.Context, p *Pool[T]) *request[T] {
	r := &request[T]{done: make(chan struct{})}
	began := time.Now()
	go func() {
		r.lease, r.err = p.Get(ctx)
		r.took = time.Since(began)
		close(r.done)
	}()
	synctest.Wait()
	return r
}

// returned reports whether Get has returned.
func (r *request[T]) returned() bool {
	synctest.Wait()
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

func (r *request[T]) pending(t *testing.T, when string) {
	t.Helper()
	if r.returned() {
		t.Fatalf("%s: Get has returned (%v, %v), want it to wait", when, r.lease.Value(), r.err)
	}
}

func (r *request[T]) served(t *testing.T, when string) Lease[T] {
	t.Helper()
	if !r.returned() {
		t.Fatalf("%s: Get waits, want a lease", when)
	}
	if r.err != nil {
		t.Fatalf("%s: Get returned %v, want a lease", when, r.err)
	}
	return r.lease
}

func (r *request[T]) failed(t *testing.T, when string, want error) {
	t.Helper()
	if !r.returned() {
		t.Fatalf("%s: Get waits, want %v", when, want)
	}
	if !errors.Is(r.err, want) {
		t.Fatalf("%s: Get returned (%v, %v), want %v", when, r.lease.Value(), r.err, want)
	}
	if r.lease != (Lease[T]{}) {
		t.Errorf("%s: Get returned a lease beside its error", when)
	}
}

// obstacle returns a channel to wait for, and a function that closes it. It is closed
// at the end of the test in any case.
func obstacle(t *testing.T) (closed <-chan struct{}, remove func()) {
	c := make(chan struct{})
	remove = sync.OnceFunc(func() { close(c) })
	t.Cleanup(remove)
	return c, remove
}
