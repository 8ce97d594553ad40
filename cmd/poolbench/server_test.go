package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// startServer starts the echo server in this process and returns its URL.
func startServer(t *testing.T, rtt time.Duration) (*server, string) {
	t.Helper()
	s, err := newServer(rtt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, "ws://" + s.addresses[0]
}

// patience bounds every wait for something that must happen: long enough for a busy
// machine, and passed only by a test that fails.
const patience = time.Minute

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits for what another process or the kernel is about to do.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

func TestServerEchoesAndCountsItsConnections(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s, url := startServer(t, 0)
	var conns []*websocket.Conn
	for range 5 {
		conn, _, err := websocket.Dial(ctx, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseNow()
		conns = append(conns, conn)
	}
	for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
		if err := conns[0].Write(ctx, kind, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		got, b, err := conns[0].Read(ctx)
		if err != nil || got != kind || string(b) != "hello" {
			t.Errorf("got %v %q, %v", got, b, err)
		}
	}
	if got, want := s.counts(), (serverCounts{Open: 5, Peak: 5, Accepted: 5}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for i, conn := range conns {
		if i%2 == 0 {
			conn.CloseNow()
		} else if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	eventually(t, "all connections are gone", func() bool { return s.counts().Open == 0 })
	if got := s.counts().Peak; got != 5 {
		t.Errorf("peak is %d", got)
	}
}

func TestServerAnswersTheClientsQuestions(t *testing.T) {
	var s server
	s.addresses = []string{"127.0.0.1:1", "127.0.0.1:2"}
	s.open.Store(3)
	s.peak.Store(7)
	s.accepted.Store(9)
	in, questions := io.Pipe()
	answers, out := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.control(in, out)
	}()
	lines := bufio.NewScanner(answers)
	next := func() string {
		if !lines.Scan() {
			t.Fatal("no answer")
		}
		return lines.Text()
	}
	var hello serverHello
	if err := json.Unmarshal([]byte(next()), &hello); err != nil || strings.Join(hello.Addresses, " ") != "127.0.0.1:1 127.0.0.1:2" {
		t.Errorf("hello is %+v, %v", hello, err)
	}
	for _, c := range []struct{ question, want string }{
		{"counts", `{"open":3,"peak":7,"accepted":9}`},
		{"reset", `{"open":3,"peak":3,"accepted":0}`},
		{"counts", `{"open":3,"peak":3,"accepted":0}`},
	} {
		io.WriteString(questions, c.question+"\n")
		if got := next(); got != c.want {
			t.Errorf("%s: got %s, want %s", c.question, got, c.want)
		}
	}
	questions.Close()
	<-ended
}

func TestEmbeddedServerRunsInItsOwnProcessAndEndsWithClose(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	e, err := startEmbedded(0)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.addresses) != serverListeners {
		t.Errorf("%d addresses, want %d", len(e.addresses), serverListeners)
	}
	for _, address := range e.addresses {
		conn, _, err := websocket.Dial(ctx, "ws://"+address, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseNow()
	}
	if got, err := e.counts(); err != nil || got.Open != serverListeners || got.Accepted != serverListeners {
		t.Errorf("counts are %+v, %v", got, err)
	}
	if runtime.GOOS != "windows" {
		// Ctrl-C reaches the server too, which must stay until it is asked.
		e.command.Process.Signal(os.Interrupt)
		if _, err := e.counts(); err != nil {
			t.Errorf("after an interrupt: %v", err)
		}
	}
	e.close()
	if state := e.command.ProcessState; state == nil || !state.Success() {
		t.Errorf("the server has ended with %v", state)
	}
	if _, err := e.counts(); !errors.Is(err, errServerGone) {
		t.Errorf("counts of a server that is gone: %v", err)
	}
}

func TestServerLetsTheClientCloseFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, accepted := net.Pipe()
		var gone atomic.Bool
		conn := &lastConn{Conn: accepted, gone: func() { gone.Store(true) }}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Close: %v", err)
		}
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read after Close: %v", err)
		}
		if _, err := conn.Write(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write after Close: %v", err)
		}
		time.Sleep(lastWait / 2)
		if gone.Load() {
			t.Error("closed before the client")
		}
		if _, err := client.Write([]byte("late")); err != nil {
			t.Errorf("the client's last words: %v", err)
		}
		client.Close()
		synctest.Wait()
		if !gone.Load() {
			t.Error("not closed after the client")
		}
	})
}

func TestServerDoesNotWaitForeverForTheClientToClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, accepted := net.Pipe()
		var gone atomic.Bool
		conn := &lastConn{Conn: accepted, gone: func() { gone.Store(true) }}
		conn.Close()
		start := time.Now()
		if _, err := client.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the client's Read: %v, want EOF", err)
		}
		at(t, start, lastWait, "closed")
		synctest.Wait()
		if !gone.Load() {
			t.Error("still counted")
		}
	})
}

// The end that closes last sends a reset, so that the one that closed first does
// not stay in TIME_WAIT: its port is free at once.
func TestAClosedConnectionLeavesItsPortFree(t *testing.T) {
	ctx := testContext(t)
	s, url := startServer(t, 0)
	n := newNetwork(s.addresses[:1], 0)
	defer n.close()
	d := n.dialOptions(options{})
	dial := func() (net.Addr, error) {
		conn, _, err := websocket.Dial(ctx, url, d)
		if err != nil {
			return nil, err
		}
		var local net.Addr
		for c := range n.open {
			local = c.LocalAddr()
		}
		if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the connection is gone", func() bool { return s.counts().Open == 0 })
		return local, nil
	}
	// Other connections of the machine, even those in TIME_WAIT, make a port of an
	// address that they share unfit for a second bind. On Linux the test has an
	// address of its own; elsewhere it needs luck.
	var own net.Addr
	if runtime.GOOS == "linux" {
		own = &net.TCPAddr{IP: net.IPv4(127, byte(1+rand.IntN(254)), byte(rand.IntN(256)), byte(1+rand.IntN(254)))}
	}
	var err error
	for range 10 {
		n.dialer.LocalAddr = own
		if n.dialer.LocalAddr, err = dial(); err != nil {
			t.Fatal(err)
		}
		if _, err = dial(); err == nil { // fails if the port is still in use
			return
		}
	}
	t.Error(err)
}

func TestDelayedServerCostsRoundTrips(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	const rtt = 40 * time.Millisecond
	_, url := startServer(t, rtt)
	start := time.Now()
	conn, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if got := time.Since(start); got < 2*rtt {
		t.Errorf("dialed in %v, less than two round trips", got)
	}
	m := newMessage(0, 100_000)
	for range 3 {
		m.next()
		conn.SetReadLimit(readLimit(len(m.sent)))
		start = time.Now()
		if err := m.exchange(ctx, conn); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(start); got < rtt {
			t.Errorf("echoed in %v, less than a round trip", got)
		}
	}
	if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
}
