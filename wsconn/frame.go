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
	finBit  = 0x80
	rsvBits = 0x70
	rsv1Bit = 0x40
	opBits  = 0x0F
	maskBit = 0x80
	lenBits = 0x7F
	len16   = 126
	len64   = 127
)

// maxControl is the longest payload of a control frame.
const maxControl = 125

// A frames follows one direction of a connection from frame to frame. It is fed
// every byte that passes, in pieces of any size, and does nothing else with them.
type frames struct {
	payload  uint64 // bytes of the current frame's payload still to come; within the header, its length as far as it is known
	messages uint32 // data messages that have passed whole, modulo 1<<32
	first    byte   // of the current frame's header, or the last one's
	second   byte
	have     uint8 // bytes of the header; 0 between frames; inPayload: the header is complete, the frame is not
	state    state
}

// inPayload is more than any header has.
const inPayload = 0xFF

// A state is what the frames so far mean for those to come.
type state uint8

const (
	fragmented state = 1 << iota // a data frame without FIN has passed, its last fragment has not
	closeBegun                   // a close frame has begun
	broken                       // a length that no frame can have: nothing is known from here on
)

// between reports whether nothing is under way: what has passed ends with the
// end of a message or of a control frame that is none of closing.
func (f *frames) between() bool { return f.have == 0 && f.state == 0 }

// closing reports whether a close frame has begun.
func (f *frames) closing() bool { return f.state&closeBegun != 0 }

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
	if f.state&broken != 0 {
		return len(p), false
	}
	for f.have != inPayload {
		if n == len(p) {
			return n, false
		}
		f.headerByte(p[n])
		n++
	}
	if f.payload > 1<<63-1 {
		f.state |= broken
		return len(p), false
	}
	k := uint64(len(p) - n)
	if k > f.payload {
		k = f.payload
	}
	f.payload -= k
	n += int(k)
	if f.payload > 0 {
		return n, false
	}
	f.have = 0
	if f.opcode() < opClose {
		f.state |= fragmented
		if f.first&finBit != 0 {
			f.state &^= fragmented
			f.messages++
		}
	}
	return n, true
}

// headerByte passes the next byte of a header. Nothing is kept of the mask.
func (f *frames) headerByte(b byte) {
	f.have++
	switch {
	case f.have == 1:
		f.first = b
		return
	case f.have == 2:
		f.second = b
		f.payload = 0
		if b&lenBits < len16 {
			f.payload = uint64(b & lenBits)
		}
	case f.have <= 4 && f.second&lenBits == len16, f.have <= 10 && f.second&lenBits == len64:
		f.payload = f.payload<<8 | uint64(b)
	}
	if int(f.have) == headerLength(f.second) {
		f.have = inPayload
		if f.opcode() == opClose {
			f.state |= closeBegun
		}
	}
}

func (f *frames) opcode() byte { return f.first & opBits }

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
	if f.have == inPayload {
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
