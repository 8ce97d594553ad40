package netconn

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/leftover"
)

func TestMain(m *testing.M) { leftover.Main(m) }

// patience bounds every wait for something that must happen.
const patience = 30 * time.Second

// A server accepts connections on the loopback, and leaves the rest to the test.
type server struct {
	secure   bool
	late     bool // it sends session tickets when it has got the last of the handshake
	listener net.Listener
	accepted chan net.Conn
	over     chan struct{}
}

func serve(t testing.TB, secure bool) *server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{secure: secure, listener: listener, accepted: make(chan net.Conn), over: make(chan struct{})}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			select {
			case s.accepted <- c:
			case <-s.over:
				c.Close()
			}
		}
	})
	t.Cleanup(func() {
		close(s.over)
		listener.Close()
		accepting.Wait()
	})
	return s
}

// certificate is one for example.com and 127.0.0.1, and who vouches for it.
var certificate = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return s.TLS.Certificates[0], roots
})

func clientTLS() *tls.Config {
	_, roots := certificate()
	return &tls.Config{RootCAs: roots, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
}

// options returns opts, with TLS if the server has it.
func (s *server) options(opts *Options) *Options {
	var c Options
	if opts != nil {
		c = *opts
	}
	if s.secure && c.TLS == nil {
		c.TLS = clientTLS()
	}
	return &c
}

func (s *server) factory(t testing.TB, opts *Options) pool.Factory[net.Conn] {
	t.Helper()
	f, err := NewFactory("tcp", s.listener.Addr().String(), s.options(opts))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (s *server) pool(t testing.TB, opts *Options, config pool.Config) *pool.Pool[net.Conn] {
	t.Helper()
	p, err := pool.New(s.factory(t, opts), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// A peer is the server's side of a connection.
type peer struct {
	net.Conn
	t   testing.TB
	raw *gate
}

// A gate is what a peer writes through: open, or keeping what is written.
type gate struct {
	net.Conn
	shut bool
	kept bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	if g.shut {
		return g.kept.Write(p)
	}
	return g.Conn.Write(p)
}

// accept returns the server's side of the next connection, after the handshake of TLS.
func (s *server) accept(t testing.TB) *peer {
	t.Helper()
	var raw net.Conn
	select {
	case raw = <-s.accepted:
	case <-time.After(patience):
		panic("nobody has dialed")
	}
	raw.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { raw.Close() })
	p := &peer{t: t, raw: &gate{Conn: raw}}
	p.Conn = p.raw
	if s.secure {
		cert, _ := certificate()
		config := &tls.Config{Certificates: []tls.Certificate{cert}}
		config.SetSessionTicketKeys([][32]byte{{1}})
		if s.late {
			config.ClientAuth = tls.RequestClientCert
			config.VerifyConnection = func(tls.ConnectionState) error { // all but the tickets has been sent
				p.raw.shut = true
				return nil
			}
		}
		p.Conn = tls.Server(p.raw, config)
		if err := p.Conn.(*tls.Conn).Handshake(); err != nil {
			t.Error(err)
		}
	}
	return p
}

// open sends what the gate has kept, in one piece, and returns its length.
func (p *peer) open() int {
	p.t.Helper()
	p.raw.shut = false
	n, err := p.raw.Conn.Write(p.raw.kept.Bytes())
	if err != nil {
		p.t.Fatal(err)
	}
	p.raw.kept.Reset()
	return n
}

// accepts accepts n connections in the background.
func (s *server) accepts(t testing.TB, n int) <-chan *peer {
	peers := make(chan *peer, n)
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for range n {
			peers <- s.accept(t)
		}
	})
	t.Cleanup(accepting.Wait)
	return peers
}

// say writes to the client.
func (p *peer) say(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p, text); err != nil {
		p.t.Fatal(err)
	}
}

// hear reads from the client.
func (p *peer) hear(want string) {
	p.t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(p, got); err != nil || string(got) != want {
		p.t.Fatalf("the server got %q, %v; want %q", got, err, want)
	}
}

// hearEnd waits until the client has closed.
func (p *peer) hearEnd() {
	p.t.Helper()
	if n, err := p.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		p.t.Fatalf("the server got %d bytes, %v; want the end", n, err)
	}
}

// open opens a connection by the factory, and returns both sides.
func (s *server) open(t testing.TB, opts *Options) (net.Conn, *peer) {
	t.Helper()
	return s.pair(t, func() (net.Conn, error) { return s.factory(t, opts).Open(t.Context()) })
}

// dial opens a connection without this package.
func (s *server) dial(t testing.TB) (net.Conn, *peer) {
	t.Helper()
	return s.pair(t, func() (net.Conn, error) {
		if s.secure {
			return tls.Dial("tcp", s.listener.Addr().String(), clientTLS())
		}
		return net.Dial("tcp", s.listener.Addr().String())
	})
}

func (s *server) pair(t testing.TB, open func() (net.Conn, error)) (net.Conn, *peer) {
	t.Helper()
	var client net.Conn
	var err error
	var opening sync.WaitGroup
	opening.Go(func() { client, err = open() })
	p := s.accept(t)
	opening.Wait()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client, p
}

// ask makes one exchange over a connection, after which nothing is under way.
func ask(t testing.TB, client net.Conn, p *peer) {
	t.Helper()
	if _, err := io.WriteString(client, "ask"); err != nil {
		t.Fatal(err)
	}
	p.hear("ask")
	p.say("reply")
	read(t, client, "reply")
}

// read reads just this.
func read(t testing.TB, client net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(client, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v; want %q", got, err, want)
	}
}

// get takes a connection from a pool, and returns both sides if it is new.
func get(t testing.TB, p *pool.Pool[net.Conn]) pool.Lease[net.Conn] {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	l, err := p.Get(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// transports runs a test with and without TLS.
func transports(t *testing.T, f func(t *testing.T, s *server)) {
	for name, secure := range map[string]bool{"tcp": false, "tls": true} {
		t.Run(name, func(t *testing.T) { f(t, serve(t, secure)) })
	}
}
