package wsconn

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

// writesInAGoroutine reports whether it cannot be seen how much room there is.
func (d *dialed) writesInAGoroutine() bool {
	_, known := d.stream.room()
	return !known
}

// awaitWriter waits until the goroutine that writes has written.
func (d *dialed) awaitWriter() {
	d.t.Helper()
	if d.stream.outbox == nil || !d.stream.outbox.armed {
		d.t.Fatal("no goroutine writes")
	}
	result := d.stream.outbox.result
	result <- receive(d.t, result, "end of the write") // it is there for whoever looks
}

// written waits until what Check has sent is written, and takes note of it.
func (d *dialed) written() {
	d.t.Helper()
	if d.stream.outbox != nil && d.stream.outbox.armed {
		d.awaitWriter()
		d.stream.post()
	}
}

// fill sends messages until there is no room for more. It returns how many. The kernel may
// make a little more room afterwards.
func (d *dialed) fill() (messages int) {
	d.t.Helper()
	message := Message{websocket.MessageBinary, make([]byte, 64<<10)}
	for looks := 0; looks < 100; looks++ {
		if d.stream.outbox != nil {
			runtime.Gosched()
			d.stream.post()
			continue
		}
		looks = 0
		if messages++; messages > 1000 {
			d.t.Fatal("64 MB found room")
		}
		if err := d.stream.sendMessage(message); err != nil {
			d.t.Fatal(err)
		}
	}
	return messages
}

// TestCheckPutsAsideWhatFindsNoRoom: the peer does not read for a while. Nothing is
// lost, and a lease in between writes behind what waits.
func TestCheckPutsAsideWhatFindsNoRoom(t *testing.T) {
	for _, lease := range []bool{false, true} {
		t.Run(map[bool]string{false: "idle", true: "lease"}[lease], func(t *testing.T) {
			eachMode(t, func(t *testing.T, m mode) {
				conn, p := dial(t, m, &Options{PongTimeout: time.Hour})
				sent := conn.fill()
				pings := 0
				r := *conn.stream.rules
				r.onPing = func([]byte) bool { pings++; return true }
				conn.stream.rules = &r
				p.send(append(ping("one"), ping("two")...))
				if err := conn.checkAfter(func() bool { return pings == 2 }); err != nil {
					t.Fatalf("with a peer that does not read Check returned %v", err)
				}
				wrote := make(chan error, 1)
				if lease {
					go func() { wrote <- conn.Write(soon(t), websocket.MessageText, []byte("request")) }()
				}
				got := make(chan []string, 1)
				go func() {
					var frames []string
					for {
						first, payload, err := readClientFrame(p.br)
						if err != nil {
							break
						}
						if first != finBit|opBinary {
							frames = append(frames, payload)
						} else {
							sent--
						}
						if payload == "two" && !lease || payload == "request" {
							break
						}
					}
					got <- frames
				}()
				var frames []string
				if lease {
					if err := <-wrote; err != nil {
						t.Fatal(err)
					}
					frames = receive(t, got, "request")
				} else {
					for all := false; !all; {
						if err := conn.check(conn.Conn); err != nil {
							t.Fatal(err)
						}
						select {
						case frames = <-got:
							all = true
						default:
						}
					}
				}
				// The pong to the first ping may have been left out.
				want := "two"
				if lease {
					want = "two request"
				}
				if s := strings.TrimPrefix(strings.Join(frames, " "), "one "); s != want || sent != 0 {
					t.Errorf("the peer received %q, %d messages too few", s, sent)
				}
				if conn.stream.outbox != nil {
					conn.check(conn.Conn) // takes the writer's result
				}
				if err := conn.Err(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestOfThePongsThatWaitForRoomOnlyTheLastIsSent, and nothing else is left out.
func TestOfThePongsThatWaitForRoomOnlyTheLastIsSent(t *testing.T) {
	conn, _ := dial(t, modes[0], nil)
	s := conn.stream
	s.outbox = &outbox{armed: true, result: make(chan wrote)} // a write that does not end
	var want []string
	send := func(first byte, payload string, stays bool) {
		t.Helper()
		if err := s.send(first, []byte(payload)); err != nil {
			t.Fatal(err)
		}
		if stays {
			want = append(want, fmt.Sprintf("%#x %s", first, payload))
		}
	}
	send(finBit|opPong, "1", false)
	send(finBit|opPong, "2", true)
	send(finBit|opText, "message", true)
	send(finBit|opPong, "3", false)
	send(finBit|opPong, "4", false)
	send(finBit|opPong, "5", true)
	send(finBit|opPing, "ping", true)
	var got []string
	for br := bufio.NewReader(bytes.NewReader(s.outbox.rest)); ; {
		first, payload, err := readClientFrame(br)
		if err != nil {
			break
		}
		got = append(got, fmt.Sprintf("%#x %s", first, payload))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	s.outbox = nil
}

// TestPeerThatDoesNotReadFailsCheckAfterPongTimeout, and not before.
func TestPeerThatDoesNotReadFailsCheckAfterPongTimeout(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, _ := dial(t, m, &Options{PingInterval: 1, PongTimeout: time.Hour})
		check := func() {
			t.Helper()
			for range 3 {
				if err := conn.check(conn.Conn); err != nil {
					t.Fatal(err)
				}
			}
		}
		if conn.writesInAGoroutine() {
			// More than any socket takes: the write does not end.
			if err := conn.stream.sendMessage(Message{websocket.MessageBinary, make([]byte, 64<<20)}); err != nil {
				t.Fatal(err)
			}
			check()
			forward(t, time.Hour)
			if err := conn.missesAnswer(); !errors.Is(err, errNoRoom) {
				t.Errorf("an hour later Check returned %v", err)
			}
			conn.close(conn.Conn, errTest)
			return
		}
		// The kernel may make a little more room at any time. Then the hour begins anew.
		var err error
		for start := time.Now(); err == nil && time.Since(start) < patience; {
			if conn.stream.outbox == nil {
				conn.fill()
			}
			if check(); conn.stream.outbox != nil {
				forward(t, time.Hour)
				err = conn.check(conn.Conn)
			}
		}
		if !errors.Is(err, errNoRoom) {
			t.Errorf("an hour later Check returned %v", err)
		}
		conn.close(conn.Conn, errTest)
	})
}

// TestCheckDoesNotWaitForAWrite: the write of a ping, and of a keepalive message, goes
// on for as long as a test likes. The connection is lent all the same, for nothing
// says that it is broken, and the lease writes behind it.
func TestCheckDoesNotWaitForAWrite(t *testing.T) {
	for name, test := range map[string]struct {
		opts  *Options
		first byte
		want  string
	}{
		"ping":      {&Options{PingInterval: 1, PongTimeout: time.Hour}, finBit | opPing, "idle"},
		"keepalive": {&Options{Keepalive: appKeepalive, PongTimeout: time.Hour}, finBit | opText, "are you there?"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, m := range modes[3:] {
				conn, p := dial(t, m, test.opts)
				body, goOn := conn.stream.body, make(chan bool)
				conn.stream.body = &slowBody{body, func() { <-goOn }}
				for range 3 {
					if err := conn.check(conn.Conn); err != nil {
						t.Fatalf("Check returned %v", err)
					}
				}
				conn.stream.body = body
				p.wantNext(test.first, test.want)
				wrote := make(chan error, 1)
				go func() { wrote <- conn.Write(soon(t), websocket.MessageText, []byte("request")) }()
				select {
				case err := <-wrote:
					t.Errorf("beside a write of the pool Write returned %v", err)
				default:
				}
				goOn <- true
				if err := receive(t, wrote, "end of the Write"); err != nil {
					t.Error(err)
				}
				p.wantNext(finBit|opText, "request")
				if err := conn.Err(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// A brokenBody fails every Write.
type brokenBody struct{ io.ReadWriteCloser }

func (brokenBody) Write([]byte) (int, error) { return 0, errTest }

func TestWriteThatFailsFailsCheck(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, _ := dial(t, m, &Options{PingInterval: 1, PongTimeout: time.Hour})
		conn.stream.body = brokenBody{conn.stream.body}
		err := conn.check(conn.Conn)
		if conn.writesInAGoroutine() {
			if err != nil {
				t.Errorf("before the write has failed Check returned %v", err)
			}
			conn.awaitWriter()
			err = conn.check(conn.Conn)
		}
		if !errors.Is(err, errTest) {
			t.Errorf("Check returned %v", err)
		}
		if err := conn.Write(context.Background(), websocket.MessageText, nil); err == nil {
			t.Error("a Write succeeded")
		}
	})
}

// TestFrameOfEveryLengthIsReadByThePeer guards appendFrame.
func TestFrameOfEveryLengthIsReadByThePeer(t *testing.T) {
	conn, p := dial(t, modes[0], nil)
	for _, n := range []int{0, 1, 3, 125, 126, 65535, 65536} {
		message := strings.Repeat("x", n)
		if err := conn.stream.sendMessage(Message{websocket.MessageText, []byte(message)}); err != nil {
			t.Fatal(err)
		}
		p.wantNext(finBit|opText, message)
		conn.written()
	}
	if err := conn.stream.sendMessage(Message{3, nil}); err == nil {
		t.Error("a message of type 3 was sent")
	}
}
