package wsconn

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// These tests pin what the section "What one would not guess" of the package
// documentation says of github.com/coder/websocket, in the version of go.mod. Where an
// update changes one, that section, and perhaps what this package does, has to follow.

// inMemory is a transport whose server is the other end of a net.Pipe, so that all waits
// are those of a synctest bubble.
type inMemory struct{ peer net.Conn }

func (m *inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := http.ReadResponse(bufio.NewReader(strings.NewReader(switching(r.Header.Get("Sec-WebSocket-Key")))), r)
	if err == nil {
		response.Body, m.peer = net.Pipe()
	}
	return response, err
}

// bubbled runs test in a bubble with a connection of this package and its peer.
func bubbled(t *testing.T, test func(t *testing.T, conn *Conn, peer net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		var m inMemory
		conn, err := newFactory(t, "ws://peer", &Options{PingInterval: -1, DialOptions: &websocket.DialOptions{HTTPClient: &http.Client{Transport: &m}}}).Open(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Conn.CloseNow()
		defer m.peer.Close()
		test(t, conn, m.peer)
	})
}

// TestMessageWhoseBytesAreAllReadNeedNotBeReadToItsEnd: a json.Decoder on a Reader stops
// when the value is complete.
func TestMessageWhoseBytesAreAllReadNeedNotBeReadToItsEnd(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		for _, test := range []struct {
			name  string
			sent  []byte
			toEOF bool
			want  error
		}{
			{"one frame", text(`{"a":1}`), false, nil},
			{"ended by an empty frame", append(frameOf(opText, []byte(`{"a":1}`)), frameOf(finBit|opContinuation, nil)...), false, errUnread},
			{"ended by an empty frame, read to io.EOF", append(frameOf(opText, []byte(`{"a":1}`)), frameOf(finBit|opContinuation, nil)...), true, nil},
		} {
			conn, p := dial(t, m, nil)
			p.together(func() { p.send(test.sent) })
			r := conn.reader()
			if err := json.NewDecoder(r).Decode(new(struct{ A int })); err != nil {
				t.Fatal(err)
			}
			if test.toEOF {
				if _, err := io.Copy(io.Discard, r); err != nil {
					t.Fatal(err)
				}
			}
			if err := conn.clean(conn.Conn); !errors.Is(err, test.want) {
				t.Errorf("%s: Clean returned %v, want %v", test.name, err, test.want)
			}
		}
	})
}

// TestDeadlineOfNetConn: one that passes during a Read is no timeout, and ends the
// connection; one that passes between two reads is one, and can be lifted.
func TestDeadlineOfNetConn(t *testing.T) {
	bubbled(t, func(t *testing.T, conn *Conn, peer net.Conn) {
		c := websocket.NetConn(context.Background(), conn.Conn, websocket.MessageText)
		read := func() (n int, timeout bool, err error) {
			n, err = c.Read(make([]byte, 10))
			var e net.Error
			return n, errors.As(err, &e) && e.Timeout(), err
		}
		c.SetReadDeadline(time.Now().Add(time.Second))
		testkit.Sleep(time.Minute)
		if _, timeout, err := read(); !timeout || conn.Err() != nil {
			t.Errorf("passed before the read: Read returned %v, and Err() is %v", err, conn.Err())
		}
		c.SetReadDeadline(time.Time{})
		go peer.Write(text("x"))
		if n, _, err := read(); n != 1 || err != nil {
			t.Errorf("lifted: Read returned %d, %v", n, err)
		}
		c.SetReadDeadline(time.Now().Add(time.Second))
		if _, timeout, err := read(); err == nil || timeout || conn.Err() == nil {
			t.Errorf("passes during the read: Read returned %v, and Err() is %v", err, conn.Err())
		}
	})
}

// TestCodeOfThePeerCanBeHadOnce: from the embedded connection. Err has it as long as the
// connection exists.
func TestCodeOfThePeerCanBeHadOnce(t *testing.T) {
	conn, p := dial(t, modes[0], nil)
	p.send(closing(4321, "reason"))
	for i, want := range []websocket.StatusCode{4321, -1} {
		if _, _, err := conn.Conn.Conn.Read(soon(t)); err == nil || websocket.CloseStatus(err) != want {
			t.Errorf("read %d returned %v, want the code %d", i, err, want)
		}
	}
	if err := conn.Conn.Conn.Close(websocket.StatusNormalClosure, ""); !errors.Is(err, net.ErrClosed) || websocket.CloseStatus(err) != -1 {
		t.Errorf("Close returned %v", err)
	}
	if err := conn.Err(); websocket.CloseStatus(err) != 4321 {
		t.Errorf("Err() = %v", err)
	}
}

func TestCloseReadThatMeetsAMessageTakes15Seconds(t *testing.T) {
	bubbled(t, func(t *testing.T, conn *Conn, peer net.Conn) {
		go func() {
			for br := bufio.NewReader(peer); ; {
				if first, _, err := readClientFrame(br); err != nil {
					return
				} else if first&opBits == opClose {
					peer.Write(closing(1008, ""))
				}
			}
		}()
		start := time.Now()
		ctx := conn.CloseRead(context.Background())
		peer.Write(text("x"))
		<-ctx.Done()
		if got := time.Since(start); got != 15*time.Second {
			t.Errorf("the context of CloseRead was done after %v", got)
		}
	})
}

func TestCloseAtAPeerThatDoesNotReadReturnsNilAfter5Seconds(t *testing.T) {
	bubbled(t, func(t *testing.T, conn *Conn, peer net.Conn) {
		start := time.Now()
		if err := conn.Conn.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Errorf("Close returned %v", err)
		}
		if got := time.Since(start); got != 5*time.Second {
			t.Errorf("Close returned after %v", got)
		}
	})
}

// TestEmptyPongIsNoAnswerToPing: some servers send one. The keepalive of this package
// takes any byte for a sign of life.
func TestEmptyPongIsNoAnswerToPing(t *testing.T) {
	bubbled(t, func(t *testing.T, conn *Conn, peer net.Conn) {
		go func() {
			for br := bufio.NewReader(peer); ; {
				if first, _, err := readClientFrame(br); err != nil {
					return
				} else if first&opBits == opPing {
					peer.Write(frameOf(finBit|opPong, nil))
				}
			}
		}()
		read := make(chan error, 1)
		go func() {
			_, _, err := conn.Conn.Read(context.Background())
			read <- err
		}()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := conn.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Ping returned %v", err)
		}
		conn.CloseNow()
		<-read
	})
	conn, p := dial(t, modes[0], &Options{PingInterval: 1, PongTimeout: 1})
	if err := conn.check(conn.Conn); err != nil {
		t.Fatal(err)
	}
	p.wantNext(finBit|opPing, "idle")
	conn.written()
	p.send(frameOf(finBit|opPong, nil))
	conn.awaitArrival(1)
	if err := conn.check(conn.Conn); err != nil {
		t.Errorf("Check returned %v", err)
	}
}

// TestMessageOverALimitHasNoCode: neither one that is received, nor one that is sent.
func TestMessageOverALimitHasNoCode(t *testing.T) {
	conn, p := dial(t, modes[0], &Options{ReadLimit: 5})
	p.send(text("0123456789"))
	if _, _, err := conn.Read(soon(t)); !errors.Is(err, websocket.ErrMessageTooBig) || websocket.CloseStatus(err) != -1 {
		t.Errorf("Read returned %v", err)
	}
	if first, payload := p.next(); first != finBit|opClose || !strings.HasPrefix(payload, "\x03\xf1") { // 1009
		t.Errorf("the peer received frame %#x %q", first, payload)
	}

	url := serve(t, func(ctx context.Context, conn accepted) { conn.Read(ctx) })
	var err error
	for c := open(t, newFactory(t, url, nil)); err == nil; {
		err = c.Write(soon(t), websocket.MessageText, make([]byte, 100_000))
	}
	if websocket.CloseStatus(err) != -1 {
		t.Errorf("Write returned %v", err)
	}
}

// TestMessageCutOffMayComeAsAWholeOne: to those who have a connection without this
// package. See TestMessageCutOffIsAnError.
func TestMessageCutOffMayComeAsAWholeOne(t *testing.T) {
	s := &script{bytes: frameOf(opText, []byte("part")), end: io.EOF, pieces: func() int { return 100 }}
	told := tell(t, s, func() int { return 100 }, false)
	if want := `MessageText "part"`; told.Events[0] != want {
		t.Errorf("a message that was cut off: %q, want %q", told.Events, want)
	}
}

// TestMaxConnsPerHostDoesNotBoundWebSockets: net/http counts a connection until its
// upgrade only. If it counted on, the second dial would wait for the first to end.
func TestMaxConnsPerHostDoesNotBoundWebSockets(t *testing.T) {
	url := serve(t, echo)
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	for i := range 3 {
		conn, _, err := websocket.Dial(soon(t), url, &websocket.DialOptions{HTTPClient: client})
		if err != nil {
			t.Fatalf("dial %d beside open ones: %v", i+1, err)
		}
		defer conn.CloseNow()
	}
}

// TestContextOfTheEmbeddedConnectionIsKeptUntilTheNextCall: wsjson uses that one.
func TestContextOfTheEmbeddedConnectionIsKeptUntilTheNextCall(t *testing.T) {
	conn, p := dial(t, modes[0], nil)
	p.send(text("1"))
	left := read(t, conn.Conn.Conn)
	for range 3 {
		runtime.GC()
	}
	if left.Value() == nil {
		t.Error("the context is not kept")
	}
	p.send(text("2"))
	if _, _, err := conn.Read(soon(t)); err != nil {
		t.Fatal(err)
	}
	if !collected(left) {
		t.Error("the context is kept beyond the next call")
	}
}

// read reads with wsjson, and returns a pointer to what the context holds.
func read(t *testing.T, conn *websocket.Conn) weak.Pointer[[1024]byte] {
	type key struct{}
	v := new([1024]byte)
	if err := wsjson.Read(context.WithValue(context.Background(), key{}, v), conn, new(int)); err != nil {
		t.Fatal(err)
	}
	return weak.Make(v)
}
