package wsconn

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// These tests stop Check between two of its steps, as a scheduler may do, for as
// long as it takes something to happen.

// A stopped connection calls stop each time a deadline for reading has been set.
type stopped struct {
	net.Conn
	stop func(deadline time.Time)
}

func (c *stopped) SetReadDeadline(deadline time.Time) error {
	err := c.Conn.SetReadDeadline(deadline)
	c.stop(deadline)
	return err
}

// stopAtDeadlines has d call stop each time it has set a deadline for reading, but
// not when it clears one. It returns how to end that.
func (d *dialed) stopAtDeadlines(stop func(c net.Conn, deadline time.Time)) (end func()) {
	inner := d.stream.conn
	d.stream.conn = &stopped{inner, func(deadline time.Time) {
		if !deadline.IsZero() {
			stop(inner, deadline)
		}
	}}
	return func() { d.stream.conn = inner }
}

func eachTLS(t *testing.T, test func(t *testing.T, m mode)) {
	if !canPeek {
		t.Skip("there is no socket to look at here")
	}
	for _, m := range modes[1:3] {
		t.Run(m.name, func(t *testing.T) { test(t, m) })
	}
}

// TestReadThatIsHeldUpUntilItsDeadlineIsRepeated: the deadline passes before the
// read, several times over. The read then fails before it looks at the socket.
func TestReadThatIsHeldUpUntilItsDeadlineIsRepeated(t *testing.T) {
	eachTLS(t, func(t *testing.T, m mode) {
		for _, held := range []int{1, maxLooks / 2, 10 * maxLooks} {
			conn, p := dial(t, m, nil)
			p.send(text("late reply"))
			conn.awaitArrival(1)
			looks := 0
			end := conn.stopAtDeadlines(func(c net.Conn, deadline time.Time) {
				if deadline == longAgo {
					return
				}
				if looks++; looks == 2 {
					forward(t, -time.Hour) // so that looksTime is never over
				}
				if looks <= held {
					c.SetReadDeadline(longAgo)
				} else {
					c.SetReadDeadline(time.Time{}) // so that this read cannot be held up
				}
			})
			err := conn.check(conn.Conn)
			end()
			if !errors.Is(err, errBacklog) {
				t.Errorf("held up %d times Check returned %v", held, err)
			}
			if looks != held+1 {
				t.Errorf("held up %d times Check read %d times", held, looks)
			}
		}
	})
}

// TestConnectionWithBytesThatNoReadTakesFailsCheck: the deadline passes before every
// read, and looksTime with the first.
func TestConnectionWithBytesThatNoReadTakesFailsCheck(t *testing.T) {
	eachTLS(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, nil)
		p.send(text("late reply"))
		conn.awaitArrival(1)
		looks := 0
		end := conn.stopAtDeadlines(func(c net.Conn, deadline time.Time) {
			if looks++; looks == 2 {
				forward(t, looksTime)
			}
			c.SetReadDeadline(longAgo)
		})
		err := conn.check(conn.Conn)
		end()
		if !errors.Is(err, errPieces) || looks != maxLooks {
			t.Errorf("after %d looks Check returned %v, want %d looks and %v", looks, err, maxLooks, errPieces)
		}
		if conn.check(conn.Conn) == nil || conn.clean(conn.Conn) == nil {
			t.Error("a later Check or Clean returned nil")
		}
	})
}

// TestBytesThatNoReadTakesAreLeftToTheLeaseThatMayReadThem: the round ends, and the
// connection does not.
func TestBytesThatNoReadTakesAreLeftToTheLeaseThatMayReadThem(t *testing.T) {
	eachTLS(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, &Options{Unsolicited: UnsolicitedKeep})
		p.send(text("kept"))
		conn.awaitArrival(1)
		end := conn.stopAtDeadlines(func(c net.Conn, deadline time.Time) {
			c.SetReadDeadline(longAgo)
			forward(t, looksTime/2)
		})
		err := conn.check(conn.Conn)
		end()
		if err != nil {
			t.Fatalf("Check returned %v", err)
		}
		if _, message, err := conn.Read(soon(t)); err != nil || string(message) != "kept" {
			t.Errorf("read %q, %v", message, err)
		}
	})
}

// TestLooksAreCountedThroughoutACheck: half of them are used up before the first ping is
// read, and the other half with the second one in the socket.
func TestLooksAreCountedThroughoutACheck(t *testing.T) {
	eachTLS(t, func(t *testing.T, m mode) {
		var looks, pings int
		var again func()
		n := newNetwork(t, m)
		opts := n.options(nil)
		opts.DialOptions.OnPingReceived = func(context.Context, []byte) bool {
			if pings++; pings < 3 {
				again()
			}
			return false
		}
		factory := newFactory(t, n.url, opts)
		conn := &dialed{Conn: open(t, factory), t: t, check: factory.Check, clean: factory.Clean}
		p := receive(t, n.peers, "peer")
		again = func() {
			inner := conn.stream.conn
			if s, ok := inner.(*stopped); ok {
				inner = s.Conn
			}
			conn.stream.conn = inner
			p.send(ping("p"))
			conn.awaitArrival(1)
			held := 0
			conn.stopAtDeadlines(func(c net.Conn, deadline time.Time) {
				if deadline == longAgo {
					return
				}
				if looks++; looks == 2 {
					forward(t, looksTime)
				}
				if held++; held <= maxLooks/2 {
					c.SetReadDeadline(longAgo)
				} else {
					c.SetReadDeadline(time.Time{})
				}
			})
		}
		again()
		err := conn.check(conn.Conn)
		conn.stream.conn = conn.stream.conn.(*stopped).Conn
		if !errors.Is(err, errPieces) || pings != 1 || looks != maxLooks+1 {
			t.Errorf("after %d pings and %d looks Check returned %v", pings, looks, err)
		}
		p.tcp.Close()
	})
}

// TestPartOfARecordPassesCheckAndItsRestIsRead: a part is not data yet. TLS takes it,
// and the empty socket ends the looks.
func TestPartOfARecordPassesCheckAndItsRestIsRead(t *testing.T) {
	eachTLS(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, nil)
		record := p.held(func() { p.send(text("late reply")) })
		end := len(record) - 1
		for _, part := range [][]byte{record[:3], record[3:end]} {
			p.tcp.Write(part)
			conn.awaitArrival(1)
			if err := conn.check(conn.Conn); err != nil {
				t.Fatalf("with a part of a record Check returned %v", err)
			}
		}
		p.tcp.Write(record[end:])
		if err := conn.failsCheck(); !errors.Is(err, errBacklog) {
			t.Errorf("Check returned %v", err)
		}
	})
}

// forward moves the clock of this package forward until the test ends.
func forward(t *testing.T, d time.Duration) {
	ahead.Add(int64(d))
	t.Cleanup(func() { ahead.Add(-int64(d)) })
}

// TestPongThatArrivesWhileCheckIsHeldUpIsNotMissed: the program stops for two hours
// after Check's last look at the socket. The pong comes in the first.
func TestPongThatArrivesWhileCheckIsHeldUpIsNotMissed(t *testing.T) {
	eachTLS(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, &Options{PingInterval: 1, PongTimeout: time.Hour})
		if err := conn.check(conn.Conn); err != nil {
			t.Fatal(err)
		}
		p.wantNext(finBit|opPing, "idle")
		conn.written()
		r := *conn.stream.rules
		r.pingInterval = 1000 * time.Hour // no second one
		conn.stream.rules = &r
		conn.stream.hidden = true // so that a look ends with a read
		var end func()
		end = conn.stopAtDeadlines(func(c net.Conn, deadline time.Time) {
			end()
			p.send(frameOf(finBit|opPong, []byte("idle")))
			conn.awaitArrival(1)
			c.SetReadDeadline(deadline) // which awaitArrival has cleared
			forward(t, 2*time.Hour)
		})
		for range 2 {
			if err := conn.check(conn.Conn); err != nil {
				t.Fatalf("Check returned %v", err)
			}
		}
		if conn.stream.pulse.pinged != 0 {
			t.Error("the pong was not seen")
		}
	})
}

// A slowBody calls wrote when a Write returns.
type slowBody struct {
	io.ReadWriteCloser
	wrote func()
}

func (b *slowBody) Write(p []byte) (int, error) {
	defer b.wrote()
	return b.ReadWriteCloser.Write(p)
}

// TestTimeForAnAnswerBeginsWhenTheQuestionIsWritten: the program stops for two hours
// while a ping or a keepalive message is being written, and goes on before the answer.
func TestTimeForAnAnswerBeginsWhenTheQuestionIsWritten(t *testing.T) {
	for name, opts := range map[string]*Options{
		"ping":      {PingInterval: 1, PongTimeout: time.Hour},
		"keepalive": {Keepalive: appKeepalive, PongTimeout: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			eachMode(t, func(t *testing.T, m mode) {
				conn, p := dial(t, m, opts)
				body := conn.stream.body
				wrote, held := make(chan bool), conn.writesInAGoroutine()
				conn.stream.body = &slowBody{body, func() {
					if held {
						<-wrote
					} else {
						forward(t, 2*time.Hour)
					}
				}}
				if err := conn.check(conn.Conn); err != nil {
					t.Fatal(err)
				}
				if held {
					forward(t, 2*time.Hour)
					wrote <- true
					conn.awaitWriter()
				}
				conn.stream.body = body
				if err := conn.check(conn.Conn); err != nil {
					t.Errorf("before the answer Check returned %v", err)
				}
				p.next()
				forward(t, time.Hour)
				if err := conn.missesAnswer(); err == nil {
					t.Error("an hour later Check returned nil")
				}
			})
		})
	}
}

// missesAnswer calls Check when an answer is overdue. Without a socket to look at it
// does so twice: the first time the answer may be on its way through the poller.
func (d *dialed) missesAnswer() error {
	d.t.Helper()
	if !d.stream.peeker.able() {
		if err := d.check(d.Conn); err != nil {
			d.t.Errorf("without a socket to look at the first Check returned %v", err)
		}
	}
	return d.check(d.Conn)
}

// TestAnswerThatThePollerHasNotHandedOnIsAwaitedForOneMoreCheck: after a stop of the
// program the goroutine that reads may run later than Check.
func TestAnswerThatThePollerHasNotHandedOnIsAwaitedForOneMoreCheck(t *testing.T) {
	for name, test := range map[string]struct {
		opts   *Options
		answer []byte
		want   string
	}{
		"ping":      {&Options{PingInterval: 1, PongTimeout: time.Hour}, frameOf(finBit|opPong, []byte("idle")), "of a ping"},
		"keepalive": {&Options{Keepalive: appKeepalive, PongTimeout: time.Hour}, text("yes"), "answer to the keepalive message"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, p := dial(t, mode{"ws-fallback", 0, true}, test.opts)
			check := func(when string) {
				t.Helper()
				if err := conn.check(conn.Conn); err != nil {
					t.Fatalf("%s Check returned %v", when, err)
				}
			}
			check("before the question")
			p.next()
			conn.written()
			forward(t, time.Hour)
			check("an hour after the question")
			p.send(test.answer)
			result := conn.stream.extra.poller.result
			result <- receive(t, result, "answer") // now it is there for the next Check
			check("with the answer at hand")
			check("before the next question")
			p.next()
			conn.written()
			forward(t, time.Hour)
			if err := conn.missesAnswer(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("without an answer Check returned %v", err)
			}
		})
	}
}
