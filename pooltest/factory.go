package pooltest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
)

// TestFactory reports what of the contract of [pool.Factory] the functions of factory do not hold, by t.Errorf.
// opts may be nil. The server must be there, and must let opts.Connections connections be open at the same time.
//
// It must not run beside other tests that open connections or start goroutines: it takes what they leave for
// the Factory's. It returns within a second or so unless something fails, or the Factory waits on purpose.
// If a function never returns, its goroutine stays.
func TestFactory[T any](t testing.TB, factory pool.Factory[T], opts *Options[T]) {
	t.Helper()
	(&run[T]{t: t, f: factory, o: opts.normalize()}).all()
}

// all is TestFactory.
func (r *run[T]) all() {
	r.t.Helper()
	r.settle = min(max(r.settle, 0), r.o.Patience)
	if r.settle == 0 {
		r.settle = r.o.Patience
	}
	p, err := pool.New(r.f, pool.Config{}) // what that refuses, nothing else need be asked
	if err != nil {
		r.t.Errorf("pooltest: %v", err)
		return
	}
	p.Close()
	if r.f.Close == nil { // as the pool does it; New has seen that it can
		r.f.Close = func(conn T, _ error) error { return any(conn).(interface{ Close() error }).Close() }
	}

	// The first connection may start what all share and what stays, so what there was is counted after it.
	first, ok := r.open("the first connection")
	if !ok {
		r.note("nothing else: no connection could be opened")
		return
	}
	r.close(first, nil)
	if r.o.Wire != nil {
		until(r.settle, func() bool { r.release(); return r.o.Wire.open() == 0 })
	}
	before := take()

	for _, part := range []func(){r.sideBySide, r.openingEnds, r.silence, r.death, r.closeInUse, r.closeBesideALook, r.inAPool} {
		if !r.stuck {
			part()
		}
	}
	if r.stuck {
		r.note("what comes after, nor what is left behind: a function has not returned")
	} else {
		r.leftBehind(before)
	}
	r.notes()
}

// A run is one call of TestFactory.
type run[T any] struct {
	t      testing.TB
	f      pool.Factory[T]
	o      Options[T]
	said   []string      // failures, so that each is told once
	noted  []string      // what was not tested
	stuck  bool          // a function has not returned
	broken bool          // a connection could not be opened where it had to be
	settle time.Duration // how long what nobody tells of may take: Patience
}

// fail reports that the Factory does not hold c.
func (r *run[T]) fail(c contract, format string, args ...any) {
	r.t.Helper()
	what := fmt.Sprintf(format, args...)
	if head, _, _ := strings.Cut(what, "\n"); !slices.Contains(r.said, head) {
		r.said = append(r.said, head)
		r.t.Errorf("pooltest: %s\n%v", what, c)
	}
}

// note remembers what was not tested.
func (r *run[T]) note(what string) { r.noted = append(r.noted, what) }

func (r *run[T]) notes() {
	r.t.Helper()
	for _, what := range r.noted {
		r.t.Logf("pooltest: not tested: %s", what)
	}
}

// do calls f, and reports whether it has returned, and without a panic.
func (r *run[T]) do(what string, f func() error) (error, bool) {
	r.t.Helper()
	return r.ends(what, start(f))
}

// ends waits for the end of a call.
func (r *run[T]) ends(what string, c *call) (error, bool) {
	r.t.Helper()
	return r.endsBy(returns, what, c)
}

// endsBy is ends if the call must end by that contract.
func (r *run[T]) endsBy(must contract, what string, c *call) (error, bool) {
	r.t.Helper()
	if !c.await(r.o.Patience) {
		r.stuck = true
		r.fail(must, "%s has not returned within %v%s", what, r.o.Patience, at(c.parked()))
		return nil, false
	}
	if c.panic != "" {
		r.fail(noPanic, "%s panicked: %s", what, c.panic)
		return c.err, false
	}
	return c.err, true
}

// at returns a stack for the end of a message.
func at(stack string) string {
	if stack == "" {
		return ""
	}
	return ":\n" + stack
}

// open opens a connection as the pool does: Open, Expires, Watch.
func (r *run[T]) open(what string) (T, bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), r.o.Patience)
	defer cancel()
	var c T
	err, ok := r.do("Open", func() (err error) {
		c, err = r.f.Open(ctx)
		return err
	})
	if !ok {
		return c, false
	}
	if err != nil {
		r.beside(c, err)
		r.t.Errorf("pooltest: %s: Open returned an error, with the server there: %v", what, err)
		r.broken = true
		return c, false
	}
	if isNil(c) {
		r.fail(opens, "Open returned nil, and no error: the pool takes that for a failure")
		return c, false
	}
	return c, r.introduce(c)
}

// introduce calls Expires and Watch.
func (r *run[T]) introduce(c T) bool {
	r.t.Helper()
	if r.f.Expires != nil {
		var until time.Time
		if _, ok := r.do("Expires", func() error { until = r.f.Expires(c); return nil }); !ok {
			return false
		}
		if !until.IsZero() && time.Until(until) < time.Millisecond {
			r.fail(expiresLater, "Expires returned a time that has passed, for a new connection: %v", until)
		}
	}
	if r.f.Watch != nil {
		if _, ok := r.do("Watch", func() error { r.f.Watch(c, func(error) {}); return nil }); !ok {
			return false
		}
	}
	return true
}

// beside looks at what Open has returned beside an error.
func (r *run[T]) beside(c T, err error) {
	if k := reflect.TypeFor[T]().Kind(); (k == reflect.Pointer || k == reflect.Interface) && !isNil(c) {
		r.note(fmt.Sprintf("whether anybody closes the %T that Open has returned beside an error: %s (the error: %v)", c, openBeside.text, err))
	}
}

// isNil reports whether v is nil, or an interface with a nil pointer in it, as the pool does.
func isNil[T any](v T) bool {
	x := reflect.ValueOf(&v).Elem()
	for x.Kind() == reflect.Interface && !x.IsNil() {
		x = x.Elem()
	}
	return (x.Kind() == reflect.Interface || x.Kind() == reflect.Pointer) && x.IsNil()
}

// close closes a connection for the first and only time.
func (r *run[T]) close(c T, cause error) { r.t.Helper(); r.closeBy(returns, "Close", c, cause) }

// closeBy is close if it must return by that contract.
func (r *run[T]) closeBy(must contract, what string, c T, cause error) {
	r.t.Helper()
	if err, ok := r.endsBy(must, what, start(func() error { return r.f.Close(c, cause) })); ok {
		r.closedOnce(err)
	}
}

// closedOnce fails if an error of the one Close says that there has been another.
func (r *run[T]) closedOnce(err error) {
	r.t.Helper()
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) || errors.Is(err, syscall.EBADF) {
		r.fail(closeOnce, "Close found the connection closed: Check, Clean or another function of the Factory has closed it, which the pool does, and by then its descriptor may be another connection's (the error: %v)", err)
	}
}

// connections opens n connections, one after the other.
func (r *run[T]) connections(n int, what string) (cs []T) {
	r.t.Helper()
	for len(cs) < n {
		c, ok := r.open(what)
		if !ok {
			break
		}
		cs = append(cs, c)
	}
	return cs
}

// errTest is the cause for which TestFactory closes connections that are not healthy to a pool.
var errTest = errors.New("pooltest: the lease was revoked")
