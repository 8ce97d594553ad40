package wsconn

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/coder/websocket"
)

// TestConnectionKeepsNothingOfAContext: of those given to its own methods, once they have
// returned. The connection is idle then, for as long as nobody needs it.
func TestConnectionKeepsNothingOfAContext(t *testing.T) {
	type key struct{}
	type value [1 << 10]byte
	conn, p := dial(t, modes[0], nil)
	for name, call := range map[string]func(ctx context.Context) error{
		"Read":  func(ctx context.Context) error { _, _, err := conn.Read(ctx); return err },
		"Write": func(ctx context.Context) error { return conn.Write(ctx, websocket.MessageText, nil) },
		"Exchange": func(ctx context.Context) error {
			_, _, err := conn.Exchange(ctx, websocket.MessageText, nil)
			return err
		},
		"ExchangeJSON": func(ctx context.Context) error { return ExchangeJSON(ctx, conn.Conn, 1, nil) },
		"ExchangeFunc": func(ctx context.Context) error {
			_, _, err := conn.ExchangeFunc(ctx, websocket.MessageText, nil, func(Message) bool { return true })
			return err
		},
	} {
		use := func() weak.Pointer[value] {
			v := new(value)
			ctx, cancel := context.WithCancel(context.WithValue(context.Background(), key{}, v))
			defer cancel()
			if name != "Write" {
				p.send(append(ping("p"), text("reply")...)) // the ping has a ctx of its own derived
			}
			if err := call(ctx); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return weak.Make(v)
		}
		if !collected(use()) {
			t.Errorf("%s: the connection keeps the context", name)
		}
	}
}

// collected reports whether the collector finds that nobody keeps what p points to. A
// goroutine that is about to end may, for a moment.
func collected[T any](p weak.Pointer[T]) bool {
	for deadline := time.Now().Add(patience); p.Value() != nil; runtime.GC() {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// TestErrorOfACallIsThatOfItsContextToo: the WebSocket layer may say only that the
// connection was closed.
func TestErrorOfACallIsThatOfItsContextToo(t *testing.T) {
	conn, _ := dial(t, modes[0], nil)
	if err := conn.noteEnd(context.Background(), net.ErrClosed); err != net.ErrClosed || conn.Err() != nil {
		t.Errorf("with a ctx that goes on: %v, and Err() = %v", err, conn.Err())
	}
	if err := conn.noteEnd(canceled(), net.ErrClosed); !errors.Is(err, context.Canceled) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("with a ctx that has ended: %v", err)
	}
	if err := conn.noteEnd(canceled(), nil); err != nil || !errors.Is(conn.Err(), context.Canceled) {
		t.Errorf("of a call that has succeeded: %v, and Err() = %v", err, conn.Err())
	}
}

// TestContextIsThatOfItsOwnCall: two calls at a time, of which one is canceled.
func TestContextIsThatOfItsOwnCall(t *testing.T) {
	var b borrowed
	type key struct{}
	ctx := func(v string) context.Context { return context.WithValue(context.Background(), key{}, v) }
	one, two := b.borrow(ctx("one")), b.borrow(ctx("two"))
	if one.Value(key{}) != "one" || two.Value(key{}) != "two" {
		t.Errorf("values %v and %v", one.Value(key{}), two.Value(key{}))
	}
	one.giveBack()
	three := b.borrow(ctx("three"))
	if two.Value(key{}) != "two" || three.Value(key{}) != "three" {
		t.Errorf("values %v and %v", two.Value(key{}), three.Value(key{}))
	}
	three.giveBack()
	if _, ok := three.Deadline(); ok || three.Done() != nil || three.Err() != nil || three.Value(key{}) != nil {
		t.Error("after the call it is not the background")
	}
}

// TestCallsBesideEachOtherHaveTheirOwnContext: writes of several goroutines, while one
// reads whose context ends at last.
func TestCallsBesideEachOtherHaveTheirOwnContext(t *testing.T) {
	conn, p := dial(t, modes[0], nil)
	ctx, cancel := context.WithCancel(context.Background())
	read := make(chan error, 1)
	go func() {
		_, _, err := conn.Read(ctx)
		read <- err
	}()
	const writers, messages = 4, 50
	var writing sync.WaitGroup
	for range writers {
		writing.Go(func() {
			for range messages {
				ctx, cancel := context.WithCancel(context.Background())
				if err := conn.Write(ctx, websocket.MessageText, []byte("x")); err != nil {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	for range writers * messages {
		p.wantNext(finBit|opText, "x")
	}
	writing.Wait()
	if err := conn.Err(); err != nil {
		t.Errorf("Err() = %v", err)
	}
	cancel()
	if err := receive(t, read, "end of the Read"); !errors.Is(err, context.Canceled) {
		t.Errorf("Read returned %v", err)
	}
}

// TestPutRestoresTheReadLimit: whoever has changed it, and by whatever way.
func TestPutRestoresTheReadLimit(t *testing.T) {
	for name, change := range map[string]func(conn *Conn){
		"SetReadLimit":      func(conn *Conn) { conn.SetReadLimit(-1) },
		"of the embedded":   func(conn *Conn) { conn.Conn.SetReadLimit(-1) },
		"websocket.NetConn": func(conn *Conn) { websocket.NetConn(context.Background(), conn.Conn, websocket.MessageText) },
	} {
		for _, test := range []struct {
			name string
			opts *Options
			size int // allowed
		}{
			{"default", nil, defaultReadLimit},
			{"smaller", &Options{ReadLimit: 10}, 10},
			{"larger", &Options{ReadLimit: 50_000}, 50_000},
			{"OnConnect's", &Options{ReadLimit: 10, OnConnect: func(_ context.Context, conn *Conn) error { conn.SetReadLimit(20); return nil }}, 20},
			{"Clean's", &Options{ReadLimit: 10, Clean: func(_ context.Context, conn *Conn) error { conn.SetReadLimit(-1); return nil }}, 10},
		} {
			conn, p := dial(t, modes[0], test.opts)
			change(conn.Conn)
			if err := conn.clean(conn.Conn); err != nil {
				t.Fatal(err)
			}
			p.send(append(text(string(make([]byte, test.size))), text(string(make([]byte, test.size+1)))...))
			if _, _, err := conn.Read(soon(t)); err != nil {
				t.Errorf("%s, %s: a message of the limit: %v", name, test.name, err)
			}
			if _, _, err := conn.Read(soon(t)); !errors.Is(err, websocket.ErrMessageTooBig) {
				t.Errorf("%s, %s: a larger message: %v", name, test.name, err)
			}
		}
	}
}
