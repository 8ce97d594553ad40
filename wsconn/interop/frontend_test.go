package interop

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/wsconn"
	"github.com/coder/websocket"
	"go.uber.org/atomic"
)

// haproxy runs haproxy in front of the server at url, with lines for its sections defaults
// and global. It listens on a Unix socket. reload has it read its configuration again.
func haproxy(t *testing.T, url, defaults, global string) (socket string, reload func()) {
	t.Helper()
	path := program(t, "haproxy")
	socket = filepath.Join(directory(t), "socket")
	d := run(t, path, "-W", "-f", file(t, fmt.Sprintf(`global
	%s
defaults
	mode http
	timeout connect 30s
	timeout client 1h
	timeout server 1h
	%s
frontend front
	bind unix@%s
	default_backend back
backend back
	server server %s
`, global, defaults, socket, strings.TrimPrefix(url, "ws://"))))
	if _, err := d.says(1, "Loading success"); err != nil {
		t.Fatal(err)
	}
	return socket, func() {
		const stopped = "Proxy front stopped" // in the old process: it takes no more connections
		before := d.count(stopped)
		for range 3 {
			// A signal that comes before the master is ready for it is lost.
			d.cmd.Process.Signal(syscall.SIGUSR2)
			if _, err := d.saysWithin(patience/3, before+1, stopped); err == nil {
				return
			}
		}
		t.Error("haproxy does not reload")
	}
}

// caddy runs caddy in front of the server at url. It listens on a Unix socket. reload gives
// it another configuration.
func caddy(t *testing.T, url string) (socket string, reload func()) {
	t.Helper()
	path, dir := program(t, "caddy"), directory(t)
	socket = filepath.Join(dir, "socket")
	admin := "unix/" + filepath.Join(dir, "admin")
	number := 0
	config := func() string {
		number++
		return file(t, fmt.Sprintf(`{
	admin %s
	auto_https off
}
http:// {
	bind unix/%s
	header Number %d
	reverse_proxy %s
}
`, admin, socket, number, strings.TrimPrefix(url, "ws://")))
	}
	d := run(t, path, "run", "--config", config(), "--adapter", "caddyfile")
	if _, err := d.says(1, "serving initial configuration"); err != nil {
		t.Fatal(err)
	}
	return socket, func() {
		cmd := exec.Command(path, "reload", "--config", config(), "--adapter", "caddyfile", "--address", admin)
		cmd.Env = d.cmd.Env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("caddy does not reload: %v\n%s", err, out)
		}
	}
}

// patientEcho works for a moment before it echoes, and never pings.
func patientEcho(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	ctx := context.WithoutCancel(r.Context())
	for {
		kind, message, err := conn.Read(ctx)
		if err != nil {
			return
		}
		time.Sleep(time.Millisecond) // the work
		if conn.Write(ctx, kind, message) != nil {
			return
		}
	}
}

// TestReloadOfAProxyUnderLoadFailsNoRequest: connections that a reload ends are replaced,
// and their requests repeated. A request fails only if the fresh connection of its second
// try was opened before the reload was complete, and so ended by it too.
func TestReloadOfAProxyUnderLoadFailsNoRequest(t *testing.T) {
	const connections, rounds, perRound = 8, 3, 300
	for name, test := range map[string]struct {
		start  func(t *testing.T, url string) (socket string, reload func())
		opened func(n uint64) bool // how many connections there must have been
	}{
		"haproxy": { // old connections go on in the old process
			func(t *testing.T, url string) (string, func()) { return haproxy(t, url, "", "") },
			func(n uint64) bool { return n == connections },
		},
		"haproxy with hard-stop-after": {
			func(t *testing.T, url string) (string, func()) { return haproxy(t, url, "", "hard-stop-after 100ms") },
			func(n uint64) bool { return n > connections },
		},
		"caddy": {caddy, func(n uint64) bool { return n > connections }},
	} {
		t.Run(name, func(t *testing.T) {
			socket, reload := test.start(t, serve(t, patientEcho))
			p := newPool(t, "ws://proxy", throughSocket(socket, wsconn.Options{OneReplyPerRequest: true, HandshakeTimeout: patience}),
				pool.Config{MaxConnections: connections, MaxIdleTime: -1, MaxWaitTime: -1, OpenTimeout: patience, CheckInterval: checkInterval})
			if err := p.Warm(soon(t), connections); err != nil {
				t.Fatal(err)
			}
			var (
				done, repeated, excused atomic.Int64
				mu                      sync.Mutex
				reloading               bool
				reloaded                time.Time
			)
			endedByReload := func(opened time.Time) bool {
				mu.Lock()
				defer mu.Unlock()
				return reloading || opened.Before(reloaded)
			}
			stop := make(chan struct{})
			var callers sync.WaitGroup
			for i := range connections {
				callers.Go(func() {
					for k := 0; ; k++ {
						select {
						case <-stop:
							return
						default:
						}
						want := fmt.Appendf(nil, "%d-%d", i, k)
						tries, opened, reused := 0, time.Time{}, false
						err := p.RetryLease(t.Context(), func(ctx context.Context, lease pool.Lease[*wsconn.Conn]) error {
							tries++
							opened, reused = lease.Opened(), lease.Reused()
							_, got, err := lease.Value().Exchange(ctx, websocket.MessageText, want)
							if err == nil && !bytes.Equal(got, want) {
								t.Errorf("the reply to %s is %s", want, got)
							}
							return err
						})
						switch {
						case err == nil && tries == 2:
							repeated.Inc()
						case err != nil && tries > 0 && !reused && endedByReload(opened):
							excused.Inc()
						case err != nil:
							t.Errorf("%d tries, the last on a reused connection: %v: %v", tries, reused, err)
							return
						}
						done.Inc()
					}
				})
			}
			wait := func(n int64) { // or for an error
				for end := time.Now().Add(patience); done.Load() < n && !t.Failed() && time.Now().Before(end); {
					time.Sleep(time.Millisecond)
				}
			}
			for range rounds {
				wait(done.Load() + perRound)
				mu.Lock()
				reloading = true
				mu.Unlock()
				reload()
				mu.Lock()
				reloading, reloaded = false, time.Now()
				mu.Unlock()
			}
			wait(done.Load() + perRound)
			close(stop)
			callers.Wait()
			opened := p.Stats().Opened
			t.Logf("%d requests, %d repeated, %d failed on a connection of before the reload, %d connections",
				done.Load(), repeated.Load(), excused.Load(), opened)
			if !test.opened(opened) {
				t.Errorf("%d connections were opened for %d", opened, connections)
			}
		})
	}
}

// TestCaddyClosesWebSocketsWithItsReload pins the row of the documentation.
func TestCaddyClosesWebSocketsWithItsReload(t *testing.T) {
	socket, reload := caddy(t, serve(t, patientEcho))
	closed := make(chan error, 100)
	p := newPool(t, "ws://proxy", throughSocket(socket, wsconn.Options{OnClose: func(_ *wsconn.Conn, cause error) { closed <- cause }}),
		pool.Config{MaxConnections: 1, CheckInterval: checkInterval})
	ask(t, p, "hello")
	reload()
	if cause := closeCause(t, closed); websocket.CloseStatus(cause) != websocket.StatusGoingAway {
		t.Errorf("closed because of %v", cause)
	}
	if reply, _ := ask(t, p, "hello"); reply != "hello" {
		t.Errorf("reply %q", reply)
	}
}
