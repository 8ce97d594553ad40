package peers

import (
	"context"

	"github.com/S4AK4N/pool/bench/harness"
	commonspool "github.com/jolestar/go-commons-pool/v2"
)

var commons = harness.Peer{
	Name:   "go-commons-pool",
	Module: "github.com/jolestar/go-commons-pool/v2 v2.1.2",
	How:    "BorrowObject and ReturnObject, InvalidateObject for what is dead; MaxTotal and MaxIdle are both the size; TestOnBorrow where connections can die",
	Lacks:  map[harness.Trait]string{harness.Ages: noAges},
	New: func(s harness.Settings) (harness.Pool, error) {
		ctx := context.Background()
		config := commonspool.NewDefaultPoolConfig()
		config.MaxTotal, config.MaxIdle = s.Size, s.Size
		config.TestOnBorrow = s.Check != nil
		if s.MaxIdleTime > 0 {
			config.MinEvictableIdleTime, config.TimeBetweenEvictionRuns = s.MaxIdleTime, harness.Sweep
		}
		p := commonspool.NewObjectPool(ctx, commonspool.NewPooledObjectFactory(
			func(ctx context.Context) (any, error) {
				c, err := s.Open(ctx)
				if err != nil {
					return nil, err // not a nil *Conn in an any
				}
				return c, nil
			},
			func(_ context.Context, o *commonspool.PooledObject) error { return o.Object.(*harness.Conn).Close() },
			func(_ context.Context, o *commonspool.PooledObject) bool {
				return s.Check == nil || s.Check(o.Object.(*harness.Conn)) == nil
			}, nil, nil), config)
		return &harness.Of[any]{
			Take: p.BorrowObject,
			Give: func(o any) { _ = p.ReturnObject(ctx, o) },
			Back: func(o any) error { return p.ReturnObject(ctx, o) },
			Drop: func(o any) { _ = p.InvalidateObject(ctx, o) },
			Conn: func(o any) *harness.Conn { return o.(*harness.Conn) },
			End:  func() { p.Close(ctx) },
		}, nil
	},
}
