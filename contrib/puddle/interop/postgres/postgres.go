// Package postgres starts and stops a PostgreSQL of its own on the loopback interface, which trusts everybody.
package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Server is a PostgreSQL that can be stopped and started again, on one port.
type Server struct {
	dir, bin, port string
	cmd            *exec.Cmd
	ended          chan struct{}
	output         bytes.Buffer
}

// ErrMissing says that PostgreSQL is not installed.
var ErrMissing = errors.New("PostgreSQL is missing: run ./setup")

// patience bounds every wait for something that must happen.
const patience = time.Minute

// nobody is whom PostgreSQL runs as if the caller is root, which it refuses.
const nobody = 65534

// Start makes a PostgreSQL in a temporary folder, with an empty database named test, and starts it.
func Start() (*Server, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		return nil, ErrMissing
	}
	dir, err := os.MkdirTemp("", "postgres")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, bin: filepath.Dir(found[len(found)-1])}
	if err := s.make(); err != nil {
		s.Remove()
		return nil, err
	}
	return s, nil
}

func (s *Server) make() error {
	if os.Getuid() == 0 {
		if err := os.Chown(s.dir, nobody, nobody); err != nil {
			return err
		}
	}
	initdb := s.as("initdb", "-D", s.data(), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale", "C")
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	_, s.port, _ = net.SplitHostPort(listener.Addr().String())
	listener.Close()
	if err := s.Run(); err != nil {
		return err
	}
	return s.Exec("postgres", "create database test")
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// as makes a command of the server's user.
func (s *Server) as(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	return cmd
}

// Conn returns the connection string of a database.
func (s *Server) Conn(database string) string {
	return fmt.Sprintf("host=127.0.0.1 port=%s user=postgres database=%s sslmode=disable", s.port, database)
}

// Exec executes statements in a database.
func (s *Server) Exec(database string, statements ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.Conn(database))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// Run starts the server, and returns when it serves.
func (s *Server) Run() error {
	s.cmd = s.as("postgres", "-D", s.data(), "-h", "127.0.0.1", "-p", s.port, "-k", "", "-c", "fsync=off")
	s.output.Reset()
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	if err := s.cmd.Start(); err != nil {
		return err
	}
	cmd, ended := s.cmd, make(chan struct{})
	s.ended = ended
	go func() {
		defer close(ended)
		cmd.Wait()
	}()
	for deadline := time.Now().Add(patience); ; { // it does not say when it listens
		err := s.Exec("postgres", "select 1")
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("PostgreSQL has ended: %w\n%s", err, s.output.String())
		case <-time.After(10 * time.Millisecond):
			if time.Now().After(deadline) {
				s.Stop()
				return fmt.Errorf("PostgreSQL does not serve: %w\n%s", err, s.output.String())
			}
		}
	}
}

// Stop shuts the server down as a restart does: sessions are ended. It returns when that is done.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-s.ended:
	case <-time.After(patience):
		syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		<-s.ended
	}
	s.cmd = nil
}

// Remove stops the server and removes all that it has.
func (s *Server) Remove() {
	s.Stop()
	os.RemoveAll(s.dir)
}
