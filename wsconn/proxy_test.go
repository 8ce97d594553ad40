package wsconn

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
)

// connectProxy runs an HTTP proxy that knows CONNECT only, and returns its URL.
// It sends the hosts that it was asked for.
func connectProxy(t *testing.T) (*url.URL, <-chan string) {
	hosts := make(chan string, 16)
	var tunnels sync.WaitGroup
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			http.Error(w, "CONNECT only", http.StatusMethodNotAllowed)
			return
		}
		hosts <- r.Host
		upstream, err := net.Dial("tcp", r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		tunnels.Go(func() {
			io.Copy(upstream, buffered)
			upstream.(*net.TCPConn).CloseWrite()
		})
		tunnels.Go(func() {
			io.Copy(conn, upstream)
			conn.Close()
			upstream.Close()
		})
	}))
	t.Cleanup(func() {
		server.Close()
		tunnels.Wait()
	})
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u, hosts
}

func TestSupervisionWorksThroughAConnectProxy(t *testing.T) {
	for _, m := range []mode{modes[1], modes[2], modes[4]} {
		t.Run(m.name, func(t *testing.T) {
			proxy, hosts := connectProxy(t)
			n := newNetwork(t, m)
			n.client.Transport.(*http.Transport).Proxy = http.ProxyURL(proxy)
			conn, p := n.dial(nil)
			if host := receive(t, hosts, "CONNECT"); !strings.HasSuffix(n.url, host) {
				t.Errorf("the proxy was asked for %s, want the host of %s", host, n.url)
			}
			conn.roundTrip(p)
			if conn.stream.peeker.able() == m.noPeek {
				t.Error("the socket is not where it was looked for")
			}
			p.send(ping("p"))
			pong := make(chan string, 1)
			go func() { _, payload, _ := readClientFrame(p.br); pong <- payload }()
			if err := conn.checkAfter(func() bool { return len(pong) > 0 }); err != nil {
				t.Fatal(err)
			}
			if got := receive(t, pong, "pong"); got != "p" {
				t.Errorf("pong %q", got)
			}
			p.send(text("late"))
			if err := conn.failsCheck(); !errors.Is(err, errBacklog) {
				t.Errorf("Check returned %v", err)
			}
		})
	}
}

// TestWSThroughAProxyIsNoTunnel pins what the documentation of DialOptions says.
func TestWSThroughAProxyIsNoTunnel(t *testing.T) {
	proxy, _ := connectProxy(t)
	factory := newFactory(t, "ws://localhost/ws", &Options{DialOptions: &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return proxy, nil }}},
	}})
	_, err := factory.Open(context.Background())
	var e *HandshakeError
	if !errors.As(err, &e) || e.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("Open returned %v, want the proxy's refusal", err)
	}
}

// TestStrayCallTouchesNothingWhileThePoolHoldsTheConnection: by somebody who has
// kept it beyond the end of the lease.
func TestStrayCallTouchesNothingWhileThePoolHoldsTheConnection(t *testing.T) {
	for name, call := range map[string]func(conn *Conn) error{
		"Read":  func(conn *Conn) error { _, _, err := conn.Conn.Read(context.Background()); return err },
		"Write": func(conn *Conn) error { return conn.Conn.Write(context.Background(), websocket.MessageText, nil) },
	} {
		conn, p := dial(t, modes[0], nil)
		p.send(text("not for you"))
		conn.awaitArrival(1)
		if err := conn.stream.hold(); err != nil {
			t.Fatal(err)
		}
		if err := call(conn.Conn); !errors.Is(err, errInUse) {
			t.Errorf("%s returned %v", name, err)
		}
		conn.stream.release()
		if err := conn.check(conn.Conn); !errors.Is(err, errInUse) {
			t.Errorf("after a stray %s Check returned %v", name, err)
		}
	}
}

// A wrappedConn shows the socket of the connection that it embeds, but may do
// anything with the bytes.
type wrappedConn struct{ *net.TCPConn }

func TestWrappedConnectionTakesTheFallback(t *testing.T) {
	n := newNetwork(t, modes[0])
	n.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return wrappedConn{c.(*net.TCPConn)}, nil
	}}}
	if conn, _ := n.dial(nil); conn.stream.peeker.able() {
		t.Error("it looks at the socket of a connection that is not known")
	}
}
