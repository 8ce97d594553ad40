package wsconn

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

// A script is a transport whose server sends given bytes, in given pieces, and
// then nothing more. It is the body of its own response.
type script struct {
	bytes  []byte
	pieces func() int // length of the next piece
	end    error      // what Read returns after the last bytes
	beside bool       // Read returns it beside the last bytes already, as that of tls.Conn may
	wrote  bytes.Buffer
	closed bool
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := http.ReadResponse(bufio.NewReader(bytes.NewBufferString(switching(r.Header.Get("Sec-WebSocket-Key")))), r)
	if err == nil {
		response.Body = s
	}
	return response, err
}

func (s *script) Read(p []byte) (int, error) {
	if s.closed {
		return 0, io.ErrClosedPipe
	}
	if len(s.bytes) == 0 {
		return 0, s.end
	}
	n := copy(p, s.bytes[:min(max(s.pieces(), 1), len(s.bytes))])
	s.bytes = s.bytes[n:]
	if len(s.bytes) == 0 && s.beside {
		return n, s.end
	}
	return n, nil
}

func (s *script) Write(p []byte) (int, error) {
	if s.closed {
		return 0, io.ErrClosedPipe
	}
	return s.wrote.Write(p)
}

func (s *script) Close() error { s.closed = true; return nil }

// A story is all that a caller and a server can tell of a connection.
type story struct {
	Events []string // of the caller
	Sent   []string // what the server received
}

// tell reads from a server that sends what script says until that fails, with
// reads of given lengths. wrap puts a stream between.
func tell(t testing.TB, s *script, lengths func() int, wrap bool) story {
	t.Helper()
	var transport http.RoundTripper = s
	var u *upgrader
	if wrap {
		u = &upgrader{transport: s, rules: &rules{fallback: true}}
		transport = u
	}
	conn, _, err := websocket.Dial(context.Background(), "ws://script", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20)
	var told story
	for {
		kind, r, err := conn.Reader(context.Background())
		if err != nil {
			told.Events = append(told.Events, "Reader: "+err.Error())
			break
		}
		var message []byte
		for err == nil {
			var n int
			buf := make([]byte, max(lengths(), 1))
			n, err = r.Read(buf)
			message = append(message, buf[:n]...)
		}
		told.Events = append(told.Events, fmt.Sprintf("%v %q", kind, message))
		if !errors.Is(err, io.EOF) {
			told.Events = append(told.Events, "Read: "+err.Error())
			break
		}
		if wrap {
			if s := u.stream.Load(); s.backlog.len() == 0 && s.readErr() == nil {
				if err := s.tidy(); err != nil {
					t.Errorf("after a message: %v", err)
				}
			}
		}
	}
	for br := bufio.NewReader(&s.wrote); ; {
		first, payload, err := readClientFrame(br)
		if err != nil {
			break
		}
		told.Sent = append(told.Sent, fmt.Sprintf("%#x %q", first, payload))
	}
	return told
}

// errReset ends the stream. It is not io.EOF, of which the WebSocket layer alone
// makes something else: see endRead.
var errReset = errors.New("connection reset")

// compare tells the same story with and without a stream between.
func compare(t testing.TB, sent []byte, beside bool, seed uint64) {
	t.Helper()
	told := func(wrap bool) story {
		r := rand.New(rand.NewPCG(seed, 1))
		largest := []int{1, 2, 3, 7, 100, 4096, 10_000}
		if len(sent) > 10_000 { // byte by byte it would take too long
			largest = largest[4:]
		}
		piece, length := largest[r.IntN(len(largest))], largest[r.IntN(len(largest))]
		// Independent of the number of calls, which the stream changes.
		pieces := rand.New(rand.NewPCG(seed, 2))
		s := &script{bytes: bytes.Clone(sent), end: errReset, beside: beside, pieces: func() int { return 1 + pieces.IntN(piece) }}
		return tell(t, s, func() int { return length }, wrap)
	}
	if diff := cmp.Diff(told(false), told(true)); diff != "" {
		t.Errorf("seed %d: with the stream something else happens (-without +with)\n%s\nsent %x", seed, diff, sent)
	}
}

// randomFrames returns what a server may send, and what it may not.
func randomFrames(r *rand.Rand) []byte {
	lengths := []int{0, 1, 2, 5, 124, 125, 126, 127, 1022, 1023, 1024, 1025, 1026, 4090, 4091, 4092, 4093, 4094, 4095, 4096, 4097, 65535, 65536}
	payload := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.IntN(256))
		}
		if n > 10 { // frames within the payload
			copy(b[r.IntN(n-8):], text("forged"))
		}
		return b
	}
	control := func() []byte {
		return frameOf(finBit|[]byte{opPing, opPong}[r.IntN(2)], payload(r.IntN(126)))
	}
	var b []byte
	for range 1 + r.IntN(8) {
		switch r.IntN(12) {
		case 0, 1:
			b = append(b, control()...)
		case 2:
			b = append(b, closing(uint16(1000+r.IntN(20)), "over")...)
		case 3: // not allowed
			b = append(b, frameOf(byte(r.IntN(256)), payload(r.IntN(200)))...)
		default:
			fragments := r.IntN(3)
			opcode := byte(1 + r.IntN(2))
			for range fragments {
				b = append(b, frameOf(opcode, payload(lengths[r.IntN(len(lengths))]))...)
				opcode = opContinuation
				if r.IntN(2) == 0 {
					b = append(b, control()...)
				}
			}
			b = append(b, frameOf(finBit|opcode, payload(lengths[r.IntN(len(lengths))]))...)
		}
	}
	if r.IntN(4) == 0 { // cut off
		b = b[:r.IntN(len(b)+1)]
	}
	return b
}

func TestStreamChangesNothingThatTheCallerOrTheServerSees(t *testing.T) {
	rounds := 2000
	if testing.Short() {
		rounds = 200
	}
	base := rand.Uint64()
	for i := range rounds {
		seed := base + uint64(i)
		r := rand.New(rand.NewPCG(seed, 0))
		beside := r.IntN(2) == 0
		if compare(t, randomFrames(r), beside, seed); t.Failed() {
			return
		}
	}
}

func FuzzStreamChangesNothing(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(randomFrames(rand.New(rand.NewPCG(seed, 0))), seed, false)
	}
	f.Add([]byte{finBit | opText, len64, 0xff, 0, 0, 0, 0, 0, 0, 0, 1}, uint64(1), true)
	f.Fuzz(func(t *testing.T, sent []byte, seed uint64, beside bool) {
		compare(t, sent, beside, seed)
	})
}

// TestFramesFollowsEveryCut feeds frames in two pieces, cut everywhere.
func TestFramesFollowsEveryCut(t *testing.T) {
	var b []byte
	var ends []int // where a message or control frame ends
	add := func(f []byte, end bool) {
		b = append(b, f...)
		if end {
			ends = append(ends, len(b))
		}
	}
	add(text("one"), true)
	add(frameOf(opBinary, make([]byte, 126)), false)
	add(ping("p"), false)
	add(frameOf(opContinuation, nil), false)
	add(frameOf(finBit|opContinuation, []byte("x")), true)
	add(frameOf(finBit|opText, make([]byte, 65536)), true)
	add([]byte{finBit | opPing, maskBit, 1, 2, 3, 4}, true)
	isEnd := map[int]bool{0: true}
	for _, at := range ends {
		isEnd[at] = true
	}
	for cut := 0; cut <= len(b); cut++ {
		if cut > 300 && cut < len(b)-300 && cut%1009 != 0 {
			continue
		}
		var f frames
		f.pass(b[:cut])
		if got := f.between(); got != isEnd[cut] {
			t.Fatalf("after %d bytes between() = %v", cut, got)
		}
		f.pass(b[cut:])
		if !f.between() || f.messages != 3 {
			t.Fatalf("cut at %d: between() = %v, %d messages", cut, f.between(), f.messages)
		}
	}
}

// TestBacklogAgainstASlice does the same to both.
func TestBacklogAgainstASlice(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var b backlog
	var want []byte
	next := byte(0)
	for range 20_000 {
		switch n := []int{1, 3, 16, 17, 300, 4096, 5000}[r.IntN(7)]; r.IntN(4) {
		case 0:
			p := make([]byte, n)
			for i := range p {
				next++
				p[i] = next
			}
			if r.IntN(2) == 0 {
				b.add(p)
			} else {
				b.grow(copy(b.space(n), p))
			}
			want = append(want, p...)
		case 1, 2:
			n = min(n, len(want))
			b.drop(n)
			want = want[n:]
		case 3:
			if len(want) > 0 {
				at := r.IntN(len(want))
				n = min(n, len(want)-at)
				b.cut(at, n)
				want = append(append([]byte(nil), want[:at]...), want[at+n:]...)
			}
		}
		if !bytes.Equal(b.bytes(), want) {
			t.Fatalf("%d bytes, want %d", b.len(), len(want))
		}
		if len(want) == 0 && b.chunk != nil {
			t.Fatal("an empty backlog holds memory")
		}
	}
}

// TestMessageCutOffIsAnError guards endRead.
func TestMessageCutOffIsAnError(t *testing.T) {
	whole := append(frameOf(opText, []byte("part")), frameOf(finBit|opContinuation, []byte("rest"))...)
	for _, beside := range []bool{false, true} {
		for cut := range whole {
			s := &script{bytes: whole[:cut], end: io.EOF, beside: beside, pieces: func() int { return 100 }}
			told := tell(t, s, func() int { return 100 }, true)
			last := told.Events[len(told.Events)-1]
			if cut > 0 && !strings.Contains(last, errTruncated.Error()) || cut == 0 && !strings.Contains(last, "EOF") {
				t.Errorf("after %d bytes: %q", cut, told.Events)
			}
		}
	}
}
