package harness

import "runtime"

// memory weighs pools that have not been used, pools that have, and one with 10,000 idle
// connections, all without the connections.
func memory(r *run) error {
	const pools, size = 200, 10
	idle := 10000
	if r.short {
		idle /= 10
	}
	r.patient()
	ctx, cancel := deadline()
	defer cancel()
	made := make([]Pool, pools)
	d := new(Dialer)
	var err error
	bytes, goroutines := weigh(func() {
		for i := range made {
			if made[i], err = r.peer.New(Settings{Size: size, Open: d.Open, MaxWait: r.maxWait}); err != nil {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	conns := make([]*Conn, pools)
	more, started := weigh(func() {
		for i, p := range made {
			var l Lease
			if l, err = p.Get(ctx); err != nil {
				return
			}
			conns[i] = l.Conn
			l.Put()
		}
	})
	if err != nil {
		return err
	}
	bare := make([]*Conn, idle)
	conn, _ := weigh(func() {
		for i := range bare {
			bare[i] = &Conn{dialer: d}
		}
	})
	conn /= float64(idle)
	filled := float64(d.Opened()) / pools // one each, or all at the start
	unused, used := bytes/pools, (bytes+more)/pools
	if filled > 1 {
		unused -= size * conn
	}
	r.set(PoolBytes, max(0, unused))
	r.set(UsedBytes, max(0, used-filled*conn))
	r.set(Goroutines, float64(goroutines+started)/pools)

	bytes, _ = weigh(func() {
		if err = r.open(idle, ""); err == nil {
			err = fill(ctx, r.pool, idle)
		}
	})
	if err != nil {
		return err
	}
	r.set(IdleBytes, max(0, bytes/float64(idle)-conn))
	runtime.KeepAlive(r.pool)
	runtime.KeepAlive(made)
	runtime.KeepAlive(conns)
	runtime.KeepAlive(bare)
	return nil
}

// weigh returns the bytes of heap and stacks, and the goroutines, that f leaves behind.
func weigh(f func()) (bytes float64, goroutines int) {
	before, were := weight()
	f()
	after, are := weight()
	return after - before, are - were
}

func weight() (float64, int) {
	var m runtime.MemStats
	for range 3 {
		runtime.GC() // what a sync.Pool has is gone after two
	}
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse), runtime.NumGoroutine()
}
