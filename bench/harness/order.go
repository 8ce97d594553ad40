package harness

import (
	"context"
	"fmt"
	"sync"

	"go.uber.org/atomic"
)

// A getter is a goroutine that calls Get once.
type getter struct {
	id    int
	ended atomic.Bool
	lease Lease
	err   error
	done  chan struct{}
}

// get calls Get in a goroutine, and then served, if it has succeeded.
func get(ctx context.Context, p Pool, served func(Lease)) *getter {
	g := &getter{done: make(chan struct{})}
	id := make(chan int)
	go func() {
		defer close(g.done)
		id <- goroutine()
		g.lease, g.err = p.Get(ctx)
		g.ended.Store(true)
		if g.err == nil && served != nil {
			served(g.lease)
		}
	}()
	g.id = <-id
	return g
}

// order sees in which order waiters are served: those who came one after the other, each of them
// seen waiting before the next one comes, and one who waits while the holder puts and gets again.
func order(r *run) error {
	r.patient()
	if err := r.open(1, ""); err != nil {
		return err
	}
	ctx, cancel := deadline()
	defer cancel()
	held, err := r.pool.Get(ctx)
	if err != nil {
		return err
	}
	const waiters = 16
	var served []int
	var mu sync.Mutex
	var getters []*getter
	waited := 0
	for i := range waiters {
		g := get(ctx, r.pool, func(l Lease) {
			mu.Lock()
			served = append(served, i)
			mu.Unlock()
			l.Put()
		})
		getters = append(getters, g)
		if err := awaitBlocked(g.id, g.ended.Load); err != nil {
			r.wrong("a Get did not wait though everything was leased")
			break
		}
		waited++
	}
	r.set(Waited, float64(waited))
	held.Put()
	for _, g := range getters {
		<-g.done
		if g.err != nil {
			return fmt.Errorf("a Get that waited for a connection that came back: %w", g.err)
		}
	}
	overtaken := map[int]bool{}
	for i, first := range served {
		for _, later := range served[i:] {
			if later < first {
				overtaken[later] = true
			}
		}
	}
	r.set(Overtaken, float64(len(overtaken)))
	if len(overtaken) > 0 {
		r.wrong("a waiter was overtaken by others who came later")
	}

	most := 0
	for range 20 { // a holder who is stopped between Put and Get overtakes nobody
		barged, err := barge(ctx, r.pool)
		if err != nil {
			return err
		}
		most = max(most, barged)
	}
	r.set(Barged, float64(most))
	if most > 0 {
		r.wrong("a waiter was overtaken by the one who put the connection back, who took it again")
	}
	r.limited(1)
	return nil
}

// barge has one caller wait while the holder puts the connection back and gets again, until the
// one who waits is served. It returns how many times the holder got it again.
func barge(ctx context.Context, p Pool) (barged int, err error) {
	held, err := p.Get(ctx)
	if err != nil {
		return 0, err
	}
	g := get(ctx, p, func(l Lease) { l.Put() })
	if awaitBlocked(g.id, g.ended.Load) != nil {
		return 0, nil // there is nobody to overtake
	}
	for barged < 1000 {
		held.Put()
		if held, err = p.Get(ctx); err != nil {
			return 0, fmt.Errorf("the Get of the one who has put: %w", err)
		}
		if g.ended.Load() {
			break
		}
		barged++
	}
	held.Put()
	<-g.done
	if g.err != nil {
		return 0, fmt.Errorf("a Get that waited for a connection that came back: %w", g.err)
	}
	return barged, nil
}
