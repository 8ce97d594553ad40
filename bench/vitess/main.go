// Command vitess has the pool of vitess for the comparison that the command bench makes. It is
// a module of its own, since that pool brings in a good part of a database.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/S4AK4N/pool/bench/behaviour"
	"github.com/S4AK4N/pool/bench/harness"
	"vitess.io/vitess/go/pools/smartconnpool"
)

func main() {
	peers := []harness.Peer{vitess}
	done, err := harness.Inner(os.Args[1:], peers, os.Stdout)
	if !done {
		done, err = behaviour.Inner(os.Args[1:], peers, os.Stdout)
	}
	if !done {
		err = errors.New("only bench measure and bench behaviour call this command")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/vitess:", err)
		os.Exit(1)
	}
}

type pooled = *smartconnpool.Pooled[*connection]

var vitess = harness.Peer{
	Name:   "vitess",
	Module: "vitess.io/vitess v0.24.4",
	How:    "smartconnpool: Get without a setting, and Recycle; Close and Recycle for what is dead; it has no place for a check",
	New: func(s harness.Settings) (harness.Pool, error) {
		p := smartconnpool.NewPool(&smartconnpool.Config[*connection]{Capacity: int64(s.Size), MaxIdleCount: int64(s.Size),
			MaxLifetime: s.MaxLifetime, IdleTimeout: s.MaxIdleTime})
		p.Open(func(ctx context.Context) (*connection, error) {
			c, err := s.Open(ctx)
			if err != nil {
				return nil, err
			}
			return &connection{Conn: c}, nil
		}, nil)
		return &harness.Of[pooled]{
			Take: func(ctx context.Context) (pooled, error) { return p.Get(ctx, nil) },
			Give: pooled.Recycle,
			Drop: func(c pooled) {
				c.Discard()
				c.Recycle()
			},
			Conn: func(c pooled) *harness.Conn { return c.Conn.Conn },
			End:  p.Close,
		}, nil
	},
}

// A connection has no settings.
type connection struct {
	*harness.Conn
	closed bool
}

func (*connection) ApplySetting(context.Context, *smartconnpool.Setting) error { return nil }
func (*connection) ResetSetting(context.Context) error                         { return nil }
func (*connection) Setting() *smartconnpool.Setting                            { return nil }
func (c *connection) IsClosed() bool                                           { return c.closed }

func (c *connection) Close() {
	c.closed = true
	_ = c.Conn.Close()
}
