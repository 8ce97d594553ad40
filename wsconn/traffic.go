package wsconn

import (
	"bytes"
	"compress/flate"
	"io"

	"github.com/coder/websocket"
)

// A traffic follows one direction of a view. It counts the messages that have begun, and
// keeps what has passed of a frame that somebody wants to look at when it is there.
type traffic struct {
	frames
	begun   uint32 // data messages, modulo 1<<32
	frame   []byte // what has passed of a control frame, and of a data frame that is recorded
	cut     bool   // it was too long to be kept
	message raw    // what has passed of a recorded message in whole frames
}

// follow passes the bytes of p up to the end of the current frame, as feed does.
func (t *traffic) follow(p []byte, record bool) (n int, end bool) {
	if t.have == 0 {
		t.frame, t.cut = t.frame[:0], false
		if op := p[0] & opBits; op == opText || op == opBinary {
			t.begun++
		}
	}
	n, end = t.feed(p)
	switch limit := t.limit(record); {
	case limit == 0 || t.cut:
	case len(t.frame)+n > limit:
		t.cut = true
	default:
		t.frame = append(t.frame, p[:n]...)
	}
	return n, end
}

// limit returns how much of the current frame is kept.
func (t *traffic) limit(record bool) int {
	switch {
	case t.opcode() >= opClose:
		return maxHeader + maxControl
	case record:
		return maxHeader + maxRecorded
	}
	return 0
}

// unframed returns the payload of the frame that has just ended, if all of it was kept.
func (t *traffic) unframed() []byte {
	n := headerLength(t.second)
	if t.cut || len(t.frame) < n {
		return nil
	}
	return unmask(t.frame[:n], t.frame[n:])
}

// gather adds the frame that has just ended to the message that it is of.
func (t *traffic) gather() {
	if t.opcode() != opContinuation {
		t.message = raw{kind: websocket.MessageType(t.opcode()), compressed: t.first&rsv1Bit != 0}
	}
	t.message.data = append(t.message.data, t.unframed()...)
}

// maxHeader is the length of the longest header of a frame.
const maxHeader = 14

// maxRecorded is how many bytes of one Dial are kept for Options.Finished, in both
// directions together.
const maxRecorded = 1 << 20

// A raw is a message as it has passed.
type raw struct {
	kind       websocket.MessageType
	compressed bool
	data       []byte
}

// messagesOf returns what the messages say. It returns false if they cannot be read, or
// are too long.
func messagesOf(raws []raw) ([]Message, bool) {
	messages := make([]Message, len(raws))
	left := maxRecorded
	for i, r := range raws {
		if r.compressed {
			// RFC 7692, section 7.2.2; and an empty last block, for the end.
			tail := "\x00\x00\xff\xff\x01\x00\x00\xff\xff"
			inflated := flate.NewReader(io.MultiReader(bytes.NewReader(r.data), bytes.NewReader([]byte(tail))))
			data, err := io.ReadAll(io.LimitReader(inflated, int64(left)+1))
			if err != nil || len(data) > left {
				return nil, false
			}
			left -= len(data)
			r.data = data
		}
		messages[i] = Message{r.kind, r.data}
	}
	return messages, true
}
