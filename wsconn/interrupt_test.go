package wsconn

import (
	"bytes"
	"io"
	"os"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// The tender lifts the deadlines that it sets. One that ends a Read stays, whichever of the
// two comes first.
func TestAnInterruptOutlastsTheTendersDeadlines(t *testing.T) {
	for name, tend := range map[string]func(s *stream){
		"nothing":           func(*stream) {},
		"a look":            func(s *stream) { s.readNow(time.Now(), chunkSize) },
		"a doubt dropped":   func(s *stream) { s.dropDoubt() },
		"a doubt unfounded": func(s *stream) { s.watch.hears.Store(true); s.end(noPong, true) },
	} {
		for _, m := range modes[:3] {
			if !canPeek {
				continue
			}
			t.Run(name+"/"+m.name, func(t *testing.T) {
				n := newNetwork(t, m)
				d := n.dialer(nil)
				if err := d.start(); err != nil {
					t.Fatal(err)
				}
				conn, _, err := d.open(soon(t), n.url, &websocket.DialOptions{HTTPClient: n.client})
				if err != nil {
					t.Fatal(err)
				}
				defer conn.CloseNow()
				s, p := conn.stream, receive(t, n.peers, "peer")
				defer p.tcp.Close()
				for range 2 {
					s.interrupt()
					took := s.seize()
					tend(s)
					s.yield(took)
					ended := make(chan error, 1)
					go func() { _, err := s.Read(make([]byte, 10)); ended <- err }()
					if err := receive(t, ended, "end of Read"); err != errInterrupted {
						t.Fatalf("Read returned %v, want errInterrupted", err)
					}
					s.resume()
				}
				p.send(text("x"))
				b := make([]byte, 10)
				if n, err := s.Read(b); n == 0 || err != nil {
					t.Errorf("after resume Read returned %d, %v, want a part of the message", n, err)
				}
			})
		}
	}
}

// TLS may have a record, look for the next, and meet the deadline there.
func TestADeadlineBesideBytesEndsNoRead(t *testing.T) {
	s := newStream(&halting{rest: text("message")}, nil, &rules{})
	got, err := io.ReadAll(s)
	if !bytes.Equal(got, text("message")) || err != nil {
		t.Errorf("read %q, %v, want the whole message and then the end", got, err)
	}
}

// A halting gives out its bytes one by one, each beside a deadline.
type halting struct{ rest []byte }

func (h *halting) Read(p []byte) (int, error) {
	if len(h.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:1], h.rest)
	h.rest = h.rest[n:]
	return n, os.ErrDeadlineExceeded
}

func (h *halting) Write(p []byte) (int, error) { return len(p), nil }
func (h *halting) Close() error                { return nil }
