package fleet

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// ownClient returns a client for the server of another one. With the timeouts that go-redis has by
// default one call may last for longer than a lease, and retries carry it out more than once. If it
// cannot be copied it is used as it is, and is not closed.
func ownClient(client redis.UniversalClient, limit time.Duration) (_ redis.UniversalClient, closes bool, _ error) {
	switch c := client.(type) {
	case nil:
		return nil, false, errors.New("fleet: NewBudget: the client is nil")
	case *redis.Ring:
		return nil, false, errors.New("fleet: NewBudget: a redis.Ring moves keys to another server when one is down, where the count begins anew: use a Client, with Sentinel or not, or a ClusterClient")
	case *redis.Client:
		o := *c.Options()
		o.MaxRetries = -1
		o.ContextTimeoutEnabled = true
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = limit, shorter(o.ReadTimeout, limit), shorter(o.WriteTimeout, limit), limit
		o.DialerRetries = 1
		o.PoolSize, o.MinIdleConns, o.MaxIdleConns, o.MaxActiveConns = ownConns, 0, 0, 0
		o.ClientSideCache, o.ClientSideCacheConfig = nil, nil
		// The processor has handlers of the other client, for moves that are announced; ours fails and asks again.
		o.PushNotificationProcessor = nil
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		o.Dialer = within(limit, o.Dialer)
		return redis.NewClient(&o), true, nil
	case *redis.ClusterClient:
		o := *c.Options()
		o.MaxRetries = -1
		o.ContextTimeoutEnabled = true
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = limit, shorter(o.ReadTimeout, limit), shorter(o.WriteTimeout, limit), limit
		o.DialerRetries = 1
		o.PoolSize, o.MinIdleConns, o.MaxIdleConns, o.MaxActiveConns = ownConns, 0, 0, 0
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		o.ReadOnly, o.RouteByLatency, o.RouteRandomly = false, false, false
		if o.Dialer != nil {
			o.Dialer = within(limit, o.Dialer)
		}
		return redis.NewClusterClient(&o), true, nil
	}
	return client, false, nil
}

// ownConns is how many connections a client of ours has at most. One call is made at a time, but calls
// that were given up may still hold theirs.
const ownConns = 16

// shorter returns the shorter of two timeouts. One that is not positive is none.
func shorter(d, limit time.Duration) time.Duration {
	if d <= 0 {
		return limit
	}
	return min(d, limit)
}

// within limits a dial.
func within(limit time.Duration, dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		return dial(ctx, network, address)
	}
}
