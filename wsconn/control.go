package wsconn

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// controlTimeout bounds the writing of one control frame to an idle connection.
// There is room for it in the socket's buffer, or the peer has not read for long.
const controlTimeout = 20 * time.Millisecond

// control does what a control frame received while idle asks for.
func (s *stream) control(f frame) error {
	switch f.opcode {
	case opPing:
		if s.rules.onPing != nil && !s.rules.onPing(f.payload) {
			return nil
		}
		return s.sendControl(opPong, f.payload)
	case opPong:
		if s.rules.onPong != nil {
			s.rules.onPong(f.payload)
		}
		return nil
	}
	if _, err := parseClose(f.payload); err != nil {
		return s.violation(err)
	}
	err := s.fail(closedByPeer(f.payload))
	s.sendControl(opClose, f.payload)
	return err
}

// violation tells the peer that it has broken the protocol, and returns the
// error that says so to everybody else.
func (s *stream) violation(err error) error {
	reason := err.Error()
	err = s.fail(fmt.Errorf("wsconn: protocol violation by the peer: %w", err))
	s.sendClose(websocket.StatusProtocolError, reason)
	return err
}

var errNoRoom = fmt.Errorf("wsconn: no room to write a control frame within %v: the peer does not read", controlTimeout)

// sendClose tells the peer why it will see the connection end. It may fail.
func (s *stream) sendClose(code websocket.StatusCode, reason string) {
	payload := binary.BigEndian.AppendUint16(nil, uint16(code))
	payload = append(payload, reason[:min(len(reason), maxControl-2)]...)
	s.sendControl(opClose, payload)
}

// sendControl writes a control frame, between the frames of the WebSocket layer:
// at the end of a lease nothing was half written, and nobody writes since.
func (s *stream) sendControl(opcode byte, payload []byte) error {
	return s.writeNow(appendFrame(make([]byte, 0, 6+maxControl), finBit|opcode, payload))
}

// sendMessage sends a message on an idle connection, as sendControl does. It does not
// count as a request. Where compression is in force, a message may do without.
func (s *stream) sendMessage(m Message) error {
	err := s.writeNow(appendFrame(make([]byte, 0, maxHeader+len(m.Data)), finBit|byte(m.Type), m.Data))
	s.out.messages--
	return err
}

// writeNow writes a frame to an idle connection. A write that does not get through at
// once ends the connection.
func (s *stream) writeNow(frame []byte) error {
	if s.out.closing {
		return errCloseSent
	}
	// Not a deadline: not every connection knows one.
	stop := time.AfterFunc(s.rules.controlTimeout, func() {
		s.fail(errNoRoom)
		s.abort()
	})
	defer stop.Stop()
	if _, err := s.write(frame); err != nil {
		return s.failure()
	}
	return nil
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

// closedByPeer returns the error for a close frame with the given payload.
func closedByPeer(payload []byte) error {
	e, err := parseClose(payload)
	if err != nil {
		return fmt.Errorf("wsconn: protocol violation by the peer: %w", err)
	}
	return fmt.Errorf("wsconn: closed by the peer: %w", e)
}

// parseClose reads the payload of a close frame. RFC 6455, section 7.4.
func parseClose(payload []byte) (websocket.CloseError, error) {
	var e websocket.CloseError
	switch len(payload) {
	case 0:
		e.Code = websocket.StatusNoStatusRcvd
		return e, nil
	case 1:
		return e, errors.New("close frame with one byte")
	}
	e.Code = websocket.StatusCode(binary.BigEndian.Uint16(payload))
	e.Reason = string(payload[2:])
	switch {
	case e.Code < 1000, e.Code > 1014 && e.Code < 3000, e.Code > 4999,
		e.Code == 1004, e.Code == websocket.StatusNoStatusRcvd, e.Code == websocket.StatusAbnormalClosure:
		return e, fmt.Errorf("close frame with code %d", int(e.Code))
	case !utf8.ValidString(e.Reason):
		return e, errors.New("close frame with a reason that is not UTF-8")
	}
	return e, nil
}
