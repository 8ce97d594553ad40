package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"go.uber.org/atomic"
)

// Users of a wire that are not callers.
const (
	nobody  = 0
	checker = -1
	cleaner = -2
	prober  = -3
)

// A wire is a connection. Part of them are real.
type wire struct {
	user atomic.Int64 // whose hands it is in
	hung atomic.Int64 // when the call of Check or Clean that hangs began, 0 if none does

	life   *life
	number int64
	tcp    net.Conn // nil: not a real one

	uses    int // written by whoever has it, for the race detector
	closes  atomic.Int32
	revoked atomic.Bool // Close was called because of Revoke
	away    atomic.Bool // Detach has been called
	gone    atomic.Bool // and has succeeded
	orphan  bool        // returned beside an error; the pool must not touch it
	broken  atomic.Pointer[func(error)]
	nonce   uint64      // of the last request
	counts  atomic.Bool // among those that are open for the peer, in a strict pool
}

// uncount says that the wire is not open any more, as far as the pool is concerned.
func (w *wire) uncount() {
	if w.counts.CompareAndSwap(true, false) {
		w.life.standing.Dec()
	}
}

var errMixedUp = errors.New("the reply is somebody else's")

// use says that a caller has the wire, for as long as f runs.
func (w *wire) use(user int64, f func() error) error {
	if w.orphan {
		w.life.fail("a connection that Open returned beside an error has been lent")
	}
	if !w.user.CompareAndSwap(nobody, user) {
		w.life.fail("connection %d was lent to %d while %d has it", w.number, user, w.user.Load())
		return nil
	}
	if w.closes.Load() != 0 && !w.life.ending.Load() && !w.revoked.Load() {
		w.life.fail("connection %d was lent after it was closed", w.number)
	}
	if w.away.Load() {
		w.life.fail("connection %d was lent after it was detached", w.number)
	}
	w.uses++
	err := f()
	if !w.user.CompareAndSwap(user, nobody) {
		w.life.fail("connection %d of %d was taken over by %d", w.number, user, w.user.Load())
	}
	return err
}

// exchange sends a request and reads the reply. It does not return errMixedUp unless
// two have used the wire at the same time, or a request was left half done.
func (w *wire) exchange() error {
	if w.tcp == nil {
		return nil
	}
	w.nonce++
	var request, reply [16]byte
	binary.LittleEndian.PutUint64(request[:], uint64(w.number))
	binary.LittleEndian.PutUint64(request[8:], w.nonce)
	_ = w.tcp.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := w.tcp.Write(request[:]); err != nil {
		return err
	}
	if _, err := io.ReadFull(w.tcp, reply[:]); err != nil {
		return err
	}
	if reply != request {
		w.life.fail("connection %d: %v", w.number, errMixedUp)
		return errMixedUp
	}
	return nil
}

// hangUp closes the wire without ceremony: no port is left to wait for stragglers.
func (w *wire) hangUp() {
	if w.tcp == nil {
		return
	}
	if c, ok := w.tcp.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	_ = w.tcp.Close()
}

// A peer is an echo server whose connections die now and then.
type peer struct {
	net.Listener
	life atomic.Pointer[life] // that is going on
}

func newPeer() (*peer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("the peer cannot listen: %w", err)
	}
	p := &peer{Listener: l}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p, nil
}

func (p *peer) serve(c net.Conn) {
	defer c.Close()
	_ = c.(*net.TCPConn).SetLinger(0)
	var request [16]byte
	for {
		// It dies while it is idle, too.
		l := p.life.Load()
		patience := time.Minute
		fault, rnd := l.weather.next(atPeer)
		if fault == bursting && rnd.IntN(2) == 0 {
			patience = time.Duration(rnd.IntN(20)) * time.Millisecond
		}
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadFull(c, request[:]); err != nil || fault == bursting {
			return
		}
		if _, err := c.Write(request[:]); err != nil {
			return
		}
	}
}

// warmUp makes and closes one connection.
func (s *soak) warmUp() {
	l := &life{soak: s, weather: newWeather(s.seed, 0, &s.met)}
	s.peer.life.Store(l)
	if c, err := net.Dial("tcp", s.peer.Addr().String()); err == nil {
		_ = c.Close()
	}
}
