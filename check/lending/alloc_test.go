package lending

import (
	"context"
	"runtime"
	"sync"
	"testing"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/testkit"
)

func TestGetAndPutAllocateNothing(t *testing.T) {
	cancellable, cancel := context.WithCancel(context.Background())
	defer cancel()
	ok := func(*testkit.Wire) error { return nil }
	for _, c := range []struct {
		name         string
		ctx          context.Context
		check, clean func(*testkit.Wire) error
	}{
		{"Background", context.Background(), nil, nil},
		{"cancellable", cancellable, nil, nil},
		{"Check", cancellable, ok, nil},
		{"Clean", cancellable, nil, ok},
		{"Check and Clean", cancellable, ok, ok},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := new(testkit.Exchange).Factory()
			f.Check, f.Clean = c.check, c.clean
			p := testkit.Start(t, f, pool.Config{MaxConnections: 2, MaxIdleTime: -1, CheckInterval: -1})
			testkit.Fill(t, p, 2)
			if n := testing.AllocsPerRun(1000, func() {
				l, err := p.Get(c.ctx)
				if err != nil {
					t.Fatal(err)
				}
				if err := p.Put(l); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("Get and Put allocate %v objects, want none", n)
			}
			if n := testing.AllocsPerRun(1000, func() {
				l, ok := p.TryGet()
				if !ok {
					t.Fatal("TryGet has found nothing")
				}
				if err := p.Put(l); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("TryGet and Put allocate %v objects, want none", n)
			}
		})
	}
}

// Two callers take turns with one connection, and each has to wait every time: each puts
// it back only when the other is in the queue.
func TestAWaitAllocatesNextToNothing(t *testing.T) {
	if testkit.RaceEnabled {
		t.Skip("under the race detector sync.Pool drops what it is given now and then")
	}
	if step.Enabled {
		t.Skip("a segment of the queue has two cells there, not 62")
	}
	const turns = 50_000
	p := testkit.Start(t, new(testkit.Exchange).Factory(), pool.Config{MaxConnections: 1})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	takeTurns := func(n int) {
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for range n {
					l, err := p.Get(ctx)
					if err != nil {
						t.Errorf("Get: %v", err)
						return
					}
					for i := 0; testkit.Inside(p).Gate.Load() == 0 && i < 1000; i++ {
						runtime.Gosched()
					}
					p.Put(l)
				}
			})
		}
		wg.Wait()
	}
	takeTurns(1000)
	var before, after runtime.MemStats
	waits := p.Stats().Waits
	runtime.ReadMemStats(&before)
	takeTurns(turns)
	runtime.ReadMemStats(&after)
	waits = p.Stats().Waits - waits
	if waits < turns {
		t.Fatalf("%d waits in %d turns: too few to tell", waits, 2*turns)
	}
	objects := float64(after.Mallocs-before.Mallocs) / float64(waits)
	bytes := float64(after.TotalAlloc-before.TotalAlloc) / float64(waits)
	t.Logf("%.3f objects, %.1f bytes a wait, in %d waits", objects, bytes, waits)
	if objects > 0.1 || bytes > 64 {
		t.Errorf("a wait allocates %.3f objects, %.1f bytes, want at most 0.1, 64", objects, bytes)
	}
}
