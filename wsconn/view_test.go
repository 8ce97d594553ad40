package wsconn

import (
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

// A viewed is one Dial, of which a test has the server's end.
type viewed struct {
	*websocket.Conn
	d    *Dialer
	n    *network
	peer *peer
}

// dialer returns a Dialer for the server at the end of n.
func (n *network) dialer(o *Options) *Dialer {
	c := *n.options(o)
	c.DialOptions = nil
	if o == nil {
		c.OneReplyPerRequest = true
	}
	return newDialer(n.t, &c)
}

func (n *network) dialBy(d *Dialer) *websocket.Conn {
	n.t.Helper()
	return dialOK(n.t, d.Dial, n.url, &websocket.DialOptions{HTTPClient: n.client})
}

// viewOf returns the first Dial on a network of its own.
func viewOf(t testing.TB, m mode, o *Options) viewed {
	t.Helper()
	n := newNetwork(t, m)
	d := n.dialer(o)
	conn := n.dialBy(d)
	t.Cleanup(func() { conn.CloseNow() })
	p := receive(t, n.peers, "peer")
	t.Cleanup(func() { p.tcp.Close() })
	return viewed{conn, d, n, p}
}

// again dials once more, and reports whether that is the same connection.
func (v viewed) again() (conn *websocket.Conn, same bool) {
	v.n.t.Helper()
	before := v.d.Stats().Opened
	conn = v.n.dialBy(v.d)
	v.n.t.Cleanup(func() { conn.CloseNow() })
	return conn, v.d.Stats().Opened == before
}

// asks has conn send request, which the server answers with what answer sends.
func (v viewed) asks(request string, answer func(*peer)) string {
	v.n.t.Helper()
	if err := v.Write(soon(v.n.t), websocket.MessageText, []byte(request)); err != nil {
		v.n.t.Fatal(err)
	}
	v.peer.wantNext(finBit|opText, request)
	answer(v.peer)
	_, reply, err := v.Read(soon(v.n.t))
	if err != nil {
		v.n.t.Fatal(err)
	}
	return string(reply)
}

// pushes sends frames, and waits until they have arrived where nobody reads.
func (v viewed) pushes(frame []byte) {
	v.n.t.Helper()
	v.peer.send(frame)
	for s := range v.d.Sources() {
		conn := s.(*pool.Pool[*Conn]).Leases()[0].Conn.(*Conn)
		(&dialed{Conn: conn, t: v.n.t}).awaitArrival(len(frame))
	}
}

func sends(frames ...[]byte) func(*peer) {
	return func(p *peer) { p.together(func() { p.send(slices.Concat(frames...)) }) }
}

// Whatever a program keeps of a Dial fails when that has ended, and the next holder of the
// connection and the server notice nothing.
func TestWhatAProgramKeepsReachesNobody(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		v := viewOf(t, m, nil)
		for round := range 20 {
			var kept []func() error
			if got := v.asks("mine", sends(text("yours"))); got != "yours" {
				t.Fatalf("reply %q, want yours", got)
			}
			old := v.Conn
			late := readLater(t, old)
			if err := v.Close(websocket.StatusNormalClosure, "bye"); err != nil {
				t.Fatalf("round %d: Close: %v", round, err)
			}
			if err := receive(t, late, "end of the reader"); err == nil {
				t.Fatalf("round %d: the reader that outlives Close got a message", round)
			}
			netConn := websocket.NetConn(context.Background(), old, websocket.MessageText)
			kept = append(kept,
				func() error { return old.Write(context.Background(), websocket.MessageText, []byte("late")) },
				func() error { _, _, err := old.Read(context.Background()); return err },
				func() error { return old.Ping(context.Background()) },
				func() error { _, _, err := old.Reader(context.Background()); return err },
				func() error { _, err := netConn.Write([]byte("late")); return err },
				func() error { return old.Close(websocket.StatusGoingAway, "late") },
				func() error { return old.CloseNow() },
			)
			conn, same := v.again()
			if !same {
				t.Fatalf("round %d: the next Dial opened a connection", round)
			}
			for i, f := range kept {
				if f() == nil {
					t.Errorf("round %d: call %d on a WebSocket that is closed succeeded", round, i)
				}
			}
			v.Conn = conn
		}
		if got := v.asks("at last", sends(text("well"))); got != "well" {
			t.Errorf("reply %q, want well", got)
		}
	})
}

// The end of a ctx closes a WebSocket, perhaps a little later than the call returns.
func TestAContextThatEndsLateDisturbsNobody(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		v := viewOf(t, m, nil)
		v.asks("mine", sends(text("yours")))
		ctx, cancel := context.WithCancel(t.Context())
		v.CloseRead(ctx)
		if err := v.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Fatal(err)
		}
		conn, same := v.again()
		if !same {
			t.Fatal("the next Dial opened a connection")
		}
		cancel()
		v.Conn = conn
		if got := v.asks("next", sends(text("well"))); got != "well" {
			t.Errorf("reply %q, want well", got)
		}
	})
}

func TestCloseThatIsNotNormalReachesTheServer(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		for name, test := range map[string]struct {
			before func(t *testing.T, v viewed)
			code   websocket.StatusCode
		}{
			"another status":        {func(_ *testing.T, v viewed) { v.asks("q", sends(text("a"))) }, websocket.StatusGoingAway},
			"a status of one's own": {func(*testing.T, viewed) {}, 4000},
			"a reply is owed": {func(t *testing.T, v viewed) {
				if err := v.Write(soon(t), websocket.MessageText, []byte("q")); err != nil {
					t.Fatal(err)
				}
				v.peer.wantNext(finBit|opText, "q")
			}, websocket.StatusNormalClosure},
			"a message nobody asked for": {func(t *testing.T, v viewed) {
				v.peer.send(text("news"))
				if _, _, err := v.Read(soon(t)); err != nil {
					t.Fatal(err)
				}
			}, websocket.StatusNormalClosure},
			"a greeting before the request, and the reply is owed": {func(t *testing.T, v viewed) {
				v.peer.send(text("hello"))
				if _, _, err := v.Read(soon(t)); err != nil {
					t.Fatal(err)
				}
				if err := v.Write(soon(t), websocket.MessageText, []byte("q")); err != nil {
					t.Fatal(err)
				}
				v.peer.wantNext(finBit|opText, "q")
			}, websocket.StatusNormalClosure},
			"a reply read in part": {func(t *testing.T, v viewed) {
				if err := v.Write(soon(t), websocket.MessageText, []byte("q")); err != nil {
					t.Fatal(err)
				}
				v.peer.wantNext(finBit|opText, "q")
				v.peer.send(text("a long reply"))
				_, r, err := v.Reader(soon(t))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(r, make([]byte, 3)); err != nil {
					t.Fatal(err)
				}
			}, websocket.StatusNormalClosure},
			"a request written in part": {func(t *testing.T, v viewed) {
				w, err := v.Writer(soon(t), websocket.MessageText)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := w.Write([]byte("half")); err != nil {
					t.Fatal(err)
				}
			}, websocket.StatusNormalClosure},
			"a ping without its pong": {func(t *testing.T, v viewed) {
				pinged := make(chan error, 1)
				go func() { pinged <- v.Ping(ctxBackground) }() // until Close
				t.Cleanup(func() { receive(t, pinged, "end of Ping") })
				v.peer.wantNext(finBit|opPing, "1")
			}, websocket.StatusNormalClosure},
		} {
			t.Run(name, func(t *testing.T) {
				v := viewOf(t, m, nil)
				test.before(t, v)
				closed := make(chan error, 1)
				go func() { closed <- v.Close(test.code, "why") }()
				first, payload := v.peer.next()
				for first != finBit|opClose {
					first, payload = v.peer.next() // what was under way
				}
				if want := string([]byte{byte(test.code >> 8), byte(test.code)}) + "why"; payload != want {
					t.Errorf("the server got close frame %q, want %q", payload, want)
				}
				v.peer.send(closing(uint16(test.code), "why"))
				if err := receive(t, closed, "end of Close"); err != nil {
					t.Errorf("Close: %v", err)
				}
				if _, err := v.peer.br.ReadByte(); err == nil {
					t.Error("the connection is still open")
				}
				if _, same := v.again(); same {
					t.Error("the next Dial got the connection")
				}
			})
		}
	})
}

func TestCloseNowAndTheEndOfAContextCloseTheConnection(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		for name, end := range map[string]func(t *testing.T, v viewed){
			"CloseNow": func(t *testing.T, v viewed) {
				v.asks("q", sends(text("a")))
				if err := v.CloseNow(); err != nil {
					t.Error(err)
				}
			},
			"ctx": func(t *testing.T, v viewed) {
				ctx, cancel := context.WithCancel(context.Background())
				ended := readLaterUntil(t, v.Conn, ctx)
				cancel()
				if err := receive(t, ended, "end of Read"); !errors.Is(err, context.Canceled) {
					t.Errorf("Read: %v, want Canceled", err)
				}
			},
		} {
			t.Run(name, func(t *testing.T) {
				v := viewOf(t, m, nil)
				end(t, v)
				if b, err := v.peer.br.ReadByte(); err == nil {
					t.Errorf("the server received %#x, want the end", b)
				}
				conn, same := v.again()
				if same {
					t.Error("the next Dial got the connection")
				}
				conn.CloseNow()
				if err := v.d.Shutdown(soon(t)); err != nil { // both have been told to the pool
					t.Fatal(err)
				}
				if got := v.d.Stats().ClosedDiscard; got != 2 {
					t.Errorf("ClosedDiscard = %d, want 2", got)
				}
			})
		}
	})
}

// A watchedContext tells when a Read of the WebSocket layer has arranged that its end closes
// the connection: it looks whether it can end, in two places, before that. One that ends
// earlier closes nothing.
type watchedContext struct {
	context.Context
	looks   atomic.Int32
	watched chan struct{}
}

// readLater returns when a Read waits, or is about to, and tells with what it ends.
func readLater(t *testing.T, conn *websocket.Conn) (ended chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return readLaterUntil(t, conn, ctx)
}

func readLaterUntil(t *testing.T, conn *websocket.Conn, ctx context.Context) (ended chan error) {
	t.Helper()
	watched := &watchedContext{Context: ctx, watched: make(chan struct{})}
	ended = make(chan error, 1)
	go func() { _, _, err := conn.Read(watched); ended <- err }()
	receive(t, watched.watched, "Read that waits")
	return ended
}

func (c *watchedContext) Done() <-chan struct{} {
	if c.looks.Add(1) == 3 {
		close(c.watched)
	}
	return c.Context.Done()
}

// What a server sends to disturb the next Dial.
func TestHostileServerReachesNoOtherDial(t *testing.T) {
	forged := text("forged")
	for name, test := range map[string]struct {
		answer [][]byte
		same   bool // the connection is finished, and serves the next Dial
	}{
		"reply twice":                     {[][]byte{text("a"), text("a")}, false},
		"reply, and a part of another":    {[][]byte{text("a"), {finBit | opText, 5, 'x'}}, false},
		"reply, and one byte":             {[][]byte{text("a"), {finBit | opText}}, false},
		"a frame in the reply":            {[][]byte{frameOf(finBit|opText, append([]byte("a"), forged...))}, true},
		"reply, and a masked frame":       {[][]byte{text("a"), {finBit | opText, maskBit | 1, 0, 0, 0, 0, 'x'}}, false},
		"reply, and a reserved opcode":    {[][]byte{text("a"), {finBit | 0xB, 0}}, false},
		"reply, and a huge control frame": {[][]byte{text("a"), {finBit | opPing, 126, 255, 255}}, false},
		"reply, and a continuation":       {[][]byte{text("a"), frameOf(finBit|opContinuation, []byte("x"))}, false},
	} {
		for _, m := range modes[:3] {
			if !canPeek {
				continue
			}
			t.Run(name+"/"+m.name, func(t *testing.T) {
				v := viewOf(t, m, nil)
				v.asks("q", sends(test.answer...))
				closed := make(chan error, 1)
				go func() { closed <- v.Close(websocket.StatusNormalClosure, "") }()
				if !test.same {
					if first, _ := v.peer.next(); first != finBit|opClose {
						t.Errorf("the server received frame %#x, want a close frame", first)
					}
					v.peer.tcp.Close()
				}
				receive(t, closed, "end of Close")
				conn, same := v.again()
				if same != test.same {
					t.Fatalf("the next Dial got the connection: %v, want %v", same, test.same)
				}
				p := v.peer
				if !same {
					p = receive(t, v.n.peers, "peer")
					t.Cleanup(func() { p.tcp.Close() })
				}
				next := viewed{conn, v.d, v.n, p}
				if got := next.asks("next", sends(text("well"))); got != "well" {
					t.Errorf("reply %q, want well", got)
				}
			})
		}
	}
}

// A server of one reply for each request sends one more, and the program takes it for the reply to its
// next request. To count at the end would find as many of both, and the next Dial would get the
// reply that is still to come.
func TestAMessageBeforeItsRequestIsFoundOutAlsoIfItIsReadAfterwards(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		for name, surplus := range map[string]func(v viewed){
			"behind the reply":             func(v viewed) { v.asks("q", sends(text("a"), text("a"))) },
			"behind the reply, and a ping": func(v viewed) { v.asks("q", sends(text("a"), ping("x"), text("a"))) },
			"a part of it":                 func(v viewed) { v.asks("q", sends(text("a"), []byte{finBit | opText, 1})) },
			"by itself": func(v viewed) {
				v.asks("q", sends(text("a")))
				v.pushes(text("a"))
			},
			"before the first request": func(v viewed) { v.pushes(text("a")) },
		} {
			t.Run(name, func(t *testing.T) {
				if (name == "by itself" || name == "before the first request") && (m.noPeek || m.tls != 0) {
					t.Skip("it cannot be seen here")
				}
				v := viewOf(t, m, nil)
				surplus(v)
				if err := v.Write(soon(t), websocket.MessageText, []byte("next")); err != nil {
					t.Fatal(err)
				}
				if name == "a part of it" {
					v.peer.send([]byte("a"))
				}
				if _, got, err := v.Read(soon(t)); err != nil || string(got) != "a" {
					t.Fatalf("Read: %q, %v; want what came before", got, err)
				}
				closed := make(chan error, 1)
				go func() { closed <- v.Close(websocket.StatusNormalClosure, "") }()
				v.peer.tcp.SetReadDeadline(time.Now().Add(patience))
				for first, _ := v.peer.next(); first != finBit|opClose; first, _ = v.peer.next() {
				}
				v.peer.tcp.Close()
				receive(t, closed, "end of Close")
				if _, same := v.again(); same {
					t.Error("the next Dial got the connection, and would get the reply to the last request")
				}
			})
		}
	})
}

// A ping that lies there when the program writes is no message.
func TestAPingBeforeARequestIsNoMessage(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		v := viewOf(t, m, nil)
		for range 3 {
			v.peer.send(ping("there?"))
			if err := v.Write(soon(t), websocket.MessageText, []byte("q")); err != nil {
				t.Fatal(err)
			}
			pongs := 0
			for first, _ := v.peer.next(); first != finBit|opText; first, _ = v.peer.next() {
				if first != finBit|opPong {
					t.Fatalf("the server received frame %#x", first)
				}
				pongs++
			}
			v.peer.send(text("a"))
			if _, got, err := v.Read(soon(t)); err != nil || string(got) != "a" {
				t.Fatalf("Read: %q, %v", got, err)
			}
			if pongs == 0 {
				v.peer.wantNext(finBit|opPong, "there?")
			}
			closeOK(t, v.Conn)
			conn, same := v.again()
			if !same {
				t.Fatal("the next Dial opened a connection")
			}
			v.Conn = conn
		}
	})
}

// The server's pings are answered when a Dial ends with one of them unread, and its close
// frame is what the program gets.
func TestWhatTheServerSaysAtTheEndIsHeard(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		t.Run("a ping behind the reply", func(t *testing.T) {
			if m.noPeek {
				t.Skip("what a goroutine reads is seen by the next check")
			}
			v := viewOf(t, m, nil)
			v.asks("q", sends(text("a"), ping("there?")))
			closeOK(t, v.Conn)
			v.peer.wantNext(finBit|opPong, "there?")
			if _, same := v.again(); !same {
				t.Error("the connection was not put back")
			}
		})
		t.Run("a ping before the reply", func(t *testing.T) {
			v := viewOf(t, m, nil)
			v.asks("q", sends(ping("there?"), text("a")))
			v.peer.wantNext(finBit|opPong, "there?")
			closeOK(t, v.Conn)
			if _, same := v.again(); !same {
				t.Error("the connection was not put back")
			}
		})
		t.Run("a close frame behind the reply", func(t *testing.T) {
			v := viewOf(t, m, nil)
			v.asks("q", sends(text("a"), closing(1001, "restart")))
			closed := make(chan error, 1)
			go func() { closed <- v.Close(websocket.StatusNormalClosure, "") }()
			if first, _ := v.peer.next(); first != finBit|opClose {
				t.Errorf("the server received frame %#x, want a close frame", first)
			}
			v.peer.tcp.Close()
			err := receive(t, closed, "end of Close")
			if !m.noPeek && websocket.CloseStatus(err) != websocket.StatusGoingAway {
				t.Errorf("Close: %v, want the server's status 1001", err)
			}
			if _, same := v.again(); same {
				t.Error("the next Dial got the connection")
			}
		})
		t.Run("a close frame in place of the reply", func(t *testing.T) {
			v := viewOf(t, m, nil)
			v.peer.send(closing(1000, "bye"))
			if _, _, err := v.Read(soon(t)); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
				t.Errorf("Read: %v, want the server's status 1000", err)
			}
			v.peer.wantNext(finBit|opClose, "\x03\xe8bye")
			v.Close(websocket.StatusNormalClosure, "")
			if _, same := v.again(); same {
				t.Error("the next Dial got the connection")
			}
		})
		t.Run("the end of the connection while idle", func(t *testing.T) {
			if m.noPeek {
				t.Skip("what a goroutine reads is seen by the next check")
			}
			v := viewOf(t, m, nil)
			v.asks("q", sends(text("a")))
			closeOK(t, v.Conn)
			v.peer.tcp.Close() // has arrived when it returns: this is the loopback
			if _, same := v.again(); same {
				t.Error("the next Dial got the connection")
			}
		})
	})
}

// The answer to a keepalive message may still be on its way when a Dial ends with its
// reader waiting.
func TestKeepaliveThatIsUnderWayDoesNotHoldUpClose(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		v := viewOf(t, m, &Options{OneReplyPerRequest: true, Keepalive: appKeepalive, PongTimeout: time.Hour})
		closeOK(t, v.Conn)
		for range 5 {
			conn, same := v.again()
			if !same {
				t.Fatal("the connection was not put back")
			}
			ended := readLater(t, conn)
			closeOK(t, conn)
			receive(t, ended, "end of the reader")
		}
		v.Conn, _ = v.again()
		v.peer.wantNext(finBit|opText, "are you there?")
		if got := v.asks("q", sends(text("yes"), text("a"))); got != "a" {
			t.Errorf("reply %q, want a: the other is the answer to the keepalive message", got)
		}
	})
}

func TestFinishedDecidesByWhatWasSentAndReceived(t *testing.T) {
	type asked struct{ Sent, Received []string }
	texts := func(messages []Message) (s []string) {
		for _, m := range messages {
			s = append(s, fmt.Sprintf("%v %s", m.Type, m.Data))
		}
		return s
	}
	for _, compression := range []websocket.CompressionMode{websocket.CompressionDisabled, websocket.CompressionNoContextTakeover} {
		t.Run(fmt.Sprintf("compression=%d", compression), func(t *testing.T) {
			long := strings.Repeat("long ", 2000)
			// The server streams events, and ends each response by one of them.
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: compression})
				if err != nil {
					return
				}
				defer conn.CloseNow()
				for {
					if _, _, err := conn.Read(ctxBackground); err != nil {
						return
					}
					for _, event := range []string{"delta", long, "done"} {
						w, err := conn.Writer(ctxBackground, websocket.MessageBinary)
						if err != nil {
							return
						}
						io.WriteString(w, event[:2]) // a frame for each part
						io.WriteString(w, event[2:])
						if w.Close() != nil {
							return
						}
					}
				}
			}))
			defer server.Close()
			var last asked
			d := newDialer(t, &Options{Finished: func(sent, received []Message) bool {
				last = asked{texts(sent), texts(received)}
				done := 0
				for _, m := range received {
					if string(m.Data) == "done" {
						done++
					}
				}
				return done == len(sent)
			}})
			o := &websocket.DialOptions{CompressionMode: compression, CompressionThreshold: 1}
			run := func(events int) (same bool) {
				t.Helper()
				before := d.Stats().Opened
				conn := dialOK(t, d.Dial, server.URL, o)
				defer conn.CloseNow()
				for range 2 {
					w, err := conn.Writer(soon(t), websocket.MessageText)
					if err != nil {
						t.Fatal(err)
					}
					io.WriteString(w, "g")
					io.WriteString(w, "o")
					if err := w.Close(); err != nil {
						t.Fatal(err)
					}
				}
				for range events {
					if _, _, err := conn.Read(soon(t)); err != nil {
						t.Fatal(err)
					}
				}
				closeOK(t, conn)
				return d.Stats().Opened == before
			}
			run(6)
			want := asked{
				[]string{"MessageText go", "MessageText go"},
				[]string{"MessageBinary delta", "MessageBinary " + long, "MessageBinary done", "MessageBinary delta", "MessageBinary " + long, "MessageBinary done"},
			}
			if diff := cmp.Diff(want, last); diff != "" {
				t.Errorf("Finished was given (-want +got)\n%s", diff)
			}
			if !run(6) {
				t.Error("a finished connection was not lent again")
			}
			run(5)
			if run(6) {
				t.Error("a connection that was not finished was lent again")
			}
		})
	}
}

// What is kept for Finished has a bound, and so has what it is inflated to.
func TestFinishedIsNotAskedAboutTooMuch(t *testing.T) {
	url := serve(t, echo)
	asked := false
	d := newDialer(t, &Options{ReadLimit: -1, Finished: func(_, _ []Message) bool { asked = true; return true }})
	conn := dialOK(t, d.Dial, url, nil)
	askOn(t, conn, strings.Repeat("x", maxRecorded/2))
	askOn(t, conn, "y")
	closeOK(t, conn)
	if asked {
		t.Error("Finished was asked about more than 1 MiB")
	}
	if got := d.Stats().IdleConnections; got != 0 {
		t.Errorf("%d connections idle, want 0", got)
	}

	var bomb bytes.Buffer
	w, _ := flate.NewWriter(&bomb, flate.BestCompression)
	w.Write(make([]byte, maxRecorded+1))
	w.Flush()
	deflated := raw{websocket.MessageText, true, bytes.TrimSuffix(bomb.Bytes(), []byte("\x00\x00\xff\xff"))}
	if messages, ok := messagesOf([]raw{deflated}); ok {
		t.Errorf("%d bytes were inflated to %d", len(deflated.data), len(messages[0].Data))
	}
	if _, ok := messagesOf([]raw{{websocket.MessageText, true, []byte{0xff, 0xff}}}); ok {
		t.Error("garbage was inflated")
	}
}

func TestPanicInAFunctionOfTheOptionsClosesTheConnection(t *testing.T) {
	for name, o := range map[string]*Options{
		"Finished": {Finished: func(_, _ []Message) bool { panic("mine") }},
		"Clean":    {OneReplyPerRequest: true, Clean: func(context.Context, *Conn) error { panic("mine") }},
	} {
		url := serve(t, echo)
		causes := make(chan error, 1)
		o.OnClose = func(_ *Conn, cause error) { causes <- cause }
		d := newDialer(t, o)
		conn := dialOK(t, d.Dial, url, nil)
		askOn(t, conn, "x")
		ended := make(chan error, 1)
		go func() { _, _, err := conn.Read(ctxBackground); ended <- err }()
		closeOK(t, conn)
		receive(t, ended, "end of the reader")
		if cause := receive(t, causes, "call of OnClose"); cause == nil || !strings.Contains(cause.Error(), "panic in a function of the options: mine") {
			t.Errorf("%s: OnClose got %v, want the panic", name, cause)
		}
		if got := d.Stats().IdleConnections; got != 0 {
			t.Errorf("%s: %d connections idle, want 0", name, got)
		}
	}
}

// What a view must have seen before its connection is finished, control frames included. The
// WebSocket layer above it sends those at moments that a test cannot choose.
func TestAViewKnowsWhatIsStillOwed(t *testing.T) {
	bye := appendFrame(nil, finBit|opClose, []byte{3, 0xe8})
	client := func(first byte, payload string) []byte { return appendFrame(nil, first, []byte(payload)) }
	type step struct {
		send, receive []byte // one of them
	}
	for name, test := range map[string]struct {
		steps []step
		want  bool
	}{
		"nothing":                     {nil, true},
		"a request":                   {[]step{{send: client(finBit|opText, "q")}}, false},
		"a reply":                     {[]step{{send: client(finBit|opText, "q")}, {receive: text("a")}}, true},
		"half a request":              {[]step{{send: client(opText, "q")}}, false},
		"half a reply":                {[]step{{send: client(finBit|opText, "q")}, {receive: frameOf(opText, []byte("a"))}}, false},
		"two halves":                  {[]step{{send: client(opText, "q")}, {send: client(finBit|opContinuation, "q")}, {receive: frameOf(opText, []byte("a"))}, {receive: frameOf(finBit|opContinuation, nil)}}, true},
		"an early message":            {[]step{{receive: text("a")}, {send: client(finBit|opText, "q")}}, false},
		"an early reply":              {[]step{{send: client(opText, "q")}, {receive: text("a")}, {send: client(finBit|opContinuation, "q")}}, true},
		"a ping":                      {[]step{{receive: ping("p")}}, false},
		"a ping, and a pong":          {[]step{{receive: ping("p")}, {send: client(finBit|opPong, "p")}}, true},
		"a pong nobody wants, a ping": {[]step{{send: client(finBit|opPong, "p")}, {receive: ping("p")}}, false},
		"a ping of ours":              {[]step{{send: client(finBit|opPing, "1")}}, false},
		"a pong to another ping":      {[]step{{send: client(finBit|opPing, "1")}, {receive: frameOf(finBit|opPong, []byte("idle"))}}, false},
		"a pong to it":                {[]step{{send: client(finBit|opPing, "1")}, {receive: frameOf(finBit|opPong, []byte("1"))}}, true},
		"two pings, a pong":           {[]step{{send: slices.Concat(client(finBit|opPing, "1"), client(finBit|opPing, "2"))}, {receive: frameOf(finBit|opPong, []byte("1"))}}, false},
		"a close frame":               {[]step{{receive: closing(1000, "")}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t, modes[len(modes)-2])
			a := newAdopter(t, n.dialer(nil), n.url)
			v, _, err := a.adopt(a.open())
			if err != nil {
				t.Fatal(err)
			}
			defer v.Close()
			peer := receive(t, n.peers, "peer")
			defer peer.tcp.Close()
			go io.Copy(io.Discard, peer.br)
			for _, s := range test.steps {
				if s.send != nil {
					if _, err := v.Write(s.send); err != nil {
						t.Fatal(err)
					}
					continue
				}
				peer.send(s.receive)
				if _, err := io.ReadFull(v, make([]byte, len(s.receive))); err != nil {
					t.Fatal(err)
				}
			}
			if got := v.leave(bye); got != test.want {
				t.Errorf("the view can be left: %v, want %v", got, test.want)
			}
		})
	}
}

// The WebSocket layer above does not use what it has closed. The view does not rely on that.
func TestAViewThatHasBeenLeftReachesNoConnection(t *testing.T) {
	n := newNetwork(t, modes[len(modes)-2])
	a := newAdopter(t, n.dialer(nil), n.url)
	v, _, err := a.adopt(a.open())
	if err != nil {
		t.Fatal(err)
	}
	peer := receive(t, n.peers, "peer")
	defer peer.tcp.Close()
	if !v.leave(appendFrame(nil, finBit|opClose, []byte("\x03\xe8bye"))) {
		t.Fatal("the view could not be left")
	}
	next, ok := a.lend(a.key)
	if !ok {
		t.Fatal("the connection is not in the pool")
	}
	defer next.Close()
	if n, err := v.Write(appendFrame(nil, finBit|opText, []byte("late"))); n != 0 || err != net.ErrClosed {
		t.Errorf("Write returned %d, %v, want net.ErrClosed", n, err)
	}
	got, err := io.ReadAll(v)
	if want := closing(1000, "bye"); !bytes.Equal(got, want) || err != net.ErrClosed {
		t.Errorf("Read gave %q, %v, want the answer to the close frame and net.ErrClosed", got, err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if _, err := next.Write(appendFrame(nil, finBit|opText, []byte("mine"))); err != nil {
		t.Fatal(err)
	}
	peer.wantNext(finBit|opText, "mine")
	if v.conn != nil || v.lease != (pool.Lease[*Conn]{}) {
		t.Error("the view keeps the connection alive")
	}
}
