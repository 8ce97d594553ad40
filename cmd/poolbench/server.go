package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"
)

// The embedded server runs in a second process of this program, so that heap and
// goroutines of the first are the clients' alone. The two talk over the pipes
// that are the server's standard input and output, one line at a time:
//
//	server: {"addresses": ["127.0.0.1:40001", ...]}    once, at the start
//	client: reset                                      forget the peak
//	client: counts
//	server: {"open": 3, "peak": 1000, ...}             to either
//
// The server ends when its standard input does, however the client died.

// serverVariable is the environment variable that makes the program the embedded
// server. Its value is the round trip time to add.
const serverVariable = "POOLBENCH_EMBEDDED_SERVER"

// serverListeners is the number of ports that the embedded server listens on.
// Clients dial them in turn. Some systems queue only 128 connections for each,
// and a thousand clients begin at the same time.
const serverListeners = 8

type serverHello struct {
	Addresses []string `json:"addresses"`
}

// serverCounts is what the server knows of its connections.
type serverCounts struct {
	Open     int64 `json:"open"`
	Peak     int64 `json:"peak"`     // most open at the same time, since the reset
	Accepted int64 `json:"accepted"` // since the reset
}

// serverMain runs the embedded server until in ends, and returns the exit status.
func serverMain(rtt string, in io.Reader, out, stderr io.Writer) int {
	// Ctrl-C goes to every process of the terminal. This one is needed until
	// its parent has made the table, and ends with it.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM)
	delay, err := time.ParseDuration(rtt)
	if err != nil {
		fmt.Fprintf(stderr, "poolbench: embedded server: %s: %v\n", serverVariable, err)
		return exitUsage
	}
	s, err := newServer(delay)
	if err != nil {
		fmt.Fprintf(stderr, "poolbench: embedded server: %v\n", err)
		return exitFailed
	}
	defer s.Close()
	s.control(in, out)
	return exitDone
}

// A server echoes WebSocket messages.
type server struct {
	http      http.Server
	rtt       time.Duration
	addresses []string

	open, peak, accepted atomic.Int64
}

// newServer starts a server on the loopback interface whose network has the
// given round trip time.
func newServer(rtt time.Duration) (*server, error) {
	s := &server{rtt: rtt}
	s.http.Handler = http.HandlerFunc(echo)
	s.http.ErrorLog = log.New(io.Discard, "", 0)
	for range serverListeners {
		l, err := listenLoopback()
		if err != nil {
			s.Close()
			return nil, err
		}
		s.addresses = append(s.addresses, l.Addr().String())
		go s.http.Serve(&serverListener{l, s}) // returns when s is closed
	}
	return s, nil
}

// listenLoopback listens on a free port of the loopback interface.
func listenLoopback() (net.Listener, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err == nil {
		return l, nil
	}
	if l, err6 := net.Listen("tcp6", "[::1]:0"); err6 == nil {
		return l, nil
	}
	return nil, err
}

// Close stops listening. It leaves the connections to the end of the process.
func (s *server) Close() error { return s.http.Close() }

// control answers the client's questions until in ends.
func (s *server) control(in io.Reader, out io.Writer) {
	answer := json.NewEncoder(out)
	if answer.Encode(serverHello{s.addresses}) != nil {
		return
	}
	questions := bufio.NewScanner(in)
	for questions.Scan() {
		if questions.Text() == "reset" {
			s.peak.Store(s.open.Load())
			s.accepted.Store(0)
		}
		if answer.Encode(s.counts()) != nil {
			return
		}
	}
}

func (s *server) counts() serverCounts {
	return serverCounts{Open: s.open.Load(), Peak: s.peak.Load(), Accepted: s.accepted.Load()}
}

// A serverListener accepts the connections of s, counts them, and delays them.
type serverListener struct {
	net.Listener
	server *server
}

func (l *serverListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	s := l.server
	s.accepted.Add(1)
	raise(&s.peak, s.open.Add(1))
	conn = &lastConn{Conn: conn, gone: func() { s.open.Add(-1) }}
	if s.rtt > 0 {
		conn = delay(conn, s.rtt)
	}
	return conn, nil
}

// raise makes peak at least n.
func raise(peak *atomic.Int64, n int64) {
	for {
		old := peak.Load()
		if n <= old || peak.CompareAndSwap(old, n) {
			return
		}
	}
}

// A lastConn is a TCP connection that is closed without leaving anything behind.
//
// Whichever end of a TCP connection closes first keeps its port in TIME_WAIT for
// up to a minute. Thousands of connections a second, all on one machine, would
// use up its ports: 28,232 on Linux, 16,384 on macOS. So the server lets the
// client close first, by which time nothing is under way any more, and then
// resets the connection, and neither end has to remember it.
type lastConn struct {
	net.Conn
	closed atomic.Bool
	gone   func() // called when nothing is left
}

// lastWait is how long the server waits for its client to close.
const lastWait = time.Second

func (c *lastConn) Read(p []byte) (int, error) {
	if c.closed.Load() {
		return 0, net.ErrClosed
	}
	return c.Conn.Read(p)
}

func (c *lastConn) Write(p []byte) (int, error) {
	if c.closed.Load() {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

// Close ends c for its user at once. A Read in progress ends with the client's
// side, or after lastWait.
func (c *lastConn) Close() error {
	if c.closed.Swap(true) {
		return net.ErrClosed
	}
	go func() {
		defer c.gone()
		c.Conn.SetReadDeadline(time.Now().Add(lastWait))
		io.Copy(io.Discard, c.Conn)
		if tcp, ok := c.Conn.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		c.Conn.Close()
	}()
	return nil
}

// echo sends back what it receives.
func echo(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxSize)
	ctx := context.Background()
	var message bytes.Buffer
	for {
		kind, r, err := conn.Reader(ctx)
		if err != nil {
			return
		}
		message.Reset()
		if _, err := message.ReadFrom(r); err != nil {
			return
		}
		if conn.Write(ctx, kind, message.Bytes()) != nil {
			return
		}
	}
}
