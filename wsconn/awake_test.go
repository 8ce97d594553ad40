package wsconn

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// probe calls Factory.Probe, as the pool does when the machine has slept.
func (d *dialed) probe(ctx context.Context) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- d.stream.probe(ctx, d.Conn) }()
	return ended
}

func TestProbeIsContentWhenSomethingComesBackAfterItsPing(t *testing.T) {
	for name, answer := range map[string][]byte{
		"pong":       frameOf(finBit|opPong, pingPayload),
		"empty pong": frameOf(finBit|opPong, nil), // as some servers answer
		"ping":       ping("their own"),
	} {
		t.Run(name, func(t *testing.T) {
			eachMode(t, func(t *testing.T, m mode) {
				conn, p := dial(t, m, &Options{PongTimeout: patience, Unsolicited: UnsolicitedKeep})
				for range 2 {
					ended := conn.probe(ctxBackground)
					p.wantNext(finBit|opPing, string(pingPayload))
					p.send(answer)
					if err := receive(t, ended, "the end of the probe"); err != nil {
						t.Fatalf("Probe: %v", err)
					}
					if name == "ping" {
						conn.written() // without a socket to look at the pong may wait for the ping
						p.wantNext(finBit|opPong, "their own")
					}
				}
				conn.roundTrip(p)
			})
		})
	}
}

// What lies in the socket is from before the sleep, and no answer.
func TestWhatHasComeBeforeItsPingIsNoAnswerToAProbe(t *testing.T) {
	for _, m := range modes[:3] {
		t.Run(m.name, func(t *testing.T) {
			if !canPeek {
				t.Skip("there is no socket to look at here")
			}
			conn, p := dial(t, m, &Options{PongTimeout: 50 * time.Millisecond})
			p.send(frameOf(finBit|opPong, pingPayload))
			conn.awaitArrival(1)
			err := receive(t, conn.probe(ctxBackground), "the end of the probe")
			if err == nil || !strings.Contains(err.Error(), "nothing received within 50ms of a ping") {
				t.Errorf("Probe returned %v, want that nothing was received", err)
			}
			if conn.Err() == nil {
				t.Error("the connection is not known to be of no use")
			}
		})
	}
}

func TestAProbeEndsWithItsContext(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, &Options{PongTimeout: time.Hour})
		ctx, cancel := context.WithCancel(ctxBackground)
		ended := conn.probe(ctx)
		p.wantNext(finBit|opPing, string(pingPayload))
		cancel()
		if err := receive(t, ended, "the end of the probe"); !errors.Is(err, context.Canceled) {
			t.Errorf("Probe returned %v, want that its ctx has ended", err)
		}
		if err := conn.Err(); err != nil {
			t.Errorf("the connection is broken by that: %v", err)
		}
	})
}

func TestAProbeOfAConnectionThatHasEndedFails(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		for name, end := range map[string]func(p *peer){
			"closed": func(p *peer) { p.send(closing(1001, "bye")) },
			"reset":  func(p *peer) { p.tcp.SetLinger(0); p.tcp.Close() },
		} {
			conn, p := dial(t, m, &Options{PongTimeout: patience})
			ended := conn.probe(ctxBackground)
			p.wantNext(finBit|opPing, string(pingPayload))
			end(p)
			err := receive(t, ended, "the end of the probe")
			if err == nil {
				t.Errorf("%s: Probe returned nil", name)
			}
			if name == "closed" && websocket.CloseStatus(err) != websocket.StatusGoingAway {
				t.Errorf("%s: Probe returned %v, want the peer's code", name, err)
			}
		}
	})
}

func TestDataThatComesWithTheAnswerToAProbeIsUnsolicited(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, &Options{PongTimeout: patience})
		ended := conn.probe(ctxBackground)
		p.wantNext(finBit|opPing, string(pingPayload))
		p.together(func() {
			p.send(frameOf(finBit|opPong, pingPayload))
			p.send(text("late reply"))
		})
		err := receive(t, ended, "the end of the probe")
		if err == nil && m.noPeek { // the goroutine that reads may not have it yet
			err = conn.failsCheck()
		}
		if !errors.Is(err, errBacklog) {
			t.Errorf("Probe, or a Check after it, returned %v, want that there is data", err)
		}
	})
}

func TestWithoutPingsThereIsNoProbe(t *testing.T) {
	for interval, want := range map[time.Duration]bool{-1: false, 0: true, time.Second: true} {
		f, err := NewFactory("ws://127.0.0.1", &Options{PingInterval: interval})
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Probe != nil; got != want {
			t.Errorf("with a PingInterval of %v there is a Probe: %v, want %v", interval, got, want)
		}
	}
}
