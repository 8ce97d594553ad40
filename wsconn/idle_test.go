package wsconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestQuietConnectionPassesCheckAndClean(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, nil)
		for range 3 {
			if err := conn.check(conn.Conn); err != nil {
				t.Fatalf("Check: %v", err)
			}
			if err := conn.clean(conn.Conn); err != nil {
				t.Fatalf("Clean: %v", err)
			}
			if conn.stream.backlog.chunk != nil {
				t.Fatal("an idle connection holds a buffer")
			}
		}
		conn.roundTrip(p)
	})
}

// roundTrip sends a message and a reply, to show that the connection works, and
// that it is clean afterwards.
func (d *dialed) roundTrip(p *peer) {
	d.t.Helper()
	if err := d.Write(soon(d.t), websocket.MessageText, []byte("request")); err != nil {
		d.t.Fatal(err)
	}
	p.wantNext(finBit|opText, "request")
	p.send(text("reply"))
	_, message, err := d.Read(soon(d.t))
	if err != nil || string(message) != "reply" {
		d.t.Fatalf("read %q, %v, want the reply", message, err)
	}
	if err := d.clean(d.Conn); err != nil {
		d.t.Fatalf("Clean: %v", err)
	}
}

func TestCheckAnswersPings(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		for _, payload := range []string{"", "x", strings.Repeat("y", 125)} {
			conn, p := dial(t, m, nil)
			p.send(ping(payload))
			pong := make(chan string, 1)
			go func() {
				first, payload, err := readClientFrame(p.br)
				pong <- fmt.Sprintf("%#x %q %v", first, payload, err)
			}()
			if err := conn.checkAfter(func() bool { return len(pong) > 0 }); err != nil {
				t.Fatal(err)
			}
			if got, want := receive(t, pong, "pong"), fmt.Sprintf("%#x %q <nil>", finBit|opPong, payload); got != want {
				t.Errorf("the peer received %s, want %s", got, want)
			}
			conn.roundTrip(p)
		}
	})
}

func TestCheckAsksThePingCallbacks(t *testing.T) {
	var pings, pongs []string
	n := newNetwork(t, modes[0])
	opts := n.options(nil)
	opts.DialOptions.OnPingReceived = func(_ context.Context, payload []byte) bool {
		pings = append(pings, string(payload))
		return string(payload) != "ignore"
	}
	opts.DialOptions.OnPongReceived = func(_ context.Context, payload []byte) { pongs = append(pongs, string(payload)) }
	factory := newFactory(t, n.url, opts)
	conn := &dialed{Conn: open(t, factory), t: t, check: factory.Check, clean: factory.Clean}
	p := receive(t, n.peers, "peer")
	defer p.Close()
	p.together(func() {
		p.send(ping("ignore"))
		p.send(frameOf(finBit|opPong, []byte("unasked")))
		p.send(ping("answer"))
	})
	conn.awaitArrival(len("ignore") + len("unasked") + len("answer") + 6)
	if err := conn.check(conn.Conn); err != nil {
		t.Fatal(err)
	}
	p.wantNext(finBit|opPong, "answer")
	if got, want := fmt.Sprint(pings, pongs), "[ignore answer] [unasked]"; got != want {
		t.Errorf("callbacks got %s, want %s", got, want)
	}
}

func TestCheckEchoesACloseAndTellsItsCode(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		for _, test := range []struct {
			frame   []byte
			payload string
			code    websocket.StatusCode
			reason  string
		}{
			{closing(1012, "restart"), "\x03\xf4restart", websocket.StatusServiceRestart, "restart"},
			{closing(4321, ""), "\x10\xe1", 4321, ""},
			{frameOf(finBit|opClose, nil), "", websocket.StatusNoStatusRcvd, ""},
		} {
			causes := make(chan error, 8)
			conn, p := dial(t, m, &Options{OnClose: func(_ *Conn, cause error) { causes <- cause }})
			p.send(test.frame)
			err := conn.failsCheck()
			var e websocket.CloseError
			if !errors.As(err, &e) || e.Code != test.code || e.Reason != test.reason {
				t.Errorf("Check returned %v, want code %d, reason %q", err, test.code, test.reason)
			}
			if conn.Err() == nil || conn.Err().Error() != err.Error() {
				t.Errorf("Err() = %v, want what Check returned", conn.Err())
			}
			p.wantNext(finBit|opClose, test.payload)
			conn.close(conn.Conn, err)
			if got := receive(t, causes, "OnClose"); websocket.CloseStatus(got) != test.code {
				t.Errorf("OnClose was told %v", got)
			}
		}
	})
}

func TestCheckSeesTheEndOfTheConnection(t *testing.T) {
	for name, end := range map[string]func(p *peer){
		"FIN":        func(p *peer) { p.Close() },
		"half close": func(p *peer) { p.tcp.CloseWrite() },
		"RST":        func(p *peer) { p.tcp.SetLinger(0); p.tcp.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			eachMode(t, func(t *testing.T, m mode) {
				conn, p := dial(t, m, nil)
				conn.roundTrip(p)
				end(p)
				if err := conn.failsCheck(); !strings.Contains(err.Error(), "connection lost") {
					t.Errorf("Check returned %v", err)
				}
			})
		})
	}
}

// TestCheckTellsTheCloseFrameBeforeTheEnd: both have arrived before the check.
func TestCheckTellsTheCloseFrameBeforeTheEnd(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, nil)
		p.together(func() {
			p.send(ping("first"))
			p.send(closing(1001, "going"))
		})
		p.Close()
		if err := conn.failsCheck(); websocket.CloseStatus(err) != websocket.StatusGoingAway {
			t.Errorf("Check returned %v, want code 1001", err)
		}
	})
}

func TestDataWhileIdleFailsCheck(t *testing.T) {
	for name, data := range map[string][]byte{
		"message":          text("late reply"),
		"first byte alone": {finBit | opText},
		"first fragment":   frameOf(opBinary, []byte("part")),
		"continuation":     frameOf(finBit|opContinuation, []byte("part")),
		"empty message":    text(""),
		"behind a ping":    append(ping("p"), text("late reply")...),
	} {
		t.Run(name, func(t *testing.T) {
			eachMode(t, func(t *testing.T, m mode) {
				conn, p := dial(t, m, nil)
				p.send(data)
				if m.noPeek || len(data) == 1 {
					if err := conn.failsCheck(); !errors.Is(err, errBacklog) {
						t.Errorf("Check returned %v", err)
					}
					return
				}
				if m.tls == 0 {
					conn.awaitArrival(len(data))
				}
				if err := conn.failsCheck(); !errors.Is(err, errBacklog) {
					t.Errorf("Check returned %v", err)
				}
			})
		})
	}
}

func TestViolationWhileIdleFailsCheckAndIsTold(t *testing.T) {
	for name, data := range map[string][]byte{
		"reserved opcode":         frameOf(finBit|0x3, nil),
		"reserved control opcode": frameOf(finBit|0xB, nil),
		"reserved bit":            frameOf(finBit|0x20|opPing, nil),
		"compression not agreed":  frameOf(finBit|rsv1Bit|opText, nil),
		"fragmented ping":         frameOf(opPing, nil),
		"ping of 126 bytes":       frameOf(finBit|opPing, make([]byte, 126)),
		"masked ping":             {finBit | opPing, maskBit, 1, 2, 3, 4},
		"close with one byte":     frameOf(finBit|opClose, []byte{3}),
		"close with code 999":     closing(999, ""),
		"close with code 1005":    closing(1005, ""),
		"close with code 2000":    closing(2000, ""),
		"close with a bad reason": closing(1000, "\xff"),
	} {
		t.Run(name, func(t *testing.T) {
			eachMode(t, func(t *testing.T, m mode) {
				conn, p := dial(t, m, nil)
				p.send(data)
				if err := conn.failsCheck(); !strings.Contains(err.Error(), "protocol violation by the peer") {
					t.Errorf("Check returned %v", err)
				}
				if first, payload := p.next(); first != finBit|opClose || !strings.HasPrefix(payload, "\x03\xea") {
					t.Errorf("the peer received %#x %q, want close 1002", first, payload)
				}
			})
		})
	}
}

func TestControlFramesMayComeInPieces(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, nil)
		f := ping("in pieces")
		for i, b := range f[:len(f)-1] {
			p.send([]byte{b})
			taken := func() bool { return conn.stream.backlog.len() == i+1 }
			for !taken() { // a TLS record may take two
				if err := conn.checkAfter(taken); err != nil {
					t.Fatal(err)
				}
			}
			if err := conn.clean(conn.Conn); err != nil {
				t.Fatalf("with a part of a ping, Clean returned %v", err)
			}
		}
		p.send(f[len(f)-1:])
		if err := conn.checkAfter(func() bool { return conn.stream.backlog.len() == 0 }); err != nil {
			t.Fatal(err)
		}
		p.wantNext(finBit|opPong, "in pieces")
		conn.roundTrip(p)
	})
}

func TestLeaseReadsTheRestOfAControlFrame(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, nil)
		f := ping("rest")
		p.send(f[:3])
		if err := conn.checkAfter(func() bool { return conn.stream.backlog.len() > 0 }); err != nil {
			t.Fatal(err)
		}
		p.send(append(f[3:], text("reply")...))
		_, message, err := conn.Read(soon(t))
		if err != nil || string(message) != "reply" {
			t.Fatalf("read %q, %v", message, err)
		}
		p.wantNext(finBit|opPong, "rest")
		if err := conn.clean(conn.Conn); err != nil {
			t.Fatal(err)
		}
	})
}

func TestFloodOfPingsFailsCheck(t *testing.T) {
	conn, p := dial(t, modes[0], nil)
	flood := make(chan error, 1)
	go func() {
		go io.Copy(io.Discard, p.br)
		for f := ping(strings.Repeat("x", 125)); ; {
			if _, err := p.Write(f); err != nil {
				flood <- err
				return
			}
		}
	}()
	var err error
	for deadline := time.Now().Add(patience); err == nil && time.Now().Before(deadline); {
		conn.awaitArrival(32 << 10)
		err = conn.check(conn.Conn)
	}
	if err == nil || !strings.Contains(err.Error(), "within one check") {
		t.Errorf("Check returned %v", err)
	}
	conn.close(conn.Conn, err)
	receive(t, flood, "end of the flood")
}

func TestReadLeftRunningFailsCheckAndClean(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, _ := dial(t, m, nil)
		ends := make(chan error, 1)
		go func() {
			_, _, err := conn.Conn.Conn.Read(ctxBackground)
			ends <- err
		}()
		for conn.stream.busy.Load() == 0 {
			time.Sleep(time.Microsecond)
		}
		if err := conn.clean(conn.Conn); !errors.Is(err, errInUse) {
			t.Errorf("Clean returned %v", err)
		}
		if err := conn.check(conn.Conn); !errors.Is(err, errInUse) {
			t.Errorf("Check returned %v", err)
		}
		conn.close(conn.Conn, errTest)
		receive(t, ends, "end of the Read")
	})
}
