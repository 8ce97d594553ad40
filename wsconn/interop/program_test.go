package interop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/wsconn"
	"github.com/coder/websocket"
)

// patience bounds every wait for something that must happen.
const patience = 30 * time.Second

// A server is a program that the client talks to.
type server struct {
	t     *testing.T
	url   string
	in    io.Writer
	lines chan string // what it prints, but for the first line
}

// start runs a server that prints its port on its first line and ends when its
// standard input does.
func start(t *testing.T, program string, args ...string) *server {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, in: in, lines: make(chan string, 1000)}
	go func() {
		defer close(s.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			select {
			case s.lines <- scanner.Text():
			default: // nobody reads them
			}
		}
	}()
	t.Cleanup(func() {
		in.Close()
		timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		defer timer.Stop()
		for range s.lines { // Wait must come after all reads
		}
		cmd.Wait()
	})
	s.url = "ws://127.0.0.1:" + s.next()
	return s
}

// next returns the next line that s prints.
func (s *server) next() string {
	s.t.Helper()
	line, err := s.nextUnless(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return line
}

// nextUnless returns the next line that s prints, or an error if there is one first.
func (s *server) nextUnless(errs <-chan error) (string, error) {
	select {
	case line, ok := <-s.lines:
		if !ok {
			return "", errors.New("the server has ended")
		}
		return line, nil
	case err := <-errs:
		return "", err
	case <-time.After(patience):
		return "", fmt.Errorf("the server has printed nothing for %v", patience)
	}
}

// wants fails the test unless the next line that s prints is this one.
func (s *server) wants(line string) {
	s.t.Helper()
	if got := s.next(); got != line {
		s.t.Fatalf("the server has printed %q, want %q", got, line)
	}
}

// onDemand is a heartbeat that comes when the test says so.
const onDemand time.Duration = 0

// beat makes a heartbeat of a server whose heartbeat is onDemand.
func (s *server) beat() { io.WriteString(s.in, "beat\n") }

// node runs the server on npm ws.
func node(t *testing.T, heartbeat time.Duration) *server {
	t.Helper()
	program, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is missing: run ./setup")
	}
	if _, err := os.Stat(filepath.Join("node_modules", "ws")); err != nil {
		t.Skip("npm package ws is missing: run ./setup")
	}
	return start(t, program, "testdata/server.js", fmt.Sprint(heartbeat.Milliseconds()))
}

// python runs the server on python websockets.
func python(t *testing.T, interval, timeout time.Duration) *server {
	t.Helper()
	for _, program := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(program, "-c", "import websockets").Run() == nil {
			return start(t, program, "testdata/server.py", fmt.Sprint(interval.Seconds()), fmt.Sprint(timeout.Seconds()))
		}
	}
	t.Skip("python3-websockets is missing: run ./setup")
	return nil
}

// nginx runs nginx in front of the server at url, with a proxy_read_timeout. It returns
// the Unix socket that nginx listens on: nobody else can take that.
func nginx(t *testing.T, url string, readTimeout time.Duration) (socket string) {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			t.Skip("nginx is missing: run ./setup")
		}
	}
	dir, err := os.MkdirTemp("", "nginx") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "socket")
	config := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log stderr error;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	server {
		listen unix:%[2]s;
		location / {
			proxy_pass %[3]s;
			proxy_http_version 1.1;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection upgrade;
			proxy_read_timeout %[4]dms;
		}
	}
}
`, dir, socket, strings.Replace(url, "ws", "http", 1), readTimeout.Milliseconds())
	file := filepath.Join(dir, "conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-p", dir, "-c", file)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(patience):
			cmd.Process.Kill()
		}
	})
	// nginx does not say when it listens.
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
			return socket
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// serve runs a handler on the loopback.
func serve(t *testing.T, handler http.HandlerFunc) string {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return "ws" + strings.TrimPrefix(server.URL, "http")
}

func newPool(t *testing.T, url string, opts *wsconn.Options, config pool.Config) *pool.Pool[*wsconn.Conn] {
	t.Helper()
	factory, err := wsconn.NewFactory(url, opts)
	if err != nil {
		t.Fatal(err)
	}
	p, err := pool.New(factory, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// ask sends a request over a connection of p, and returns the reply and the
// connection.
func ask(t *testing.T, p *pool.Pool[*wsconn.Conn], request string) (reply string, conn *wsconn.Conn) {
	t.Helper()
	reply, conn, err := try(soon(t), p, request)
	if err != nil {
		t.Fatal(err)
	}
	return reply, conn
}

// try is ask where a failure is none of the test.
func try(ctx context.Context, p *pool.Pool[*wsconn.Conn], request string) (reply string, conn *wsconn.Conn, err error) {
	l, err := p.Get(ctx)
	if err != nil {
		return "", nil, err
	}
	defer p.Put(l)
	_, b, err := l.Value().Exchange(ctx, websocket.MessageText, []byte(request))
	return string(b), l.Value(), err
}

// hideSocket returns dial options under which connections cannot look at their
// sockets, and take the fallback.
func hideSocket() *websocket.DialOptions {
	return dialWith(func(ctx context.Context, network, address string) (net.Conn, error) {
		return hidden((&net.Dialer{}).DialContext(ctx, network, address))
	})
}

func hidden(c net.Conn, err error) (net.Conn, error) { return struct{ net.Conn }{c}, err }

// throughSocket returns opts with dial options that lead to a Unix socket.
func throughSocket(socket string, opts wsconn.Options) *wsconn.Options {
	hide := opts.DialOptions != nil
	opts.DialOptions = dialWith(func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if hide {
			return hidden(c, err)
		}
		return c, err
	})
	return &opts
}

func dialWith(dial func(ctx context.Context, network, address string) (net.Conn, error)) *websocket.DialOptions {
	return &websocket.DialOptions{HTTPClient: &http.Client{Transport: &http.Transport{DialContext: dial}}}
}
