package peers

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/S4AK4N/pool/bench/harness"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

var goRedis = harness.Peer{
	Name:   "go-redis",
	Module: "github.com/redis/go-redis/v9 v9.23.0",
	How:    "its pool cannot be used without commands: Client.Conn and one command lend a connection, Close of it returns it; PoolSize and MaxActiveConns are both the size; retries and its own look at the socket are as by default. The server's part of the protocol is played by the connection in memory, each command being a round trip of the connection beneath",
	Lacks: map[harness.Trait]string{
		harness.Cycle: "its pool lends nothing without a command, whose time would be in it",
		harness.Bare:  "what is idle in it is a connection of the client, with buffers of its own",
	},
	New: newGoRedis,
}

func newGoRedis(s harness.Settings) (harness.Pool, error) {
	var conns sync.Map // by number
	client := redis.NewClient(&redis.Options{
		Addr:            "127.0.0.1:1",
		Protocol:        2,
		PoolSize:        s.Size,
		MaxActiveConns:  s.Size,
		PoolTimeout:     s.MaxWait,
		ConnMaxLifetime: s.MaxLifetime,
		ConnMaxIdleTime: s.MaxIdleTime,
		Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := s.Open(ctx)
			if err != nil {
				return nil, err
			}
			conns.Store(c.ID, c)
			r := &redisServer{conn: c}
			if c.Conn != nil {
				return &redisSocket{r}, nil
			}
			return r, nil
		},
		ContextTimeoutEnabled: true,
		DisableIdentity:       true,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	})
	type lent struct {
		*redis.Conn
		id int64
	}
	return &harness.Of[lent]{
		Take: func(ctx context.Context) (lent, error) {
			c := client.Conn()
			id, err := c.Do(ctx, "NUMBER").Int64()
			if err != nil {
				_ = c.Close()
				return lent{}, err
			}
			return lent{c, id}, nil
		},
		Give: func(l lent) { _ = l.Close() },
		Back: func(l lent) error { return l.Close() },
		Drop: func(l lent) {
			// Of a connection whose command has failed it is told by the command. It looks at
			// the socket of one that is idle before it lends it.
			c, _ := conns.Load(l.id)
			_ = c.(*harness.Conn).Close()
			_ = l.Close()
		},
		Conn: func(l lent) *harness.Conn {
			c, _ := conns.Load(l.id)
			return c.(*harness.Conn)
		},
		End: func() { _ = client.Close() },
	}, nil
}

// A redisServer answers NUMBER with the number of the connection, and any other command with an error.
type redisServer struct {
	conn    *harness.Conn
	in, out []byte
}

func (r *redisServer) Write(b []byte) (int, error) {
	r.in = append(r.in, b...)
	for {
		command, rest, err := redisCommand(r.in)
		if err != nil {
			return 0, err
		}
		if command == nil {
			return len(b), nil
		}
		r.in = rest
		if err := r.conn.RoundTrip(context.Background()); err != nil {
			return 0, err
		}
		if string(command) == "NUMBER" || string(command) == "number" {
			r.out = fmt.Appendf(r.out, ":%d\r\n", r.conn.ID)
		} else {
			r.out = append(r.out, "-ERR unknown command\r\n"...)
		}
	}
}

// redisCommand returns the name of the first command in b and what follows it; nil, if there is
// not all of it.
func redisCommand(b []byte) (name, rest []byte, err error) {
	number := func(kind byte) (n int, ok bool) {
		end := bytes.Index(b, []byte("\r\n"))
		if end < 0 {
			return 0, false
		}
		if b[0] != kind {
			err = fmt.Errorf("bench: the server does not understand %q", b[:end])
			return 0, false
		}
		n, err = strconv.Atoi(string(b[1:end]))
		b = b[end+2:]
		return n, err == nil
	}
	arguments, ok := number('*')
	for i := 0; ok && i < arguments; i++ {
		var size int
		if size, ok = number('$'); !ok {
			break
		}
		if len(b) < size+2 {
			return nil, nil, nil
		}
		if i == 0 {
			name = b[:size]
		}
		b = b[size+2:]
	}
	if !ok {
		return nil, nil, err
	}
	return name, b, nil
}

// Read is only called for what has been answered: the client reads when it has asked.
func (r *redisServer) Read(b []byte) (int, error) {
	if len(r.out) == 0 {
		return 0, io.EOF
	}
	n := copy(b, r.out)
	r.out = r.out[n:]
	return n, nil
}

func (r *redisServer) Close() error                     { return r.conn.Close() }
func (r *redisServer) SetDeadline(time.Time) error      { return nil }
func (r *redisServer) SetReadDeadline(time.Time) error  { return nil }
func (r *redisServer) SetWriteDeadline(time.Time) error { return nil }
func (r *redisServer) LocalAddr() net.Addr              { return new(net.TCPAddr) }
func (r *redisServer) RemoteAddr() net.Addr             { return new(net.TCPAddr) }

// A redisSocket is a redisServer whose client can look at the socket beneath.
type redisSocket struct{ *redisServer }

func (r *redisSocket) SyscallConn() (syscall.RawConn, error) { return r.conn.SyscallConn() }
