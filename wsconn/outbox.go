package wsconn

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/coder/websocket"
)

// An outbox holds the frames that this package sends of its own, until the socket
// has room for them. To send one never waits, and nothing here has a time limit that
// a busy scheduler could miss: it is the socket that says whether there is room. A
// peer that does not read is one that has left no room for PongTimeout, at two
// looks that far apart.
//
// It belongs to the writing side of a stream. Whoever writes next sends what waits
// before: see catchUp.
type outbox struct {
	rest  []byte        // whole frames, but for what has been sent of the first
	pong  int           // one more than where the last frame begins, if it is a pong and nothing of it has been sent; or 0
	since time.Duration // something has been waiting for room since then, on the clock of since

	// Where it cannot be seen whether there is room, a goroutine writes.
	armed  bool // a result is owed
	result chan wrote
}

type wrote struct{ err error }

// send sends a frame, or puts it aside. It does not wait. The caller owns the writing
// side, and the last frame on it has been written whole.
func (s *stream) send(first byte, payload []byte) error {
	if s.out.closing() {
		return errCloseSent
	}
	o := s.outbox
	if o == nil {
		o = &outbox{since: since()}
		s.outbox = o
	}
	isPong := first == finBit|opPong
	if isPong && o.pong > 0 {
		o.rest = o.rest[:o.pong-1] // RFC 6455, section 5.5.3: the last ping's pong is enough
	}
	if len(o.rest) > 0 && len(o.rest)+len(payload) > maxBacklog {
		return s.fail(errNoRoom)
	}
	o.pong = 0
	if isPong {
		o.pong = len(o.rest) + 1
	}
	o.rest = appendFrame(o.rest, first, payload)
	if first&opBits == opClose {
		s.out.state |= closeBegun
		s.fail(errCloseSent)
	}
	return s.post()
}

// appendFrame appends a frame as a client sends it.
func appendFrame(b []byte, first byte, payload []byte) []byte {
	b = append(b, first)
	switch n := len(payload); {
	case n < len16:
		b = append(b, maskBit|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, maskBit|len16), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, maskBit|len64), uint64(n))
	}
	var key [4]byte
	rand.Read(key[:]) // cannot fail
	b = append(b, key[:]...)
	at := len(b)
	b = append(b, payload...)
	for i := range payload {
		b[at+i] ^= key[i%4]
	}
	return b
}

// post sends what waits as far as there is room, and waits for nothing. The caller owns
// the writing side, and the last frame on it has been written whole.
func (s *stream) post() error {
	o := s.outbox
	if o == nil {
		return nil
	}
	if o.armed {
		select {
		case r := <-o.result:
			o.armed = false
			o.since = since()
			if r.err != nil {
				return s.failIO(r.err)
			}
		default:
			return nil
		}
	}
	for len(o.rest) > 0 {
		room, known := s.room()
		if !known {
			s.armWriter()
			return nil
		}
		if room == 0 {
			return nil
		}
		s.noteSpoken()
		n := min(room, len(o.rest))
		if _, err := s.body.Write(o.rest[:n]); err != nil {
			return s.failIO(err)
		}
		o.since = since()
		o.rest = o.rest[n:]
		o.pong = max(o.pong-n, 0)
	}
	s.outbox = nil // an idle connection holds no memory
	return nil
}

// leastRoom is how much room there must be to send a part of what waits. It is more
// than any control frame, in a TLS record of its own.
const leastRoom = 512

// room returns how many bytes the socket takes without a wait, or 0 if they are too
// few to begin. What TLS adds comes on top.
func (s *stream) room() (n int, known bool) {
	n, known = s.peeker.room()
	if s.secure {
		n -= n/8 + leastRoom // records may be as short as a segment
	}
	if n < leastRoom {
		n = 0
	}
	return n, known
}

// armWriter has a goroutine write what waits.
func (s *stream) armWriter() {
	s.noteSpoken()
	o := s.outbox
	frames, result := o.rest, make(chan wrote, 1) // so that the goroutine ends in any case
	o.rest, o.pong, o.armed, o.result = nil, 0, true, result
	var said chan struct{}
	if s.out.closing() {
		said = make(chan struct{})
		s.goodbye.Store(&said)
	}
	go func(body io.Writer) {
		_, err := body.Write(frames)
		result <- wrote{err}
		if said != nil {
			close(said)
		}
	}(s.body)
}

// catchUp sends what waits, for a Write that must come after it, and waits as that
// Write would. Behind a part of a frame nothing waits: nobody sends anything there, and
// the Write of that part has caught up.
func (s *stream) catchUp() error {
	o := s.outbox
	if o.armed {
		r := <-o.result
		o.armed = false
		if r.err != nil {
			return s.failIO(r.err)
		}
	}
	if len(o.rest) > 0 {
		if _, err := s.body.Write(o.rest); err != nil {
			return s.failIO(err)
		}
	}
	s.outbox = nil
	return nil
}

// repost is post for a check, which began at now. It fails if the peer does not read.
func (s *stream) repost(now time.Duration) error {
	if err := s.post(); err != nil {
		return err
	}
	if s.outbox != nil && s.overdue(now-s.outbox.since) {
		return errNoRoom
	}
	// The time for an answer begins when the question has been sent, and when that
	// was is not known better.
	if s.pulse.pinged != 0 {
		s.pulse.pinged = since()
	}
	if s.pulse.owed {
		s.noteSaid()
	}
	return nil
}

// sendMessage sends a message of this package or of the application on an idle
// connection: at once if the socket has room for it, and otherwise later, before
// anything else. It does not wait, and it does not count as a request. Only Check and
// Clean may call it, between two messages.
func (s *stream) sendMessage(m Message) error {
	if m.Type != websocket.MessageText && m.Type != websocket.MessageBinary {
		return fmt.Errorf("wsconn: message of type %d", int(m.Type))
	}
	return s.send(finBit|byte(m.Type), m.Data)
}

var errNoRoom = errors.New("wsconn: no room to write: the peer does not read")
