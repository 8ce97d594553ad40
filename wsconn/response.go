package wsconn

import (
	"crypto/tls"
	"encoding/binary"
	"net"
	"net/http"
	"slices"
	"strings"
)

// A response is what is kept of the server's response to the handshake for as long as
// the connection lives: no request, nothing that hangs on it, and no map. Hardly anybody
// asks for it, so it is made to be small.
type response struct {
	// text is the status line, "" if it is the usual one, and the names and values of the
	// header but for the usual ones: each string comes after its length.
	text string

	tls *tls.ConnectionState // or askConn
}

// askConn says that the connection tells the state of TLS.
var askConn = new(tls.ConnectionState)

const (
	usualStatus = "101 Switching Protocols"
	usualProto  = "HTTP/1.1"
)

// usualHeader is what most servers send. No response is without these fields: the
// WebSocket layer insists on them.
var usualHeader = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}

// pack keeps r, which came on conn; that may be nil.
func pack(r *http.Response, conn net.Conn) response {
	var text []byte
	add := func(s string) { text = append(binary.AppendUvarint(text, uint64(len(s))), s...) }
	if r.Status == usualStatus && r.Proto == usualProto {
		add("")
	} else {
		add(r.Proto + " " + r.Status)
	}
	for name, values := range r.Header {
		if usual, ok := usualHeader[name]; ok && slices.Equal(values, usual) {
			continue
		}
		for _, value := range values {
			add(name)
			add(value)
		}
	}
	packed := response{string(text), r.TLS}
	if _, ok := conn.(*tls.Conn); ok && r.TLS != nil {
		packed.tls = askConn
	}
	return packed
}

// unpack returns the response, which came on conn.
func (p *response) unpack(conn net.Conn) *http.Response {
	rest := p.text
	next := func() string {
		n, size := binary.Uvarint([]byte(rest[:min(len(rest), binary.MaxVarintLen64)]))
		s := rest[size : size+int(n)]
		rest = rest[size+int(n):]
		return s
	}
	r := &http.Response{
		Status: usualStatus, StatusCode: http.StatusSwitchingProtocols,
		Proto: usualProto, ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header), TLS: p.tls, Body: http.NoBody,
	}
	if line := next(); line != "" {
		r.Proto, r.Status, _ = strings.Cut(line, " ")
		r.ProtoMajor, r.ProtoMinor, _ = http.ParseHTTPVersion(r.Proto)
	}
	for rest != "" {
		name := next()
		r.Header[name] = append(r.Header[name], next())
	}
	for name, values := range usualHeader {
		if r.Header[name] == nil {
			r.Header[name] = slices.Clone(values)
		}
	}
	if p.tls == askConn {
		state := conn.(*tls.Conn).ConnectionState()
		r.TLS = &state
	}
	return r
}
