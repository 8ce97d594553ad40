package peers

import (
	"errors"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/bench/harness"
)

// errDead is what a caller says of a connection that it does not put back.
var errDead = errors.New("bench: the connection is dead")

var own = harness.Peer{
	Name: "pool",
	How:  "this repository, with its defaults: a MaxWaitTime of 5 s is in force; Check where connections can die",
	New: func(s harness.Settings) (harness.Pool, error) {
		p, err := pool.New(pool.Factory[*harness.Conn]{
			Open:  s.Open,
			Close: func(c *harness.Conn, _ error) error { return c.Close() },
			Check: s.Check,
		}, pool.Config{MaxConnections: s.Size, MaxWaitTime: s.MaxWait,
			MaxLifetime: s.MaxLifetime, MaxIdleTime: s.MaxIdleTime})
		if err != nil {
			return nil, err
		}
		return &harness.Of[pool.Lease[*harness.Conn]]{
			Take: p.Get,
			Give: func(l pool.Lease[*harness.Conn]) { _ = p.Put(l) },
			Back: p.Put,
			Drop: func(l pool.Lease[*harness.Conn]) { _ = p.Discard(l, errDead) },
			Conn: pool.Lease[*harness.Conn].Value,
			End:  func() { _ = p.Close() },
		}, nil
	},
}
