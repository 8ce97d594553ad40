package peers

import (
	"context"
	"net"
	"time"

	"github.com/S4AK4N/pool/bench/harness"
	"github.com/yudhasubki/netpool"
)

var netpoolStandard = harness.Peer{
	Name:   "netpool",
	Module: "github.com/yudhasubki/netpool v0.5.0",
	How:    "its Standard pool: GetWithContext and Put, PutWithError for what is dead; MaxIdleTime is 30 s, as ours is by default; HealthCheck where connections can die",
	Lacks:  map[harness.Trait]string{harness.Ages: noAges},
	New: func(s harness.Settings) (harness.Pool, error) {
		config := netpoolConfig(s)
		if s.Check != nil {
			config.HealthCheck = func(c net.Conn) error { return s.Check(c.(*harness.Conn)) }
		}
		p, err := netpool.New(netpoolOpen(s), config)
		return ofNetpool(p, err)
	},
}

var netpoolBasic = harness.Peer{
	Name:   "netpool Basic",
	Module: "github.com/yudhasubki/netpool v0.5.0",
	How:    "its Basic pool: GetWithContext and Put, PutWithError for what is dead; it has neither idle times nor checks",
	Lacks:  map[harness.Trait]string{harness.Ages: noAges, harness.Idles: noIdles},
	New: func(s harness.Settings) (harness.Pool, error) {
		p, err := netpool.NewBasic(netpoolOpen(s), netpoolConfig(s))
		return ofNetpool(p, err)
	},
}

func netpoolConfig(s harness.Settings) netpool.Config {
	idle := s.MaxIdleTime
	if idle == 0 {
		idle = 30 * time.Second
	}
	return netpool.Config{MaxPool: int32(s.Size), MaxIdleTime: idle}
}

func netpoolOpen(s harness.Settings) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		c, err := s.Open(ctx)
		if err != nil {
			return nil, err
		}
		return c, nil
	}
}

func ofNetpool(p netpool.Netpooler, err error) (harness.Pool, error) {
	if err != nil {
		return nil, err
	}
	return &harness.Of[net.Conn]{
		Take: p.GetWithContext,
		Give: p.Put,
		Drop: func(c net.Conn) { p.PutWithError(c, errDead) },
		Conn: func(c net.Conn) *harness.Conn { return c.(*harness.Conn) },
		End:  p.Close,
	}, nil
}
