package netconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
)

func TestNewFactoryRefusesWhatCannotBeDialed(t *testing.T) {
	none := func(context.Context, net.Conn) error { return nil }
	for _, c := range []struct {
		network, address string
		opts             *Options
		want             string
	}{
		{"tcp", "", nil, "netconn: address is empty"},
		{"udp", "localhost:1", nil, `netconn: network is "udp"; want tcp, tcp4, tcp6 or unix`},
		{"", "localhost:1", nil, `netconn: network is ""; want tcp, tcp4, tcp6 or unix`},
		{"tcp", "localhost", nil, "netconn: address localhost: missing port in address"},
		{"tcp", "localhost:", nil, `netconn: address "localhost:" has no port`},
		{"tcp", ":1", &Options{TLS: &tls.Config{}}, "netconn: Options.TLS has no ServerName, and the address has no host"},
		{"unix", "/socket", &Options{TLS: &tls.Config{}}, "netconn: Options.TLS has no ServerName, and the address has no host"},
		{"tcp", "localhost:1", &Options{StartTLS: none}, "netconn: Options.StartTLS is set without TLS"},
		{"tcp", "localhost:1", &Options{Dialer: &net.Dialer{}, DialContext: new(net.Dialer).DialContext}, "netconn: Options.Dialer and DialContext are both set"},
		{"tcp", "localhost:1", &Options{CleanTimeout: -1}, "netconn: Options.CleanTimeout is negative: -1ns"},
		{"tcp", "localhost:1", &Options{CloseTimeout: -1}, "netconn: Options.CloseTimeout is negative: -1ns"},
	} {
		f, err := NewFactory(c.network, c.address, c.opts)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s %s: %v, want %s", c.network, c.address, err, c.want)
		}
		if f.Open != nil {
			t.Errorf("%s %s: a factory beside the error", c.network, c.address)
		}
	}
}

func TestNewFactoryAcceptsWhatCanBeDialed(t *testing.T) {
	for _, c := range []struct {
		network, address string
		opts             *Options
	}{
		{"tcp", "localhost:1", nil},
		{"tcp4", "127.0.0.1:imap", &Options{}},
		{"tcp6", "[::1]:1", &Options{TLS: &tls.Config{}}},
		{"tcp", ":1", &Options{TLS: &tls.Config{ServerName: "x"}}},
		{"unix", "/socket", &Options{TLS: &tls.Config{InsecureSkipVerify: true}}},
	} {
		if _, err := NewFactory(c.network, c.address, c.opts); err != nil {
			t.Errorf("%s %s: %v", c.network, c.address, err)
		}
	}
}

func TestDefaultsInForce(t *testing.T) {
	o, err := (*Options)(nil).normalize("host")
	if err != nil {
		t.Fatal(err)
	}
	if o.CleanTimeout != time.Second || o.CloseTimeout != time.Second || o.TLS != nil {
		t.Errorf("in force are %+v", o)
	}
	given := &Options{TLS: &tls.Config{}, CleanTimeout: 1, CloseTimeout: 2}
	o, err = given.normalize("host")
	if err != nil {
		t.Fatal(err)
	}
	if o.CleanTimeout != 1 || o.CloseTimeout != 2 || o.TLS.ServerName != "host" {
		t.Errorf("in force are %+v", o)
	}
	if given.TLS.ServerName != "" {
		t.Error("the caller's configuration of TLS was changed")
	}
	o, err = (&Options{TLS: &tls.Config{ServerName: "given"}}).normalize("host")
	if err != nil || o.TLS.ServerName != "given" {
		t.Errorf("the name in force is %q, %v", o.TLS.ServerName, err)
	}
}

// open opens a connection to a server that does nothing, and returns the error.
func openError(t *testing.T, ctx context.Context, network, address string, opts *Options) error {
	t.Helper()
	f, err := NewFactory(network, address, opts)
	if err != nil {
		t.Fatal(err)
	}
	client, err := f.Open(ctx)
	if err == nil {
		client.Close()
		t.Fatal("it was opened")
	}
	if want := "netconn: " + network + " " + address + ": "; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("the error %q does not begin with %q", err, want)
	}
	return err
}

func TestErrorsOfOpeningTellWhereAndWhy(t *testing.T) {
	refusing := serve(t, false)
	address := refusing.listener.Addr().String()
	refusing.listener.Close()
	var op *net.OpError
	if err := openError(t, t.Context(), "tcp", address, nil); !errors.As(err, &op) || op.Op != "dial" {
		t.Errorf("refused: %v", err)
	}
	if err := openError(t, t.Context(), "unix", filepath.Join(t.TempDir(), "socket"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no socket: %v", err)
	}

	secure := serve(t, true)
	failing := func() error {
		var handshake sync.WaitGroup
		handshake.Go(func() {
			c := <-secure.accepted
			defer c.Close()
			cert, _ := certificate()
			tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}}).Handshake()
		})
		defer handshake.Wait()
		return openError(t, t.Context(), "tcp", secure.listener.Addr().String(), &Options{TLS: &tls.Config{}})
	}
	var unknown x509.UnknownAuthorityError
	if err := failing(); !errors.As(err, &unknown) {
		t.Errorf("a certificate of nobody's: %v", err)
	}

	silent := serve(t, false)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := openError(t, ctx, "tcp", silent.listener.Addr().String(), &Options{TLS: &tls.Config{}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no handshake: %v", err)
	}
	// As net.Dialer, whose connect has the deadline of ctx.
	late := &Options{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, os.ErrDeadlineExceeded
	}}
	if err := openError(t, ctx, "tcp", "localhost:1", late); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("no connection in time: %v", err)
	}
	nothing := &Options{DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, nil }}
	if err := openError(t, t.Context(), "tcp", "localhost:1", nothing); !strings.Contains(err.Error(), "neither") {
		t.Errorf("nothing dialed: %v", err)
	}
}

func TestOnConnectGreetsAndLogsIn(t *testing.T) {
	transports(t, func(t *testing.T, s *server) {
		f := s.factory(t, &Options{OnConnect: func(ctx context.Context, conn net.Conn) error {
			if _, err := io.ReadFull(conn, make([]byte, 7)); err != nil {
				return err
			}
			_, err := io.WriteString(conn, "login")
			conn.SetDeadline(longAgo) // does not stay
			return err
		}})
		peers := s.accepts(t, 1)
		var served sync.WaitGroup
		served.Go(func() {
			p := <-peers
			p.say("welcome")
			p.hear("login")
			p.hear("x")
			p.say("y")
		})
		client, err := f.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if of(client).deadlines.Load() {
			t.Error("a deadline has stayed")
		}
		io.WriteString(client, "x")
		read(t, client, "y")
		served.Wait()
	})
}

func TestOpeningFailsIfOnConnectDoes(t *testing.T) {
	errLogin := errors.New("wrong password")
	for name, c := range map[string]struct {
		on   func(conn net.Conn, cancel func()) error
		want error
	}{
		"error":  {func(net.Conn, func()) error { return errLogin }, errLogin},
		"unread": {func(conn net.Conn, _ func()) error { arrived(t, conn, 7); return nil }, errUnread},
		"reads for ever": {func(conn net.Conn, cancel func()) error {
			go cancel()
			_, err := io.Copy(io.Discard, conn)
			return err
		}, context.Canceled},
		"swallows the end of ctx": {func(conn net.Conn, cancel func()) error {
			go cancel()
			io.Copy(io.Discard, conn)
			return nil
		}, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			transports(t, func(t *testing.T, s *server) {
				peers := s.accepts(t, 1)
				var served sync.WaitGroup
				served.Go(func() {
					p := <-peers
					p.say("welcome")
					io.Copy(io.Discard, p.raw) // until the client closes
				})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				err := openError(t, ctx, "tcp", s.listener.Addr().String(), s.options(&Options{
					OnConnect: func(_ context.Context, conn net.Conn) error { return c.on(conn, cancel) },
				}))
				if !errors.Is(err, c.want) {
					t.Errorf("opening fails with %v, want %v", err, c.want)
				}
				served.Wait()
			})
		})
	}
}

func TestAPanicOfOnConnectClosesTheConnection(t *testing.T) {
	s := serve(t, false)
	peers := s.accepts(t, 1)
	f := s.factory(t, &Options{OnConnect: func(context.Context, net.Conn) error { panic("oh") }})
	func() {
		defer func() {
			if r := recover(); r != "oh" {
				t.Errorf("recovered %v", r)
			}
		}()
		f.Open(t.Context())
	}()
	(<-peers).hearEnd()
}

// startTLS asks the server of a test for TLS.
func startTLS(_ context.Context, conn net.Conn) error {
	if _, err := io.WriteString(conn, "tls?"); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 3))
	return err
}

func TestStartTLSAsksBeforeTheHandshake(t *testing.T) {
	s := serve(t, false)
	f := s.factory(t, &Options{TLS: clientTLS(), StartTLS: startTLS})
	peers := s.accepts(t, 1)
	var served sync.WaitGroup
	served.Go(func() {
		p := <-peers
		p.hear("tls?")
		p.say("yes")
		cert, _ := certificate()
		p.Conn = tls.Server(p.raw, &tls.Config{Certificates: []tls.Certificate{cert}})
		p.hear("x")
		p.say("y")
	})
	client, err := f.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, ok := client.(*tls.Conn); !ok {
		t.Errorf("a %T is lent", client)
	}
	io.WriteString(client, "x")
	read(t, client, "y")
	served.Wait()
}

// What somebody on the way puts behind the answer would pass for the server's word.
func TestOpeningFailsIfThereIsPlaintextBehindStartTLS(t *testing.T) {
	s := serve(t, false)
	peers := s.accepts(t, 1)
	var served sync.WaitGroup
	served.Go(func() {
		p := <-peers
		p.hear("tls?")
		p.say("yes" + "injected")
		if n, err := p.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("the server got %d bytes, %v; want an end", n, err)
		}
	})
	err := openError(t, t.Context(), "tcp", s.listener.Addr().String(), &Options{TLS: clientTLS(), StartTLS: func(ctx context.Context, conn net.Conn) error {
		err := startTLS(ctx, conn)
		arrived(t, conn, 8)
		return err
	}})
	if !errors.Is(err, errUnread) {
		t.Errorf("opening fails with %v, want %v", err, errUnread)
	}
	served.Wait()
}

func TestPutClearsDeadlines(t *testing.T) {
	for name, set := range map[string]func(net.Conn, time.Time) error{
		"SetDeadline": net.Conn.SetDeadline, "SetReadDeadline": net.Conn.SetReadDeadline, "SetWriteDeadline": net.Conn.SetWriteDeadline,
	} {
		t.Run(name, func(t *testing.T) {
			transports(t, func(t *testing.T, s *server) {
				p := s.pool(t, nil, pool.Config{MaxConnections: 1})
				peers := s.accepts(t, 1)
				l := get(t, p)
				peer := <-peers
				ask(t, l.Value(), peer)
				set(l.Value(), longAgo)
				if err := p.Put(l); err != nil {
					t.Fatal(err)
				}
				next := get(t, p)
				if next.Value() != l.Value() {
					t.Fatal("another one is lent")
				}
				ask(t, next.Value(), peer)
				p.Put(next)
			})
		})
	}
}

// exchange sends a request and reads a reply of three bytes.
func exchange(request string) func(context.Context, net.Conn) error {
	return func(_ context.Context, conn net.Conn) error {
		if _, err := io.WriteString(conn, request); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, make([]byte, 3))
		return err
	}
}

func TestCleanResetsTheSession(t *testing.T) {
	transports(t, func(t *testing.T, s *server) {
		f := s.factory(t, &Options{Clean: exchange("reset"), CleanTimeout: patience})
		client, p := s.pair(t, func() (net.Conn, error) { return f.Open(t.Context()) })
		var served sync.WaitGroup
		served.Go(func() {
			p.hear("reset")
			p.say("ok.")
		})
		if err := f.Clean(client); err != nil {
			t.Fatal(err)
		}
		served.Wait()
		fit(t, client)
		ask(t, client, p)
	})
}

func TestCleanFailsIfItLeavesBytesUnread(t *testing.T) {
	transports(t, func(t *testing.T, s *server) {
		f := s.factory(t, &Options{CleanTimeout: patience, Clean: func(ctx context.Context, conn net.Conn) error {
			arrived(t, conn, 1)
			_, err := io.ReadFull(conn, make([]byte, 3))
			return err
		}})
		client, p := s.pair(t, func() (net.Conn, error) { return f.Open(t.Context()) })
		fit(t, client)
		p.raw.shut = true
		var served sync.WaitGroup
		served.Go(func() {
			p.say("ok.more")
			p.open()
		})
		err := f.Clean(client)
		served.Wait()
		// Bytes that come before Clean begins are the lease's, else Clean's own.
		if !errors.Is(err, errUnread) {
			t.Errorf("Clean returns %v, want %v", err, errUnread)
		}
	})
}

// A connection that is not fit for Clean is not given to it: it would read what is left of
// the lease.
func TestCleanIsNotCalledWithAnUnfitConnection(t *testing.T) {
	s := serve(t, false)
	called := false
	f := s.factory(t, &Options{Clean: func(context.Context, net.Conn) error { called = true; return nil }})
	client, p := s.pair(t, func() (net.Conn, error) { return f.Open(t.Context()) })
	p.say("rest")
	arrived(t, client, 4)
	if err := f.Clean(client); !errors.Is(err, errUnread) {
		t.Errorf("Clean returns %v, want %v", err, errUnread)
	}
	if called {
		t.Error("Options.Clean was called")
	}
}

func TestCleanEndsWithItsTime(t *testing.T) {
	transports(t, func(t *testing.T, s *server) {
		f := s.factory(t, &Options{CleanTimeout: time.Millisecond, Clean: exchange("reset")})
		client, _ := s.pair(t, func() (net.Conn, error) { return f.Open(t.Context()) })
		if err := f.Clean(client); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Clean returns %v, want %v", err, context.DeadlineExceeded)
		}
		if err := Check(client); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Check returns %v, want %v", err, context.DeadlineExceeded)
		}
	})
}

func TestAHealthyConnectionSaysGoodbye(t *testing.T) {
	transports(t, func(t *testing.T, s *server) {
		f := s.factory(t, &Options{Goodbye: exchange("quit"), CloseTimeout: patience})
		client, p := s.pair(t, func() (net.Conn, error) { return f.Open(t.Context()) })
		var served sync.WaitGroup
		served.Go(func() {
			p.hear("quit")
			p.say("bye")
			p.hearEnd() // on TLS too in an orderly way
		})
		if err := f.Close(client, nil); err != nil {
			t.Error(err)
		}
		served.Wait()
	})
}

func TestOneThatIsClosedForACauseSaysNothing(t *testing.T) {
	for name, cause := range map[string]error{"cause": errCause, "unfit": nil} {
		t.Run(name, func(t *testing.T) {
			transports(t, func(t *testing.T, s *server) {
				f := s.factory(t, &Options{Goodbye: func(context.Context, net.Conn) error {
					t.Error("Goodbye was called")
					return nil
				}})
				client, p := s.pair(t, func() (net.Conn, error) { return f.Open(t.Context()) })
				if cause == nil {
					of(client).fail(errCause)
				}
				if err := f.Close(client, cause); err != nil {
					t.Error(err)
				}
				if n, err := io.Copy(io.Discard, p.raw); n != 0 || err != nil {
					t.Errorf("the server got %d bytes, %v", n, err)
				}
			})
		})
	}
}

func TestGoodbyeEndsWithItsTime(t *testing.T) {
	transports(t, func(t *testing.T, s *server) {
		f := s.factory(t, &Options{Goodbye: exchange("quit"), CloseTimeout: time.Millisecond})
		client, p := s.pair(t, func() (net.Conn, error) { return f.Open(t.Context()) })
		if err := f.Close(client, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close returns %v, want %v", err, context.DeadlineExceeded)
		}
		if _, err := io.Copy(io.Discard, p.raw); err != nil {
			t.Errorf("the server got %v, want the end", err)
		}
	})
}

func TestTheFunctionsOfAFactoryTakeAnyConnection(t *testing.T) {
	s := serve(t, false)
	f := s.factory(t, nil)
	client, p := s.dial(t)
	if err := f.Check(client); err != nil {
		t.Error(err)
	}
	if err := f.Clean(client); err != nil {
		t.Error(err)
	}
	if err := f.Close(client, nil); err != nil {
		t.Error(err)
	}
	p.hearEnd()
}

func TestACopyGoesThroughToTheSocket(t *testing.T) {
	s := serve(t, false)
	client, p := s.open(t, nil)
	var served sync.WaitGroup
	served.Go(func() {
		p.hear("all of it")
		p.say("and back")
		p.Close()
	})
	if n, err := io.Copy(client, strings.NewReader("all of it")); n != 9 || err != nil {
		t.Errorf("copied %d, %v", n, err)
	}
	if err := of(client).failure(); err != nil {
		t.Error(err)
	}
	var got strings.Builder
	if n, err := io.Copy(&got, client); n != 8 || err != nil || got.String() != "and back" {
		t.Errorf("copied %d, %v: %q", n, err, got.String())
	}
	served.Wait()
	unfit(t, client, io.EOF)
}

func TestAUnixSocketIsLookedAt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Skip(err) // the folder's name may be too long
	}
	defer listener.Close()
	f, err := NewFactory("unix", path, nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := f.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	fit(t, client)
	server.Close()
	arrived(t, client, 1)
	if err := Check(client); !errors.Is(err, io.EOF) || !strings.HasPrefix(err.Error(), "netconn: unix "+path+": ") {
		t.Errorf("Check returns %v", err)
	}
}
