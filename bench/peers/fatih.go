package peers

import (
	"context"
	"net"

	"github.com/S4AK4N/pool/bench/harness"
	"github.com/fatih/pool"
)

var fatihPool = harness.Peer{
	Name:   "fatih",
	Module: "github.com/fatih/pool v3.0.0+incompatible",
	How:    "Get, and Close of what it returns; MarkUnusable for what is dead; it has no place for a check",
	Lacks: map[harness.Trait]string{
		harness.Waits: "it does not limit: when nothing is idle it opens another",
		harness.Ctx:   noCtx,
		harness.Ages:  noAges,
		harness.Idles: noIdles,
	},
	New: func(s harness.Settings) (harness.Pool, error) {
		p, err := pool.NewChannelPool(0, s.Size, func() (net.Conn, error) {
			c, err := s.Open(context.Background())
			if err != nil {
				return nil, err
			}
			return c, nil
		})
		if err != nil {
			return nil, err
		}
		return &harness.Of[net.Conn]{
			Take: func(context.Context) (net.Conn, error) { return p.Get() },
			Give: func(c net.Conn) { _ = c.Close() },
			Back: net.Conn.Close,
			Drop: func(c net.Conn) {
				c.(*pool.PoolConn).MarkUnusable()
				_ = c.Close()
			},
			Conn: func(c net.Conn) *harness.Conn { return c.(*pool.PoolConn).Conn.(*harness.Conn) },
			End:  p.Close,
		}, nil
	},
}
