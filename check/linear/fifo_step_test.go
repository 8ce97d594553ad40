//go:build step

package linear

import (
	"bytes"
	"context"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/step"

	"go.uber.org/atomic"
)

// goroutine returns the number of the calling one, as its stack trace begins with it.
func goroutine() int {
	var buf [64]byte
	n, _ := strconv.Atoi(string(bytes.Fields(buf[:runtime.Stack(buf[:], false)])[1]))
	return n
}

// A turn is one call of Get or TryGet for the only connection of a pool.
type turn struct {
	call   int64 // when it began
	linked int64 // when it was seen to stand in line; 0 if it never did
	served int   // how many were served before it, itself included
}

// A caller in the queue is served before all callers whose call begins later: those that
// wait, and those that only try. There is one connection, so its holder writes down its
// turn.
func TestWaitersAreServedBeforeAllWhoComeLater(t *testing.T) {
	s := seed(t)
	t.Logf("seed %d", s)
	d := budget(t) / 3
	rnd := rand.New(rand.NewPCG(s, 0))
	rounds, lent, inLine, pairs := 0, 0, 0, 0
	for end := time.Now().Add(d); time.Now().Before(end) && !t.Failed(); rounds++ {
		served := serveInTurns(t, rnd)
		lent += len(served)
		// In the order in which they were served, nobody may have stood in line
		// before an earlier one began to call.
		latest := int64(0)
		for _, u := range served {
			if u.linked > 0 {
				inLine++
				if u.linked < latest {
					t.Errorf("a caller who stood in line at %d was served as number %d, after one who came at %d", u.linked, u.served, latest)
				}
			}
			if latest > 0 {
				pairs++
			}
			latest = max(latest, u.call)
		}
	}
	if inLine == 0 {
		t.Error("nobody ever stood in line")
	}
	t.Logf("%d rounds, %d served, of whom %d stood in line, %d comparisons", rounds, lent, inLine, pairs)
}

// serveInTurns makes several callers call a new pool, and returns those that got the
// connection, in that order.
func serveInTurns(t *testing.T, rnd *rand.Rand) (served []*turn) {
	var clock, shakes atomic.Int64
	var turns sync.Map // of *turn, by goroutine
	salt := rnd.Int64()
	defer step.Install(func(name string) {
		if name == "enqueue: written down" {
			if u, ok := turns.Load(goroutine()); ok {
				u.(*turn).linked = clock.Inc()
			}
		}
		if x := uint64(shakes.Inc()+salt) * 0x9E3779B97F4A7C15; x>>61 == 0 {
			runtime.Gosched()
		}
	})()
	p, err := pool.New(pool.Factory[int]{
		Open:  func(context.Context) (int, error) { return 1, nil },
		Close: func(int, error) error { return nil },
	}, pool.Config{MaxConnections: 1, MaxWaitTime: -1, MaxIdleTime: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var wg sync.WaitGroup
	for range 6 {
		rnd := rand.New(rand.NewPCG(rnd.Uint64(), 0))
		wg.Go(func() {
			me := goroutine()
			for range 10 {
				u := new(turn)
				turns.Store(me, u)
				ctx := context.Background()
				if rnd.IntN(4) == 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithCancel(ctx)
					go cancel()
				}
				u.call = clock.Inc()
				var l pool.Lease[int]
				ok := false
				if rnd.IntN(4) == 0 {
					l, ok = p.TryGet()
				} else if got, err := p.Get(ctx); err == nil {
					l, ok = got, true
				}
				if !ok {
					continue
				}
				served = append(served, u) // the connection is a lock
				u.served = len(served)
				if rnd.IntN(2) == 0 {
					runtime.Gosched()
				}
				if err := p.Put(l); err != nil {
					t.Errorf("Put: %v", err)
				}
			}
		})
	}
	wg.Wait()
	return served
}
