package pooltest

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"github.com/S4AK4N/pool"
)

// sideBySide opens, uses, checks, cleans and closes connections at the same time.
func (r *run[T]) sideBySide() {
	r.t.Helper()
	n := r.o.Connections
	cs := make([]T, n)
	ctx, cancel := context.WithTimeout(context.Background(), r.o.Patience)
	defer cancel()
	opened := make([]bool, n)
	defer func() { // whatever comes, or the pool would seem to have left them
		var all []T
		for i, c := range cs {
			if opened[i] {
				all = append(all, c)
			}
		}
		if !r.stuck {
			r.each("Close", all, func(i int) error { r.closedOnce(r.f.Close(all[i], nil)); return nil }, nil)
		}
	}()
	if !r.each("Open", cs, func(i int) (err error) {
		cs[i], err = r.f.Open(ctx)
		opened[i] = err == nil && !isNil(cs[i])
		return err
	}, func(err error) {
		r.fail(anyGoroutine, "Open returned an error when %d connections were opened side by side, and none when they were opened alone: %v", n, err)
	}) {
		return
	}
	seen := map[any]bool{}
	for _, c := range cs {
		if reflect.ValueOf(any(c)).Kind() != reflect.Pointer {
			continue
		}
		if seen[any(c)] {
			r.fail(anyGoroutine, "Open returned the same %T twice: each connection is lent to one caller at a time", c)
		}
		seen[any(c)] = true
	}
	for _, c := range cs {
		if !r.introduce(c) {
			return
		}
	}
	ok := true
	for range 2 { // a connection must be as good the second time
		if r.o.Use != nil {
			ok = ok && r.each("Use", cs, func(i int) error { return r.o.Use(ctx, cs[i]) }, func(err error) {
				r.t.Errorf("pooltest: Options.Use returned an error: %v", err)
			})
		}
		if r.f.Clean != nil {
			ok = ok && r.each("Clean", cs, func(i int) error { return r.f.Clean(cs[i]) }, func(err error) {
				r.fail(cleanFails, "Clean returned an error for a healthy connection that nobody uses any more, so no connection is ever used twice: %v", err)
			})
		}
		if r.f.Check != nil {
			ok = ok && r.each("Check", cs, func(i int) error { return r.f.Check(cs[i]) }, func(err error) {
				r.fail(checkFails, "Check returned an error for a healthy connection: %v", err)
			})
		}
	}
	if ok && r.f.Probe != nil {
		r.each("Probe", cs, func(i int) error { return r.f.Probe(ctx, cs[i]) }, func(err error) {
			r.fail(probeAsks, "Probe returned an error for a healthy connection whose server answers: %v", err)
		})
	}
}

// each calls f for all connections at the same time, and reports whether all is well.
func (r *run[T]) each(what string, cs []T, f func(i int) error, failed func(error)) bool {
	r.t.Helper()
	calls := make([]*call, len(cs))
	for i := range cs {
		calls[i] = start(func() error { return f(i) })
	}
	good := true
	for _, c := range calls {
		err, ok := r.ends(what, c)
		if !ok {
			return false
		}
		if err != nil && failed != nil {
			failed(err)
			good = false
		}
	}
	return good
}

// openingEnds has Open fail, or hang on a server that says nothing.
func (r *run[T]) openingEnds() {
	r.t.Helper()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	r.openSo(ended, start, "Open, whose ctx had ended before,")
	if r.o.Wire == nil || r.stuck {
		return
	}
	r.o.Wire.silence(true)
	defer r.o.Wire.silence(false)
	for range 4 { // of some clients nobody sees whether they dial, or are in a handshake
		ctx, cancel := context.WithCancel(context.Background())
		r.openSo(ctx, func(f func() error) *call {
			c := r.startOpen(f)
			cancel()
			return c
		}, "Open, whose ctx ended while the server was silent,")
		cancel()
		if r.stuck {
			return
		}
	}
	// A server that ends the connection in the handshake. Whether Open notices is its own matter.
	for _, crash := range []bool{false, true} {
		ctx, cancel := context.WithTimeout(context.Background(), r.o.Patience)
		r.openSo(ctx, func(f func() error) *call {
			c := r.startOpen(f)
			r.o.Wire.fell(crash)
			return c
		}, "Open, whose server has closed the connection,")
		r.o.Wire.raise()
		cancel()
	}
}

// startOpen calls f, which opens a connection, and returns when it is in a handshake or has returned.
func (r *run[T]) startOpen(f func() error) *call {
	before := r.o.Wire.count()
	c := start(f)
	until(r.o.Patience, func() bool {
		if c.over() {
			return true
		}
		stack := c.parked()
		return stack != "" && r.o.Wire.count() > before && !strings.Contains(stack, "(*netFD).connect(")
	})
	return c
}

// openSo calls Open in the way of begin, and closes what it returns.
func (r *run[T]) openSo(ctx context.Context, begin func(func() error) *call, what string) {
	r.t.Helper()
	var c T
	open := begin(func() (err error) {
		c, err = r.f.Open(ctx)
		return err
	})
	must := closes
	switch err, ok := r.endsBy(openEnds, what, open); {
	case !ok:
	case err == nil && !isNil(c):
		r.close(c, errTest)
	case err != nil:
		must = openBeside // nobody calls Close
		if !isNil(c) {
			r.beside(c, err)
		}
	}
	if r.o.Wire != nil && !r.stuck {
		r.noneOpen(must, "after "+what+" had returned")
	}
}

// A function waits if its goroutine was seen parked in so many of so many calls. One that was not seen so in the
// first few does not. A machine that is slow hides a wait, and makes none.
const (
	seenOften  = 8
	calledMost = 3 * seenOften
)

// waits calls f, and returns a stack of its goroutine if that waits. It stops at an error, and if a call does not return.
func (r *run[T]) waits(what string, f func() error) (stack string, err error, returned bool) {
	r.t.Helper()
	for seen, called := 0, 0; called < calledMost && (seen > 0 || called < seenOften); {
		c := start(f)
		parked := c.untilParked(r.o.Patience)
		called++
		if parked != "" {
			seen++
		}
		if !c.await(r.o.Patience) {
			return parked, nil, false
		}
		if err, ok := r.ends(what, c); err != nil || !ok {
			return parked, err, true
		}
		if seen == seenOften {
			return parked, nil, true
		}
	}
	return "", nil, true // never, or seldom: that was somebody else's lock
}

// closeInUse closes a connection under a Read.
func (r *run[T]) closeInUse() {
	r.t.Helper()
	for range 2 {
		c, ok := r.open("a connection that is closed in use")
		if !ok {
			return
		}
		f := r.reader(c)
		if f == nil {
			r.note(fmt.Sprintf("Close while a caller uses the connection: a %T has no Read that is known here; set Options.Read", c))
			r.close(c, errTest)
			return
		}
		read := start(f)
		read.untilParked(r.o.Patience)
		if read.over() {
			if _, ok := r.ends("Read", read); ok {
				r.t.Errorf("pooltest: Read returned before the connection was closed: %v", read.err)
			}
			r.close(c, errTest)
			return
		}
		r.closeBy(closeInUse, "Close, called while a Read was in progress,", c, errTest)
		if r.stuck {
			return
		}
		if err, ok := r.endsBy(closeInUse, "a Read that was in progress when Close was called", read); ok && err == nil {
			r.fail(closeInUse, "a Read that was in progress when Close was called has returned no error")
		}
	}
}

// closeBesideALook closes connections while Check or Clean looks at them. What goes wrong there shows as a panic, or as a race under
// the race detector.
func (r *run[T]) closeBesideALook() {
	r.t.Helper()
	for _, look := range []struct {
		name string
		f    func(T) error
	}{{"Check", r.f.Check}, {"Clean", r.f.Clean}} {
		if look.f == nil {
			continue
		}
		for _, c := range r.connections(min(r.o.Connections, 4), "a connection that is closed beside "+look.name) {
			looking := start(func() error { look.f(c); return look.f(c) })
			r.closeBy(closeInUse, "Close, called beside "+look.name+",", c, errTest)
			if _, ok := r.endsBy(closeInUse, look.name+", beside which Close was called,", looking); !ok && r.stuck {
				return
			}
		}
	}
}

// rounds is how often each caller takes a connection of the pool.
const rounds = 16

// inAPool lends connections of a pool to more callers than it has connections, resets it meanwhile, and shuts it down.
func (r *run[T]) inAPool() {
	r.t.Helper()
	if r.broken {
		return
	}
	p, err := pool.New(r.f, pool.Config{MaxConnections: (r.o.Connections + 1) / 2, MaxWaitTime: -1, StrictMax: true})
	if err != nil {
		r.t.Errorf("pooltest: %v", err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.o.Patience)
	defer cancel()
	var callers []*call
	for i := range r.o.Connections {
		callers = append(callers, start(func() error {
			for round := range rounds {
				if i == 0 && round == rounds/2 {
					p.Reset()
				}
				if err := p.Do(ctx, func(ctx context.Context, c T) error {
					if r.o.Use == nil {
						return nil
					}
					return r.o.Use(ctx, c)
				}); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	for _, c := range callers {
		if err, ok := r.ends("a caller of the pool", c); ok && err != nil {
			r.t.Errorf("pooltest: in a pool that is shared by %d callers, one got an error: %v", len(callers), err)
		}
	}
	shutdown := start(func() error { return p.Shutdown(ctx) })
	if err, ok := r.ends("Pool.Shutdown", shutdown); ok && err != nil {
		r.fail(returns, "Pool.Shutdown returned an error: %v", err)
	}
	switch s := p.Stats(); {
	case s.ClosedCheck > 0:
		r.fail(checkFails, "in a pool, Check has failed for %d of %d connections, though the server is there", s.ClosedCheck, s.Opened)
	case s.ClosedClean > 0:
		r.fail(cleanFails, "in a pool, Clean has failed for %d of %d connections, though their callers had done all they should", s.ClosedClean, s.Opened)
	case s.Abandoned > 0:
		r.fail(returns, "in a pool, %d calls of functions were abandoned", s.Abandoned)
	}
}

// noneOpen looks at the wire, on which nothing is open if that contract is held.
func (r *run[T]) noneOpen(must contract, when string) {
	r.t.Helper()
	if !until(r.settle, func() bool { r.release(); return r.o.Wire.open() == 0 }) {
		r.fail(must, "%d connections to the server are still open, %v %s", r.o.Wire.open(), r.settle, when)
	}
}

// release has what connections share closed.
func (r *run[T]) release() {
	if r.o.Release != nil {
		r.o.Release()
	}
}

// leftBehind looks for what was not given back.
func (r *run[T]) leftBehind(before census) {
	r.t.Helper()
	if r.o.Wire != nil {
		r.noneOpen(closes, "after all connections were closed")
		r.o.Wire.drop()
	}
	var left []string
	if !until(r.settle, func() bool { r.release(); left = before.newGoroutines(r.o.Ignore); return len(left) == 0 }) {
		r.fail(closes, "%d goroutines were left behind after all connections were closed, such as\n%s", len(left), left[0])
	}
	if !until(r.settle, func() bool { r.release(); left = before.newDescriptors(); return len(left) == 0 }) {
		r.fail(closes, "%d descriptors were left behind after all connections were closed: %v", len(left), left)
	}
}
