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

// survives fails the test unless a connection answers five pings of a server, idle or
// leased, and can be used then. The server prints each pong. beat, if not nil, has it
// send a ping.
func survives(t *testing.T, s *server, opts *wsconn.Options, leased bool, beat func(s *server)) {
	t.Helper()
	causes := make(chan error, 100)
	opts.OnClose = func(_ *wsconn.Conn, cause error) { causes <- cause }
	if leased {
		opts.PingInterval = time.Second // which also says how often leases are looked after
	}
	p := newPool(t, s.url, opts, pool.Config{MaxConnections: 1, CheckInterval: checkInterval})
	_, before := ask(t, p, "1 echo")
	beats := func() {
		for range 5 {
			if beat != nil {
				beat(s)
			}
			if line, err := s.nextUnless(causes); err != nil || line != "pong" {
				t.Fatalf("the server has printed %q, %v", line, err)
			}
		}
	}
	if leased {
		l, err := p.Get(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		beats()
		p.Put(l)
	} else {
		beats()
	}
	reply, after := ask(t, p, "2 echo")
	if reply != "2 echo" || after != before {
		t.Errorf("reply %q, on the same connection: %v", reply, after == before)
	}
}

func eachState(t *testing.T, test func(t *testing.T, leased bool)) {
	t.Run("state=idle", func(t *testing.T) { test(t, false) })
	t.Run("state=leased", func(t *testing.T) { test(t, true) })
}

func TestSurvivesTheHeartbeatOfNpmWS(t *testing.T) {
	eachState(t, func(t *testing.T, leased bool) {
		eachPath(t, func(t *testing.T, opts *wsconn.Options) {
			survives(t, node(t, onDemand), opts, leased, (*server).beat)
		})
	})
}

// TestIsNotAliveWithoutAPool shows that the test above can fail.
func TestIsNotAliveWithoutAPool(t *testing.T) {
	s := node(t, onDemand)
	conn, _, err := websocket.Dial(soon(t), s.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if err := conn.Write(soon(t), websocket.MessageText, []byte("1 echo")); err != nil {
		t.Fatal(err)
	}
	if _, reply, err := conn.Read(soon(t)); err != nil || string(reply) != "1 echo" {
		t.Fatalf("read %q, %v", reply, err)
	}
	s.beat()
	s.beat()
	s.wants("terminated")
}

func TestSurvivesTheKeepaliveOfPythonWebsockets(t *testing.T) {
	eachState(t, func(t *testing.T, leased bool) {
		eachPath(t, func(t *testing.T, opts *wsconn.Options) {
			survives(t, python(t, 100*time.Millisecond, patience), opts, leased, nil)
		})
	})
}

// TestSurvivesAShortIdleTimeoutOfAProxy: the time of a proxy cannot be stopped, and a
// machine that stands still for as long breaks the connection. Without pings none
// would ever survive, so one that does is enough.
func TestSurvivesAShortIdleTimeoutOfAProxy(t *testing.T) {
	const timeout, idle = time.Second, 1500 * time.Millisecond
	for name, proxy := range map[string]func(t *testing.T, url string) (socket string){
		"nginx": func(t *testing.T, url string) string { return nginx(t, url, timeout) },
		"haproxy": func(t *testing.T, url string) string {
			socket, _ := haproxy(t, url, fmt.Sprintf("timeout tunnel %dms", timeout.Milliseconds()), "")
			return socket
		},
	} {
		t.Run(name, func(t *testing.T) {
			socket := proxy(t, node(t, time.Hour).url)
			eachPath(t, func(t *testing.T, opts *wsconn.Options) {
				opts.PingInterval = 300 * time.Millisecond
				p := newPool(t, "ws://proxy", throughSocket(socket, *opts), pool.Config{MaxConnections: 1, CheckInterval: checkInterval})
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
				p := newPool(t, "ws://proxy", throughSocket(socket, wsconn.Options{
					PingInterval: -1,
					OnClose:      func(_ *wsconn.Conn, cause error) { causes <- cause },
				}), pool.Config{MaxConnections: 1, CheckInterval: checkInterval})
				ask(t, p, "1 echo")
				if cause := closeCause(t, causes); cause == nil || websocket.CloseStatus(cause) != -1 {
					t.Errorf("closed because of %v", cause)
				}
			})
		})
	}
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
		if cause == nil || !strings.Contains(cause.Error(), "of a ping") {
			t.Errorf("closed because of %v", cause)
		}
		if reply, _ := ask(t, p, "2 echo"); reply != "2 echo" {
			t.Errorf("reply %q", reply)
		}
	})
}
