package peers

import (
	"context"

	"github.com/S4AK4N/pool/bench/harness"
	"github.com/silenceper/pool"
)

var silenceperPool = harness.Peer{
	Name:   "silenceper",
	Module: "github.com/silenceper/pool v1.0.0",
	How:    "Get and Put, Close for what is dead; MaxCap and MaxIdle are both the size; Ping where connections can die",
	Lacks:  map[harness.Trait]string{harness.Ctx: noCtx, harness.Ages: noAges},
	New: func(s harness.Settings) (harness.Pool, error) {
		config := &pool.Config{
			MaxCap:      s.Size,
			MaxIdle:     s.Size,
			IdleTimeout: s.MaxIdleTime,
			Factory: func() (any, error) {
				c, err := s.Open(context.Background())
				if err != nil {
					return nil, err
				}
				return c, nil
			},
			Close: func(c any) error { return c.(*harness.Conn).Close() },
		}
		if s.Check != nil {
			config.Ping = func(c any) error { return s.Check(c.(*harness.Conn)) }
		}
		p, err := pool.NewChannelPool(config)
		if err != nil {
			return nil, err
		}
		return &harness.Of[any]{
			Take: func(context.Context) (any, error) { return p.Get() },
			Give: func(c any) { _ = p.Put(c) },
			Back: p.Put,
			Drop: func(c any) { _ = p.Close(c) },
			Conn: func(c any) *harness.Conn { return c.(*harness.Conn) },
			End:  p.Release,
		}, nil
	},
}
