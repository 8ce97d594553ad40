package pooltest

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/leftover"
	"github.com/S4AK4N/pool/netconn"
	"github.com/S4AK4N/pool/wsconn"
)

func TestMain(m *testing.M) { leftover.Main(m) }

// listen starts a server that calls serve for each connection, and ends it, and those, with the test.
func listen(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var (
		mu      sync.Mutex
		conns   []net.Conn
		running sync.WaitGroup
	)
	running.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			running.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return listener.Addr().String()
}

// greet is a server of lines: it greets, and sends back what it gets.
func greet(c net.Conn) {
	io.WriteString(c, "welcome\n")
	io.Copy(c, c)
}

// welcome reads the greeting.
func welcome(ctx context.Context, c net.Conn) error {
	defer netconn.Bind(ctx, c)()
	for one := []byte{0}; one[0] != '\n'; {
		if _, err := io.ReadFull(c, one); err != nil {
			return err
		}
	}
	return nil
}

// echo has a line sent back.
func echo(ctx context.Context, c net.Conn) error {
	defer netconn.Bind(ctx, c)()
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && line != "hello\n" {
		err = fmt.Errorf("got %q", line)
	}
	return err
}

// made returns v, which there is if err is nil.
func made[T any](t testing.TB, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestTheFactoryOfNetconnPasses(t *testing.T) {
	wire := NewWire(t, "tcp", listen(t, greet))
	factory, err := netconn.NewFactory("tcp", wire.Addr(), &netconn.Options{OnConnect: welcome})
	passes(t, made(t, factory, err), &Options[net.Conn]{Wire: wire, Use: echo})
}

func TestTheFactoryOfNetconnPassesWithTLS(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	certificate, roots := server.TLS.Certificates[0], x509.NewCertPool()
	roots.AddCert(server.Certificate())
	server.Close()
	wire := NewWire(t, "tcp", listen(t, func(c net.Conn) {
		greet(tls.Server(c, &tls.Config{Certificates: []tls.Certificate{certificate}}))
	}))
	factory, err := netconn.NewFactory("tcp", wire.Addr(), &netconn.Options{
		TLS: &tls.Config{RootCAs: roots}, OnConnect: welcome,
		Goodbye: func(ctx context.Context, c net.Conn) error { _, err := io.WriteString(c, "bye\n"); return err },
	})
	passes(t, made(t, factory, err), &Options[net.Conn]{Wire: wire, Use: echo})
}

func TestAFactoryThatCleansByARequestPassesIfItSaysSo(t *testing.T) {
	wire := NewWire(t, "tcp", listen(t, greet))
	factory, err := netconn.NewFactory("tcp", wire.Addr(), &netconn.Options{OnConnect: welcome, Clean: echo, CleanTimeout: 5 * time.Second})
	passes(t, made(t, factory, err), &Options[net.Conn]{Wire: wire, Use: echo, RoundTrips: true})
}

// websockets is an echo server, behind a wire.
func websockets(t testing.TB) *Wire {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, message, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, message) != nil {
				return
			}
		}
	}))
	t.Cleanup(server.Close)
	return NewWire(t, "tcp", server.Listener.Addr().String())
}

// release ends what http.DefaultTransport keeps, by which wsconn dials.
func release() { http.DefaultTransport.(*http.Transport).CloseIdleConnections() }

func exchange(ctx context.Context, c *wsconn.Conn) error {
	_, reply, err := c.Exchange(ctx, websocket.MessageText, []byte("hello"))
	if err == nil && string(reply) != "hello" {
		err = fmt.Errorf("got %q", reply)
	}
	return err
}

func TestTheFactoryOfWsconnPasses(t *testing.T) {
	wire := websockets(t)
	factory, err := wsconn.NewFactory("ws://"+wire.Addr(), nil)
	passes(t, made(t, factory, err), &Options[*wsconn.Conn]{Wire: wire, Use: exchange, Release: release})
}

// One that pings all the time: its Check writes, and does not wait.
func TestTheFactoryOfWsconnPassesWithFewMoreOptions(t *testing.T) {
	wire := websockets(t)
	factory, err := wsconn.NewFactory("ws://"+wire.Addr(), &wsconn.Options{
		PingInterval: time.Millisecond,
		OnConnect:    func(ctx context.Context, c *wsconn.Conn) error { return exchange(ctx, c) },
		Clean:        func(ctx context.Context, c *wsconn.Conn) error { return nil },
	})
	passes(t, made(t, factory, err), &Options[*wsconn.Conn]{Wire: wire, Use: exchange, Release: release})
}

func TestWithoutOptionsWhatCanBeTestedIs(t *testing.T) {
	address := listen(t, func(c net.Conn) { io.Copy(c, c) })
	factory, err := netconn.NewFactory("tcp", address, nil)
	if len(descriptors()) > 0 {
		asked, last := 0, factory.Check
		factory.Check = func(c net.Conn) error {
			err := last(c)
			if errors.Is(err, io.EOF) {
				asked++
			}
			return err
		}
		defer func() {
			if asked == 0 {
				t.Error("no connection has died")
			}
		}()
	}
	rec := &recorder{TB: t}
	TestFactory(rec, made(t, factory, err), nil)
	if got := rec.text(); got != "" {
		t.Errorf("failed:\n%s", got)
	}

	if got, want := strings.Join(rec.logs, "\n"), "set Options.Wire"; !strings.Contains(got, want) {
		t.Errorf("the log does not have %q:\n%s", want, got)
	}
}

// passes runs TestFactory twice: nothing in it is used up by the first.
func passes[T any](t *testing.T, factory pool.Factory[T], opts *Options[T]) {
	t.Helper()
	for range 2 {
		rec := &recorder{TB: t}
		TestFactory(rec, factory, opts)
		if got := rec.text(); got != "" {
			t.Errorf("failed:\n%s", got)
		}
		if len(rec.logs) > 0 {
			t.Errorf("not all was tested: %q", rec.logs)
		}
	}
}

// A recorder is a test that remembers its failures. Whatever else TestFactory may call is that of the real one.
type recorder struct {
	testing.TB
	mu     sync.Mutex
	failed []string
	logs   []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = append(r.failed, fmt.Sprintf(format, args...))
}

func (r *recorder) Logf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logs = append(r.logs, fmt.Sprintf(format, args...))
}

func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.failed, "\n")
}

var errLost = errors.New("lost")
