package pooltest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/S4AK4N/pool"
)

// silence calls Check, Clean and Probe while the server says nothing. A server that says nothing is healthy.
func (r *run[T]) silence() {
	r.t.Helper()
	silent := r.o.Wire != nil
	whose := "nothing has come from the server"
	if silent {
		whose = "the server is silent"
	}
	for _, look := range []struct {
		name   string
		f      func(T) error
		blocks contract
		fails  contract
	}{
		{"Check", r.f.Check, checkLooks, checkFails},
		{"Clean", r.f.Clean, holdsPut, cleanFails},
	} {
		if look.f == nil || r.stuck {
			continue
		}
		c, ok := r.open("a connection for " + look.name)
		if !ok {
			return
		}
		if silent {
			r.o.Wire.silence(true)
		}
		stack, err, returned := r.waits(look.name, func() error { return look.f(c) })
		if silent {
			r.o.Wire.silence(false)
		}
		switch {
		case !returned:
			r.stuck = true
			r.fail(look.blocks, "%s blocks: it has not returned within %v while %s, and the pool abandons it after ten seconds%s", look.name, r.o.Patience, whose, at(stack))
			r.dropConn(c)
			return
		case r.o.RoundTrips:
		case err != nil && stack != "":
			r.fail(look.blocks, "%s waits for the server, and fails if that is silent, though it may be healthy: %v (if it asks on purpose, set Options.RoundTrips)%s", look.name, err, at(stack))
		case err != nil:
			r.fail(look.fails, "%s returned an error for a connection that is healthy, only because %s: %v", look.name, whose, err)
		case stack != "":
			r.fail(look.blocks, "%s blocks: it was seen waiting in %d calls while %s (if it asks on purpose, set Options.RoundTrips)%s", look.name, seenOften, whose, at(stack))
		}
		r.close(c, errTest)
	}
	if r.stuck || !silent {
		if !silent {
			r.note("what happens when the server is silent while a connection is opened, checked, cleaned, probed or closed, and when it resets one: set Options.Wire")
		}
		return
	}
	r.probeInSilence()
	r.goodbyeInSilence()
}

// dropConn closes the connection of a function that has not returned, to end that.
func (r *run[T]) dropConn(c T) {
	start(func() error { return r.f.Close(c, errTest) }).await(r.o.Patience)
}

// probeInSilence calls Probe while the server does not answer. It must end with its ctx, and must not say that all is well.
func (r *run[T]) probeInSilence() {
	r.t.Helper()
	if r.f.Probe == nil {
		return
	}
	c, ok := r.open("a connection for Probe")
	if !ok {
		return
	}
	r.o.Wire.silence(true)
	defer r.o.Wire.silence(false)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	probe := start(func() error { return r.f.Probe(ctx, c) })
	probe.untilParked(r.o.Patience)
	cancel()
	err, ok := r.endsBy(probeEnds, "Probe, whose ctx ended while the server was silent,", probe)
	if r.stuck {
		r.dropConn(c)
		return
	}
	if ok && err == nil {
		r.fail(probeAsks, "Probe returned nil though the server has said nothing since it was called")
	}
	r.close(c, errTest)
}

// goodbyeInSilence closes a healthy connection whose server does not answer a closing handshake.
func (r *run[T]) goodbyeInSilence() {
	r.t.Helper()
	if c, ok := r.open("a connection to close"); ok && !r.stuck {
		r.o.Wire.silence(true)
		defer r.o.Wire.silence(false)
		r.close(c, nil)
	}
}

// death ends the server's side of connections.
func (r *run[T]) death() {
	r.t.Helper()
	if r.f.Check == nil {
		r.note("that a dead connection is not lent: without a Check, one that died while it was idle costs the next caller an error")
	}
	for _, crash := range []bool{false, true} {
		if crash && r.o.Wire == nil {
			break
		}
		if r.f.Check != nil && !r.deathIsSeen(crash) {
			return
		}
	}
	r.peerClosed()
}

// doomed calls f, which opens a connection, and returns a function that ends the server's side of it, and another that has the server
// there again. With a Wire that is what they do. Without one, and where the system allows it, the sockets that were opened
// meanwhile read the end, the client's as that of a server in this process. end returns false if there are none.
func (r *run[T]) doomed(f func() bool) (end func(crash bool) bool, again func(), ok bool) {
	r.t.Helper()
	if w := r.o.Wire; w != nil {
		return func(crash bool) bool { w.fell(crash); return true }, w.raise, f()
	}
	before := sockets()
	ok = f()
	opened := slices.DeleteFunc(sockets(), func(s socket) bool { return slices.Contains(before, s) })
	return func(bool) (ended bool) {
		for _, s := range opened {
			ended = s.end() || ended
		}
		return ended
	}, func() {}, ok
}

// deathIsSeen has an idle connection end.
func (r *run[T]) deathIsSeen(crash bool) bool {
	r.t.Helper()
	how := "closed"
	if crash {
		how = "reset"
	}
	var c T
	end, again, ok := r.doomed(func() (ok bool) {
		c, ok = r.open("a connection that dies")
		return ok
	})
	if !ok {
		return false
	}
	told := make(chan struct{})
	var once sync.Once
	if r.f.Watch != nil {
		if _, ok := r.do("Watch", func() error { r.f.Watch(c, func(error) { once.Do(func() { close(told) }) }); return nil }); !ok {
			return false
		}
	}
	if err, ok := r.do("Check", func() error { return r.f.Check(c) }); !ok || err != nil {
		return ok // reported before
	}
	ended := end(crash)
	defer again()
	if !ended {
		r.note("that Check sees when the server closes a connection: set Options.Wire")
		r.close(c, errTest)
		return true
	}
	var cause error
	// The end takes a moment to arrive, and perhaps a goroutine of the Factory to read it: the pool
	// asks again, too.
	seen := until(r.settle, func() bool {
		select {
		case <-told:
			return true
		default:
		}
		look := start(func() error { return r.f.Check(c) })
		if _, ok = r.ends("Check of a connection that the server had "+how, look); !ok {
			return true
		}
		cause = look.err
		return cause != nil
	})
	if !ok {
		return false
	}
	if !seen {
		r.fail(checkValid, "Check does not see that the server has %s the connection: it returned nil for %v", how, r.settle)
	}
	if cause == nil {
		cause = errTest
	}
	r.close(c, cause)
	return true
}

// peerClosed looks whether the pool knows that it was the server that has ended a connection: whether
// that counts as a failure to open.
func (r *run[T]) peerClosed() {
	r.t.Helper()
	for range 5 {
		p, err := pool.New(r.f, pool.Config{MaxConnections: 1, CheckInterval: -1, MaxIdleTime: -1})
		if err != nil {
			return
		}
		var lease pool.Lease[T]
		end, again, ok := r.doomed(func() bool {
			lease, err = p.Get(context.Background())
			return err == nil
		})
		if !ok {
			p.Close()
			return // reported elsewhere
		}
		read := r.reader(lease.Value())
		if read == nil {
			p.Close()
			return
		}
		c := start(read)
		c.untilParked(r.o.Patience)
		if !end(false) {
			p.Close()
			c.await(r.o.Patience)
			return
		}
		cause, ok := r.ends("a Read whose server has closed the connection", c)
		again()
		p.Discard(lease, cause)
		known, young := p.Stats().LastOpenError != nil, time.Since(lease.Opened()) < 900*time.Millisecond
		p.Close()
		switch {
		case !ok || known:
			return
		case young: // a pool asks for this only in the first second of a connection
			r.fail(peerKnown, "the error of a Read does not tell the pool that the server has closed the connection: it is not io.EOF, and PeerClosed does not know it: %v", cause)
			return
		}
	}
	r.note("that the pool knows by its error that the server has closed a new connection: the machine was too slow")
}

// reader returns a function that waits for the server, or nil.
func (r *run[T]) reader(c T) func() error {
	if r.o.Read != nil {
		return func() error { return r.o.Read(c) }
	}
	return readerOf(c)
}
