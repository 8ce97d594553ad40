package wsconn

import (
	"encoding/binary"
	"errors"
)

// Opcodes of RFC 6455, section 5.2. Those from opClose on are control frames.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// The bits of a frame's first two bytes.
const (
	finBit    = 0x80
	rsvBits   = 0x70
	rsv1Bit   = 0x40
	opBits    = 0x0F
	maskBit   = 0x80
	lenBits   = 0x7F
	len16     = 126
	len64     = 127
	maxHeader = 14
)

// maxControl is the longest payload of a control frame.
const maxControl = 125

// A frames follows one direction of a connection from frame to frame. It is fed
// every byte that passes, in pieces of any size, and does nothing else with them.
type frames struct {
	payload    uint64          // bytes of the current frame's payload still to come
	header     [maxHeader]byte // of the current frame, as far as it has come
	have       uint8           // bytes in header; 0 between frames
	inPayload  bool            // the header is complete, the frame is not
	fragmented bool            // a data frame without FIN has passed, its last fragment has not
	closing    bool            // a close frame has begun
	broken     bool            // a length that no frame can have: nothing is known from here on
	messages   uint64          // data messages that have passed whole
	reason     []byte          // payload of the close frame, unless masked
}

// between reports whether nothing is under way: what has passed ends with the
// end of a message or of a control frame that is none of closing.
func (f *frames) between() bool {
	return f.have == 0 && !f.fragmented && !f.closing && !f.broken
}

// headerLength returns the length of a frame's header, by its second byte.
func headerLength(second byte) int {
	n := 2
	switch second & lenBits {
	case len16:
		n += 2
	case len64:
		n += 8
	}
	if second&maskBit != 0 {
		n += 4
	}
	return n
}

// payloadLength reads the length of the payload from a complete header.
func payloadLength(header []byte) uint64 {
	switch n := header[1] & lenBits; n {
	case len16:
		return uint64(binary.BigEndian.Uint16(header[2:]))
	case len64:
		return binary.BigEndian.Uint64(header[2:])
	default:
		return uint64(n)
	}
}

// feed passes the bytes of p up to the end of the current frame, or all if it
// does not end in p. It returns their number, and whether the frame has ended.
func (f *frames) feed(p []byte) (n int, end bool) {
	if f.broken {
		return len(p), false
	}
	for !f.inPayload {
		if n == len(p) {
			return n, false
		}
		f.header[f.have] = p[n]
		f.have++
		n++
		if f.have < 2 || int(f.have) < headerLength(f.header[1]) {
			continue
		}
		f.inPayload = true
		f.payload = payloadLength(f.header[:])
		f.closing = f.closing || f.opcode() == opClose
		if f.payload > 1<<63-1 {
			f.broken = true
			return len(p), false
		}
	}
	k := uint64(len(p) - n)
	if k > f.payload {
		k = f.payload
	}
	if f.closing && f.opcode() == opClose && f.header[1]&maskBit == 0 && len(f.reason)+int(k) <= maxControl {
		f.reason = append(f.reason, p[n:n+int(k)]...)
	}
	f.payload -= k
	n += int(k)
	if f.payload > 0 {
		return n, false
	}
	f.have, f.inPayload = 0, false
	if f.opcode() < opClose {
		f.fragmented = f.header[0]&finBit == 0
		if !f.fragmented {
			f.messages++
		}
	}
	return n, true
}

func (f *frames) opcode() byte { return f.header[0] & opBits }

// pass is feed for bytes of any number of frames.
func (f *frames) pass(p []byte) {
	for len(p) > 0 {
		n, _ := f.feed(p)
		p = p[n:]
	}
}

// remaining returns how many bytes of payload the current frame still has, or 0
// if that is not known yet.
func (f *frames) remaining() uint64 {
	if f.inPayload {
		return f.payload
	}
	return 0
}

// A frame is the start of a server's frame that lies in memory.
type frame struct {
	opcode  byte
	fin     bool
	whole   bool
	payload []byte // if whole
	length  int    // of header and payload, if whole
}

func (f frame) control() bool { return f.opcode >= opClose }

var (
	errReservedBits   = errors.New("reserved bits set")
	errReservedOpcode = errors.New("reserved opcode")
	errControlFrame   = errors.New("control frame that is fragmented or too long")
	errMaskedFrame    = errors.New("masked frame from a server")
	errFrameLength    = errors.New("impossible length")
)

// parseFrame looks at the frame that p begins with, as far as it is there; p is
// not empty. It finds fault as early as it can. compressed says that data frames
// may have the bit of permessage-deflate.
func parseFrame(p []byte, compressed bool) (f frame, err error) {
	f.opcode, f.fin = p[0]&opBits, p[0]&finBit != 0
	rsv := p[0] & rsvBits
	if compressed && f.opcode < opClose {
		rsv &^= rsv1Bit
	}
	switch {
	case rsv != 0:
		return f, errReservedBits
	case f.opcode > opBinary && f.opcode < opClose, f.opcode > opPong:
		return f, errReservedOpcode
	case f.control() && !f.fin:
		return f, errControlFrame
	case len(p) < 2:
		return f, nil
	case p[1]&maskBit != 0:
		return f, errMaskedFrame
	case f.control() && p[1]&lenBits > maxControl:
		return f, errControlFrame
	}
	header := headerLength(p[1])
	if len(p) < header {
		return f, nil
	}
	payload := payloadLength(p)
	if payload > 1<<63-1 {
		return f, errFrameLength
	}
	if uint64(len(p)-header) < payload {
		return f, nil
	}
	f.whole = true
	f.length = header + int(payload)
	f.payload = p[header:f.length]
	return f, nil
}
