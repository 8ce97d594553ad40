package wsconn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestBurstsWhileIdleEndNoConnection: of any size within the stated bounds.
func TestBurstsWhileIdleEndNoConnection(t *testing.T) {
	for _, burst := range []struct{ messages, size int }{{10, 1000}, {900, 1000}, {1, 200_000}, {1, 1_000_000}, {30_000, 1}} {
		total := burst.messages * burst.size
		data := bytes.Repeat(frameOf(finBit|opBinary, make([]byte, burst.size)), burst.messages)
		t.Run(fmt.Sprintf("messages=%d/size=%d", burst.messages, burst.size), func(t *testing.T) {
			eachMode(t, func(t *testing.T, m mode) {
				handled := 0
				conn, p := dial(t, m, &Options{ReadLimit: -1, OnUnsolicited: func(_ *Conn, m Message) (*Message, error) {
					handled += len(m.Data)
					return nil, nil
				}})
				go p.send(data)
				for handled < total {
					if err := conn.checkAfter(func() bool { return handled == total }); err != nil {
						t.Fatalf("handled %d bytes of %d, then Check returned %v", handled, total, err)
					}
				}
				conn.roundTrip(p)

				conn, p = dial(t, m, &Options{ReadLimit: -1, Unsolicited: UnsolicitedKeep})
				go p.send(data)
				for conn.stream.backlog.len() < len(data) {
					if err := conn.checkAfter(func() bool { return conn.stream.backlog.len() == len(data) }); err != nil {
						t.Fatalf("kept %d bytes of %d, then Check returned %v", conn.stream.backlog.len(), len(data), err)
					}
				}
				ctx := soon(t)
				for range burst.messages {
					if _, message, err := conn.Read(ctx); err != nil || len(message) != burst.size {
						t.Fatalf("read %d bytes, %v", len(message), err)
					}
				}
				conn.roundTrip(p)
			})
		})
	}
}

// TestBurstBeyondTheBacklogIsHandled: messages of some 3 MiB in all, of which no more is
// kept than the one that has not all come.
func TestBurstBeyondTheBacklogIsHandled(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		const messages = 3 * maxBacklog / 1000
		handled := 0
		conn, p := dial(t, m, &Options{OnUnsolicited: func(*Conn, Message) (*Message, error) { handled++; return nil, nil }})
		go p.send(bytes.Repeat(frameOf(finBit|opBinary, make([]byte, 1000)), messages))
		for handled < messages {
			if err := conn.checkAfter(func() bool { return handled == messages }); err != nil {
				t.Fatalf("handled %d messages of %d, then Check returned %v", handled, messages, err)
			}
		}
		conn.roundTrip(p)
	})
}

// TestMessagesBeforeTheEndOfAConnectionAreHandled: they came first.
func TestMessagesBeforeTheEndOfAConnectionAreHandled(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		handled := 0
		conn, p := dial(t, m, &Options{OnUnsolicited: func(*Conn, Message) (*Message, error) { handled++; return nil, nil }})
		p.send(text("last words"))
		p.Close()
		for {
			if err := conn.check(conn.Conn); err != nil {
				break
			}
		}
		if handled != 1 {
			t.Errorf("%d messages were handled, want 1", handled)
		}
	})
}

// TestLimitOnARoundEndsTheRound: more pings than one check takes in. The connection ends
// only where the rest might be data that a lease must not read.
func TestLimitOnARoundEndsTheRound(t *testing.T) {
	if !canPeek {
		t.Skip("there is no socket to wait for here")
	}
	handled := 0
	handle := func(*Conn, Message) (*Message, error) { handled++; return nil, nil }
	for name, opts := range map[string]*Options{
		"Discard": {},
		"Keep":    {Unsolicited: UnsolicitedKeep},
		"Handle":  {Unsolicited: UnsolicitedHandle, OnUnsolicited: handle},
	} {
		t.Run(name, func(t *testing.T) {
			handled = 0 // the order of the subtests is random
			n := newNetwork(t, modes[0])
			o := n.options(opts)
			controls := 0
			o.DialOptions.OnPingReceived = func(context.Context, []byte) bool { controls++; return false }
			factory := newFactory(t, n.url, o)
			conn := &dialed{Conn: open(t, factory), t: t, check: factory.Check, clean: factory.Clean}
			p := receive(t, n.peers, "peer")
			defer p.tcp.Close()
			all := append(bytes.Repeat(ping(""), maxControls+16<<10), text("behind")...)
			p.send(all)
			conn.awaitArrival(len(all))
			err := conn.check(conn.Conn)
			if opts.Unsolicited == UnsolicitedDiscard {
				if !errors.Is(err, errFlood) {
					t.Errorf("Check returned %v", err)
				}
				return
			}
			if err != nil || handled != 0 || controls <= maxControls {
				t.Fatalf("Check returned %v, with %d control frames, and %d messages handled", err, controls, handled)
			}
			for range 3 {
				if err := conn.check(conn.Conn); err != nil {
					t.Fatalf("a later Check returned %v", err)
				}
			}
			if name == "Handle" {
				if handled != 1 {
					t.Errorf("%d messages were handled, want 1", handled)
				}
				return
			}
			if _, message, err := conn.Read(soon(t)); err != nil || string(message) != "behind" {
				t.Errorf("read %q, %v", message, err)
			}
		})
	}
}

// TestSortGoesOnWhereItEnded: else a backlog of many frames would be read from its start
// with each byte that comes.
func TestSortGoesOnWhereItEnded(t *testing.T) {
	s := &stream{rules: &rules{}}
	steps := []struct {
		bytes         []byte
		sorted, final int
		whole         bool
	}{
		{frameOf(opText, []byte("ab")), 4, 0, false},
		{frameOf(finBit|opContinuation, []byte("c"))[:2], 4, 0, false},
		{[]byte("c"), 7, 7, true},
		{frameOf(finBit|opPong, nil), 7, 7, true},
		{frameOf(opText, nil), 9, 7, true},
	}
	for i, step := range steps {
		s.backlog.add(step.bytes)
		if _, err := s.sort(); err != nil {
			t.Fatal(err)
		}
		if s.backlog.sorted() != step.sorted || s.backlog.final() != step.final || s.wholeMessage() != step.whole {
			t.Errorf("step %d: sorted %d, final %d, whole %v, want %v", i, s.backlog.sorted(), s.backlog.final(), s.wholeMessage(), step)
		}
	}
	for _, drop := range []struct{ n, sorted, final int }{{3, 6, 4}, {4, 2, 0}, {1, 1, 0}, {1, 0, 0}} {
		s.backlog.drop(drop.n)
		if s.backlog.sorted() != drop.sorted || s.backlog.final() != drop.final {
			t.Errorf("sorted %d, final %d, want %v", s.backlog.sorted(), s.backlog.final(), drop)
		}
	}
}

// TestWholeMessageAgainstAScan: frames come in pieces of any size, and messages are taken in
// pieces of any size, as the layer above does.
func TestWholeMessageAgainstAScan(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	s := &stream{rules: &rules{}}
	var coming []byte // of frames that have not all been added
	for range 20_000 {
		if len(coming) == 0 {
			opcode := byte(opText)
			for range r.IntN(3) {
				coming = append(coming, frameOf(opcode, make([]byte, r.IntN(4)))...)
				coming = append(coming, frameOf(finBit|opPong, make([]byte, r.IntN(3)))...)
				opcode = opContinuation
			}
			coming = append(coming, frameOf(finBit|opcode, make([]byte, r.IntN(300)))...)
		}
		n := r.IntN(min(len(coming), 200) + 1)
		s.backlog.add(coming[:n])
		coming = coming[n:]
		if _, err := s.sort(); err != nil {
			t.Fatal(err)
		}
		end := firstMessage(s.backlog.bytes())
		if got := s.wholeMessage(); got != (end > 0) {
			t.Fatalf("seed %d: wholeMessage() = %v, but the first message ends at %d", seed, got, end)
		}
		if r.IntN(3) > 0 {
			for end > 0 {
				n := 1 + r.IntN(end)
				s.backlog.drop(n)
				end -= n
			}
		}
	}
}

// firstMessage returns where the first message in b ends, or 0 if it is not all there.
func firstMessage(b []byte) int {
	for at := 0; at < len(b); {
		f, err := parseFrame(b[at:], false)
		if err != nil || !f.whole {
			return 0
		}
		at += f.length
		if f.fin && !f.control() {
			return at
		}
	}
	return 0
}

// BenchmarkBurst is a check that hands over many small messages.
func BenchmarkBurst(b *testing.B) {
	const messages = 10_000
	handled := 0
	conn, p := dial(b, modes[0], &Options{OnUnsolicited: func(*Conn, Message) (*Message, error) { handled++; return nil, nil }})
	p.SetDeadline(time.Time{})
	data := bytes.Repeat(frameOf(finBit|opBinary, make([]byte, 10)), messages)
	for b.Loop() {
		go p.send(data)
		for handled = 0; handled < messages; {
			conn.awaitArrival(1)
			if err := conn.check(conn.Conn); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*messages), "ns/message")
}
