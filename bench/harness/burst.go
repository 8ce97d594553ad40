package harness

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/atomic"
)

// all has so many callers call Get at the same time. It returns when the first and the last had
// been served, in milliseconds, and an error of one of them, if any.
func (r *run) all(ctx context.Context, callers int, use func(Lease)) (first, last float64, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	begin := make(chan struct{})
	var began time.Time
	for range callers {
		wg.Go(func() {
			<-begin
			l, e := r.pool.Get(ctx)
			ms := time.Since(began).Seconds() * 1000
			mu.Lock()
			if e != nil {
				err = e
			} else if first == 0 {
				first = ms
			}
			last = max(last, ms)
			mu.Unlock()
			if e == nil {
				use(l)
			}
		})
	}
	began = time.Now()
	close(begin)
	wg.Wait()
	return first, last, err
}

// cold has 100 callers meet an empty pool with room for 100, and keep what they get until all have
// been served. A connection takes 50 ms to open.
func cold(r *run) error {
	const size = 100
	r.patient()
	if err := r.open(size, ""); err != nil {
		return err
	}
	r.dialer.Takes(50 * time.Millisecond)
	ctx, cancel := deadline()
	defer cancel()
	var rest atomic.Int64
	rest.Store(size)
	everybody := make(chan struct{})
	first, last, err := r.all(ctx, size, func(l Lease) {
		if rest.Dec() == 0 {
			close(everybody)
		}
		select {
		case <-everybody:
		case <-ctx.Done():
		}
		l.Put()
	})
	if err != nil {
		return err
	}
	r.set(FirstMs, first)
	r.set(AllMs, last)
	r.set(Attempts, float64(r.dialer.Attempts()))
	r.limited(size)
	return nil
}

// spike has 50 short requests at once meet 5 idle connections, and room for 50. A connection takes
// 150 ms to open. It counts the attempts that begin until all requests are served.
func spike(r *run, hold time.Duration) error {
	const size, idle = 50, 5
	r.patient()
	if err := r.open(size, ""); err != nil {
		return err
	}
	ctx, cancel := deadline()
	defer cancel()
	r.dialer.Takes(150 * time.Millisecond)
	if err := fill(ctx, r.pool, idle); err != nil {
		return err
	}
	before := r.dialer.Attempts()
	_, last, err := r.all(ctx, size, func(l Lease) {
		time.Sleep(hold)
		l.Put()
	})
	if err != nil {
		return err
	}
	r.set(Attempts, float64(r.dialer.Attempts()-before))
	r.set(AllMs, last)
	r.limited(size)
	return nil
}

// storm has 1,000 goroutines ask again and again, with a deadline of 1 ms, for 4 connections that
// are held for 0.1 ms. It is measured by 16 patient callers of such a pool, while 1,000 others
// wait for their deadlines without one.
func storm(r *run) error {
	const size, impatient, patient = 4, 1000, 16
	const within, hold = time.Millisecond, 100 * time.Microsecond
	leases := func(patient int, alone bool) (float64, error) {
		if err := r.open(size, ""); err != nil {
			return 0, err
		}
		ctx, cancel := deadline()
		defer cancel()
		if err := fill(ctx, r.pool, size); err != nil {
			return 0, err
		}
		var served atomic.Int64
		use := func(ctx context.Context, stop *atomic.Bool) {
			l, err := r.pool.Get(ctx)
			if err != nil {
				return // the deadline: what is counted is who is served
			}
			time.Sleep(hold)
			l.Put()
			if !stop.Load() {
				served.Inc()
			}
		}
		caller := func(own context.Context, stop *atomic.Bool, i int) error {
			for !stop.Load() {
				if i < patient {
					use(own, stop)
					continue
				}
				short, cancel := context.WithTimeout(own, within)
				if alone {
					<-short.Done()
				} else {
					use(short, stop)
				}
				cancel()
			}
			return nil
		}
		var took time.Duration
		for span := r.span(time.Second); served.Load() == 0; span *= 2 { // once, but on a machine that is busy
			if span > longest {
				return 0, fmt.Errorf("nobody was served within %v", span)
			}
			var err error
			if took, err = together(impatient+patient, span, caller); err != nil {
				return 0, err
			}
		}
		r.limited(size)
		return float64(served.Load()) / took.Seconds(), nil
	}
	calm, err := leases(patient, true)
	if err != nil {
		return err
	}
	stormy, err := leases(0, false)
	if err != nil {
		return err
	}
	r.set(PatientPS, calm)
	r.set(StormPS, stormy)
	r.set(StormLoss, 1-stormy/calm)
	return nil
}
