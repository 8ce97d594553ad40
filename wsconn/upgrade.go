package wsconn

import (
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"

	"go.uber.org/atomic"
)

// An upgrader is the RoundTripper of one dial. It puts a stream between the
// network and the WebSocket layer: the body of a response with status 101 is
// the connection itself, above TLS and above every proxy, and there the stream
// takes its place.
type upgrader struct {
	transport http.RoundTripper
	rules     *rules
	stream    atomic.Pointer[stream] // of the last response with status 101
	requests  []*url.URL             // that have been dialed, for the text of an error
	sent      *sent                  // with the last of them; nil: it does not matter
}

// RoundTrip is called once, and again for each redirect, all in the goroutine
// that dials.
func (u *upgrader) RoundTrip(request *http.Request) (*http.Response, error) {
	u.requests = append(u.requests, request.URL)
	// The transport may tell of a connection from a goroutine of its own, and
	// do so even when this request has been given another one.
	var conn atomic.Pointer[net.Conn]
	trace := &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { conn.Store(&info.Conn) },
	}
	u.sent = u.watchSent(request, trace)
	request = request.WithContext(httptrace.WithClientTrace(request.Context(), trace))
	response, err := u.transport.RoundTrip(request)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		return response, err
	}
	if body, ok := response.Body.(io.ReadWriteCloser); ok {
		var below net.Conn
		if c := conn.Load(); c != nil {
			below = *c
		}
		s := newStream(body, below, u.rules)
		u.stream.Store(s)
		response.Body = s
	}
	return response, nil
}

// abort cuts the connection, if there is one yet. It may be called at any time.
func (u *upgrader) abort() {
	if s := u.stream.Load(); s != nil {
		s.abort()
	}
}
