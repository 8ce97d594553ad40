package wsconn

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// A dealer is a server that a test deals with by hand from the first byte.
func dealer(t *testing.T, deal func(c net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(patience))
			deal(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-ended })
	return listener.Addr().String()
}

// TestDialEndsWhateverPhaseTheServerStopsIn: the server closes, which ends the dial, or
// falls silent, and HandshakeTimeout does.
func TestDialEndsWhateverPhaseTheServerStopsIn(t *testing.T) {
	request := func(c net.Conn) string {
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return ""
		}
		return r.Header.Get("Sec-WebSocket-Key")
	}
	waitForEnd := func(c net.Conn) { io.Copy(io.Discard, c) }
	for name, test := range map[string]struct {
		scheme string
		until  func(c net.Conn)
	}{
		"before TLS":           {"wss", func(c net.Conn) {}},
		"within TLS":           {"wss", func(c net.Conn) { c.Read(make([]byte, 5)); c.Write([]byte{22, 3, 3, 0}) }},
		"before the response":  {"ws", func(c net.Conn) { request(c) }},
		"within the response":  {"ws", func(c net.Conn) { io.WriteString(c, switching(request(c))[:40]) }},
		"before its last byte": {"ws", func(c net.Conn) { s := switching(request(c)); io.WriteString(c, s[:len(s)-1]) }},
		"after a wrong 101":    {"ws", func(c net.Conn) { request(c); io.WriteString(c, switching("wrong")) }},
		"within a refusal": {"ws", func(c net.Conn) {
			request(c)
			io.WriteString(c, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 1000\r\n\r\npart")
		}},
		"before the greeting": {"ws", func(c net.Conn) { io.WriteString(c, switching(request(c))) }},
		"within the greeting": {"ws", func(c net.Conn) { io.WriteString(c, switching(request(c))+string(text("hello")[:4])) }},
	} {
		for _, silent := range []bool{false, true} {
			end := map[bool]string{false: "/closes", true: "/silent"}[silent]
			t.Run(name+end, func(t *testing.T) {
				address := dealer(t, func(c net.Conn) {
					test.until(c)
					if silent {
						waitForEnd(c)
					}
				})
				transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
				defer transport.CloseIdleConnections()
				timeout := patience
				if silent {
					timeout = 100 * time.Millisecond
				}
				factory := newFactory(t, test.scheme+"://"+address, &Options{
					HandshakeTimeout: timeout,
					DialOptions:      &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}},
					OnConnect: func(ctx context.Context, conn *Conn) error {
						_, _, err := conn.Read(ctx)
						return err
					},
				})
				ctx := soon(t)
				conn, err := factory.Open(ctx)
				if err == nil {
					t.Errorf("Open returned %v", conn)
				}
				if ctx.Err() != nil || !silent && errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Open ended because of its context: %v", err)
				}
			})
		}
	}
}

// TestLeaseEndsWhateverPhaseTheServerStopsIn: the caller gets an error, in time,
// and the connection is not lent again.
func TestLeaseEndsWhateverPhaseTheServerStopsIn(t *testing.T) {
	fragmented := append(frameOf(opText, []byte("part")), frameOf(finBit|opContinuation, []byte("rest"))...)
	withPing := append(frameOf(opText, []byte("part")), ping("p")...)
	for name, sent := range map[string][]byte{
		"before the reply":          nil,
		"within the header":         text("reply")[:1],
		"within a long header":      frameOf(finBit|opText, make([]byte, 200))[:3],
		"before the payload":        text("reply")[:2],
		"within the payload":        text("reply")[:4],
		"before the last byte":      text("reply")[:6],
		"between fragments":         fragmented[:6],
		"within the last fragment":  fragmented[:9],
		"within a ping":             ping("p")[:2],
		"after a ping in a message": withPing,
	} {
		for _, silent := range []bool{false, true} {
			end := map[bool]string{false: "/closes", true: "/silent"}[silent]
			t.Run(name+end, func(t *testing.T) {
				eachMode(t, func(t *testing.T, m mode) {
					conn, p := dial(t, m, nil)
					p.send(sent)
					ctx := soon(t)
					if silent {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, 20*time.Millisecond)
						defer cancel()
					} else {
						p.Close()
					}
					if _, message, err := conn.Read(ctx); err == nil {
						t.Errorf("read %q", message)
					}
					if err := conn.clean(conn.Conn); err == nil {
						t.Error("Clean returned nil")
					}
				})
			})
		}
	}
}

func TestGreetingInTheSegmentOfTheResponse(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		// Without a socket to look at, it is seen when it is seen.
		soonDone := func() bool { return false }

		t.Run("read in OnConnect", func(t *testing.T) {
			conn, p := newNetwork(t, m, text("hello")...).dial(&Options{OnConnect: func(ctx context.Context, conn *Conn) error {
				_, message, err := conn.Read(ctx)
				if string(message) != "hello" {
					t.Errorf("greeting %q", message)
				}
				return err
			}})
			if err := conn.clean(conn.Conn); err != nil {
				t.Error(err)
			}
			conn.roundTrip(p)
		})
		t.Run("read by the first lease", func(t *testing.T) {
			conn, p := newNetwork(t, m, text("hello")...).dial(nil)
			if _, message, err := conn.Read(soon(t)); err != nil || string(message) != "hello" {
				t.Fatalf("read %q, %v", message, err)
			}
			conn.roundTrip(p)
		})
		t.Run("read by nobody", func(t *testing.T) {
			conn, _ := newNetwork(t, m, text("hello")...).dial(nil)
			var err error
			if m.noPeek {
				err = conn.checkAfter(soonDone)
			} else {
				err = conn.check(conn.Conn) // at once
			}
			if !errors.Is(err, errBacklog) {
				t.Errorf("Check returned %v", err)
			}
		})
		t.Run("second one unread", func(t *testing.T) {
			conn, _ := newNetwork(t, m, append(text("hello"), text("again")...)...).dial(&Options{OnConnect: func(ctx context.Context, conn *Conn) error {
				_, _, err := conn.Read(ctx)
				return err
			}})
			if err := conn.clean(conn.Conn); !errors.Is(err, errBacklog) {
				t.Errorf("Clean returned %v", err)
			}
		})
		t.Run("ping", func(t *testing.T) {
			conn, p := newNetwork(t, m, ping("early")...).dial(nil)
			got := make(chan string, 1)
			go func() { _, payload, _ := readClientFrame(p.br); got <- payload }()
			var err error
			if m.noPeek {
				err = conn.checkAfter(func() bool { return len(got) > 0 })
			} else {
				err = conn.check(conn.Conn)
			}
			if err != nil {
				t.Fatal(err)
			}
			if pong := receive(t, got, "pong"); pong != "early" {
				t.Errorf("pong %q", pong)
			}
			conn.roundTrip(p)
		})
	})
}

func TestOnConnectThatLeavesTheConnectionDirtyFailsTheDial(t *testing.T) {
	for name, test := range map[string]struct {
		onConnect func(ctx context.Context, conn *Conn) error
		want      error
	}{
		"message read in part": {func(ctx context.Context, conn *Conn) error {
			_, _, err := conn.Reader(ctx)
			return err
		}, errUnread},
		"closed":    {func(ctx context.Context, conn *Conn) error { conn.CloseNow(); return nil }, errClosed},
		"CloseRead": {func(ctx context.Context, conn *Conn) error { conn.CloseRead(ctx); return nil }, errCloseRead},
	} {
		n := newNetwork(t, modes[0], text("hello")...)
		_, err := newFactory(t, n.url, n.options(&Options{OnConnect: test.onConnect})).Open(soon(t))
		if !errors.Is(err, test.want) && !(name == "CloseRead" && errors.Is(err, errInUse)) {
			t.Errorf("%s: Open returned %v, want %v", name, err, test.want)
		}
	}
}

func TestEndpointIsAskedForEachDial(t *testing.T) {
	headers := make(chan http.Header, 1)
	url := serve(t, func(_ context.Context, conn accepted) { headers <- conn.request.Header })
	tokens := []string{"one", "two"}
	shared := &websocket.DialOptions{HTTPHeader: http.Header{}}
	failed := errors.New("no token")
	dials := 0
	factory := newFactory(t, "", &Options{Endpoint: func(ctx context.Context) (string, *websocket.DialOptions, error) {
		dials++
		switch dials {
		case 3:
			return "ftp://localhost", nil, nil
		case 4:
			return "", nil, failed
		}
		shared.HTTPHeader.Set("Token", tokens[dials-1])
		return url, shared, nil
	}})
	for _, want := range tokens {
		open(t, factory)
		if got := receive(t, headers, "handshake").Get("Token"); got != want {
			t.Errorf("token %q, want %q", got, want)
		}
	}
	if len(shared.HTTPHeader) != 1 || shared.HTTPClient != nil {
		t.Errorf("what Endpoint returned was changed: %+v", shared)
	}
	if _, err := factory.Open(soon(t)); err == nil || !strings.Contains(err.Error(), `scheme "ftp"`) {
		t.Errorf("a bad URL: Open returned %v", err)
	}
	if _, err := factory.Open(soon(t)); !errors.Is(err, failed) || !strings.Contains(err.Error(), "wsconn: Endpoint: ") {
		t.Errorf("Open returned %v", err)
	}
}

func TestEndpointMayLeaveThingsAsTheyAre(t *testing.T) {
	headers := make(chan http.Header, 1)
	url := serve(t, func(_ context.Context, conn accepted) { headers <- conn.request.Header })
	open(t, newFactory(t, url, &Options{
		DialOptions: &websocket.DialOptions{HTTPHeader: http.Header{"Token": {"given"}}},
		Endpoint:    func(context.Context) (string, *websocket.DialOptions, error) { return "", nil, nil },
	}))
	if got := receive(t, headers, "handshake").Get("Token"); got != "given" {
		t.Errorf("token %q", got)
	}
}

func TestExchangeReturnsTheReply(t *testing.T) {
	conn := open(t, newFactory(t, serve(t, echo), nil))
	kind, reply, err := conn.Exchange(soon(t), websocket.MessageBinary, []byte("request"))
	if kind != websocket.MessageBinary || string(reply) != "request" || err != nil {
		t.Errorf("Exchange returned %v, %q, %v", kind, reply, err)
	}
	if err := conn.clean(); err != nil {
		t.Error(err)
	}
}

func TestConnTellsWhatItIsMadeOf(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, nil)
		if got, want := conn.NetConn().LocalAddr().String(), p.RemoteAddr().String(); got != want {
			t.Errorf("NetConn has address %s, the peer sees %s", got, want)
		}
		if _, isTLS := conn.NetConn().(*tls.Conn); isTLS != (m.tls != 0) {
			t.Errorf("NetConn is a %T", conn.NetConn())
		}
		if r := conn.Response(); r.StatusCode != 101 || r.Header.Get("Upgrade") != "websocket" || r.Request != nil || (r.TLS != nil) != (m.tls != 0) {
			t.Errorf("Response is %+v", r)
		}
		if conn.stream.peeker.able() == m.noPeek {
			t.Errorf("peeker able: %v", conn.stream.peeker.able())
		}
	})
}

// TestOddTransportsTakeTheFallback: what is not a TCP connection as we know it
// may do what it likes.
func TestOddTransportsTakeTheFallback(t *testing.T) {
	client, _ := probed(nil, nil)
	n := newNetwork(t, modes[0])
	n.client = client
	conn, p := n.dial(nil)
	if conn.stream.peeker.able() {
		t.Fatal("it looks at the socket")
	}
	conn.roundTrip(p)
	p.send(closing(1001, "bye"))
	if err := conn.failsCheck(); websocket.CloseStatus(err) != 1001 {
		t.Errorf("Check returned %v", err)
	}
}

func TestCloseCauseOfThePeerReachesOnClose(t *testing.T) {
	type event struct {
		conn  *Conn
		cause error
	}
	events := make(chan event, 8)
	opts := &Options{OnClose: func(conn *Conn, cause error) { events <- event{conn, cause} }}

	conn, p := dial(t, modes[0], opts)
	p.send(closing(1012, "restart"))
	conn.Read(soon(t)) // the caller sees it, and discards with a cause of his own
	conn.close(conn.Conn, errTest)
	got := receive(t, events, "OnClose")
	if got.conn != conn.Conn || !errors.Is(got.cause, errTest) || websocket.CloseStatus(got.cause) != websocket.StatusServiceRestart {
		t.Errorf("OnClose was told %v", got.cause)
	}

	conn, p = dial(t, modes[0], opts)
	go p.Close()
	conn.close(conn.Conn, nil)
	if got := receive(t, events, "OnClose"); got.cause != nil {
		t.Errorf("OnClose of a healthy connection was told %v", got.cause)
	}
}
