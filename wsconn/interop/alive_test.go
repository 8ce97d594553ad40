package interop

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/wsconn"
	"github.com/Shopify/toxiproxy/v2"
	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

const checkInterval = 50 * time.Millisecond

func eachPath(t *testing.T, test func(t *testing.T, opts *wsconn.Options)) {
	t.Run("path=peek", func(t *testing.T) { test(t, &wsconn.Options{}) })
	t.Run("path=fallback", func(t *testing.T) { test(t, &wsconn.Options{DialOptions: hideSocket()}) })
}

// attempts is how often a connection may be lost for a reason that is the machine's.
const attempts = 10

// noRoom reports whether err is that of a client that has found no room for a control
// frame within 20 ms. A client that is held up for as long cannot tell the difference, so
// that a connection lost for it is no evidence.
func noRoom(err error) bool {
	return err != nil && strings.Contains(err.Error(), "no room to write a control frame")
}

// closeCause returns what OnClose has sent to causes.
func closeCause(t *testing.T, causes <-chan error) error {
	t.Helper()
	select {
	case cause := <-causes:
		return cause
	case <-time.After(patience):
		t.Fatal("no connection was closed")
	}
	panic("not reached")
}

// survives fails the test unless an idle connection answers five pings of a server, and
// can be used then. start runs the server, which prints each pong. beat, if not nil,
// has it send a ping.
//
// If the client has found no room for a pong, another connection is tried.
func survives(t *testing.T, opts *wsconn.Options, start func() *server, beat func(s *server)) {
	t.Helper()
	causes := make(chan error, 100)
	opts.OnClose = func(_ *wsconn.Conn, cause error) { causes <- cause }
	use := func() error {
		s := start()
		p := newPool(t, s.url, opts, pool.Config{MaxConnections: 1, CheckInterval: checkInterval})
		_, before, err := try(soon(t), p, "1 echo")
		for i := 0; err == nil && i < 5; i++ {
			if beat != nil {
				beat(s)
			}
			var line string
			if line, err = s.nextUnless(causes); err == nil && line != "pong" {
				err = closeCause(t, causes) // the client tells why, a little later
			}
		}
		if err != nil {
			return err
		}
		reply, after, err := try(soon(t), p, "2 echo")
		if err == nil && (reply != "2 echo" || after != before) {
			err = fmt.Errorf("reply %q, on the same connection: %v", reply, after == before)
		}
		select {
		case err = <-causes: // tells more
		default:
		}
		return err
	}
	for range attempts {
		err := use()
		if err == nil {
			return
		}
		if !noRoom(err) {
			t.Fatal(err)
		}
	}
	t.Errorf("%d connections had no room for a pong", attempts)
}

func TestSurvivesTheHeartbeatOfNpmWS(t *testing.T) {
	eachPath(t, func(t *testing.T, opts *wsconn.Options) {
		survives(t, opts, func() *server { return node(t, onDemand) }, (*server).beat)
	})
}

// TestIsNotAliveWithoutChecks shows that the test above can fail.
func TestIsNotAliveWithoutChecks(t *testing.T) {
	s := node(t, onDemand)
	p := newPool(t, s.url, nil, pool.Config{MaxConnections: 1, CheckInterval: -1})
	_, before := ask(t, p, "1 echo")
	s.beat()
	s.beat()
	s.wants("terminated")
	if reply, after := ask(t, p, "2 echo"); reply != "2 echo" || before == after {
		t.Errorf("reply %q, on the same connection: %v", reply, before == after)
	}
}

func TestSurvivesTheKeepaliveOfPythonWebsockets(t *testing.T) {
	eachPath(t, func(t *testing.T, opts *wsconn.Options) {
		survives(t, opts, func() *server { return python(t, 100*time.Millisecond, patience) }, nil)
	})
}

// TestSurvivesAnNginxWithAShortReadTimeout: the time of nginx cannot be stopped, and a
// machine that stands still for as long breaks the connection. Without pings none
// would ever survive, so one that does is enough.
func TestSurvivesAnNginxWithAShortReadTimeout(t *testing.T) {
	const readTimeout, idle = time.Second, 2500 * time.Millisecond
	socket := nginx(t, node(t, time.Hour).url, readTimeout)
	eachPath(t, func(t *testing.T, opts *wsconn.Options) {
		opts.PingInterval = 300 * time.Millisecond
		p := newPool(t, "ws://nginx", throughSocket(socket, *opts), pool.Config{MaxConnections: 1, CheckInterval: checkInterval})
		_, before := ask(t, p, "1 echo")
		var err error
		for range attempts {
			time.Sleep(idle) // to be idle is the test
			var after *wsconn.Conn
			if _, after, err = try(soon(t), p, "2 echo"); err == nil && after == before {
				return
			}
			before = after
		}
		t.Errorf("no connection has survived %v idle: %v, %v", idle, err, p.Stats())
	})
	t.Run("without pings", func(t *testing.T) {
		causes := make(chan error, 8)
		p := newPool(t, "ws://nginx", throughSocket(socket, wsconn.Options{
			PingInterval: -1,
			OnClose:      func(_ *wsconn.Conn, cause error) { causes <- cause },
		}), pool.Config{MaxConnections: 1, CheckInterval: checkInterval})
		ask(t, p, "1 echo")
		select {
		case cause := <-causes:
			if cause == nil {
				t.Error("closed without a cause")
			}
		case <-time.After(patience):
			t.Error("the connection has survived")
		}
	})
}

func TestCloseOfTheServerIsSeenAndTold(t *testing.T) {
	for name, url := range map[string]string{"npm ws": node(t, time.Hour).url, "python websockets": python(t, time.Hour, time.Hour).url} {
		t.Run(name, func(t *testing.T) {
			eachPath(t, func(t *testing.T, opts *wsconn.Options) {
				causes := make(chan error, 8)
				opts.OnClose = func(_ *wsconn.Conn, cause error) { causes <- cause }
				p := newPool(t, url, opts, pool.Config{MaxConnections: 1, CheckInterval: checkInterval})
				l, err := p.Get(soon(t))
				if err != nil {
					t.Fatal(err)
				}
				request := "1 close"
				if strings.HasPrefix(name, "python") {
					request = "close"
				}
				l.Value().Write(soon(t), websocket.MessageText, []byte(request))
				p.Put(l)
				select {
				case cause := <-causes:
					if websocket.CloseStatus(cause) != websocket.StatusServiceRestart || !strings.Contains(cause.Error(), "restart") {
						t.Errorf("OnClose was told %v", cause)
					}
				case <-time.After(patience):
					t.Fatal("the close was not seen")
				}
				if reply, _ := ask(t, p, "2 echo"); reply != "2 echo" {
					t.Errorf("reply %q", reply)
				}
			})
		})
	}
}

// TestHalfOpenConnectionIsFound: toxiproxy drops all bytes, and closes nothing.
func TestHalfOpenConnectionIsFound(t *testing.T) {
	url := node(t, time.Hour).url
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, "half-open", "127.0.0.1:0", strings.TrimPrefix(url, "ws://"))
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	defer proxy.Stop()
	eachPath(t, func(t *testing.T, opts *wsconn.Options) {
		causes := make(chan error, 8)
		opts.PingInterval, opts.PongTimeout = 100*time.Millisecond, 200*time.Millisecond
		opts.OnClose = func(_ *wsconn.Conn, cause error) { causes <- cause }
		p := newPool(t, "ws://"+proxy.Listen, opts, pool.Config{MaxConnections: 1, CheckInterval: checkInterval})
		halfOpen := func() error {
			ask(t, p, "1 echo")
			defer proxy.Toxics.ResetToxics(t.Context())
			for _, stream := range []string{"upstream", "downstream"} {
				toxic := `{"name":"` + stream + `","type":"timeout","stream":"` + stream + `","attributes":{"timeout":0}}`
				if _, err := proxy.Toxics.AddToxicJson(bytes.NewBufferString(toxic)); err != nil {
					t.Fatal(err)
				}
			}
			return closeCause(t, causes)
		}
		cause := halfOpen()
		for i := 1; i < attempts && noRoom(cause); i++ {
			cause = halfOpen()
		}
		if cause == nil || !strings.Contains(cause.Error(), "of a ping") {
			t.Errorf("closed because of %v", cause)
		}
		if reply, _ := ask(t, p, "2 echo"); reply != "2 echo" {
			t.Errorf("reply %q", reply)
		}
	})
}
