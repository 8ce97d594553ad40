//go:build linux

package fleet

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// A server is a real redis-server, or valkey-server, on loopback.
type server struct {
	t       *testing.T
	program string
	dir     string
	addr    string
	args    []string
	cmd     *exec.Cmd
}

// programs are tried in this order. FLEET_SERVER names another one.
func program(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("FLEET_SERVER"), "redis-server", "valkey-server", "/usr/bin/redis-server"} {
		if path, err := exec.LookPath(name); name != "" && err == nil {
			return path
		}
	}
	t.Skip("neither redis-server nor valkey-server is installed: apt-get install redis-server")
	return ""
}

// newServer starts a server without persistence, unless args say otherwise.
func newServer(t *testing.T, args ...string) *server {
	t.Helper()
	s := &server{t: t, program: program(t), dir: t.TempDir(), addr: freeAddress(t), args: args}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (s *server) port() string {
	_, port, _ := net.SplitHostPort(s.addr)
	return port
}

// start starts the server, and returns when it answers.
func (s *server) start() {
	s.t.Helper()
	args := append([]string{"--port", s.port(), "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--daemonize", "no", "--loglevel", "warning",
		"--logfile", filepath.Join(s.dir, "log")}, s.args...)
	s.cmd = exec.Command(s.program, args...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	c := s.client()
	defer c.Close()
	for deadline := time.Now().Add(20 * time.Second); ; {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		err := c.Ping(ctx).Err()
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			s.t.Fatalf("the server does not answer: %v\n%s", err, log)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *server) client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: s.addr, MaxRetries: -1})
}

func (s *server) newClient() *redis.Client {
	c := s.client()
	s.t.Cleanup(func() { c.Close() })
	return c
}

func (s *server) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

func (s *server) pause()   { _ = s.cmd.Process.Signal(syscall.SIGSTOP) }
func (s *server) carryOn() { _ = s.cmd.Process.Signal(syscall.SIGCONT) }
func (s *server) restart() { s.kill(); s.start() }
func (s *server) forget()  { _ = os.RemoveAll(filepath.Join(s.dir, "appendonlydir")) }
