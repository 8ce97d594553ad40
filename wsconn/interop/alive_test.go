package interop

import (
	"bytes"
	"strconv"
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

// survives fails the test unless an idle connection to url is still the same,
// and works, after idle.
func survives(t *testing.T, url string, opts *wsconn.Options, idle time.Duration) {
	t.Helper()
	p := newPool(t, url, opts, pool.Config{CheckInterval: checkInterval})
	_, before := ask(t, p, "1 echo")
	time.Sleep(idle) // to be idle is the test
	reply, after := ask(t, p, "2 echo")
	if reply != "2 echo" || before != after {
		t.Errorf("reply %q on %s, after %v idle on %s: %v", reply, after, idle, before, p.Stats())
	}
}

func eachPath(t *testing.T, test func(t *testing.T, opts *wsconn.Options)) {
	t.Run("path=peek", func(t *testing.T) { test(t, &wsconn.Options{}) })
	t.Run("path=fallback", func(t *testing.T) { test(t, &wsconn.Options{DialOptions: hideSocket()}) })
}

func TestSurvivesTheHeartbeatOfNpmWS(t *testing.T) {
	url := node(t, 300*time.Millisecond)
	eachPath(t, func(t *testing.T, opts *wsconn.Options) {
		survives(t, url, opts, 1500*time.Millisecond)
		p := newPool(t, url, opts, pool.Config{CheckInterval: checkInterval})
		ask(t, p, "1 echo")
		time.Sleep(time.Second)
		reply, _ := ask(t, p, "2 pongs")
		if n, _ := strconv.Atoi(strings.TrimPrefix(reply, "2 ")); n < 2 {
			t.Errorf("the server has received %q pongs within a second", reply)
		}
		if reply, _ := ask(t, p, "3 terminated"); reply != "3 0" {
			t.Errorf("the server has terminated connections: %q", reply)
		}
	})
}

// TestIsNotAliveWithoutChecks shows that the test above can fail.
func TestIsNotAliveWithoutChecks(t *testing.T) {
	url := node(t, 300*time.Millisecond)
	p := newPool(t, url, nil, pool.Config{CheckInterval: -1})
	_, before := ask(t, p, "1 echo")
	time.Sleep(1500 * time.Millisecond)
	if reply, after := ask(t, p, "2 echo"); reply != "2 echo" || before == after {
		t.Errorf("reply %q on %s, before that %s", reply, after, before)
	}
}

func TestSurvivesTheKeepaliveOfPythonWebsockets(t *testing.T) {
	url := python(t, 200*time.Millisecond, 300*time.Millisecond)
	eachPath(t, func(t *testing.T, opts *wsconn.Options) { survives(t, url, opts, 1500*time.Millisecond) })
}

func TestSurvivesAnNginxWithAShortReadTimeout(t *testing.T) {
	url := nginx(t, node(t, time.Hour), time.Second)
	eachPath(t, func(t *testing.T, opts *wsconn.Options) {
		opts.PingInterval = 300 * time.Millisecond
		survives(t, url, opts, 2500*time.Millisecond)
	})
	// And without pings it does not.
	p := newPool(t, url, &wsconn.Options{PingInterval: -1}, pool.Config{CheckInterval: checkInterval})
	_, before := ask(t, p, "1 echo")
	time.Sleep(2500 * time.Millisecond)
	if reply, after := ask(t, p, "2 echo"); reply != "2 echo" || before == after {
		t.Errorf("reply %q on %s, before that %s", reply, after, before)
	}
}

func TestCloseOfTheServerIsSeenAndTold(t *testing.T) {
	for name, url := range map[string]string{"npm ws": node(t, time.Hour), "python websockets": python(t, time.Hour, time.Hour)} {
		t.Run(name, func(t *testing.T) {
			eachPath(t, func(t *testing.T, opts *wsconn.Options) {
				causes := make(chan error, 8)
				opts.OnClose = func(_ *wsconn.Conn, cause error) { causes <- cause }
				p := newPool(t, url, opts, pool.Config{CheckInterval: checkInterval})
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
	url := node(t, time.Hour)
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
		p := newPool(t, "ws://"+proxy.Listen, opts, pool.Config{CheckInterval: checkInterval})
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
