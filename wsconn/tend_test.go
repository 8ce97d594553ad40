package wsconn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/coder/websocket"
	"go.uber.org/atomic"
)

// In most of these tests nobody tends but the test.

// tend does what a round of the tender does with a leased connection.
func (d *dialed) tend() {
	d.stream.needsTending()
	d.stream.tend()
}

// tendUntil waits until something has arrived, and tends. It goes on until done says that
// it has been seen, where one look need not see it: without a socket to look at, and with
// TLS, where the look is over if it is held up for partWait before it reads.
func (d *dialed) tendUntil(done func() bool) {
	d.t.Helper()
	if d.stream.peeker.able() {
		d.awaitArrival(1)
		d.tend()
		if !d.stream.secure {
			return
		}
	}
	for deadline := time.Now().Add(patience); !done(); runtime.Gosched() {
		if time.Now().After(deadline) {
			d.t.Fatal("nothing seen")
		}
		d.tend()
	}
}

// nextFrame returns the next frame from the client, as text, when it is there.
func (p *peer) nextFrame() <-chan string {
	next := make(chan string, 1)
	go func() {
		first, payload, err := readClientFrame(p.br)
		next <- fmt.Sprintf("%#x %q %v", first, payload, err)
	}()
	return next
}

func (d *dialed) wantRead(want string) {
	d.t.Helper()
	if _, message, err := d.Read(soon(d.t)); err != nil || string(message) != want {
		d.t.Fatalf("read %q, %v, want %q", message, err, want)
	}
}

func (d *dialed) wantClean() {
	d.t.Helper()
	if err := d.clean(d.Conn); err != nil {
		d.t.Fatalf("Clean: %v", err)
	}
}

// TestPingIsAnsweredWhileTheHolderComputes, with replies before it and behind it that
// the holder has yet to read.
func TestPingIsAnsweredWhileTheHolderComputes(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		for _, sent := range [][]byte{
			ping("p"),
			append(text("one"), ping("p")...),
			append(append(text("one"), ping("p")...), text("two")...),
			append(append(frameOf(opText, []byte("o")), ping("p")...), frameOf(finBit|opContinuation, []byte("ne"))...),
		} {
			conn, p := dial(t, m, nil)
			pong := p.nextFrame()
			p.send(sent)
			conn.tendUntil(func() bool { return len(pong) > 0 })
			if got, want := receive(t, pong, "pong"), fmt.Sprintf("%#x %q <nil>", finBit|opPong, "p"); got != want {
				t.Errorf("the peer received %s, want %s", got, want)
			}
			conn.written()
			if len(sent) > 3 {
				conn.wantRead("one")
			}
			if bytes.HasSuffix(sent, text("two")) {
				conn.wantRead("two")
			}
			conn.roundTrip(p)
		}
	})
}

// TestPingIsSentWhileTheHolderWaitsInRead, and its pong disturbs nobody.
func TestPingIsSentWhileTheHolderWaitsInRead(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, &Options{PingInterval: time.Hour})
		ends := make(chan error, 1)
		go func() {
			_, message, err := conn.Conn.Read(soon(t))
			if string(message) != "reply" {
				err = fmt.Errorf("read %q, %v", message, err)
			}
			ends <- err
		}()
		for conn.stream.busy.Load()&readCalls == 0 {
			runtime.Gosched()
		}
		conn.tend()
		forward(t, time.Hour)
		conn.tend()
		conn.tend() // no second one
		p.wantNext(finBit|opPing, "idle")
		conn.written()
		p.send(append(frameOf(finBit|opPong, []byte("idle")), text("reply")...))
		if err := receive(t, ends, "end of the Read"); err != nil {
			t.Fatal(err)
		}
		conn.roundTrip(p)
	})
}

// TestControlFrameIsWrittenBetweenTheFramesOfTheHolder: between two fragments, and not
// within one.
func TestControlFrameIsWrittenBetweenTheFramesOfTheHolder(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, nil)
		message := strings.Repeat("x", 1000)
		first := appendFrame(nil, opText, []byte(message))
		second := appendFrame(nil, finBit|opContinuation, []byte("end"))
		write := func(b []byte) {
			t.Helper()
			if _, err := conn.stream.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		write(first[:500])
		p.send(ping("p"))
		conn.tendUntil(func() bool { return conn.stream.backlog.len() > 0 })
		write(first[500:])
		p.wantNext(opText, message)
		pong := p.nextFrame()
		for len(pong) == 0 {
			conn.tend()
			runtime.Gosched()
		}
		if got, want := <-pong, fmt.Sprintf("%#x %q <nil>", finBit|opPong, "p"); got != want {
			t.Errorf("between fragments the peer received %s, want %s", got, want)
		}
		conn.written()
		write(second)
		p.wantNext(finBit|opContinuation, "end")
		conn.roundTrip(p)
	})
}

// TestNothingIsTakenBehindAMessageReadInPart: it would be taken for a part of it.
func TestNothingIsTakenBehindAMessageReadInPart(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, nil)
		message := strings.Repeat("x", 5000)
		p.send(append(text(message), ping("p")...))
		_, r, err := conn.Reader(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		part := make([]byte, 10)
		if _, err := io.ReadFull(r, part); err != nil {
			t.Fatal(err)
		}
		before := conn.stream.backlog.len()
		for range 3 {
			conn.tend()
		}
		if got := conn.stream.backlog.len(); got != before || conn.stream.armed() {
			t.Errorf("%d bytes were read ahead", got-before)
		}
		rest, err := io.ReadAll(r)
		if err != nil || string(part)+string(rest) != message {
			t.Fatalf("read %d bytes, %v", len(part)+len(rest), err)
		}
		pong := p.nextFrame()
		for len(pong) == 0 {
			conn.tend()
			runtime.Gosched()
		}
		if got, want := <-pong, fmt.Sprintf("%#x %q <nil>", finBit|opPong, "p"); got != want {
			t.Errorf("the peer received %s, want %s", got, want)
		}
		conn.written()
		conn.roundTrip(p)
	})
}

// TestTenderReadsAheadWithinABound, and the holder reads all that was sent in its order.
func TestTenderReadsAheadWithinABound(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, nil)
		const messages = 300
		sent := make(chan bool)
		go func() {
			defer close(sent)
			for i := range messages {
				if _, err := p.Write(text(fmt.Sprintf("%d %s", i, strings.Repeat("x", 1000)))); err != nil {
					return
				}
			}
		}()
		bound := maxAhead
		if m.noPeek {
			bound += chunkSize // what a goroutine has read goes somewhere
		}
		for i := range messages {
			if i%50 == 0 {
				conn.tendUntil(func() bool { return conn.stream.backlog.len() > 0 })
				for range 30 {
					conn.tend()
					if got := conn.stream.backlog.len(); got > bound {
						t.Fatalf("%d bytes were read ahead", got)
					}
				}
			}
			_, message, err := conn.Read(soon(t))
			if err != nil || !strings.HasPrefix(string(message), strconv.Itoa(i)+" ") {
				t.Fatalf("message %d: read %.10q, %v", i, message, err)
			}
		}
		receive(t, sent, "end of the sending")
		conn.roundTrip(p)
	})
}

// TestCloseFrameStaysForTheHolderAndErrTellsOfIt, behind a reply that it has yet to read.
func TestCloseFrameStaysForTheHolderAndErrTellsOfIt(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, nil)
		p.send(append(text("reply"), closing(1011, "no pong")...))
		conn.tendUntil(func() bool { return conn.Err() != nil })
		if err := conn.Err(); websocket.CloseStatus(err) != 1011 {
			t.Errorf("Err returned %v", err)
		}
		for range 3 {
			conn.tend()
		}
		conn.wantRead("reply")
		if _, _, err := conn.Read(soon(t)); websocket.CloseStatus(err) != 1011 {
			t.Errorf("Read returned %v", err)
		}
		p.wantNext(finBit|opClose, "\x03\xf3no pong")
		if err := conn.clean(conn.Conn); websocket.CloseStatus(err) != 1011 {
			t.Errorf("Clean returned %v", err)
		}
	})
}

// TestEndOfTheConnectionIsNoticedWhileTheHolderComputes.
func TestEndOfTheConnectionIsNoticedWhileTheHolderComputes(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, nil)
		p.send(text("reply"))
		p.Close()
		conn.tendUntil(func() bool { return conn.Err() != nil })
		for deadline := time.Now().Add(patience); conn.Err() == nil && time.Now().Before(deadline); runtime.Gosched() {
			conn.tend() // the end may come behind the reply
		}
		if err := conn.Err(); !errors.Is(err, io.EOF) {
			t.Errorf("Err returned %v", err)
		}
		conn.wantRead("reply")
		if conn.clean(conn.Conn) == nil {
			t.Error("Clean returned nil")
		}
	})
}

// TestForeignPongStaysInPlace: the holder's callback gets it, in the holder's Read.
func TestForeignPongStaysInPlace(t *testing.T) {
	n := newNetwork(t, modes[0])
	opts := n.options(nil)
	var pongs []string
	opts.DialOptions.OnPongReceived = func(_ context.Context, payload []byte) { pongs = append(pongs, string(payload)) }
	factory := newFactory(t, n.url, opts)
	conn := &dialed{Conn: open(t, factory), t: t, check: factory.Check, clean: factory.Clean}
	p := receive(t, n.peers, "peer")
	defer p.tcp.Close()
	pong := func(s string) []byte { return frameOf(finBit|opPong, []byte(s)) }
	p.send(append(append(pong("1"), pong("idle")...), pong("2")...))
	conn.awaitArrival(12)
	conn.tend()
	if got := fmt.Sprint(pongs); got != "[idle]" {
		t.Errorf("while the holder computed the callback got %s", got)
	}
	p.send(text("reply"))
	conn.wantRead("reply")
	if got := fmt.Sprint(pongs); got != "[idle 1 2]" {
		t.Errorf("the callback got %s", got)
	}
	conn.wantClean()

	// And if the lease ends before it is read.
	p.send(pong("3"))
	conn.awaitArrival(3)
	conn.tend()
	conn.wantClean()
	if got := fmt.Sprint(pongs); got != "[idle 1 2 3]" {
		t.Errorf("after the lease the callback got %s", got)
	}

	// And if the tender has taken an idle connection for a leased one.
	p.send(pong("4"))
	conn.awaitArrival(3)
	conn.tend()
	if err := conn.check(conn.Conn); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(pongs); got != "[idle 1 2 3 4]" {
		t.Errorf("after a Check the callback got %s", got)
	}
	conn.roundTrip(p)
}

// TestPingOfTheHolderIsAnsweredBesideTheTender. The peer answers every ping.
func TestPingOfTheHolderIsAnsweredBesideTheTender(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, &Options{PingInterval: 1})
		go func() {
			for {
				first, payload, err := readClientFrame(p.br)
				if err != nil {
					return
				}
				if first == finBit|opPing {
					p.Conn.Write(frameOf(finBit|opPong, []byte(payload)))
				}
			}
		}()
		ctx, cancel := context.WithCancel(context.Background())
		ends := make(chan error, 1)
		go func() { _, _, err := conn.Conn.Conn.Read(ctx); ends <- err }()
		stop := conn.keepTending()
		start := time.Now()
		for i := 0; i < 200 && time.Since(start) < roundsTime; i++ {
			if err := conn.Ping(soon(t)); err != nil {
				t.Fatal(err)
			}
		}
		stop()
		cancel()
		receive(t, ends, "end of the Read")
		conn.close(conn.Conn, errTest)
	})
}

// TestCloseReadAndCloseOfTheHolderWorkBesideTheTender.
func TestCloseReadAndCloseOfTheHolderWorkBesideTheTender(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		for _, closeRead := range []bool{false, true} {
			conn, p := dial(t, m, &Options{PingInterval: 1})
			stop := conn.keepTending()
			if closeRead {
				conn.CloseRead(context.Background())
			}
			pings := make(chan int, 1)
			go func() {
				for n := 0; ; n++ {
					first, payload, err := readClientFrame(p.br)
					if err != nil || first == finBit|opClose {
						p.Conn.Write(frameOf(finBit|opClose, []byte(payload)))
						pings <- n
						return
					}
					p.Conn.Write(frameOf(finBit|opPong, []byte(payload)))
				}
			}()
			if err := conn.Close(websocket.StatusNormalClosure, "bye"); err != nil {
				t.Errorf("Close returned %v", err)
			}
			receive(t, pings, "close frame")
			stop()
			if conn.clean(conn.Conn) == nil {
				t.Error("Clean returned nil")
			}
		}
	})
}

// keepTending tends in a goroutine until stop is called.
func (d *dialed) keepTending() (stop func()) {
	var done atomic.Bool
	var all sync.WaitGroup
	all.Go(func() {
		for !done.Load() {
			d.tend()
			runtime.Gosched()
		}
	})
	return func() { done.Store(true); all.Wait() }
}

// tendingsEnv is how many round trips fall into the tending of their connection, for
// whoever has the time: 1000000 take an hour for each mode under the race detector.
const tendingsEnv = "WSCONN_TENDINGS"

// roundsTime bounds the round trips of a test beside a goroutine that never rests. On a
// single processor that one is stopped after 10 ms, and each step of a round trip has to
// wait for that.
const roundsTime = 5 * time.Second

// TestWriteAndPutFallIntoTheTending, and neither fails for it, nor is a frame lost,
// doubled or torn. The peer pings beside its replies.
func TestWriteAndPutFallIntoTheTending(t *testing.T) {
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	enough := roundsTime
	if s := os.Getenv(tendingsEnv); s != "" {
		rounds, _ = strconv.Atoi(s)
		enough = math.MaxInt64
	}
	eachMode(t, func(t *testing.T, m mode) {
		// Not more often: a check that comes late must not find a flood of pongs.
		conn, p := dial(t, m, &Options{PingInterval: time.Millisecond, OneReplyPerRequest: true})
		p.SetDeadline(time.Time{})
		defer p.tcp.Close()
		pings, pongs := 0, 0
		go func() {
			for i := 0; ; i++ {
				first, payload, err := readClientFrame(p.br)
				if err != nil {
					return
				}
				switch first {
				case finBit | opPing:
					p.Conn.Write(frameOf(finBit|opPong, []byte(payload)))
				case finBit | opPong:
					if payload != strconv.Itoa(pongs) {
						pongs = -1 << 30
					}
					pongs++
				case finBit | opText:
					b := text(payload)
					if i%2 == 0 {
						b = append(ping(strconv.Itoa(pings)), b...)
						pings++
					}
					p.Conn.Write(b)
				}
			}
		}()
		stop := conn.keepTending()
		defer stop()
		start := time.Now()
		for i := 0; i < rounds && time.Since(start) < enough; i++ {
			request := strconv.Itoa(i)
			if err := conn.Write(ctxBackground, websocket.MessageText, []byte(request)); err != nil {
				t.Fatalf("request %d: %v, %v", i, err, conn.Err())
			}
			if _, reply, err := conn.Read(ctxBackground); err != nil || string(reply) != request {
				t.Fatalf("reply %d: %q, %v, %v", i, reply, err, conn.Err())
			}
			if err := conn.clean(conn.Conn); err != nil {
				t.Fatalf("Put %d: %v", i, err)
			}
			if i%3 == 0 {
				if err := conn.check(conn.Conn); err != nil {
					t.Fatalf("Get %d: %v", i, err)
				}
			}
		}
	})
}

// TestTenderWaitsNeitherForAPeerNorLosesAPong: the peer does not read. The pong waits
// for room, and the holder's message behind it.
func TestTenderWaitsNeitherForAPeerNorLosesAPong(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, nil)
		if conn.writesInAGoroutine() {
			t.Skip("it cannot be seen whether there is room")
		}
		answered := 0
		r := *conn.stream.rules
		r.onPing = func([]byte) bool { answered++; return true }
		conn.stream.rules = &r
		sent := 0
		for pings := 1; conn.stream.outbox == nil || conn.stream.outbox.pong == 0; pings++ {
			if conn.stream.outbox == nil { // the kernel had room after all
				sent += conn.fill()
			}
			p.send(ping("p"))
			conn.tendUntil(func() bool { return answered == pings })
		}
		got := make(chan string, 1)
		go func() {
			var all []string
			for {
				first, payload, err := readClientFrame(p.br)
				switch {
				case err != nil:
					got <- err.Error()
					return
				case first == finBit|opBinary:
					sent--
				default:
					all = append(all, fmt.Sprintf("%#x%s", first, payload))
				}
				if first == finBit|opText {
					got <- strings.Join(all[max(len(all)-2, 0):], " ")
					return
				}
			}
		}()
		if err := conn.Write(soon(t), websocket.MessageText, []byte("m")); err != nil {
			t.Fatal(err)
		}
		if got, want := receive(t, got, "message"), fmt.Sprintf("%#xp %#xm", finBit|opPong, finBit|opText); got != want || sent != 0 {
			t.Errorf("the peer received %s, want %s; %d messages too few", got, want, sent)
		}
		if err := conn.Err(); err != nil {
			t.Error(err)
		}
	})
}

// TestServerThatWorksForLongIsNotCut: it reads nothing meanwhile, so it answers no ping,
// for an hour. Its kernel acknowledges. The same if it leaves no room.
func TestServerThatWorksForLongIsNotCut(t *testing.T) {
	for _, full := range []bool{false, true} {
		t.Run(map[bool]string{false: "room", true: "no room"}[full], func(t *testing.T) {
			eachMode(t, func(t *testing.T, m mode) {
				conn, p := dial(t, m, &Options{PingInterval: time.Second, PongTimeout: time.Second})
				if full {
					conn.fill()
				}
				conn.request0(t, full)
				for range 10 {
					forward(t, 6*time.Minute)
					conn.tend()
				}
				if err := conn.Err(); err != nil {
					t.Fatalf("after an hour: %v", err)
				}
				if !full {
					conn.written()
					p.send(text("reply"))
					conn.wantRead("reply")
				}
			})
		})
	}
}

// request0 sends a request to a peer that reads nothing.
func (d *dialed) request0(t *testing.T, full bool) {
	if full {
		return // it would have to wait
	}
	if err := d.Write(soon(t), websocket.MessageText, []byte("request")); err != nil {
		t.Fatal(err)
	}
}

// TestMissingPongEndsALeaseOnlyWithPongTimeoutInUse, and not while bytes lie unread.
func TestMissingPongEndsALeaseOnlyWithPongTimeoutInUse(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		for _, unread := range []bool{false, true} {
			conn, p := dial(t, m, &Options{PingInterval: time.Hour, PongTimeout: time.Hour, PongTimeoutInUse: time.Minute})
			forward(t, time.Hour)
			conn.tend()
			p.wantNext(finBit|opPing, "idle")
			conn.written()
			if unread {
				p.send(text("x"))
				conn.tendUntil(func() bool { return conn.stream.watch.hears.Load() })
			}
			forward(t, time.Minute)
			for range 3 {
				conn.tend()
			}
			err := conn.Err()
			if unread && err != nil || !unread && !errors.Is(err, errLifeless) {
				t.Errorf("with bytes unread %v: Err returned %v", unread, err)
			}
			if _, _, err := conn.Read(soon(t)); unread && err != nil || !unread && !errors.Is(err, errLifeless) {
				t.Errorf("with bytes unread %v: Read returned %v", unread, err)
			}
		}
	})
}

// A heldBody calls got when a Read has taken something, before it returns.
type heldBody struct {
	io.ReadWriteCloser
	got func()
}

func (b *heldBody) Read(p []byte) (int, error) {
	n, err := b.ReadWriteCloser.Read(p)
	if n > 0 {
		b.got()
	}
	return n, err
}

// TestReadThatHoldsTheAnswerInItsHandsIsNotCut: a scheduler may stop it there for as long
// as it likes. The one that waits for nothing is cut. What comes next, a Read or the end
// of the lease, finds everything as it was.
func TestReadThatHoldsTheAnswerInItsHandsIsNotCut(t *testing.T) {
	eachTLSOrNot(t, func(t *testing.T, m mode) {
		for _, next := range []string{"Read", "Put", "tending", "silence"} {
			conn, p := dial(t, m, &Options{PingInterval: time.Hour, PongTimeout: time.Hour, PongTimeoutInUse: time.Minute})
			forward(t, time.Hour)
			conn.tend()
			p.wantNext(finBit|opPing, "idle")
			conn.written()
			body := conn.stream.body
			got, goOn := make(chan bool), make(chan bool)
			held := false
			conn.stream.body = &heldBody{body, func() {
				if !held {
					held = true
					got <- true
					<-goOn
				}
			}}
			read := func() <-chan string {
				ends := make(chan string, 1)
				go func() {
					_, message, err := conn.Conn.Read(ctxBackground)
					if err != nil {
						ends <- err.Error()
						return
					}
					ends <- string(message)
				}()
				return ends
			}
			first := read()
			if next == "silence" {
				for conn.stream.busy.Load()&readCalls == 0 {
					runtime.Gosched()
				}
				forward(t, time.Minute)
				conn.tend()
				if got := receive(t, first, "end of the Read"); !strings.Contains(got, errLifeless.Error()) || !errors.Is(conn.Err(), errLifeless) {
					t.Errorf("without a sign of life Read returned %s, and Err %v", got, conn.Err())
				}
				continue
			}
			p.send(text("one"))
			receive(t, got, "Read")
			forward(t, time.Minute)
			conn.tend()
			if conn.stream.busy.Load()&doubted == 0 {
				t.Error("it is not doubted")
			}
			goOn <- true
			if got := receive(t, first, "end of the Read"); got != "one" {
				t.Fatalf("the first Read returned %q", got)
			}
			// A doubt that came while the last byte was given out.
			conn.stream.tending.Lock()
			conn.stream.end(noPong, true)
			conn.stream.tending.Unlock()
			switch next {
			case "Read":
				conn.stream.needsTending() // a round that finds the Read still in progress
				second := read()
				for conn.stream.busy.Load()&doubted != 0 {
					runtime.Gosched() // it has not decided yet
				}
				p.send(text("two"))
				if got := receive(t, second, "end of the Read"); got != "two" {
					t.Fatalf("the second Read returned %q", got)
				}
			case "Put":
				conn.wantClean()
				p.send(text("late"))
				var err error
				for deadline := time.Now().Add(patience); err == nil && time.Now().Before(deadline); runtime.Gosched() {
					err = conn.check(conn.Conn) // to wait for the arrival would lift the deadline
				}
				if !errors.Is(err, errBacklog) {
					t.Errorf("Check returned %v", err)
				}
				continue
			case "tending":
				conn.stream.hidden = false // to look there would lift the deadline
				pong := p.nextFrame()
				p.send(ping("p"))
				for deadline := time.Now().Add(patience); len(pong) == 0 && time.Now().Before(deadline); runtime.Gosched() {
					conn.tend()
				}
				receive(t, pong, "pong")
			}
			if b := conn.stream.busy.Load(); b != 0 {
				t.Errorf("busy is %#x", b)
			}
			conn.stream.body = body
			conn.roundTrip(p)
		}
	})
}

// TestReadsAndPutsFallIntoDoubtsThatAreWrong: something has been heard each time. They
// wait for the next message all the same, and no deadline stays behind.
func TestReadsAndPutsFallIntoDoubtsThatAreWrong(t *testing.T) {
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	eachTLSOrNot(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, nil)
		go func() {
			for {
				_, payload, err := readClientFrame(p.br)
				if err != nil {
					return
				}
				p.Conn.Write(text(payload))
			}
		}()
		var done atomic.Bool
		var all sync.WaitGroup
		var doubts atomic.Int32
		all.Go(func() {
			for ; !done.Load(); runtime.Gosched() {
				took := conn.stream.seize()
				if took == 0 {
					continue
				}
				if took&tendsRead == 0 {
					conn.stream.watch.hears.Store(true)
					conn.stream.end(noPong, true)
					doubts.Inc()
				}
				conn.stream.yield(took)
			}
		})
		start := time.Now()
		for i := 0; i < rounds && time.Since(start) < roundsTime || doubts.Load() == 0 && time.Since(start) < patience; i++ {
			request := strconv.Itoa(i)
			if err := conn.Write(ctxBackground, websocket.MessageText, []byte(request)); err != nil {
				t.Fatalf("request %d: %v, %v", i, err, conn.Err())
			}
			if _, reply, err := conn.Read(ctxBackground); err != nil || string(reply) != request {
				t.Fatalf("reply %d: %q, %v, %v", i, reply, err, conn.Err())
			}
			if err := conn.clean(conn.Conn); err != nil {
				t.Fatalf("Put %d: %v", i, err)
			}
			if i%3 == 0 {
				if err := conn.check(conn.Conn); err != nil {
					t.Fatalf("Get %d: %v", i, err)
				}
			}
		}
		done.Store(true)
		all.Wait()
		if doubts.Load() == 0 {
			t.Error("there was no doubt")
		}
		conn.wantClean()
		if b := conn.stream.busy.Load(); b != 0 {
			t.Errorf("busy is %#x", b)
		}
	})
}

func eachTLSOrNot(t *testing.T, test func(t *testing.T, m mode)) {
	eachMode(t, func(t *testing.T, m mode) {
		if m.noPeek {
			t.Skip("there a goroutine reads, or two looks decide")
		}
		test(t, m)
	})
}

// TestBytesThatNobodyMayReadAheadAreASignOfLife: they lie behind a part of a message.
func TestBytesThatNobodyMayReadAheadAreASignOfLife(t *testing.T) {
	eachTLSOrNot(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, &Options{PingInterval: time.Hour, PongTimeout: time.Hour, PongTimeoutInUse: time.Minute})
		message := text(strings.Repeat("x", 5000))
		p.send(message[:1000])
		_, r, err := conn.Reader(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		conn.tend()
		forward(t, time.Hour)
		conn.tend()
		p.wantNext(finBit|opPing, "idle")
		conn.written()
		p.send(message[1000:])
		conn.awaitArrival(1)
		forward(t, time.Minute)
		for range 2 {
			conn.tend()
		}
		if err := conn.Err(); err != nil {
			t.Error(err)
		}
		if rest, err := io.ReadAll(r); err != nil || len(rest) != 4990 {
			t.Errorf("read %d bytes, %v", len(rest), err)
		}
	})
}

// TestFeedOneWayIsPinged: some servers close a connection on which one side alone talks.
func TestFeedOneWayIsPinged(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, &Options{PingInterval: time.Hour})
		forward(t, time.Hour)
		p.send(text("news"))
		conn.wantRead("news")
		conn.tend()
		p.wantNext(finBit|opPing, "idle")
		conn.written()
		conn.tend()
		p.send(text("more news"))
		conn.wantRead("more news")

		// And while it is idle.
		if err := conn.check(conn.Conn); err != nil {
			t.Fatal(err)
		}
		forward(t, time.Hour)
		p.send(frameOf(finBit|opPong, nil))
		if err := conn.checkAfter(func() bool { return conn.stream.pulse.speaks }); err != nil {
			t.Fatal(err)
		}
		p.wantNext(finBit|opPing, "idle")
	})
}

// TestOnPingReceivedNeverRunsBesideTheHolder: neither beside a Read or Write, nor beside
// the callback itself in a Read of the holder.
func TestOnPingReceivedNeverRunsBesideTheHolder(t *testing.T) {
	n := newNetwork(t, modes[0])
	opts := n.options(nil)
	var conn *dialed
	calls := 0 // the race detector watches it
	var running atomic.Int32
	entered, goOn := make(chan bool), make(chan bool)
	opts.DialOptions.OnPingReceived = func(_ context.Context, payload []byte) bool {
		if running.Inc() != 1 {
			t.Error("two at a time")
		}
		defer running.Dec()
		calls++
		if string(payload) == "stop" {
			entered <- true
			<-goOn
		}
		return true
	}
	factory := newFactory(t, n.url, opts)
	conn = &dialed{Conn: open(t, factory), t: t, check: factory.Check, clean: factory.Clean}
	p := receive(t, n.peers, "peer")
	defer p.tcp.Close()

	// The holder computes: the tender calls it, and a Write waits.
	p.send(ping("stop"))
	conn.awaitArrival(1)
	tended, wrote := make(chan bool), make(chan error, 1)
	go func() { conn.tend(); close(tended) }()
	receive(t, entered, "callback")
	go func() { wrote <- conn.Write(soon(t), websocket.MessageText, []byte("request")) }()
	for conn.stream.busy.Load()&writeCalls == 0 {
		runtime.Gosched()
	}
	select {
	case <-wrote:
		t.Error("a Write went on beside the callback")
	default:
	}
	goOn <- true
	<-tended
	if err := receive(t, wrote, "Write"); err != nil {
		t.Fatal(err)
	}
	p.wantNext(finBit|opPong, "stop")
	p.wantNext(finBit|opText, "request")

	// The holder's Read calls it, and has asked for more: the tender leaves it alone.
	p.send(ping("stop"))
	read := make(chan error, 1)
	go func() { _, _, err := conn.Read(soon(t)); read <- err }()
	receive(t, entered, "callback")
	p.send(ping("again"))
	conn.awaitArrival(1)
	conn.tend()
	goOn <- true
	p.wantNext(finBit|opPong, "stop")
	p.wantNext(finBit|opPong, "again")
	p.send(text("reply"))
	if err := receive(t, read, "Read"); err != nil {
		t.Fatal(err)
	}
	if calls != 3 {
		t.Errorf("%d calls", calls)
	}
	conn.wantClean()
}

// TestCallbackThatPanicsEndsItsConnectionAlone, and so does one that ends its goroutine.
func TestCallbackThatPanicsEndsItsConnectionAlone(t *testing.T) {
	n := newNetwork(t, modes[0])
	opts := n.options(&Options{PingInterval: 40 * time.Millisecond, PongTimeout: patience})
	opts.noTend = false
	opts.DialOptions.OnPingReceived = func(_ context.Context, payload []byte) bool {
		switch string(payload) {
		case "panic":
			panic(errTest)
		case "goexit":
			runtime.Goexit()
		}
		return true
	}
	factory := newFactory(t, n.url, opts)
	for _, payload := range []string{"panic", "goexit", "harmless"} {
		conn := open(t, factory)
		p := receive(t, n.peers, "peer")
		defer p.tcp.Close()
		p.send(ping(payload))
		for {
			first, got, err := readClientFrame(p.br)
			if err != nil || first == finBit|opPong {
				if payload == "harmless" && got != payload || payload != "harmless" && err == nil {
					t.Errorf("after %s the peer received %q, %v", payload, got, err)
				}
				break
			}
		}
		if err := conn.Err(); payload == "harmless" && err != nil || payload != "harmless" && (err == nil || !strings.Contains(err.Error(), "callback")) {
			t.Errorf("after %s Err returned %v", payload, err)
		}
	}
}

// TestPoolTendsItsLeases: the goroutine of the factory does it, for a lease as well as
// for another beside it.
func TestPoolTendsItsLeases(t *testing.T) {
	n := newNetwork(t, modes[0])
	opts := n.options(&Options{PongTimeout: time.Second})
	opts.noTend = false
	p := newPool(t, n.url, opts, pool.Config{MaxConnections: 2})
	for range 2 {
		lease, err := p.Get(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Put(lease)
		server := receive(t, n.peers, "peer")
		defer server.Close()
		for _, s := range []string{"one", "two"} {
			server.send(ping(s))
			server.wantNext(finBit|opPong, s)
		}
	}
}

// TestServerWithAHeartbeatKeepsALease: it pings, and closes with 1011 if no pong comes. The
// holder computes meanwhile, waits in Read, or has written a part of its message.
func TestServerWithAHeartbeatKeepsALease(t *testing.T) {
	long := strings.Repeat("x", 6000) // a part of it is sent before its end is written
	for name, hold := range map[string]func(t *testing.T, conn *Conn, beats <-chan bool) error{
		"computing": func(t *testing.T, conn *Conn, beats <-chan bool) error {
			receive(t, beats, "end of the heartbeats")
			return conn.Write(soon(t), websocket.MessageText, []byte(long))
		},
		"reading": func(t *testing.T, conn *Conn, beats <-chan bool) error {
			if _, message, err := conn.Conn.Read(soon(t)); err != nil || string(message) != "event" {
				return fmt.Errorf("read %q, %w", message, err)
			}
			receive(t, beats, "end of the heartbeats")
			return conn.Write(soon(t), websocket.MessageText, []byte(long))
		},
		"writing": func(t *testing.T, conn *Conn, beats <-chan bool) error {
			w, err := conn.Writer(soon(t), websocket.MessageText)
			if err != nil {
				return err
			}
			io.WriteString(w, "small, nothing of it is sent yet")
			receive(t, beats, "end of the heartbeats")
			io.WriteString(w, long)
			return w.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachMode(t, func(t *testing.T, m mode) {
				n := newNetwork(t, m)
				opts := n.options(&Options{PongTimeout: patience, PingInterval: 20 * time.Millisecond})
				opts.noTend = false
				pl := newPool(t, n.url, opts, pool.Config{MaxConnections: 1})
				lease, err := pl.Get(soon(t))
				if err != nil {
					t.Fatal(err)
				}
				p := receive(t, n.peers, "peer")
				beats := make(chan bool, 1)
				received := make(chan string, 1)
				go func() {
					defer p.tcp.Close()
					beat, message := 0, ""
					p.Conn.Write(ping("0"))
					for {
						first, payload, err := readClientFrame(p.br)
						switch {
						case err != nil: // no pong in time, too
							p.Conn.Write(closing(1011, "no pong"))
							received <- message + err.Error()
							return
						case first == finBit|opPing:
							p.Conn.Write(frameOf(finBit|opPong, []byte(payload)))
						case first == finBit|opPong && beat < 5:
							if beat++; beat == 5 {
								p.Conn.Write(text("event"))
								beats <- true
							} else {
								p.Conn.Write(ping(strconv.Itoa(beat)))
							}
						case first&opBits < opClose:
							if message += payload; first&finBit != 0 {
								received <- message
							}
						}
					}
				}()
				if err := hold(t, lease.Value(), beats); err != nil {
					t.Errorf("%v, %v", err, lease.Value().Err())
				}
				if got := receive(t, received, "message"); !strings.HasSuffix(got, long) {
					t.Errorf("the peer received %.100q", got)
				}
				if err := lease.Value().Err(); err != nil {
					t.Error(err)
				}
				pl.Discard(lease, nil)
			})
		})
	}
}

// TestTenderRunsWhileThereAreConnections.
func TestTenderRunsWhileThereAreConnections(t *testing.T) {
	tender := newTender(&Options{PongTimeout: time.Hour})
	streams := make([]*stream, 5)
	for i := range streams {
		streams[i] = newStream(nil, nil, &rules{})
		tender.add(streams[i])
	}
	stop := tender.stop
	for _, i := range []int{2, 0, 4, 2, 1} {
		tender.remove(streams[i])
	}
	if len(tender.streams) != 1 || tender.streams[0] != streams[3] || tender.stop == nil {
		t.Errorf("%d streams are left", len(tender.streams))
	}
	tender.remove(streams[3])
	if tender.stop != nil {
		t.Error("it goes on")
	}
	<-stop
	streams[0].closed.Store(true)
	tender.add(streams[0])
	if len(tender.streams) != 0 || tender.stop != nil {
		t.Error("a closed stream is tended")
	}
}

// TestLooksAreCloseTogetherWhereSomethingHasJustCome: a server whose heartbeat is quick
// would close the connection otherwise. All are looked at once in every.
func TestLooksAreCloseTogetherWhereSomethingHasJustCome(t *testing.T) {
	tender := newTender(&Options{PongTimeout: time.Minute})
	const second, ms = time.Second, time.Millisecond
	for _, test := range []struct{ now, quiet, want time.Duration }{
		{5 * second, 0, 100 * ms},
		{5 * second, -ms, 100 * ms}, // it came when the round had begun
		{5 * second, 300 * ms, 150 * ms},
		{5 * second, 400 * ms, 200 * ms},
		{5 * second, time.Hour, second},
		{5*second + 300*ms, time.Hour, 700 * ms},
		{5*second + 950*ms, 0, 50 * ms},
		{-5*second - 300*ms, time.Hour, 300 * ms}, // in a bubble of synctest
		{-5*second + 300*ms, 0, 100 * ms},
		{-5 * second, time.Hour, second},
	} {
		if got := tender.nextLook(test.now, test.quiet) - test.now; got != test.want {
			t.Errorf("at %v, after %v of silence: the next look is %v later, want %v", test.now, test.quiet, got, test.want)
		}
	}
}

// TestNewConnectionIsLookedAtSoon: nobody knows its server's heartbeat yet. The goroutine
// that sleeps until the next round is told.
func TestNewConnectionIsLookedAtSoon(t *testing.T) {
	tender := newTender(&Options{PongTimeout: time.Minute})
	tender.stop, tender.news = make(chan struct{}), make(chan struct{}, 1) // no goroutine but this one
	old, s := newStream(nil, nil, &rules{}), newStream(nil, nil, &rules{})
	for _, s := range []*stream{old, s} {
		s.busy.Store(poolHolds) // nothing to be done
		tender.add(s)
	}
	if len(tender.news) != 1 {
		t.Error("the goroutine is not told")
	}
	if got := tender.due[1] - s.watch.heard; got != tender.quick {
		t.Errorf("it is looked at after %v, want %v", got, tender.quick)
	}

	// A round looks at those that are due, and says when they are due again.
	now := (tender.period(since()) + 10) * tender.every
	tender.due[0], tender.due[1] = now+1, now
	s.watch.heard = now - 500*time.Millisecond
	old.watch.unchecked.Store(true)
	s.watch.unchecked.Store(true)
	tender.goRound(now)
	if old.watch.quiet != 0 || s.watch.quiet != 1 {
		t.Errorf("looks without a Check: %d and %d, want none at what is not due and 1", old.watch.quiet, s.watch.quiet)
	}
	if got := tender.earliest(); got != now+1 {
		t.Errorf("the next round is at %v, want %v", got, now+1)
	}
	tender.remove(old) // s takes its place
	if got := tender.earliest(); got != now+250*time.Millisecond {
		t.Errorf("the next round is at %v, want %v", got, now+250*time.Millisecond)
	}
}

// TestReadInProgressIsTendedOnceInEvery: it answers the pings itself, and each look would
// cost a server of streams a system call.
func TestReadInProgressIsTendedOnceInEvery(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		for _, test := range []struct {
			what     string
			reading  int32
			after    time.Duration // when the round is
			isTended bool
		}{
			{"a quick look at a Read in progress", oneRead, 100 * time.Millisecond, false},
			{"a look at a Read in progress when a second has passed", oneRead, time.Second, true},
			{"a quick look at a holder that computes", 0, 100 * time.Millisecond, true},
		} {
			conn, _ := dial(t, m, &Options{PingInterval: 20 * time.Second})
			s, w := conn.stream, &conn.stream.watch
			tender := newTender(&Options{PongTimeout: time.Minute})
			tender.stop, tender.news = make(chan struct{}), make(chan struct{}, 1) // no goroutine but this one
			tender.add(s)
			defer tender.remove(s)

			tender.last = (tender.period(since()) + 10) * tender.every
			now := tender.last + test.after
			tender.due[0] = now
			w.unchecked.Store(true)
			w.quiet, w.heard, w.said, w.worry().pinged = leasedAfter, -time.Hour, -time.Hour, -time.Hour
			s.busy.Add(test.reading)
			tender.goRound(now)
			s.busy.Add(-test.reading)
			if got := w.worry().pinged > 0; got != test.isTended {
				t.Errorf("%s has sent a ping: %v, want %v", test.what, got, test.isTended)
			}
		}
	})
}
