package wsconn

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"

	"github.com/S4AK4N/pool"
	"github.com/coder/websocket"
)

// A view is what one Dial of a [Dialer] has of a pooled connection. The WebSocket layer
// takes it for the network: it answers the handshake, passes bytes on to the stream of the
// pooled connection and, when the program closes the WebSocket with status 1000, answers
// the closing handshake as well and gives the connection back. From then on it has no
// connection, so that whatever the program has kept fails, and reaches nobody.
//
// It is a [http.RoundTripper] for one request, and the body of the response.
type view struct {
	home *dialPools // where the connection comes from

	mu    sync.Mutex // guards what follows; never held while a call may wait for the peer
	phase phase
	conn  *Conn             // nil when the view has none any more
	lease pool.Lease[*Conn] // of conn

	reading  bool          // a Read of the stream is in progress
	left     chan struct{} // closed by that Read when it returns; nil: nobody waits for it
	decided  chan struct{} // closed when viewLeaving ends
	farewell []byte        // what Read gives out after viewLeaving

	in, out        traffic
	uncalled       bool     // a message came that no request had asked for
	unponged       int      // pings of the server that the program has not answered
	unanswered     []string // payloads of the program's pings without a pong
	sent, received []raw    // for Options.Finished
	recorded       int      // bytes in them, and of what is under way
}

// phase is how far a view has come.
//
//	viewOpen     bytes are passed on. A close frame of the program with status 1000 leads
//	             to viewLeaving, any other and one too many to viewPassing, Close to viewEnded
//	viewLeaving  the Write with that close frame finds out whether the connection is
//	             finished; Reads and Close wait for it. Leads to viewReturned, to viewPassing
//	             or, if the server has just closed the connection, to viewEnded
//	viewPassing  bytes are passed on, and the connection will not be lent again. Close
//	             leads to viewEnded
//	viewReturned the connection is back in the pool. Read gives out the answer to the
//	             close frame, and then the end
//	viewEnded    the connection is closed. Read gives out what the server had to say
type phase uint8

const (
	viewOpen phase = iota
	viewLeaving
	viewPassing
	viewReturned
	viewEnded
)

// newView returns a view of the connection of a lease that nobody has used yet.
func newView(home *dialPools, lease pool.Lease[*Conn]) *view {
	conn := lease.Value()
	return &view{home: home, conn: conn, lease: lease}
}

// RoundTrip implements [http.RoundTripper]: it answers a handshake as the server has
// answered that of the connection.
func (v *view) RoundTrip(request *http.Request) (*http.Response, error) {
	response := v.conn.Response() // made for this call
	response.Header.Set("Sec-WebSocket-Accept", acceptKey(request.Header.Get("Sec-WebSocket-Key")))
	if response.TLS != nil {
		state := *response.TLS
		response.TLS = &state
	}
	response.Request, response.Body = request, v
	return response, nil
}

// acceptKey answers the challenge of a handshake. RFC 6455, section 4.2.2.
func acceptKey(challenge string) string {
	sum := sha1.Sum([]byte(challenge + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Read implements [io.Reader] for the WebSocket layer.
func (v *view) Read(p []byte) (int, error) {
	for {
		v.mu.Lock()
		switch v.phase {
		case viewLeaving:
			decided := v.decided
			v.mu.Unlock()
			<-decided
			continue
		case viewReturned, viewEnded:
			n := copy(p, v.farewell)
			v.farewell = v.farewell[n:]
			v.mu.Unlock()
			if n == 0 && len(p) > 0 {
				return 0, net.ErrClosed
			}
			return n, nil
		}
		s := v.conn.stream
		v.reading = true
		v.mu.Unlock()

		n, err := s.Read(p)
		more := n > 0 && v.counts() && s.messageBehind()

		v.mu.Lock()
		v.reading = false
		v.noteReceived(p[:n])
		v.uncalled = v.uncalled || more && v.owesNothing()
		if v.left != nil {
			close(v.left)
			v.left = nil
		}
		v.mu.Unlock()
		if err != errInterrupted {
			return n, err
		}
	}
}

// Write implements [io.Writer] for the WebSocket layer, which makes one call at a time.
func (v *view) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	v.mu.Lock()
	if v.phase != viewOpen && v.phase != viewPassing {
		v.mu.Unlock()
		return 0, net.ErrClosed
	}
	s := v.conn.stream
	n := len(p)
	if v.phase == viewOpen {
		// Before they are written: the reply may be here before Write returns.
		if v.counts() && v.owesNothing() && p[0]&opBits < opClose && s.messageArrived() {
			v.uncalled = true
		}
		n = v.noteSent(p)
	}
	v.mu.Unlock()
	if n > 0 {
		if k, err := s.Write(p[:n]); err != nil || n == len(p) {
			return k, err
		}
	}
	bye := p[n:]
	if v.leave(bye) {
		return len(p), nil
	}
	k, err := s.Write(bye)
	return n + k, err
}

// leave is called with a close frame of the program. It reports whether the view has
// answered it and is done with the connection. If not, the frame is for the server.
func (v *view) leave(frame []byte) bool {
	v.mu.Lock()
	if v.phase != viewOpen {
		v.mu.Unlock()
		return false
	}
	payload, whole := clientPayload(frame)
	if !whole || closeCode(payload) != websocket.StatusNormalClosure || !v.balanced() {
		v.phase = viewPassing
		v.mu.Unlock()
		return false
	}
	v.phase, v.decided = viewLeaving, make(chan struct{})
	var left chan struct{}
	if v.reading {
		left = make(chan struct{})
		v.left = left
	}
	conn, lease := v.conn, v.lease
	v.mu.Unlock()

	next, farewell := viewPassing, []byte(nil)
	defer func() { // also when a function of the options ends the goroutine
		v.mu.Lock()
		v.phase, v.farewell = next, farewell
		if next != viewPassing {
			v.conn, v.lease = nil, pool.Lease[*Conn]{}
		}
		v.forget()
		close(v.decided)
		v.mu.Unlock()
		switch next {
		case viewReturned:
			v.home.Put(lease)
		case viewEnded:
			v.home.Discard(lease, conn.Err())
		}
	}()
	if left != nil {
		conn.stream.interrupt()
		<-left
		conn.stream.resume()
	}
	// Nobody but this goroutine uses the connection now.
	switch err := v.settle(conn); {
	case err == nil:
		next, farewell = viewReturned, serverFrame(finBit|opClose, payload)
	case conn.stream.out.closing():
		// The server was first, and has its answer.
		next, farewell = viewEnded, closeFrameIn(conn.Err())
	}
	return next != viewPassing
}

// settle finds out whether the connection may be lent again, and gets it ready for that. As
// in a pool, a panic of a function of the options counts as an error.
func (v *view) settle(conn *Conn) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = conn.stream.fail(fmt.Errorf("wsconn: panic in a function of the options: %v", r))
		}
	}()
	if !v.finished() {
		return errViewClosed
	}
	return v.home.opener.clean(conn)
}

// closeFrameIn returns the close frame of the server that err tells of, or nil.
func closeFrameIn(err error) []byte {
	var e websocket.CloseError
	if !errors.As(err, &e) {
		return nil
	}
	var payload []byte
	if e.Code != websocket.StatusNoStatusRcvd {
		payload = append(binary.BigEndian.AppendUint16(nil, uint16(e.Code)), e.Reason...)
	}
	return serverFrame(finBit|opClose, payload)
}

// balanced reports whether what has passed may be finished, as far as counting tells.
func (v *view) balanced() bool {
	if !v.in.between() || !v.out.between() || v.unponged != 0 || len(v.unanswered) != 0 {
		return false
	}
	return !v.counts() || !v.uncalled && v.in.messages == v.out.messages
}

// counts reports whether the server sends one reply for each request, and nothing else.
func (v *view) counts() bool { return v.home.opener.options.OneReplyPerRequest }

// owesNothing reports whether the server has answered all that has been sent, and is at the end
// of a message. What it has sent beyond that was not asked for: see unasked.go.
func (v *view) owesNothing() bool {
	return v.in.between() && v.out.between() && int32(v.in.messages-v.out.begun) >= 0
}

// finished reports whether the connection is finished, as far as can be known without
// looking at it. The phase is viewLeaving, and no Read is in progress, so nobody changes what
// mu guards.
func (v *view) finished() bool {
	f := v.home.opener.options.Finished
	if balanced := v.balanced(); !balanced || f == nil {
		return balanced
	}
	sent, ok := messagesOf(v.sent)
	received, ok2 := messagesOf(v.received)
	return ok && ok2 && v.recorded <= maxRecorded && f(sent, received)
}

// forget drops what was kept for finished.
func (v *view) forget() { v.sent, v.received, v.in.frame, v.out.frame = nil, nil, nil, nil }

// noteReceived follows what the program is given.
func (v *view) noteReceived(p []byte) {
	if v.phase != viewOpen && v.phase != viewLeaving {
		return
	}
	for len(p) > 0 {
		n, end := v.in.follow(p, v.recording())
		p = p[n:]
		if !end {
			continue
		}
		switch v.in.opcode() {
		case opPing:
			v.unponged++
		case opPong:
			if i := slices.Index(v.unanswered, string(v.in.unframed())); i >= 0 {
				v.unanswered = slices.Delete(v.unanswered, i, i+1)
			}
		case opText, opBinary, opContinuation:
			v.uncalled = v.uncalled || int32(v.in.messages-v.out.begun) > 0
			v.received = v.record(&v.in, v.received)
		}
	}
}

// noteSent follows what the program sends, up to a close frame. It returns how many bytes
// of p that is.
func (v *view) noteSent(p []byte) int {
	for at := 0; at < len(p); {
		if v.out.have == 0 && p[at]&opBits == opClose {
			return at
		}
		n, end := v.out.follow(p[at:], v.recording())
		at += n
		if !end {
			continue
		}
		switch v.out.opcode() {
		case opPing:
			v.unanswered = append(v.unanswered, string(v.out.unframed()))
		case opPong:
			v.unponged = max(0, v.unponged-1)
		case opText, opBinary, opContinuation:
			v.sent = v.record(&v.out, v.sent)
		}
	}
	return len(p)
}

func (v *view) recording() bool {
	return v.home.opener.options.Finished != nil && v.recorded <= maxRecorded
}

// record adds the data frame that t has just seen the end of to messages, if that is the
// whole message.
func (v *view) record(t *traffic, messages []raw) []raw {
	if !v.recording() {
		return messages
	}
	v.recorded += len(t.frame) + 1
	t.gather()
	if t.cut || v.recorded > maxRecorded {
		v.recorded = maxRecorded + 1
		v.sent, v.received, t.message = nil, nil, raw{}
		return nil
	}
	if t.state&fragmented != 0 {
		return messages
	}
	messages = append(messages, t.message)
	t.message = raw{}
	return messages
}

// Close implements [io.Closer] for the WebSocket layer, which calls it when it is done
// with the connection, after a closing handshake or without one.
func (v *view) Close() error {
	v.mu.Lock()
	for v.phase == viewLeaving {
		decided := v.decided
		v.mu.Unlock()
		<-decided
		v.mu.Lock()
	}
	if v.phase == viewReturned || v.phase == viewEnded {
		v.mu.Unlock()
		return nil
	}
	cause := errViewCut
	if v.phase == viewPassing {
		cause = errViewClosed
	}
	conn, lease := v.conn, v.lease
	v.phase, v.conn, v.lease = viewEnded, nil, pool.Lease[*Conn]{}
	v.forget()
	v.mu.Unlock()
	if known := conn.stream.failed.Load(); known != nil && *known != errCloseSent {
		cause = fmt.Errorf("%w: %w", cause, *known)
	}
	err := conn.stream.Close()
	if !conn.stream.peeker.able() {
		conn.stream.interrupt() // not every transport ends a Read when it is closed
	}
	v.home.Discard(lease, cause)
	return err
}

var (
	errViewCut    = errors.New("wsconn: the program closed the connection of a Dial without a closing handshake")
	errViewClosed = errors.New("wsconn: the program closed the connection of a Dial that was not known to be finished")
)

// clientPayload returns the payload of a frame that a client sends, and whether p is just
// that frame.
func clientPayload(p []byte) (payload []byte, whole bool) {
	if len(p) < 2 || len(p) < headerLength(p[1]) {
		return nil, false
	}
	n := headerLength(p[1])
	payload = unmask(p[:n], slices.Clone(p[n:]))
	return payload, uint64(len(payload)) == payloadLength(p)
}

// unmask takes the mask off a payload, if header, which is that of its frame, says that
// there is one.
func unmask(header, payload []byte) []byte {
	if header[1]&maskBit != 0 {
		key := header[len(header)-4:]
		for i := range payload {
			payload[i] ^= key[i%4]
		}
	}
	return payload
}

// closeCode returns the status of a close frame.
func closeCode(payload []byte) websocket.StatusCode {
	if len(payload) < 2 {
		return websocket.StatusNoStatusRcvd
	}
	return websocket.StatusCode(binary.BigEndian.Uint16(payload))
}

// serverFrame returns a short frame as a server sends it.
func serverFrame(first byte, payload []byte) []byte {
	return append([]byte{first, byte(len(payload))}, payload...)
}
