package interop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/netconn"
)

// patience bounds every wait for something that must happen.
const patience = 30 * time.Second

// A program is a server that can be started and stopped again and again, on one port.
type program struct {
	t       testing.TB
	dir     string // its own, and its user's
	address string
	command []string
	signal  syscall.Signal             // that stops it
	ready   func(address string) error // whether it serves

	cmd    *exec.Cmd
	ended  chan struct{} // closed when cmd has
	gone   *os.File      // ends when all of its processes have ended
	output bytes.Buffer
}

// find returns a program, or skips the test.
func find(t testing.TB, patterns ...string) string {
	t.Helper()
	for _, pattern := range patterns {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[len(found)-1]
		}
	}
	t.Skipf("%s is missing: run ./setup", patterns[0])
	return ""
}

// nobody is whom servers run as that refuse to run as root.
const nobody = 65534

// newProgram makes a folder that belongs to the user of the server, and finds a port.
func newProgram(t testing.TB, name string) *program {
	t.Helper()
	dir, err := os.MkdirTemp("", name) // t.TempDir may be too long for a socket, and closed to nobody
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := &program{t: t, dir: dir, signal: syscall.SIGTERM}
	p.give(dir)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.address = listener.Addr().String()
	listener.Close()
	return p
}

// give makes a file that of the server's user.
func (p *program) give(file string) {
	p.t.Helper()
	if os.Getuid() == 0 {
		if err := os.Chown(file, nobody, nobody); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *program) write(name, text string) (path string) {
	p.t.Helper()
	path = filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	p.give(path)
	return path
}

func (p *program) port() string {
	_, port, _ := net.SplitHostPort(p.address)
	return port
}

// as makes a command of the server's user.
func (p *program) as(command ...string) *exec.Cmd {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	return cmd
}

// start starts the server, and waits until it serves.
func (p *program) start() {
	p.t.Helper()
	gone, held, err := os.Pipe()
	if err != nil {
		p.t.Fatal(err)
	}
	p.gone = gone
	p.cmd = p.as(p.command...)
	p.cmd.ExtraFiles = []*os.File{held}
	p.output.Reset()
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	p.cmd.WaitDelay = patience
	err = p.cmd.Start()
	held.Close()
	if err != nil {
		p.t.Fatal(err)
	}
	cmd, ended := p.cmd, make(chan struct{})
	p.ended = ended
	go func() {
		defer close(ended)
		cmd.Wait()
	}()
	// It does not say when it listens.
	for deadline := time.Now().Add(patience); ; {
		err := p.ready(p.address)
		if err == nil {
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
			if time.Now().Before(deadline) {
				continue
			}
		case <-ended:
		}
		p.stop()
		p.t.Fatalf("%s does not serve: %v\n%s", p.command[0], err, p.output.String())
	}
}

// stop stops the server, and returns when the last of its processes has ended: what they had
// open is closed then.
func (p *program) stop() {
	if p.cmd == nil {
		return
	}
	syscall.Kill(-p.cmd.Process.Pid, p.signal)
	p.gone.SetReadDeadline(time.Now().Add(patience))
	if _, err := p.gone.Read(make([]byte, 1)); err != io.EOF {
		p.t.Errorf("%s has not ended: %v", p.command[0], err)
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
	p.gone.Close()
	<-p.ended
	p.cmd = nil
}

// certificate writes the certificate and the key of a server for 127.0.0.1, and returns the
// configuration of its clients.
func (p *program) certificate() (cert, key string, client *tls.Config) {
	p.t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	pair := s.TLS.Certificates[0]
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		p.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return p.write("cert", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}))),
		p.write("key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))),
		&tls.Config{RootCAs: roots, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
}

// A client is a connection with its reader.
type client struct {
	net.Conn
	lines *bufio.Reader
}

// newFactory returns a factory of clients.
func newFactory(t testing.TB, address string, opts *netconn.Options) pool.Factory[*client] {
	t.Helper()
	f, err := netconn.NewFactory("tcp", address, opts)
	if err != nil {
		t.Fatal(err)
	}
	return pool.Factory[*client]{
		Open: func(ctx context.Context) (*client, error) {
			conn, err := f.Open(ctx)
			if err != nil {
				return nil, err
			}
			return &client{conn, bufio.NewReader(conn)}, nil
		},
		Close: func(c *client, cause error) error { return f.Close(c.Conn, cause) },
		Check: func(c *client) error { return f.Check(c.Conn) },
		Clean: func(c *client) error {
			if n := c.lines.Buffered(); n > 0 {
				return fmt.Errorf("%d bytes were not read", n)
			}
			return f.Clean(c.Conn)
		},
	}
}

func newPool(t testing.TB, f pool.Factory[*client], config pool.Config) *pool.Pool[*client] {
	t.Helper()
	p, err := pool.New(f, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// do makes one request, under its ctx.
func do(t testing.TB, p *pool.Pool[*client], f func(c *client) error) (reused bool) {
	t.Helper()
	err := p.DoLease(soon(t), func(ctx context.Context, l pool.Lease[*client]) error {
		defer netconn.Bind(ctx, l.Value().Conn)()
		reused = l.Reused()
		return f(l.Value())
	})
	if err != nil {
		t.Fatal(err)
	}
	return reused
}

// arrived waits until bytes lie in the socket of an idle connection, or it has ended.
func (c *client) arrived(t testing.TB) {
	t.Helper()
	conn := c.Conn
	for {
		below, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		conn = below.NetConn()
	}
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(patience))
	defer conn.SetReadDeadline(time.Time{})
	err = raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return err != syscall.EAGAIN
	})
	if err != nil {
		t.Fatalf("nothing has arrived: %v", err)
	}
}

// A span is the time of one stop and start of the server.
type span struct{ stop, gone, ready time.Time }

// restarts is how many there are: three, or POOL_RESTARTS.
func restarts() int {
	if n, err := strconv.Atoi(os.Getenv("POOL_RESTARTS")); err == nil {
		return n
	}
	return 3
}

// restartUnderLoad lets callers make requests while the server is restarted, beside
// idle connections that die of it. Each request is a Retry.
//
// What it asserts: a request fails only if one on a fresh connection does, and that only
// around a restart; a dead connection is never lent, so no try that began when the server's
// last process had ended, and got a used connection, fails; each request gets its own reply
// in the end.
func restartUnderLoad(t *testing.T, server *program, f pool.Factory[*client], request func(c *client, id string) error) {
	t.Helper()
	const callers, connections = 8, 16
	p := newPool(t, f, pool.Config{MaxConnections: connections, MaxWaitTime: patience})
	type try struct {
		began, ended time.Time
		reused       bool
		err          error
	}
	var mu sync.Mutex
	var tries []try // those that failed
	var served, refused, retried int
	progress := sync.NewCond(&mu)
	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	var load sync.WaitGroup
	for i := range callers {
		load.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				id := fmt.Sprintf("%d-%d", i, n)
				for done := false; !done; {
					var mine []try
					began := time.Now()
					err := p.RetryLease(soon(t), func(ctx context.Context, l pool.Lease[*client]) error {
						defer netconn.Bind(ctx, l.Value().Conn)()
						got := try{began: began, reused: l.Reused()}
						got.err = request(l.Value(), id)
						got.ended = time.Now()
						began = got.ended // of a second try
						mine = append(mine, got)
						return got.err
					})
					mu.Lock()
					last := len(mine) - 1
					switch {
					case err == nil:
						mine = mine[:last]
						retried += last
						served++
						done = true
						progress.Broadcast()
					case last >= 0 && errors.Is(mine[last].err, err): // it may be marked
						if mine[last].reused {
							t.Errorf("a request has failed, and was not tried on a fresh connection: %v", err)
						}
					default: // the server is away: as the docs of ErrUnavailable say, pause
						refused++
					}
					tries = append(tries, mine...)
					mu.Unlock()
					if err != nil {
						time.Sleep(10 * time.Millisecond)
					}
				}
			}
		})
	}
	// more waits until n more requests have been served.
	more := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		for until := served + n; served < until && ctx.Err() == nil; {
			progress.Wait()
		}
	}
	wake := context.AfterFunc(ctx, func() { mu.Lock(); progress.Broadcast(); mu.Unlock() })
	defer wake()
	var spans []span
	more(500)
	for range restarts() {
		if err := p.Warm(soon(t), connections); err != nil {
			t.Error(err)
		}
		var s span
		s.stop = time.Now()
		server.stop()
		s.gone = time.Now()
		server.start()
		s.ready = time.Now()
		spans = append(spans, s)
		more(500)
	}
	if ctx.Err() != nil {
		t.Error("the load has not gone on after a restart")
	}
	cancel()
	load.Wait()

	within := func(g try, end func(span) time.Time) bool {
		for _, s := range spans {
			if g.began.Before(end(s)) && g.ended.After(s.stop) {
				return true
			}
		}
		return false
	}
	fresh := 0
	for _, g := range tries {
		if g.reused && !within(g, func(s span) time.Time { return s.gone }) {
			t.Errorf("a dead connection was lent: %v", g.err)
		}
		if !g.reused {
			fresh++
			if !within(g, func(s span) time.Time { return s.ready }) {
				t.Errorf("a fresh connection failed while the server was up: %v", g.err)
			}
		}
	}
	// With nobody in mid-request at all, not even one try fails.
	if err := p.Warm(soon(t), connections); err != nil {
		t.Fatal(err)
	}
	before := p.Stats()
	server.stop()
	server.start()
	if reused := do(t, p, func(c *client) error { return request(c, "last") }); reused {
		t.Error("a connection of the old server was lent")
	}
	s := p.Stats()
	if s.ClosedCheck == before.ClosedCheck {
		t.Error("no dead connection was found by Check, so this shows nothing")
	}
	t.Logf("%d requests, %d of them at the second try; %d tries failed in mid-request (%d on fresh connections), %d requests found the server away; closed by Check %d, opened %d",
		served, retried, len(tries), fresh, refused, s.ClosedCheck, s.Opened)
}
