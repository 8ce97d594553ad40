package wsconn

import (
	"bufio"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// A peer is the server's end of one WebSocket, of which a test controls every
// byte. Its reads and writes fail after patience.
type peer struct {
	t testing.TB
	net.Conn
	tcp *holdConn // below TLS
	br  *bufio.Reader
}

// A holdConn can hold back what is written, to send it in one segment.
type holdConn struct {
	*net.TCPConn
	mu   sync.Mutex
	held []byte
	hold bool
}

func (c *holdConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hold {
		c.held = append(c.held, p...)
		return len(p), nil
	}
	return c.TCPConn.Write(p)
}

// together sends in one segment what f sends.
func (p *peer) together(f func()) {
	if _, err := p.tcp.Write(p.held(f)); err != nil {
		p.t.Error(err)
	}
}

// held returns the bytes that f sends, in place of sending them.
func (p *peer) held(f func()) []byte {
	p.tcp.mu.Lock()
	p.tcp.hold = true
	p.tcp.mu.Unlock()
	f()
	p.tcp.mu.Lock()
	defer p.tcp.mu.Unlock()
	p.tcp.hold = false
	held := p.tcp.held
	p.tcp.held = nil
	return held
}

// frameOf returns a frame as a server sends it.
func frameOf(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

func text(s string) []byte { return frameOf(finBit|opText, []byte(s)) }
func ping(s string) []byte { return frameOf(finBit|opPing, []byte(s)) }
func closing(code uint16, reason string) []byte {
	return frameOf(finBit|opClose, append(binary.BigEndian.AppendUint16(nil, code), reason...))
}

func (p *peer) send(b []byte) {
	p.t.Helper()
	if _, err := p.Write(b); err != nil {
		p.t.Errorf("peer: %v", err)
	}
}

// next returns the next frame from the client: its first byte and its payload.
func (p *peer) next() (first byte, payload string) {
	p.t.Helper()
	first, payload, err := readClientFrame(p.br)
	if err != nil {
		p.t.Fatalf("peer: %v", err)
	}
	return first, payload
}

func readClientFrame(br *bufio.Reader) (first byte, payload string, err error) {
	var h [14]byte // no header is longer
	if _, err := io.ReadFull(br, h[:2]); err != nil {
		return 0, "", err
	}
	n := headerLength(h[1])
	if _, err := io.ReadFull(br, h[2:n]); err != nil {
		return 0, "", err
	}
	b := make([]byte, payloadLength(h[:]))
	if _, err := io.ReadFull(br, b); err != nil {
		return 0, "", err
	}
	for i := range b {
		b[i] ^= h[n-4+i%4]
	}
	return h[0], string(b), nil
}

// wantNext fails the test unless the next frame from the client is this one.
func (p *peer) wantNext(first byte, payload string) {
	p.t.Helper()
	if f, got := p.next(); f != first || got != payload {
		p.t.Errorf("the peer received frame %#x %q, want %#x %q", f, got, first, payload)
	}
}

// A mode is a way to reach a peer.
type mode struct {
	name   string
	tls    uint16 // version; 0: none
	noPeek bool
}

var modes = []mode{
	{"ws", 0, false},
	{"tls12", tls.VersionTLS12, false},
	{"tls13", tls.VersionTLS13, false},
	{"ws-fallback", 0, true},
	{"tls13-fallback", tls.VersionTLS13, true},
}

func eachMode(t *testing.T, test func(t *testing.T, m mode)) {
	for _, m := range modes {
		if !canPeek && !m.noPeek {
			continue
		}
		t.Run(m.name, func(t *testing.T) { test(t, m) })
	}
}

// A network is a listener that makes peers, and how to dial it.
type network struct {
	t      testing.TB
	mode   mode
	url    string
	client *http.Client
	peers  chan *peer
}

// newNetwork returns a network whose peers send rest in the segment of the
// response with status 101.
func newNetwork(t testing.TB, m mode, rest ...byte) *network {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &network{t: t, mode: m, url: "ws://" + listener.Addr().String(), client: &http.Client{Transport: &http.Transport{}}, peers: make(chan *peer, 128)}
	var config *tls.Config
	if m.tls != 0 {
		server := httptest.NewTLSServer(nil) // for its certificate
		server.Close()
		config = &tls.Config{Certificates: server.TLS.Certificates, MinVersion: m.tls, MaxVersion: m.tls}
		n.client = server.Client()
		n.url = "wss://" + listener.Addr().String()
	}
	var all sync.WaitGroup
	var conns []net.Conn // kept: the collector would close what a test has no more use for
	all.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			conns = append(conns, c)
			all.Go(func() { n.accept(c.(*net.TCPConn), config, rest) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		all.Wait()
		close(n.peers)
		for _, c := range conns {
			c.Close()
		}
	})
	return n
}

func (n *network) accept(c *net.TCPConn, config *tls.Config, rest []byte) {
	p := &peer{t: n.t, tcp: &holdConn{TCPConn: c}}
	p.Conn = p.tcp
	if config != nil {
		p.Conn = tls.Server(p.tcp, config)
	}
	p.SetDeadline(time.Now().Add(patience))
	p.br = bufio.NewReader(p.Conn)
	request, err := http.ReadRequest(p.br)
	if err != nil {
		c.Close()
		return
	}
	p.send(append([]byte(switching(request.Header.Get("Sec-WebSocket-Key"))), rest...))
	n.peers <- p
}

// switching is the answer to a handshake with key.
func switching(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return fmt.Sprintf("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]))
}

// options returns o, or the zero Options, completed so that they reach n. Pings are
// off unless o has an interval.
func (n *network) options(o *Options) *Options {
	var c Options
	if o != nil {
		c = *o
	}
	c.DialOptions = &websocket.DialOptions{HTTPClient: n.client}
	c.noPeek = n.mode.noPeek
	c.noTend = true // a test of tending calls tend
	if c.PingInterval == 0 {
		c.PingInterval = -1
	}
	return &c
}

// dial returns a connection, fresh from the factory, and its peer.
func (n *network) dial(o *Options) (*dialed, *peer) {
	n.t.Helper()
	factory := newFactory(n.t, n.url, n.options(o))
	conn := open(n.t, factory)
	p := receive(n.t, n.peers, "peer")
	n.t.Cleanup(func() { p.tcp.Close() })
	return &dialed{Conn: conn, t: n.t, check: factory.Check, clean: factory.Clean, close: factory.Close}, p
}

func dial(t testing.TB, m mode, o *Options) (*dialed, *peer) {
	t.Helper()
	return newNetwork(t, m).dial(o)
}

// A dialed is a connection with the factory functions that the pool would call.
type dialed struct {
	*Conn
	t     testing.TB
	check func(*Conn) error
	clean func(*Conn) error
	close func(*Conn, error) error
}

// checkAfter waits until something has arrived, or the connection has ended, and
// calls Check. Without a socket to look at it calls Check until done says that
// it has seen what it is to see.
func (d *dialed) checkAfter(done func() bool) error {
	d.t.Helper()
	if d.stream.peeker.able() {
		d.awaitArrival(1)
		return d.check(d.Conn)
	}
	for deadline := time.Now().Add(patience); ; {
		err := d.check(d.Conn)
		if err != nil || done() {
			return err
		}
		if time.Now().After(deadline) {
			d.t.Fatal("nothing seen")
		}
	}
}

// failsCheck waits for what fails the check, and returns its error.
func (d *dialed) failsCheck() error {
	d.t.Helper()
	err := d.checkAfter(func() bool { return false })
	if err == nil {
		d.t.Fatal("Check returned nil")
	}
	if d.check(d.Conn) == nil || d.clean(d.Conn) == nil {
		d.t.Error("a later Check or Clean returned nil")
	}
	return err
}

var ctxBackground = context.Background()
