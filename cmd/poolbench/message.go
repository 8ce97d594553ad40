package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/coder/websocket"
)

// errWrongReply says that what came back is not what was sent.
var errWrongReply = errors.New("wrong reply")

// A message is what one client sends again and again, with another number each
// time: no two requests of a run are alike if they are at least 16 bytes long,
// and shorter ones seldom, so that a reply that belongs to another request does
// not pass for the right one.
type message struct {
	number uint64
	sent   []byte // printable: some servers echo text only
	got    []byte // one byte longer, to notice a longer reply
}

// numberDigits is the room that the number of a message takes at its start.
const numberDigits = 16

// newMessage returns the message of one client, which next must be called for.
func newMessage(client, size int) *message {
	m := &message{
		number: uint64(client) << 40, // 17 bits for the client, the rest for its requests
		sent:   make([]byte, size),
		got:    make([]byte, size+1),
	}
	for i := range m.sent {
		m.sent[i] = 'a' + byte((client+i)%26)
	}
	return m
}

// next makes m the next message of its client.
func (m *message) next() {
	m.number++
	n := mix(m.number)
	for i := range min(numberDigits, len(m.sent)) {
		m.sent[i] = "0123456789abcdef"[n&15]
		n >>= 4
	}
}

// mix maps the numbers to numbers one to one so that each digit depends on all
// of n, for messages with room for a few digits only. It is the finalizer of
// SplitMix64 (Steele, Lea and Flood, 2014).
func mix(n uint64) uint64 {
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// exchange sends m over conn and reads one reply. It returns an error that is
// errWrongReply if the reply is another than m.
func (m *message) exchange(ctx context.Context, conn *websocket.Conn) error {
	if err := conn.Write(ctx, websocket.MessageText, m.sent); err != nil {
		return err
	}
	_, r, err := conn.Reader(ctx)
	if err != nil {
		return err
	}
	n, err := fill(m.got, r)
	if err != nil {
		return err
	}
	if got := m.got[:n]; !bytes.Equal(got, m.sent) {
		return fmt.Errorf("%w: sent %s, got %s", errWrongReply, excerpt(m.sent), excerpt(got))
	}
	return nil
}

// fill reads from r until its end, or until b is full.
func fill(b []byte, r io.Reader) (n int, err error) {
	for n < len(b) {
		k, err := r.Read(b[n:])
		n += k
		if err == io.EOF {
			break
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// excerpt quotes the start of b.
func excerpt(b []byte) string {
	const shown = 16
	if len(b) <= shown {
		return fmt.Sprintf("%q", b)
	}
	return fmt.Sprintf("%q...", b[:shown])
}
