package wsconn

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"unsafe"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

// TestResponseIsWhatTheServerHasSent guards pack and unpack.
func TestResponseIsWhatTheServerHasSent(t *testing.T) {
	usual := func(more http.Header) http.Header {
		h := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Accept": {"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}}
		for name, values := range more {
			h[name] = values
		}
		return h
	}
	for name, r := range map[string]*http.Response{
		"usual":           {Status: usualStatus, Proto: usualProto, ProtoMajor: 1, ProtoMinor: 1, Header: usual(nil)},
		"more fields":     {Status: usualStatus, Proto: usualProto, ProtoMajor: 1, ProtoMinor: 1, Header: usual(http.Header{"Set-Cookie": {"a=1", "", "b=2"}, "Server": {"x\n\x00y"}})},
		"long":            {Status: usualStatus, Proto: usualProto, ProtoMajor: 1, ProtoMinor: 1, Header: usual(http.Header{"Set-Cookie": {string(make([]byte, 70_000))}})},
		"other words":     {Status: "101 Web Socket", Proto: usualProto, ProtoMajor: 1, ProtoMinor: 1, Header: usual(http.Header{"Connection": {"upgrade", "keep-alive"}, "Upgrade": {"WebSocket"}})},
		"other version":   {Status: usualStatus, Proto: "HTTP/1.0", ProtoMajor: 1, ProtoMinor: 0, Header: usual(nil)},
		"a bare protocol": {Status: "", Proto: "", Header: usual(nil)},
		"state of TLS":    {Status: usualStatus, Proto: usualProto, ProtoMajor: 1, ProtoMinor: 1, Header: usual(nil), TLS: &tls.ConnectionState{Version: tls.VersionTLS13}},
	} {
		r.StatusCode = http.StatusSwitchingProtocols
		packed := pack(r, nil)
		got := packed.unpack(nil)
		if got.Status != r.Status || got.StatusCode != r.StatusCode || got.Proto != r.Proto || got.ProtoMajor != r.ProtoMajor || got.ProtoMinor != r.ProtoMinor || got.TLS != r.TLS {
			t.Errorf("%s: %+v, want %+v", name, got, r)
		}
		if d := cmp.Diff(r.Header, got.Header); d != "" {
			t.Errorf("%s: header (-want +got):\n%s", name, d)
		}
		got.Header.Set("Upgrade", "changed")
		got.Header["Connection"][0] = "changed"
		if d := cmp.Diff(r.Header, packed.unpack(nil).Header); d != "" {
			t.Errorf("%s: a change of one response shows in the next:\n%s", name, d)
		}
	}
}

// TestResponseKnowsTheTLSStateOfItsConnection, which is not kept twice.
func TestResponseKnowsTheTLSStateOfItsConnection(t *testing.T) {
	for _, m := range modes {
		conn, _ := dial(t, m, nil)
		state := conn.Response().TLS
		if m.tls == 0 {
			if state != nil {
				t.Errorf("%s: %+v", m.name, state)
			}
			continue
		}
		if state == nil || state.Version != m.tls || !state.HandshakeComplete || len(state.PeerCertificates) == 0 {
			t.Errorf("%s: %+v", m.name, state)
		}
	}
}

// TestAnIdleConnectionIsSmall: a field that only some connections need, or only for some
// time, belongs into ending, outbox, extra or worries.
func TestAnIdleConnectionIsSmall(t *testing.T) {
	for _, part := range []struct {
		name       string
		size, most uintptr
	}{
		{"Conn", unsafe.Sizeof(Conn{}), 96},
		{"stream", unsafe.Sizeof(stream{}), 256},
	} {
		// What the allocator gives for it. On 32 bits both are smaller.
		if part.size > part.most {
			t.Errorf("a %s takes %d bytes, want at most %d", part.name, part.size, part.most)
		}
	}
}

// TestCloseFrameInPiecesTellsItsReason, wherever it is cut, and whatever came before. Of a
// masked one nothing is known.
func TestCloseFrameInPiecesTellsItsReason(t *testing.T) {
	reason := strings.Repeat("r", maxControl-2)
	masked := closing(4321, reason)
	masked = append([]byte{masked[0], masked[1] | maskBit, 1, 2, 3, 4}, masked[2:]...)
	for name, test := range map[string]struct {
		frame  []byte
		code   websocket.StatusCode
		reason string
	}{
		"long":   {closing(4321, reason), 4321, reason},
		"short":  {closing(4321, ""), 4321, ""},
		"empty":  {frameOf(finBit|opClose, nil), websocket.StatusNoStatusRcvd, ""},
		"masked": {masked, websocket.StatusNoStatusRcvd, ""},
	} {
		for cut := 1; cut < len(test.frame); cut++ {
			before := text("before")
			next := len(before) + cut
			pieces := func() int { n := next; next = len(test.frame) - cut; return n }
			s := newStream(&script{bytes: append(before, test.frame...), pieces: pieces, end: io.EOF}, nil, &rules{})
			if _, err := io.Copy(io.Discard, s); err != errTruncated { // it is of no use to anybody
				t.Fatal(err)
			}
			var e websocket.CloseError
			if err := s.failure(); !errors.As(err, &e) || e.Code != test.code || e.Reason != test.reason {
				t.Errorf("%s, cut at %d: %v", name, cut, err)
			}
		}
	}
}
