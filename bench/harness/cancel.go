package harness

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"go.uber.org/atomic"
)

// cancels has callers wait for connections that are all leased, until their ctx is cancelled by
// another goroutine, again and again; and then counts whether all connections are still there.
func cancels(r *run) error {
	const size, callers = 2, 64
	r.patient()
	if err := r.open(size, ""); err != nil {
		return err
	}
	ctx, cancel := deadline()
	defer cancel()
	var held []Lease
	for range size {
		l, err := r.pool.Get(ctx)
		if err != nil {
			return err
		}
		held = append(held, l)
	}
	var foreign, lent, waits atomic.Int64
	wait := func(ctx context.Context) {
		l, err := r.pool.Get(ctx)
		switch {
		case err == nil:
			lent.Inc()
			l.Put()
		case !errors.Is(err, context.Canceled):
			foreign.Inc()
		}
		waits.Inc()
	}
	span := r.span(200 * time.Millisecond)
	took, err := cancelled(callers, span, wait)
	if err != nil {
		return err
	}
	n := waits.Load() // at least one of each caller
	if lent.Load() > 0 {
		r.wrong("a Get was given a connection while all were leased")
	}
	r.set(CancelNs, float64(took)/float64(n))
	r.set(Foreign, float64(foreign.Load())/float64(n))
	if foreign.Load() > 0 {
		r.wrong("the error of a cancelled wait was not context.Canceled")
	}
	waits.Store(0)
	took, err = cancelled(callers, span, func(ctx context.Context) {
		<-ctx.Done()
		waits.Inc()
	})
	if err != nil {
		return err
	}
	r.set(BaseNs, float64(took)/float64(waits.Load()))

	for _, l := range held {
		l.Put()
	}
	held = held[:0]
	for len(held) < size {
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		l, err := r.pool.Get(short)
		cancel()
		if err != nil {
			break
		}
		held = append(held, l)
	}
	r.set(Lost, float64(size-len(held)))
	if len(held) < size {
		r.wrong("connections could not be had any more after waits were cancelled")
	}
	for _, l := range held {
		l.Put()
	}

	over, end := context.WithCancel(ctx)
	end()
	const tries = 64 // a select of two that are ready takes either
	ended := 0
	for range tries {
		if l, err := r.pool.Get(over); err == nil {
			ended++
			l.Put()
		}
	}
	r.set(Ended, float64(ended)/tries)
	if ended > 0 {
		r.wrong("a Get whose ctx had ended was given a connection")
	}
	r.limited(size)
	return nil
}

// cancelled has callers wait until another goroutine has cancelled them. Each caller has a
// canceller of its own, who lets others run before he cancels.
func cancelled(callers int, span time.Duration, wait func(context.Context)) (time.Duration, error) {
	took, err := together(callers, span, func(_ context.Context, stop *atomic.Bool, _ int) error {
		asked := make(chan context.CancelFunc)
		defer close(asked)
		go func() {
			for cancel := range asked {
				runtime.Gosched()
				cancel()
			}
		}()
		for {
			ctx, cancel := context.WithCancel(context.Background())
			asked <- cancel
			wait(ctx)
			if stop.Load() {
				return nil
			}
		}
	})
	if err != nil {
		return 0, fmt.Errorf("cancelled waits: %w", err)
	}
	return took, nil
}
