package peers

import (
	"context"
	"errors"
	"time"

	"github.com/S4AK4N/pool/bench/harness"
	"github.com/gomodule/redigo/redis"
)

var redigoPool = harness.Peer{
	Name:   "redigo",
	Module: "github.com/gomodule/redigo v1.9.3",
	How:    "GetContext, and Close of what it returns, with Wait; MaxActive and MaxIdle are both the size; its connections do nothing; TestOnBorrow where connections can die",
	New: func(s harness.Settings) (harness.Pool, error) {
		p := &redis.Pool{
			MaxActive:       s.Size,
			MaxIdle:         s.Size,
			IdleTimeout:     s.MaxIdleTime,
			MaxConnLifetime: s.MaxLifetime,
			Wait:            true,
			DialContext: func(ctx context.Context) (redis.Conn, error) {
				c, err := s.Open(ctx)
				if err != nil {
					return nil, err
				}
				return &redigoConn{conn: c}, nil
			},
		}
		if s.Check != nil {
			p.TestOnBorrow = func(c redis.Conn, _ time.Time) error { return s.Check(c.(*redigoConn).conn) }
		}
		itself := func(c redis.Conn) *redigoConn {
			r, _ := c.Do("ITSELF")
			return r.(*redigoConn)
		}
		return &harness.Of[redis.Conn]{
			Take: p.GetContext,
			Give: func(c redis.Conn) { _ = c.Close() },
			Back: redis.Conn.Close,
			Drop: func(c redis.Conn) {
				itself(c).err = errDead // as its own connections keep the first error of theirs
				_ = c.Close()
			},
			Conn: func(c redis.Conn) *harness.Conn { return itself(c).conn },
			End:  func() { _ = p.Close() },
		}, nil
	},
}

// A redigoConn answers each command with itself.
type redigoConn struct {
	conn *harness.Conn
	err  error
}

func (c *redigoConn) Close() error                   { return c.conn.Close() }
func (c *redigoConn) Err() error                     { return c.err }
func (c *redigoConn) Do(string, ...any) (any, error) { return c, nil }
func (c *redigoConn) Send(string, ...any) error      { return nil }
func (c *redigoConn) Flush() error                   { return nil }
func (c *redigoConn) Receive() (any, error)          { return nil, errors.New("bench: nothing to receive") }
