package wsconn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// control does what a control frame received while idle asks for.
func (s *stream) control(f frame) error {
	switch f.opcode {
	case opPing:
		if s.rules.onPing != nil && !s.rules.onPing(f.payload) {
			return nil
		}
		return s.send(finBit|opPong, f.payload)
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
	s.send(finBit|opClose, f.payload)
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

// sendClose tells the peer why it will see the connection end. It may fail.
func (s *stream) sendClose(code websocket.StatusCode, reason string) {
	payload := binary.BigEndian.AppendUint16(nil, uint16(code))
	payload = append(payload, reason[:min(len(reason), maxControl-2)]...)
	s.send(finBit|opClose, payload)
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
