package harness

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// Verify sees whether p does what its traits say, and is used so that they hold: whether a Get
// waits when everything is leased, and ends with its ctx; whether connections are opened when
// they are wanted, come back, and are replaced. What is measured would be something else otherwise.
func Verify(p Peer) error {
	for _, check := range []func(Peer) error{verifyWait, verifyOpen, verifyDiscard} {
		if err := check(p); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return nil
}

func verifyWait(p Peer) error {
	const size = 2
	r := &run{peer: p, maxWait: time.Hour}
	if err := r.open(size, ""); err != nil {
		return err
	}
	ctx, cancel := deadline()
	defer cancel()
	var held []Lease
	for range size {
		l, err := r.pool.Get(ctx)
		if err != nil {
			return err
		}
		held = append(held, l)
	}
	if held[0].Conn == held[1].Conn {
		return errors.New("two leases have one connection")
	}
	own, end := context.WithCancel(ctx)
	defer end()
	g := get(own, r.pool, nil)
	err := awaitBlocked(g.id, g.ended.Load)
	if (err == nil) != (p.Lacks[Waits] == "") {
		return fmt.Errorf("whether it waits is not as its traits say: lacks %q, but waiting: %v", p.Lacks[Waits], err)
	}
	if err != nil { // it does not wait
		<-g.done
		if g.err != nil {
			return g.err
		}
		g.lease.Put()
		return nil
	}
	end()
	if p.Lacks[Ctx] == "" {
		<-g.done
		if g.err == nil {
			return errors.New("a Get was given a connection while all were leased")
		}
	} else if err := awaitBlocked(g.id, g.ended.Load); err != nil {
		return fmt.Errorf("its traits say that a wait does not end with its ctx, but: %w", err)
	}
	held[0].Put()
	if p.Lacks[Ctx] != "" {
		<-g.done
		if g.err != nil {
			return g.err
		}
		g.lease.Put()
	}
	held[1].Put()
	if n := r.dialer.MostOpen(); n != size {
		return fmt.Errorf("%d connections were open, want %d", n, size)
	}
	return nil
}

func verifyOpen(p Peer) error {
	const size = 3
	r := &run{peer: p, maxWait: time.Hour}
	if err := r.open(size, ""); err != nil {
		return err
	}
	want := int64(0)
	if p.Lacks[Opens] != "" && p.Lacks[Waits] == "" {
		want = size // filled at the start
	}
	if got := r.dialer.Opened(); got != want {
		return fmt.Errorf("%d connections are open before the first Get, want %d", got, want)
	}
	if p.Lacks[Keeps] != "" {
		return nil
	}
	ctx, cancel := deadline()
	defer cancel()
	seen := map[*Conn]bool{}
	for range 2 * size {
		l, err := r.pool.Get(ctx)
		if err != nil {
			return err
		}
		seen[l.Conn] = true
		l.Put()
	}
	if want = max(want, 1); int64(len(seen)) > want || r.dialer.Opened() > want {
		return fmt.Errorf("%d connections were lent and %d opened for one caller, want %d", len(seen), r.dialer.Opened(), want)
	}
	return nil
}

func verifyDiscard(p Peer) error {
	if p.Lacks[Discard] != "" {
		return nil
	}
	var server Server // go-redis sees that a connection is dead by its socket
	if err := server.Start(); err != nil {
		return err
	}
	defer server.Close()
	r := &run{peer: p, maxWait: time.Hour}
	if err := r.open(1, server.Address()); err != nil {
		return err
	}
	ctx, cancel := deadline()
	defer cancel()
	l, err := r.pool.Get(ctx)
	if err != nil {
		return err
	}
	dead := l.Conn
	l.Drop()
	if l, err = r.pool.Get(ctx); err != nil {
		return fmt.Errorf("after a connection was dropped: %w", err)
	}
	defer l.Put()
	if l.Conn == dead {
		return errors.New("a connection was dropped and is still lent")
	}
	for !dead.closed.Load() { // some close in the background
		if ctx.Err() != nil {
			return errors.New("a connection was dropped and is not closed")
		}
		runtime.Gosched()
	}
	return nil
}
