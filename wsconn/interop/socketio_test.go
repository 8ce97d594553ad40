package interop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/wsconn"
	"github.com/coder/websocket"
	"go.uber.org/atomic"
)

// socketIO runs the server on socket.io, which stands on engine.io.
func socketIO(t *testing.T, interval, timeout time.Duration) *server {
	t.Helper()
	node := program(t, "node")
	if _, err := os.Stat(filepath.Join("node_modules", "socket.io")); err != nil {
		t.Skip("npm package socket.io is missing: run ./setup")
	}
	s := start(t, node, "testdata/socketio.js", fmt.Sprint(interval.Milliseconds()), fmt.Sprint(timeout.Milliseconds()))
	s.url += "/socket.io/?EIO=4&transport=websocket"
	return s
}

// The packets of engine.io and socket.io that a client meets.
const (
	ping       = "2"  // engine.io's heartbeat, a message
	pong       = "3"  // the answer
	connect    = "40" // to the namespace, and the answer
	disconnect = "41" // from the namespace, by the server
	refused    = "44" // by the namespace
)

var errDisconnected = errors.New("the server has disconnected the socket")

// ack is the number in a request ("42", number, array) or a reply ("43", number, array).
var ack = regexp.MustCompile(`^4[23](\d+)\[`)

// socketOptions are those of a client of socket.io. events counts what the server tells
// unasked.
func socketOptions(events func()) *wsconn.Options {
	return &wsconn.Options{
		OnConnect: func(ctx context.Context, conn *wsconn.Conn) error {
			_, b, err := conn.ExchangeFunc(ctx, websocket.MessageText, []byte(connect), func(m wsconn.Message) bool {
				return strings.HasPrefix(string(m.Data), connect) || strings.HasPrefix(string(m.Data), refused)
			})
			if err == nil && !strings.HasPrefix(string(b), connect) {
				err = fmt.Errorf("the namespace has refused: %s", b)
			}
			return err
		},
		IsReply: func(request, message wsconn.Message) bool {
			asked, replied := ack.FindSubmatch(request.Data), ack.FindSubmatch(message.Data)
			return replied != nil && string(message.Data[:2]) == "43" && string(asked[1]) == string(replied[1])
		},
		OnUnsolicited: func(_ *wsconn.Conn, m wsconn.Message) (*wsconn.Message, error) {
			switch packet := string(m.Data); {
			case packet == ping:
				return &wsconn.Message{Data: []byte(pong)}, nil
			case packet == disconnect:
				return nil, errDisconnected
			case strings.HasPrefix(packet, "42"):
				events()
			}
			return nil, nil
		},
		HandshakeTimeout: patience,
	}
}

// emit calls an event of the server and returns the one value of its reply.
func emit(ctx context.Context, conn *wsconn.Conn, id int, event, value string) (string, error) {
	_, b, err := conn.Exchange(ctx, websocket.MessageText, fmt.Appendf(nil, "42%d[%q,%s]", id, event, value))
	if err != nil {
		return "", err
	}
	reply, ok := strings.CutSuffix(strings.TrimPrefix(string(b), fmt.Sprintf("43%d[", id)), "]")
	if !ok {
		return "", fmt.Errorf("the reply is %q", b)
	}
	return reply, nil
}

// TestEngineIOHeartbeatIsAnsweredWhileIdleAndInAnExchange: it is a message, of which the
// WebSocket layer knows nothing.
func TestEngineIOHeartbeatIsAnsweredWhileIdleAndInAnExchange(t *testing.T) {
	eachPath(t, func(t *testing.T, path *wsconn.Options) {
		s := socketIO(t, 50*time.Millisecond, patience)
		opts := socketOptions(func() {})
		opts.DialOptions = path.DialOptions
		closed := make(chan error, 100)
		opts.OnClose = func(_ *wsconn.Conn, cause error) { closed <- cause }
		p := newPool(t, s.url, opts, pool.Config{MaxConnections: 1, CheckInterval: checkInterval, OpenTimeout: patience})
		var first *wsconn.Conn
		err := p.Do(soon(t), func(ctx context.Context, conn *wsconn.Conn) error {
			first = conn
			_, err := emit(ctx, conn, 1, "beats", "5") // answered in the exchange
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			s.wants("pong")
		}
		for range 5 { // answered while idle; one that is under way counts too
			line, err := s.nextUnless(closed)
			if err != nil || line != "pong" {
				t.Fatalf("the server has printed %q: %v", line, err)
			}
		}
		err = p.Do(soon(t), func(ctx context.Context, conn *wsconn.Conn) error {
			reply, err := emit(ctx, conn, 2, "echo", `"still here"`)
			if reply != `"still here"` || conn != first {
				t.Errorf("reply %s, on the same connection: %v", reply, conn == first)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// TestEngineIOClosesWithoutACodeWhenItsHeartbeatIsNotAnswered shows that the test above can
// fail: WebSocket pings and pongs do not count. It pins the row of the documentation, too:
// nobody answers for a lease that does not read.
func TestEngineIOClosesWithoutACodeWhenItsHeartbeatIsNotAnswered(t *testing.T) {
	config := pool.Config{MaxConnections: 1, CheckInterval: checkInterval, OpenTimeout: patience}
	t.Run("idle", func(t *testing.T) {
		opts := socketOptions(func() {})
		opts.OnUnsolicited = nil
		opts.PingInterval = 10 * time.Millisecond
		closed := make(chan error, 100)
		opts.OnClose = func(_ *wsconn.Conn, cause error) { closed <- cause }
		p := newPool(t, socketIO(t, 50*time.Millisecond, 100*time.Millisecond).url, opts, config)
		cause := p.Warm(soon(t), 1) // nil, unless the machine is so slow that it is closed before
		if cause == nil {
			cause = closeCause(t, closed)
		}
		if websocket.CloseStatus(cause) != websocket.StatusNoStatusRcvd {
			t.Errorf("closed because of %v", cause)
		}
	})
	t.Run("leased", func(t *testing.T) {
		s := socketIO(t, 50*time.Millisecond, 100*time.Millisecond)
		opts := socketOptions(func() {})
		opts.PingInterval = 10 * time.Millisecond
		p := newPool(t, s.url, opts, config)
		l, err := p.Get(soon(t))
		if err != nil { // as above
			if websocket.CloseStatus(err) != websocket.StatusNoStatusRcvd {
				t.Fatal(err)
			}
			return
		}
		defer p.Discard(l, nil)
		for line := ""; line != "disconnect"; line = s.next() { // the holder works, and does not read
		}
		for err == nil {
			_, _, err = l.Value().Read(soon(t))
		}
		if websocket.CloseStatus(err) != websocket.StatusNoStatusRcvd {
			t.Errorf("the lease reads %v", err)
		}
	})
}

// TestSocketIORepliesAreToldFromEvents: there is an event before each reply, and one
// after, which comes when the connection is idle, or in the next lease. Heartbeats come in
// between.
func TestSocketIORepliesAreToldFromEvents(t *testing.T) {
	const callers, requests, connections = 8, 100, 3
	s := socketIO(t, 5*time.Millisecond, patience)
	var events atomic.Int64
	all := make(chan struct{})
	closed := make(chan error, 100)
	opts := socketOptions(func() {
		if events.Inc() == 2*callers*requests+connections { // and a welcome for each
			close(all)
		}
	})
	opts.OnClose = func(_ *wsconn.Conn, cause error) { closed <- cause }
	p := newPool(t, s.url, opts, pool.Config{MaxConnections: connections, MaxIdleTime: -1, MaxWaitTime: patience, OpenTimeout: patience, CheckInterval: checkInterval})
	if err := p.Warm(soon(t), connections); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() {
			for k := range requests {
				id := i*requests + k
				err := p.Do(soon(t), func(ctx context.Context, conn *wsconn.Conn) error {
					reply, err := emit(ctx, conn, id, "echo", fmt.Sprint(id))
					if err == nil && reply != fmt.Sprint(id) {
						err = fmt.Errorf("the reply %s is not that of %d", reply, id)
					}
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	if t.Failed() {
		return
	}
	select {
	case <-all:
	case cause := <-closed:
		t.Errorf("a connection was closed: %v", cause)
	case <-soon(t).Done():
		t.Errorf("%d events have come, want %d", events.Load(), 2*callers*requests+connections)
	}
}

// TestSocketIODisconnectEndsAnIdleConnection pins the row of the documentation, and its
// remedy: after a disconnect from the namespace the WebSocket stays open, heartbeat and
// all, until something is sent on it.
func TestSocketIODisconnectEndsAnIdleConnection(t *testing.T) {
	s := socketIO(t, 50*time.Millisecond, patience)
	opts := socketOptions(func() {})
	closed := make(chan error, 100)
	opts.OnClose = func(_ *wsconn.Conn, cause error) { closed <- cause }
	config := pool.Config{MaxConnections: 1, CheckInterval: checkInterval, OpenTimeout: patience}
	p := newPool(t, s.url, opts, config)
	if err := p.Warm(soon(t), 1); err != nil {
		t.Fatal(err)
	}
	s.beat()
	if cause := closeCause(t, closed); !errors.Is(cause, errDisconnected) {
		t.Errorf("closed because of %v", cause)
	}
	p.Close()

	// A client that ignores the disconnect goes on answering heartbeats.
	handle, disconnected, beats := opts.OnUnsolicited, make(chan struct{}, 100), make(chan struct{}, 1000)
	ignoring := *opts
	ignoring.OnUnsolicited = func(conn *wsconn.Conn, m wsconn.Message) (*wsconn.Message, error) {
		answer, err := handle(conn, m)
		switch {
		case err != nil:
			disconnected <- struct{}{}
		case answer != nil && len(disconnected) > 0:
			beats <- struct{}{}
		}
		return answer, nil
	}
	p = newPool(t, s.url, &ignoring, config)
	if err := p.Warm(soon(t), 1); err != nil {
		t.Fatal(err)
	}
	s.beat()
	for range 3 {
		select {
		case <-beats:
		case cause := <-closed:
			t.Fatalf("CHANGED: a disconnect closes the connection: %v", cause)
		case <-soon(t).Done():
			t.Fatal("no heartbeat")
		}
	}
	err := p.Do(soon(t), func(ctx context.Context, conn *wsconn.Conn) error {
		_, err := emit(ctx, conn, 1, "echo", "1")
		return err
	})
	if websocket.CloseStatus(err) != websocket.StatusNoStatusRcvd {
		t.Errorf("the error of a request after a disconnect is %v", err)
	}
}
