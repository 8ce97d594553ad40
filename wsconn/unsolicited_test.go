package wsconn

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestUnsolicitedKeepLeavesDataToTheNextLease(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, &Options{Unsolicited: UnsolicitedKeep, ReadLimit: -1})
		large := strings.Repeat("x", 20_000)
		var data []byte
		for _, part := range [][]byte{text("one"), ping("between"), frameOf(opText, []byte("tw")), ping("inside"), frameOf(finBit|opContinuation, []byte("o")), text(large)} {
			data = append(data, part...)
		}
		go p.send(data)
		want := len(data) - len(ping("between")) - len(ping("inside"))
		for conn.stream.backlog.len() < want {
			if err := conn.checkAfter(func() bool { return conn.stream.backlog.len() == want }); err != nil {
				t.Fatal(err)
			}
		}
		p.wantNext(finBit|opPong, "between")
		conn.written() // without a socket to look at the second one may wait for it
		p.wantNext(finBit|opPong, "inside")
		if err := conn.clean(conn.Conn); err != nil {
			t.Fatalf("Clean: %v", err)
		}
		for _, want := range []string{"one", "two", large} {
			if _, message, err := conn.Read(soon(t)); err != nil || string(message) != want {
				t.Fatalf("read %.20q, %v, want %.20q", message, err, want)
			}
		}
		conn.roundTrip(p)
	})
}

func TestUnsolicitedKeepIsBounded(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, &Options{Unsolicited: UnsolicitedKeep})
		f := frameOf(finBit|opBinary, make([]byte, 16<<10))
		for sent := 0; ; {
			if sent > 2*maxBacklog {
				t.Fatalf("%d bytes are kept", conn.stream.backlog.len())
			}
			p.send(f)
			sent += len(f)
			var err error
			for err == nil && conn.stream.backlog.len() < sent {
				err = conn.checkAfter(func() bool { return conn.stream.backlog.len() == sent })
			}
			if err == nil {
				continue
			}
			if !strings.Contains(err.Error(), "that nobody has read") || sent < maxBacklog {
				t.Errorf("after %d bytes Check returned %v", sent, err)
			}
			return
		}
	})
}

func TestUnsolicitedHandleGetsEachMessage(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		var got []string
		conn, p := dial(t, m, &Options{
			Unsolicited:        UnsolicitedHandle,
			OneReplyPerRequest: true,
			OnUnsolicited: func(conn *Conn, message Message) (*Message, error) {
				got = append(got, string(message.Data))
				return nil, nil
			},
		})
		p.send(append(text("one"), append(ping("p"), frameOf(finBit|opBinary, []byte("two"))...)...))
		if err := conn.checkAfter(func() bool { return len(got) == 2 }); err != nil {
			t.Fatal(err)
		}
		p.wantNext(finBit|opPong, "p")
		conn.roundTrip(p)

		// Behind a reply it counts as idle too.
		conn.request(p)
		p.together(func() { p.send(append(text("reply"), text("three")...)) })
		if _, message, err := conn.Read(soon(t)); err != nil || string(message) != "reply" {
			t.Fatalf("read %q, %v", message, err)
		}
		if err := conn.clean(conn.Conn); err != nil {
			t.Fatal(err)
		}
		if want := []string{"one", "two", "three"}; !slices.Equal(got, want) {
			t.Errorf("handled %q, want %q", got, want)
		}
	})
}

func TestErrorOfOnUnsolicitedFailsCheck(t *testing.T) {
	refused := errors.New("unknown")
	conn, p := dial(t, modes[0], &Options{
		Unsolicited:   UnsolicitedHandle,
		OnUnsolicited: func(*Conn, Message) (*Message, error) { return nil, refused },
	})
	p.send(text("x"))
	if err := conn.failsCheck(); !errors.Is(err, refused) {
		t.Errorf("Check returned %v", err)
	}
}

func TestUnsolicitedMessageOverTheReadLimitFailsCheck(t *testing.T) {
	conn, p := dial(t, modes[0], &Options{
		ReadLimit:     5,
		Unsolicited:   UnsolicitedHandle,
		OnUnsolicited: func(*Conn, Message) (*Message, error) { t.Error("called"); return nil, nil },
	})
	p.send(text("0123456789"))
	if err := conn.failsCheck(); err == nil {
		t.Error("Check returned nil")
	}
}

// pong and isPong are those of an application.
var appKeepalive = &Keepalive{
	Interval: 1,
	Message:  func() Message { return Message{websocket.MessageText, []byte("are you there?")} },
	Reply:    func(m Message) bool { return string(m.Data) == "yes" },
}

func TestKeepaliveAnswerIsSeenByNobody(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		opts := &Options{Keepalive: appKeepalive, OneReplyPerRequest: true, PongTimeout: time.Hour}

		// It comes while idle.
		conn, p := dial(t, m, opts)
		if err := conn.check(conn.Conn); err != nil {
			t.Fatal(err)
		}
		p.wantNext(finBit|opText, "are you there?")
		conn.stream.rules.keepalive = &Keepalive{Interval: time.Hour, Message: appKeepalive.Message, Reply: appKeepalive.Reply}
		p.send(text("yes"))
		if err := conn.checkAfter(func() bool { return !conn.stream.pulse.owed }); err != nil {
			t.Fatal(err)
		}
		if conn.stream.pulse.owed {
			t.Fatal("the answer was not recognized")
		}
		conn.roundTrip(p)

		// A second answer is data.
		p.send(text("yes"))
		if err := conn.failsCheck(); !errors.Is(err, errBacklog) {
			t.Errorf("Check returned %v", err)
		}

		// It comes when the connection is lent, before or with the reply.
		for _, together := range []bool{false, true} {
			conn, p = dial(t, m, opts)
			if err := conn.check(conn.Conn); err != nil {
				t.Fatal(err)
			}
			p.wantNext(finBit|opText, "are you there?")
			conn.request(p)
			if together {
				p.send(append(ping("p"), append(text("yes"), text("reply")...)...))
			} else {
				p.send(text("yes")[:1])
				p.send(text("yes")[1:])
				p.send(text("reply"))
			}
			if _, message, err := conn.Read(soon(t)); err != nil || string(message) != "reply" {
				t.Fatalf("read %q, %v, want the reply", message, err)
			}
			if err := conn.clean(conn.Conn); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestReplyOfOnUnsolicitedStandsForAKeepaliveMessage: the connection has sent something.
func TestReplyOfOnUnsolicitedStandsForAKeepaliveMessage(t *testing.T) {
	keepalive := *appKeepalive
	keepalive.Interval = time.Hour
	conn, p := dial(t, modes[0], &Options{Keepalive: &keepalive, OnUnsolicited: func(_ *Conn, m Message) (*Message, error) { return &m, nil }})
	forward(t, 2*time.Hour)
	p.send(text("heartbeat"))
	conn.awaitArrival(1)
	for range 2 {
		if err := conn.check(conn.Conn); err != nil {
			t.Fatal(err)
		}
	}
	p.wantNext(finBit|opText, "heartbeat")
	if conn.stream.pulse.owed {
		t.Error("a keepalive message was sent too")
	}
}

func TestKeepaliveAnswerThatDoesNotComeFailsCheck(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, &Options{Keepalive: appKeepalive, PongTimeout: 1})
		if err := conn.check(conn.Conn); err != nil {
			t.Fatal(err)
		}
		p.wantNext(finBit|opText, "are you there?")
		conn.written()
		if err := conn.missesAnswer(); err == nil || !strings.Contains(err.Error(), "no answer to the keepalive message") {
			t.Errorf("Check returned %v", err)
		}
	})
}

func TestKeepaliveWithoutAnswerIsSentAgainAndAgain(t *testing.T) {
	conn, p := dial(t, modes[0], &Options{Keepalive: &Keepalive{Interval: 1, Message: appKeepalive.Message}, OneReplyPerRequest: true})
	for range 3 {
		if err := conn.check(conn.Conn); err != nil {
			t.Fatal(err)
		}
		p.wantNext(finBit|opText, "are you there?")
		conn.written()
		if err := conn.clean(conn.Conn); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPings(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, &Options{PingInterval: 1, PongTimeout: time.Hour})
		for range 3 {
			if err := conn.check(conn.Conn); err != nil {
				t.Fatal(err)
			}
		}
		p.wantNext(finBit|opPing, "idle") // one, as long as it is unanswered
		conn.written()
		p.send(frameOf(finBit|opPong, []byte("idle")))
		next := p.nextFrame()
		if err := conn.checkAfter(func() bool { return len(next) > 0 }); err != nil {
			t.Fatal(err)
		}
		if err := conn.check(conn.Conn); err != nil {
			t.Fatal(err)
		}
		if got, want := receive(t, next, "second ping"), fmt.Sprintf("%#x %q <nil>", finBit|opPing, "idle"); got != want {
			t.Errorf("the peer received %s, want %s", got, want)
		}
		conn.written()
		conn.roundTrip(p)
	})
}

func TestSilenceAfterAPingFailsCheck(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, &Options{PingInterval: 1, PongTimeout: 1})
		if err := conn.check(conn.Conn); err != nil {
			t.Fatal(err)
		}
		p.wantNext(finBit|opPing, "idle")
		conn.written()
		if err := conn.missesAnswer(); err == nil || !strings.Contains(err.Error(), "nothing received within 1ns of a ping") {
			t.Errorf("Check returned %v", err)
		}
	})
}

// TestAnyByteCountsAsAlive: a pong to an older ping, part of a frame, whatever.
func TestAnyByteCountsAsAlive(t *testing.T) {
	conn, p := dial(t, modes[0], &Options{PingInterval: 1, PongTimeout: 1})
	if err := conn.check(conn.Conn); err != nil {
		t.Fatal(err)
	}
	conn.written()
	p.send(ping("x")[:1])
	conn.awaitArrival(1)
	if err := conn.check(conn.Conn); err != nil {
		t.Errorf("Check returned %v", err)
	}
}

// TestWhatALeaseReceivesCountsAsAlive: the pong may have been lost, or be late.
func TestWhatALeaseReceivesCountsAsAlive(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, &Options{PingInterval: 1, PongTimeout: 1})
		if err := conn.check(conn.Conn); err != nil {
			t.Fatal(err)
		}
		p.wantNext(finBit|opPing, "idle")
		conn.roundTrip(p)
		if err := conn.check(conn.Conn); err != nil {
			t.Errorf("Check returned %v", err)
		}
	})
}

func TestNoPingBeforeThePingInterval(t *testing.T) {
	conn, p := dial(t, modes[0], &Options{PingInterval: time.Hour})
	for range 3 {
		if err := conn.check(conn.Conn); err != nil {
			t.Fatal(err)
		}
	}
	conn.close(conn.Conn, errTest)
	if first, payload, err := readClientFrame(p.br); err == nil {
		t.Errorf("the peer received %#x %q", first, payload)
	}
}
