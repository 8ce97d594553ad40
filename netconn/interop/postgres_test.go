package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/netconn"
)

// A postgres is a PostgreSQL that trusts everybody, and serves with and without TLS.
type postgres struct {
	*program
	config *tls.Config
}

func newPostgres(t testing.TB) *postgres {
	t.Helper()
	server := find(t, "/usr/lib/postgresql/*/bin/postgres")
	p := newProgram(t, "postgres")
	data := filepath.Join(p.dir, "data")
	initdb := p.as(filepath.Join(filepath.Dir(server), "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale", "C")
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cert, key, config := p.certificate()
	p.command = []string{server, "-D", data, "-h", "127.0.0.1", "-p", p.port(), "-k", "", "-c", "fsync=off",
		"-c", "ssl=on", "-c", "ssl_cert_file=" + cert, "-c", "ssl_key_file=" + key}
	p.signal = syscall.SIGINT // a fast shutdown: sessions are ended
	pg := &postgres{p, config}
	p.ready = func(address string) error {
		f, err := netconn.NewFactory("tcp", address, pg.options(true))
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		conn, err := f.Open(ctx)
		if err != nil {
			return err
		}
		return f.Close(conn, nil)
	}
	p.start()
	t.Cleanup(p.stop)
	return pg
}

func (pg *postgres) options(secure bool) *netconn.Options {
	opts := &netconn.Options{
		OnConnect: func(ctx context.Context, conn net.Conn) error { return startup(conn) },
		Goodbye: func(ctx context.Context, conn net.Conn) error {
			_, err := conn.Write([]byte{'X', 0, 0, 0, 4})
			return err
		},
	}
	if secure {
		opts.TLS = pg.config
		opts.StartTLS = func(ctx context.Context, conn net.Conn) error {
			if _, err := conn.Write([]byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}); err != nil {
				return err
			}
			answer := make([]byte, 1)
			if _, err := io.ReadFull(conn, answer); err != nil {
				return err
			}
			if answer[0] != 'S' {
				return fmt.Errorf("the server answers %q", answer)
			}
			return nil
		}
	}
	return opts
}

// startup begins a session.
func startup(conn net.Conn) error {
	text := "user\x00postgres\x00database\x00postgres\x00\x00"
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(text)))
	b = binary.BigEndian.AppendUint32(b, 196608)
	if _, err := conn.Write(append(b, text...)); err != nil {
		return err
	}
	_, err := answer(conn)
	return err
}

// answer reads to the end of an answer, and returns the last column of it.
func answer(r io.Reader) (value string, err error) {
	for {
		var head [5]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return "", err
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(r, body); err != nil {
			return "", err
		}
		switch head[0] {
		case 'D':
			value = string(body[6:])
		case 'E':
			err := errors.New(string(bytes.ReplaceAll(body, []byte{0}, []byte{' '})))
			if bytes.HasPrefix(body, []byte("SFATAL\x00")) {
				err = pool.Broken(err) // the server is about to close the connection, and has not yet
			}
			return "", err
		case 'Z':
			return value, nil
		}
	}
}

// query makes a simple query of one row and one column.
func (c *client) query(sql string) (string, error) {
	b := binary.BigEndian.AppendUint32([]byte{'Q'}, uint32(5+len(sql)))
	if _, err := c.Write(append(append(b, sql...), 0)); err != nil {
		return "", err
	}
	return answer(c.lines)
}

func postgresEcho(c *client, id string) error {
	got, err := c.query("SELECT '" + id + "'")
	if err == nil && got != id {
		err = fmt.Errorf("asked for %q, got %q", id, got)
	}
	return err
}

// TestPostgreSQL runs all of them on one server, which takes a while to be made.
func TestPostgreSQL(t *testing.T) {
	server := newPostgres(t)
	for name, secure := range map[string]bool{"tcp": false, "tls": true} {
		f := newFactory(t, server.address, server.options(secure))
		for _, c := range []struct {
			name string
			f    func(*testing.T, *postgres, pool.Factory[*client])
		}{
			{"it is restarted under load", func(t *testing.T, server *postgres, f pool.Factory[*client]) {
				restartUnderLoad(t, server.program, f, postgresEcho)
			}},
			{"a session that it has ended is not lent", ended},
			{"a notification on an idle connection ends it", notified},
			{"the end of a ctx ends a long query", cancelled},
		} {
			t.Run(name+"/"+c.name, func(t *testing.T) { c.f(t, server, f) })
		}
	}
	t.Run("a goodbye keeps its log clean", func(t *testing.T) { goodbye(t, server) })
}

// ended: the server writes why it ends a session, and then ends it.
func ended(t *testing.T, server *postgres, f pool.Factory[*client]) {
	closed := make(chan error, 10)
	p := newPool(t, f, pool.Config{MaxConnections: 1, CheckInterval: -1,
		Hooks: pool.Hooks{Closed: func(i pool.CloseInfo) { closed <- i.Cause }}})
	var idle *client
	do(t, p, func(c *client) error { idle = c; return postgresEcho(c, "x") })
	do(t, newPool(t, f, pool.Config{MaxConnections: 1}), func(c *client) error {
		_, err := c.query("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
		return err
	})
	idle.arrived(t)
	if reused := do(t, p, func(c *client) error { return postgresEcho(c, "y") }); reused {
		t.Error("it was lent again")
	}
	if got := <-closed; got == nil || !strings.HasPrefix(got.Error(), "netconn: tcp "+server.address+": ") {
		t.Errorf("it was closed for %v", got)
	}
}

func notified(t *testing.T, server *postgres, f pool.Factory[*client]) {
	p := newPool(t, f, pool.Config{MaxConnections: 1, CheckInterval: -1})
	var idle *client
	do(t, p, func(c *client) error {
		idle = c
		_, err := c.query("LISTEN news")
		return err
	})
	do(t, newPool(t, f, pool.Config{MaxConnections: 1}), func(c *client) error {
		_, err := c.query("NOTIFY news, 'hello'")
		return err
	})
	idle.arrived(t)
	if reused := do(t, p, func(c *client) error { return postgresEcho(c, "y") }); reused {
		t.Error("it was lent again")
	}
}

func cancelled(t *testing.T, server *postgres, f pool.Factory[*client]) {
	p := newPool(t, f, pool.Config{MaxConnections: 1})
	err := p.Do(soon(t), func(ctx context.Context, c *client) error {
		ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		defer netconn.Bind(ctx, c.Conn)()
		_, err := c.query("SELECT pg_sleep(60)")
		return err
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the query returns %v, want the end of its ctx", err)
	}
	if reused := do(t, p, func(c *client) error { return postgresEcho(c, "y") }); reused {
		t.Error("the connection was lent again")
	}
}

// goodbye: without one the server logs the unexpected end of a session.
func goodbye(t *testing.T, server *postgres) {
	for _, goodbye := range []bool{false, true} {
		opts := server.options(false)
		if !goodbye {
			opts.Goodbye = nil
		}
		server.stop() // for a new log
		server.start()
		p := newPool(t, newFactory(t, server.address, opts), pool.Config{MaxConnections: 1})
		do(t, p, func(c *client) error {
			_, err := c.query("BEGIN") // for the end of an idle session it logs nothing
			return err
		})
		p.Close()
		fast := server.signal
		server.signal = syscall.SIGTERM // lets sessions end by themselves
		server.stop()
		server.signal = fast
		if got, want := strings.Contains(server.output.String(), "unexpected EOF on client connection"), !goodbye; got != want {
			t.Errorf("with a goodbye %v, the log tells of an unexpected end: %v\n%s", goodbye, got, server.output.String())
		}
		server.start()
	}
}
