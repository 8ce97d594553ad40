package interop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/netconn"
)

// newRedis runs a Redis, and returns the options for it, which may have TLS.
func newRedis(t testing.TB, secure bool) (*program, *netconn.Options) {
	t.Helper()
	server := find(t, "/usr/bin/redis-server", "/usr/bin/valkey-server")
	p := newProgram(t, "redis")
	opts := &netconn.Options{}
	p.command = []string{server, "--save", "", "--appendonly", "no", "--daemonize", "no", "--bind", "127.0.0.1"}
	if secure {
		cert, key, config := p.certificate()
		opts.TLS = config
		p.command = append(p.command, "--port", "0", "--tls-port", p.port(), "--tls-cert-file", cert, "--tls-key-file", key, "--tls-auth-clients", "no")
	} else {
		p.command = append(p.command, "--port", p.port())
	}
	p.ready = func(address string) error {
		f, err := netconn.NewFactory("tcp", address, opts)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		conn, err := f.Open(ctx)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	p.start()
	t.Cleanup(p.stop)
	return p, opts
}

// command sends a command of Redis, and returns the reply, if it is of one line or a string.
func (c *client) command(words ...string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := io.WriteString(c, b.String()); err != nil {
		return "", err
	}
	line, err := c.line()
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(line, "-") {
		return "", pool.Keep(errors.New(line))
	}
	if strings.HasPrefix(line, "$") {
		return c.line()
	}
	return line, nil
}

// line reads a line.
func (c *client) line() (string, error) {
	line, err := c.lines.ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

// redisEcho is a request whose reply cannot be that of another.
func redisEcho(c *client, id string) error {
	got, err := c.command("ECHO", id)
	if err == nil && got != id {
		err = fmt.Errorf("asked for %q, got %q", id, got)
	}
	return err
}

func TestRedisIsRestartedUnderLoad(t *testing.T) {
	for name, secure := range map[string]bool{"tcp": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			server, opts := newRedis(t, secure)
			restartUnderLoad(t, server, newFactory(t, server.address, opts), redisEcho)
		})
	}
}

// OpenSSL sends two session tickets behind the handshake, on a connection that is idle then.
func TestTicketsOfRedisAreNoData(t *testing.T) {
	server, opts := newRedis(t, true)
	for range 20 {
		p := newPool(t, newFactory(t, server.address, opts), pool.Config{MaxConnections: 1})
		if err := p.Warm(soon(t), 1); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if reused := do(t, p, func(c *client) error { return redisEcho(c, "x") }); i > 0 && !reused {
				t.Fatal("the connection was not used again")
			}
		}
		if got := p.Stats().Opened; got != 1 {
			t.Fatalf("%d connections were opened, want 1", got)
		}
		p.Close()
	}
}

func TestWhatRedisHasClosedIsNotLent(t *testing.T) {
	for name, secure := range map[string]bool{"tcp": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			server, opts := newRedis(t, secure)
			p := newPool(t, newFactory(t, server.address, opts), pool.Config{MaxConnections: 1, CheckInterval: -1})
			var idle *client
			do(t, p, func(c *client) error { idle = c; return redisEcho(c, "x") })
			other := newPool(t, newFactory(t, server.address, opts), pool.Config{MaxConnections: 1})
			do(t, other, func(c *client) error {
				_, err := c.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
				return err
			})
			idle.arrived(t)
			if reused := do(t, p, func(c *client) error { return redisEcho(c, "y") }); reused {
				t.Error("it was lent again")
			}
		})
	}
}

func TestASubscriptionThatIsLeftBehindIsNotLent(t *testing.T) {
	server, opts := newRedis(t, false)
	p := newPool(t, newFactory(t, server.address, opts), pool.Config{MaxConnections: 1, CheckInterval: -1})
	var idle *client
	do(t, p, func(c *client) error {
		idle = c
		if _, err := c.command("SUBSCRIBE", "news"); err != nil {
			return err
		}
		for range 5 { // the rest of its reply
			if _, err := c.line(); err != nil {
				return err
			}
		}
		return nil
	})
	other := newPool(t, newFactory(t, server.address, opts), pool.Config{MaxConnections: 1})
	do(t, other, func(c *client) error {
		if n, err := c.command("PUBLISH", "news", "hello"); err != nil || n != ":1" {
			return fmt.Errorf("published to %s: %w", n, err)
		}
		return nil
	})
	idle.arrived(t)
	if reused := do(t, p, func(c *client) error { return redisEcho(c, "y") }); reused {
		t.Error("it was lent again")
	}
}

func TestTheEndOfACtxEndsABlockingCommand(t *testing.T) {
	for name, secure := range map[string]bool{"tcp": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			server, opts := newRedis(t, secure)
			p := newPool(t, newFactory(t, server.address, opts), pool.Config{MaxConnections: 1})
			err := p.Do(soon(t), func(ctx context.Context, c *client) error {
				ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
				defer cancel()
				defer netconn.Bind(ctx, c.Conn)()
				_, err := c.command("BLPOP", "nothing", "0")
				return err
			})
			var timeout net.Error
			if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("the command returns %v, want the end of its ctx", err)
			}
			if reused := do(t, p, func(c *client) error { return redisEcho(c, "y") }); reused {
				t.Error("the connection was lent again")
			}
		})
	}
}
