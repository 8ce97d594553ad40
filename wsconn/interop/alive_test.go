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

func TestSurvivesTheHeartbeatOfNpmWS(t *testing.T) {
	eachPath(t, func(t *testing.T, opts *wsconn.Options) {
		s := node(t, onDemand)
		p := newPool(t, s.url, opts, pool.Config{MaxConnections: 1, CheckInterval: checkInterval})
		_, before := ask(t, p, "1 echo")
		const beats = 5
		for range beats {
			s.beat()
			s.wants("pong")
		}
		if reply, after := ask(t, p, "2 pongs"); reply != fmt.Sprint("2 ", beats) || after != before {
			t.Errorf("reply %q, on the same connection: %v; %v", reply, after == before, p.Stats())
		}
		if reply, _ := ask(t, p, "3 terminated"); reply != "3 0" {
			t.Errorf("the server has terminated connections: %q", reply)
		}
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
		s := python(t, 100*time.Millisecond, patience)
		p := newPool(t, s.url, opts, pool.Config{MaxConnections: 1, CheckInterval: checkInterval})
		_, before := ask(t, p, "1 echo")
		for range 5 {
			s.wants("pong")
		}
		if reply, after := ask(t, p, "2 echo"); reply != "2 echo" || after != before {
			t.Errorf("reply %q, on the same connection: %v; %v", reply, after == before, p.Stats())
		}
	})
}

// TestSurvivesAnNginxWithAShortReadTimeout: the time of nginx cannot be stopped, and a
// machine that stands still for as long breaks the connection. Without pings none
// would ever survive, so one that does is enough.
func TestSurvivesAnNginxWithAShortReadTimeout(t *testing.T) {
	const readTimeout, idle, attempts = time.Second, 2500 * time.Millisecond, 10
	socket := nginx(t, node(t, time.Hour).url, readTimeout)
	eachPath(t, func(t *testing.T, opts *wsconn.Options) {
		opts.PingInterval = 300 * time.Millisecond
		p := newPool(t, "ws://nginx", throughSocket(socket, *opts), pool.Config{MaxConnections: 1, CheckInterval: checkInterval})
		_, before := ask(t, p, "1 echo")
		for range attempts {
			time.Sleep(idle) // to be idle is the test
			_, after := ask(t, p, "2 echo")
			if after == before {
				return
			}
			before = after
		}
		t.Errorf("no connection has survived %v idle: %v", idle, p.Stats())
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
		ask(t, p, "1 echo")
		for _, stream := range []string{"upstream", "downstream"} {
			toxic := `{"name":"` + stream + `","type":"timeout","stream":"` + stream + `","attributes":{"timeout":0}}`
			if _, err := proxy.Toxics.AddToxicJson(bytes.NewBufferString(toxic)); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case cause := <-causes:
			if cause == nil || !strings.Contains(cause.Error(), "of a ping") {
				t.Errorf("closed because of %v", cause)
			}
		case <-time.After(patience):
			t.Error("the half-open connection was not found")
		}
		proxy.Toxics.ResetToxics(t.Context())
		if reply, _ := ask(t, p, "2 echo"); reply != "2 echo" {
			t.Errorf("reply %q", reply)
		}
	})
}
