package wsconn

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// request sends a message and takes it off the peer.
func (d *dialed) request(p *peer) {
	d.t.Helper()
	if err := d.Write(soon(d.t), websocket.MessageText, []byte("request")); err != nil {
		d.t.Fatal(err)
	}
	p.wantNext(finBit|opText, "request")
}

// reader begins to read the next message.
func (d *dialed) reader() io.Reader {
	d.t.Helper()
	_, r, err := d.Reader(soon(d.t))
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

// take reads n bytes from r.
func (d *dialed) take(r io.Reader, n int) {
	d.t.Helper()
	if _, err := io.ReadFull(r, make([]byte, n)); err != nil {
		d.t.Fatal(err)
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// TestCleanRefusesADirtyConnection: each of these leaves something of one lease
// for the next.
func TestCleanRefusesADirtyConnection(t *testing.T) {
	for name, test := range map[string]struct {
		use  func(d *dialed, p *peer)
		want error // if not nil
	}{
		"message not read at all": {func(d *dialed, p *peer) {
			p.send(text("0123456789"))
			d.reader()
		}, errUnread},
		"message read in part": {func(d *dialed, p *peer) {
			p.send(text("0123456789"))
			d.take(d.reader(), 3)
		}, errUnread},
		"one byte unread": {func(d *dialed, p *peer) {
			p.send(text("0123456789"))
			d.take(d.reader(), 9)
		}, errUnread},
		"first fragment alone read": {func(d *dialed, p *peer) {
			p.send(frameOf(opText, []byte("01234")))
			d.take(d.reader(), 5)
		}, errUnread},
		"last, empty fragment unread": {func(d *dialed, p *peer) {
			p.send(append(frameOf(opText, []byte("01234")), frameOf(finBit|opContinuation, nil)...))
			d.take(d.reader(), 5)
		}, nil},
		"ping between the fragments": {func(d *dialed, p *peer) {
			p.send(append(frameOf(opText, []byte("01234")), ping("p")...))
			d.take(d.reader(), 5)
		}, nil},
		"second reply unread": {func(d *dialed, p *peer) {
			p.send(append(text("one"), text("two")...))
			d.Read(soon(d.t))
		}, errBacklog},
		"start of a second reply unread": {func(d *dialed, p *peer) {
			p.send(append(text("one"), text("two")[0]))
			d.Read(soon(d.t))
		}, errBacklog},
		"read limit hit": {func(d *dialed, p *peer) {
			d.SetReadLimit(5)
			p.send(text("0123456789"))
			d.Read(soon(d.t))
		}, errCloseSent},
		"large message, written in part": {func(d *dialed, p *peer) {
			w, err := d.Writer(soon(d.t), websocket.MessageBinary)
			if err == nil {
				_, err = w.Write(make([]byte, 10_000))
			}
			if err != nil {
				d.t.Fatal(err)
			}
		}, errUnwritten},
		"first fragment alone sent": {func(d *dialed, p *peer) {
			w, err := d.Writer(soon(d.t), websocket.MessageBinary)
			if err == nil {
				_, err = w.Write([]byte("part"))
			}
			if err != nil {
				d.t.Fatal(err)
			}
			d.Ping(canceledSoon(p)) // sends what was written before
		}, nil},
		"CloseRead":               {func(d *dialed, p *peer) { d.CloseRead(soon(d.t)) }, errCloseRead},
		"closed":                  {func(d *dialed, p *peer) { d.CloseNow() }, errClosed},
		"close frame received":    {func(d *dialed, p *peer) { p.send(closing(1001, "bye")); d.Read(soon(d.t)) }, websocket.CloseError{Code: 1001, Reason: "bye"}},
		"context of a Read ended": {func(d *dialed, p *peer) { d.Read(canceled()) }, context.Canceled},
		"context of a Read through the embedded connection ended": {func(d *dialed, p *peer) {
			ctx, cancel := context.WithCancel(context.Background())
			go func() {
				for d.stream.busy.Load() == 0 { // until the Read is in progress
					time.Sleep(time.Microsecond)
				}
				cancel()
			}()
			d.Conn.Conn.Read(ctx)
		}, errClosed},
		"context of a Write had ended": {func(d *dialed, p *peer) { d.Write(canceled(), websocket.MessageText, nil) }, context.Canceled},
		"peer gone, seen by Read":      {func(d *dialed, p *peer) { p.Close(); d.Read(soon(d.t)) }, nil},
		"reply owed":                   {func(d *dialed, p *peer) { d.Begin(); d.request(p) }, errReplyOwed},
		"one of two replies owed":      {func(d *dialed, p *peer) { d.Begin(); d.Begin(); d.End() }, errReplyOwed},
		"End without Begin":            {func(d *dialed, p *peer) { d.End() }, errEndWithoutBegin},
		"Exchange given up": {func(d *dialed, p *peer) {
			ctx, cancel := context.WithCancel(context.Background())
			p.send(text("event"))
			d.ExchangeFunc(ctx, websocket.MessageText, nil, func(Message) bool { cancel(); return false })
		}, context.Canceled},
		"closing handshake of the caller": {func(d *dialed, p *peer) { p.send(closing(1000, "")); d.Conn.Close(1000, "") }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			eachMode(t, func(t *testing.T, m mode) {
				conn, p := dial(t, m, nil)
				test.use(conn, p)
				err := conn.clean(conn.Conn)
				if err == nil || test.want != nil && !errors.Is(err, test.want) {
					t.Errorf("Clean returned %v, want %v", err, test.want)
				}
				if conn.clean(conn.Conn) == nil || conn.check(conn.Conn) == nil || conn.Err() == nil {
					t.Error("what was dirty is clean")
				}
			})
		})
	}
}

// canceledSoon returns a context that ends when the peer has received a ping.
func canceledSoon(p *peer) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for {
			if first, _, err := readClientFrame(p.br); err != nil || first == finBit|opPing {
				cancel()
				return
			}
		}
	}()
	return ctx
}

// TestCleanAcceptsEveryWayToReadAMessage: what is left to do is nothing.
func TestCleanAcceptsEveryWayToReadAMessage(t *testing.T) {
	fragments := append(frameOf(opText, []byte("01234")), append(ping("p"), frameOf(finBit|opContinuation, []byte("56789"))...)...)
	for name, test := range map[string]struct {
		data []byte
		use  func(d *dialed)
	}{
		"Read":               {text("0123456789"), func(d *dialed) { d.Read(soon(d.t)) }},
		"empty":              {text(""), func(d *dialed) { d.Read(soon(d.t)) }},
		"all bytes, EOF not": {text("0123456789"), func(d *dialed) { d.take(d.reader(), 10) }},
		"byte by byte": {text("0123456789"), func(d *dialed) {
			r := d.reader()
			for range 10 {
				d.take(r, 1)
			}
		}},
		"fragments":           {fragments, func(d *dialed) { d.Read(soon(d.t)) }},
		"fragments, EOF not":  {fragments, func(d *dialed) { d.take(d.reader(), 10) }},
		"ping first":          {append(ping("p"), text("x")...), func(d *dialed) { d.Read(soon(d.t)) }},
		"ping behind":         {append(text("x"), ping("p")...), func(d *dialed) { d.Read(soon(d.t)) }},
		"part of ping behind": {append(text("x"), ping("p")[:2]...), func(d *dialed) { d.Read(soon(d.t)) }},
		"JSON":                {text(`{"a":1}`), func(d *dialed) { var v any; wsjson.Read(soon(d.t), d.Conn.Conn, &v) }},
		"context ended later": {text("x"), func(d *dialed) {
			ctx, cancel := context.WithCancel(context.Background())
			d.Read(ctx)
			cancel()
		}},
		"Begin and End": {text("x"), func(d *dialed) { d.Begin(); d.Read(soon(d.t)); d.End() }},
		"Exchange":      {text("x"), func(d *dialed) { d.Exchange(soon(d.t), websocket.MessageText, nil) }},
	} {
		t.Run(name, func(t *testing.T) {
			eachMode(t, func(t *testing.T, m mode) {
				conn, p := dial(t, m, nil)
				p.send(test.data)
				test.use(conn)
				if err := conn.clean(conn.Conn); err != nil {
					t.Errorf("Clean: %v", err)
				}
			})
		})
	}
}

// TestForgedFrameIsNotReadByTheNextLease is WEBSOCKET.md, fact 2: what is left
// unread of a payload would be taken for frames.
func TestForgedFrameIsNotReadByTheNextLease(t *testing.T) {
	forged := text("forged")
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, nil)
		p.send(frameOf(finBit|opText, append([]byte("some text"), forged...)))
		conn.take(conn.reader(), len("some text"))
		if err := conn.clean(conn.Conn); !errors.Is(err, errUnread) {
			t.Fatalf("Clean returned %v", err)
		}
		// This is why: it is what the next lease would read.
		_, message, err := conn.Read(soon(t))
		if err == nil && string(message) != "forged" {
			t.Errorf("the next lease reads %q", message)
		}
	})
}

// TestLateReplyIsNotReadByTheNextLease: it comes after the caller has given up,
// before or after the Put.
func TestLateReplyIsNotReadByTheNextLease(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, nil)
		conn.request(p)
		if err := conn.clean(conn.Conn); err != nil { // it is not here yet, nobody has said that it is owed
			t.Fatal(err)
		}
		p.send(text("late"))
		if err := conn.failsCheck(); !errors.Is(err, errBacklog) {
			t.Errorf("Check returned %v", err)
		}
	})
}

// TestRecordsHiddenInTLSAreFoundByClean: two records come in one segment, and
// no byte of the second is in the socket any more when the first is read.
func TestRecordsHiddenInTLSAreFoundByClean(t *testing.T) {
	for _, m := range modes[1:3] {
		t.Run(m.name, func(t *testing.T) {
			conn, p := dial(t, m, nil)
			p.together(func() {
				p.send(text("one"))
				p.send(text("two"))
			})
			if _, message, err := conn.Read(soon(t)); err != nil || string(message) != "one" {
				t.Fatalf("read %q, %v", message, err)
			}
			if err := conn.clean(conn.Conn); !errors.Is(err, errBacklog) {
				t.Errorf("Clean returned %v", err)
			}
		})
	}
}

// TestOneReplyPerRequest counts messages, without Begin and End.
func TestOneReplyPerRequest(t *testing.T) {
	opts := &Options{
		OneReplyPerRequest: true,
		OnConnect: func(ctx context.Context, conn *Conn) error { // does not count
			return conn.Write(ctx, websocket.MessageText, []byte("hello"))
		},
	}
	eachMode(t, func(t *testing.T, m mode) {
		for name, test := range map[string]struct {
			requests, replies int
			dirty             bool
		}{
			"none": {0, 0, false}, "one": {1, 1, false}, "three": {3, 3, false},
			"one owed": {1, 0, true}, "one of two owed": {2, 1, true}, "one too many": {0, 1, true},
		} {
			conn, p := dial(t, m, opts)
			p.wantNext(finBit|opText, "hello")
			for range test.requests {
				conn.request(p)
			}
			for range test.replies {
				p.send(append(frameOf(opText, []byte("re")), frameOf(finBit|opContinuation, []byte("ply"))...))
				if _, _, err := conn.Read(soon(t)); err != nil {
					t.Fatal(err)
				}
			}
			if err := conn.clean(conn.Conn); test.dirty != errors.Is(err, errReplyCount) {
				t.Errorf("%s: Clean returned %v", name, err)
			}
		}
	})
}

func TestCleanOfTheApplicationRunsAtTheEndOfALease(t *testing.T) {
	refused := errors.New("not reset")
	var calls int
	var result error
	reset := func(ctx context.Context, conn *Conn) error {
		calls++
		if _, ok := ctx.Deadline(); !ok {
			t.Error("a context without an end")
		}
		if result != nil {
			return result
		}
		return conn.Write(ctx, websocket.MessageText, []byte("reset"))
	}
	conn, p := dial(t, modes[0], &Options{Clean: reset, CleanTimeout: patience})
	if err := conn.clean(conn.Conn); err != nil || calls != 1 {
		t.Fatalf("Clean returned %v after %d calls", err, calls)
	}
	p.wantNext(finBit|opText, "reset")
	result = refused
	if err := conn.clean(conn.Conn); !errors.Is(err, refused) || !strings.Contains(err.Error(), "wsconn: Clean: ") {
		t.Errorf("Clean returned %v", err)
	}
	if conn.clean(conn.Conn) == nil || calls != 2 {
		t.Errorf("%d calls: it was called for a connection that is of no use", calls)
	}

	dirty := func(ctx context.Context, conn *Conn) error { conn.Begin(); return nil }
	conn, _ = dial(t, modes[0], &Options{Clean: dirty, CleanTimeout: patience})
	if err := conn.clean(conn.Conn); !errors.Is(err, errReplyOwed) {
		t.Errorf("Clean that leaves a reply owed: %v", err)
	}
}

func TestMessagesOfEverySizeLeaveTheConnectionClean(t *testing.T) {
	sizes := []int{0, 1, 2, 15, 16, 17, 124, 125, 126, 127, 1022, 1023, 1024, 1025, 1026, 4000,
		4090, 4091, 4092, 4093, 4094, 4095, 4096, 4097, 8192, 65535, 65536, 200_000}
	eachMode(t, func(t *testing.T, m mode) {
		n := newNetwork(t, m)
		conn, p := n.dial(&Options{ReadLimit: -1})
		echoed := make(chan error, 1)
		go func() { // echo, in two fragments where possible
			for range sizes {
				_, payload, err := readClientFrame(p.br)
				if err == nil {
					half := len(payload) / 2
					_, err = p.Write(append(frameOf(opBinary, []byte(payload[:half])), frameOf(finBit|opContinuation, []byte(payload[half:]))...))
				}
				if err != nil {
					echoed <- err
					return
				}
			}
			echoed <- nil
		}()
		for _, size := range sizes {
			want := strings.Repeat("0123456789", size/10+1)[:size]
			if got := ask(t, conn.Conn, want); got != want {
				t.Fatalf("size %d: %d bytes came back, or others", size, len(got))
			}
			if err := conn.clean(conn.Conn); err != nil {
				t.Fatalf("size %d: Clean: %v", size, err)
			}
			if err := conn.check(conn.Conn); err != nil {
				t.Fatalf("size %d: Check: %v", size, err)
			}
		}
		if err := receive(t, echoed, "end of the echo"); err != nil {
			t.Error(err)
		}
	})
}

func TestCheckAndCleanAllocateNothing(t *testing.T) {
	for _, m := range modes[:3] {
		t.Run(m.name, func(t *testing.T) {
			conn, p := dial(t, m, &Options{PingInterval: 1 << 60})
			conn.roundTrip(p)
			for name, call := range map[string]func(*Conn) error{"Check": conn.check, "Clean": conn.clean} {
				if n := testing.AllocsPerRun(100, func() {
					if err := call(conn.Conn); err != nil {
						t.Fatal(err)
					}
				}); n != 0 {
					t.Errorf("%s allocates %v times", name, n)
				}
			}
		})
	}
}
