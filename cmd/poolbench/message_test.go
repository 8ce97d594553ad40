package main

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// startReplier starts a WebSocket server that answers a message with reply of it,
// and drops the connection if reply returns nil.
func startReplier(t *testing.T, reply func([]byte) []byte) (url string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		for {
			kind, b, err := conn.Read(r.Context())
			if err != nil {
				return
			}
			if b = reply(b); b == nil {
				return
			}
			if conn.Write(r.Context(), kind, b) != nil {
				return
			}
		}
	}))
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http")
}

func TestNoTwoMessagesAreAlike(t *testing.T) {
	seen := map[string]bool{}
	for client := range 50 {
		m := newMessage(client, 20)
		for range 200 {
			m.next()
			if seen[string(m.sent)] {
				t.Fatalf("%q for the second time", m.sent)
			}
			seen[string(m.sent)] = true
		}
	}
	short := map[string]bool{}
	for client := range 100 {
		m := newMessage(client, 8)
		m.next()
		short[string(m.sent)] = true
	}
	if len(short) < 99 {
		t.Errorf("%d different first messages of 8 bytes by 100 clients", len(short))
	}
}

func TestMessagesHaveTheirSizeAndArePrintable(t *testing.T) {
	for _, size := range []int{1, 15, 16, 17, 1000} {
		m := newMessage(maxClients, size)
		before := bytes.Clone(m.sent)
		m.next()
		if len(m.sent) != size || !utf8.Valid(m.sent) || bytes.ContainsFunc(m.sent, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("size %d: %q", size, m.sent)
		}
		if bytes.Equal(before, m.sent) {
			t.Errorf("size %d: the first message has no number: %q", size, m.sent)
		}
	}
}

func TestRepliesAreVerified(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		reply func([]byte) []byte
		wrong bool // reply; otherwise right
	}{
		{"the same", func(b []byte) []byte { return b }, false},
		{"one bit other", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, true},
		{"shorter", func(b []byte) []byte { return b[1:] }, true},
		{"longer", func(b []byte) []byte { return append(b, 'x') }, true},
		{"much longer", func(b []byte) []byte { return bytes.Repeat(b, 10) }, true},
		{"empty", func(b []byte) []byte { return b[:0] }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := testContext(t)
			conn, _, err := websocket.Dial(ctx, startReplier(t, c.reply), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.CloseNow()
			m := newMessage(1, 64)
			m.next()
			err = m.exchange(ctx, conn)
			if c.wrong != errors.Is(err, errWrongReply) || !c.wrong && err != nil {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		ctx := testContext(t)
		conn, _, err := websocket.Dial(ctx, startReplier(t, func([]byte) []byte { return nil }), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseNow()
		m := newMessage(1, 64)
		m.next()
		if err := m.exchange(ctx, conn); err == nil || errors.Is(err, errWrongReply) {
			t.Errorf("got %v", err)
		}
	})
}
