package puddle

import (
	"context"
	"iter"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/S4AK4N/pool"
)

// leakAfter is the default of LeakAfter, and leakVariable the variable of the environment that sets
// it for a program that does not call Configure.
const (
	leakAfter    = 5 * time.Minute
	leakVariable = "PUDDLE_LEAK_AFTER"
)

var configure atomic.Pointer[func(*pool.Config)]

// Configure has f called by each NewPool from then on, with what the pool is made of, to change it. It is for
// programs that make no pool themselves: pgxpool does. Call it at the start, before pools are
// made; the last call counts, and nil takes it back. f may be called by several goroutines at the same time.
//
// What f finds set: MaxConnections from MaxSize; StrictMax, so that what is being destroyed has its place until it is; OpenContext,
// so that a Constructor gets the values of the ctx of Acquire; no limit for waits, idle times and
// Constructors; LeakAfter, five minutes or what PUDDLE_LEAK_AFTER in the environment says, such as "30s", or "0" for
// no reports, with LeakCallers; slog.Default() as the Logger; "puddle" as the Name. [pool.LeaseInfo].Conn in Hooks.Leaked
// is the value of the resource.
func Configure(f func(*pool.Config)) {
	if f == nil {
		configure.Store(nil)
		return
	}
	configure.Store(&f)
}

// configured returns what a pool of so many resources is made of.
func configured(size int) pool.Config {
	c := pool.Config{
		Name:           "puddle",
		MaxConnections: size,
		StrictMax:      true,
		MaxIdleTime:    -1,
		MaxWaitTime:    -1,
		OpenTimeout:    -1,
		OpenContext:    func(ctx context.Context) context.Context { return ctx },
		LeakAfter:      leakAfter,
		LeakCallers:    true,
		Logger:         slog.Default(),
	}
	if text := os.Getenv(leakVariable); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			c.Logger.Warn("puddle: "+leakVariable+" is no time such as 30s, or 0", slog.String("value", text))
		} else {
			c.LeakAfter = d
		}
	}
	if f := configure.Load(); f != nil {
		(*f)(&c)
	}
	return c
}

// A Native is what a pool stands on: its figures, who has acquired what, and a way to take it back. It
// can be given to exporters of figures of github.com/S4AK4N/pool.
type Native interface {
	Name() string
	Stats() pool.Stats
	Leases() []pool.LeaseInfo
	Revoke(pool.LeaseInfo) bool
}

var (
	poolsMu sync.Mutex
	pools   = map[any]Native{}
)

func register(p any, n Native) {
	poolsMu.Lock()
	defer poolsMu.Unlock()
	pools[p] = n
}

func unregister(p any) {
	poolsMu.Lock()
	defer poolsMu.Unlock()
	delete(pools, p)
}

// Pools returns an iterator over all pools of the process that have been made and not closed, in no order: for
// figures of pools that others have made, such as pgxpool.
func Pools() iter.Seq[Native] {
	return func(yield func(Native) bool) {
		poolsMu.Lock()
		all := slices.Collect(maps.Values(pools))
		poolsMu.Unlock()
		for _, n := range all {
			if !yield(n) {
				return
			}
		}
	}
}

// Native returns what the pool stands on.
func (p *Pool[T]) Native() Native { return native[T]{p.pool} }

type native[T any] struct{ *pool.Pool[*Resource[T]] }

func (n native[T]) Leases() []pool.LeaseInfo {
	leases := n.Pool.Leases()
	for i := range leases {
		leases[i] = bare[T](leases[i])
	}
	return leases
}

// bare returns info with the value of a resource.
func bare[T any](info pool.LeaseInfo) pool.LeaseInfo {
	if res, ok := info.Conn.(*Resource[T]); ok {
		info.Conn = res.value
	}
	return info
}
