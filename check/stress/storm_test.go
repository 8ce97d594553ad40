package stress

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
	"go.uber.org/atomic"
)

// vitess#20310, sqlx#3132: a storm of timeouts. Nothing may be lost in it, nothing
// opened for those who have gone, and the pool must be whole at once when it is over.
func TestStormOfTimeoutsLosesNothing(t *testing.T) {
	const callers, size = 1000, 4
	duration := time.Second
	if testing.Short() {
		duration = 200 * time.Millisecond
	}
	x := new(testkit.Exchange)
	p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: size})
	var served, timedOut atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(duration)
	patience := end.Add(30 * time.Second)
	for range callers {
		wg.Go(func() {
			limit := time.Millisecond
			for time.Now().Before(end) || served.Load() == 0 && time.Now().Before(patience) {
				if served.Load() == 0 { // on a slow machine nobody may be served in time
					limit += limit / 8
				}
				ctx, cancel := context.WithTimeout(context.Background(), limit)
				l, err := p.Get(ctx)
				switch {
				case err == nil:
					for held := time.Now(); time.Since(held) < 100*time.Microsecond; {
						runtime.Gosched()
					}
					if err := p.Put(l); err != nil {
						t.Errorf("Put: %v", err)
					}
					served.Inc()
				case errors.Is(err, context.DeadlineExceeded):
					timedOut.Inc()
				default:
					t.Errorf("Get: %v", err)
				}
				cancel()
			}
		})
	}
	wg.Wait()

	var leases []pool.Lease[*testkit.Wire]
	for deadline := time.Now().Add(30 * time.Second); ; runtime.Gosched() {
		l, ok := p.TryGet()
		if ok {
			leases = append(leases, l)
		} else if len(leases) >= x.Tried() || time.Now().After(deadline) { // else one is being opened
			break
		}
	}
	if len(leases) != x.Tried() || x.Tried() > size {
		t.Errorf("%d connections are to be had, %d were opened, want %d at most", len(leases), x.Tried(), size)
	}
	for _, l := range leases {
		testkit.GiveBack(t, p, l)
	}
	if served.Load() == 0 || timedOut.Load() == 0 {
		t.Errorf("%d were served, %d timed out: not a storm", served.Load(), timedOut.Load())
	}
	s := p.Stats()
	if s.Canceled < uint64(timedOut.Load())/2 || s.Canceled > uint64(timedOut.Load()) {
		t.Errorf("%d waits were counted as cancelled, %d calls timed out", s.Canceled, timedOut.Load())
	}
	if s.Gets != uint64(served.Load())+uint64(len(leases)) {
		t.Errorf("%d leases were counted, want %d", s.Gets, served.Load()+int64(len(leases)))
	}
	t.Logf("%d served, %d timed out", served.Load(), timedOut.Load())
	p.Close()
	testkit.AwaitPools(t)
	testkit.AtRest(t, p, 0)
	x.AllClosedOnce(t)
}
