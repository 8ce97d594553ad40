package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// delay makes conn, a connection that was accepted just now, behave for both of
// its ends as if it came over a network with the given round trip time: what the
// client sends arrives half of it later, and what is sent to the client too.
// Opening the connection, which the loopback interface did in no time, costs a
// round trip as well: what the client has sent before that is over is taken as
// sent at its end.
//
// Bytes travel in order and side by side, as on a line: the delay does not limit
// how much goes over it, but for a window of 1 MiB for each direction, which is
// what TCP would do.
func delay(conn net.Conn, rtt time.Duration) net.Conn {
	c := &delayConn{
		Conn:          conn,
		oneWay:        rtt / 2,
		established:   time.Now().Add(rtt),
		inbound:       newFlight(),
		outbound:      newFlight(),
		closed:        make(chan struct{}),
		lost:          make(chan struct{}),
		readDeadline:  newDeadline(),
		writeDeadline: newDeadline(),
	}
	go c.receive()
	go c.send()
	return c
}

// A delayConn is one end of a delayed connection. The embedded Conn is used for
// its addresses, and by receive and send.
type delayConn struct {
	net.Conn
	oneWay      time.Duration
	established time.Time // when the client has its connection

	reading, writing  sync.Mutex // one Read, one Write at a time
	inbound, outbound *flight

	closing sync.Once
	closed  chan struct{} // closed by Close
	lost    chan struct{} // closed when the peer takes no more

	readDeadline, writeDeadline *deadline
}

const (
	chunkSize = 16 << 10
	window    = 1 << 20
)

// flushTime is how long the bytes that were sent before Close may take.
const flushTime = 5 * time.Second

var errLost = errors.New("connection lost")

// Read reads what has arrived.
func (c *delayConn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	timeout := c.readDeadline.wait()
	head, err := c.inbound.arrived(c.closed, timeout)
	if err != nil {
		return 0, err
	}
	if head.end != nil {
		return 0, head.end
	}
	n := copy(p, head.data)
	c.inbound.take(n)
	return n, nil
}

// Write puts p on the line.
func (c *delayConn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	timeout := c.writeDeadline.wait()
	written := 0
	for {
		select {
		case <-c.lost:
			return written, errLost
		default:
		}
		part := p[written:min(len(p), written+chunkSize)]
		sent := chunk{due: time.Now().Add(c.oneWay), data: bytes.Clone(part)}
		if err := c.outbound.put(sent, c.closed, timeout, c.lost); err != nil {
			return written, err
		}
		if written += len(part); written == len(p) {
			return written, nil
		}
	}
}

// Close ends the connection for its user at once, and for the client when all
// that was sent before has arrived.
func (c *delayConn) Close() error {
	c.closing.Do(func() {
		close(c.closed)
		c.Conn.SetWriteDeadline(time.Now().Add(c.oneWay + flushTime))
		c.outbound.append(chunk{due: time.Now().Add(c.oneWay), end: io.EOF})
	})
	return nil
}

func (c *delayConn) SetDeadline(t time.Time) error {
	c.readDeadline.set(t)
	c.writeDeadline.set(t)
	return nil
}

func (c *delayConn) SetReadDeadline(t time.Time) error {
	c.readDeadline.set(t)
	return nil
}

func (c *delayConn) SetWriteDeadline(t time.Time) error {
	c.writeDeadline.set(t)
	return nil
}

// receive puts what the client sends on the line, until the end of it.
func (c *delayConn) receive() {
	buf := make([]byte, chunkSize)
	for {
		n, err := c.Conn.Read(buf)
		due := time.Now()
		if due.Before(c.established) {
			due = c.established
		}
		due = due.Add(c.oneWay)
		if n > 0 && c.inbound.put(chunk{due: due, data: bytes.Clone(buf[:n])}, c.closed, nil, nil) != nil {
			return
		}
		if err != nil {
			c.inbound.append(chunk{due: due, end: err})
			return
		}
	}
}

// send hands to the client what has arrived there, until the end of it, and
// closes the connection beneath.
func (c *delayConn) send() {
	defer c.Conn.Close()
	for {
		head, _ := c.outbound.arrived(nil, nil) // nothing stops it: Close appends the end
		if head.end != nil {
			return
		}
		if _, err := c.Conn.Write(head.data); err != nil {
			close(c.lost)
			return
		}
		c.outbound.take(len(head.data))
	}
}

// A chunk is what was sent at one time: some bytes, or the end.
type chunk struct {
	due  time.Time
	data []byte
	end  error
}

// A flight is what is under way in one direction, in order. One goroutine at a
// time puts, another takes.
type flight struct {
	mu     sync.Mutex
	chunks []chunk
	size   int

	// Each holds a token if there may be something to take, or room to put.
	// One waits for it at most, and looks again when it has got it.
	filled, freed chan struct{}
}

func newFlight() *flight {
	return &flight{filled: make(chan struct{}, 1), freed: make(chan struct{}, 1)}
}

// put appends c when the window has room for it. An empty window has room for
// anything.
func (f *flight) put(c chunk, closed, timeout, lost <-chan struct{}) error {
	for {
		if err := stopped(closed, timeout, lost); err != nil {
			return err
		}
		f.mu.Lock()
		room := f.size == 0 || f.size+len(c.data) <= window
		f.mu.Unlock()
		if room {
			f.append(c)
			return nil
		}
		select {
		case <-f.freed:
		case <-closed:
		case <-timeout:
		case <-lost:
		}
	}
}

// append appends c whether there is room or not.
func (f *flight) append(c chunk) {
	f.mu.Lock()
	f.chunks = append(f.chunks, c)
	f.size += len(c.data)
	f.mu.Unlock()
	notify(f.filled)
}

// arrived waits for the oldest chunk to be due and returns it. It stays in f
// until it is taken.
func (f *flight) arrived(closed, timeout <-chan struct{}) (chunk, error) {
	for {
		if err := stopped(closed, timeout, nil); err != nil {
			return chunk{}, err
		}
		f.mu.Lock()
		var head chunk
		some := len(f.chunks) > 0
		if some {
			head = f.chunks[0]
		}
		f.mu.Unlock()
		if !some {
			select {
			case <-f.filled:
			case <-closed:
			case <-timeout:
			}
			continue
		}
		left := time.Until(head.due)
		if left <= 0 {
			return head, nil
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-closed:
		case <-timeout:
		}
		timer.Stop()
	}
}

// take removes n bytes from the oldest chunk, and the chunk when it is empty.
func (f *flight) take(n int) {
	f.mu.Lock()
	f.size -= n
	head := &f.chunks[0]
	if head.data = head.data[n:]; len(head.data) == 0 {
		*head = chunk{} // for the collector
		if f.chunks = f.chunks[1:]; len(f.chunks) == 0 {
			f.chunks = nil
		}
	}
	f.mu.Unlock()
	notify(f.freed)
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// stopped says which of the channels is closed. A nil one never is.
func stopped(closed, timeout, lost <-chan struct{}) error {
	select {
	case <-closed:
		return net.ErrClosed
	default:
	}
	select {
	case <-timeout:
		return os.ErrDeadlineExceeded
	default:
	}
	select {
	case <-lost:
		return errLost
	default:
		return nil
	}
}

// A deadline is a time that can be moved, for those who wait on a channel.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	past  chan struct{} // closed when the time has come
}

func newDeadline() *deadline { return &deadline{past: make(chan struct{})} }

// set moves d to t; the zero t means never. Whoever waits for the old time while
// it has not come waits for the new one.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.past // the timer has fired: its function is about to close past
	}
	d.timer = nil
	select {
	case <-d.past:
		d.past = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return
	}
	past := d.past
	if left := time.Until(t); left > 0 {
		d.timer = time.AfterFunc(left, func() { close(past) })
	} else {
		close(past)
	}
}

// wait returns a channel that is closed when the time has come.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.past
}
