package behaviour

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/S4AK4N/pool/bench/harness"
)

// closing is the beginning of the questions about Close: one connection is leased.
func (a *asking) closing(waiter bool) (held harness.Lease, w *getter, closed *harness.Call, end func(), err error) {
	p, err := a.pool(1)
	if err != nil {
		return harness.Lease{}, nil, nil, nil, err
	}
	if held, err = p.Get(context.Background()); err != nil {
		return harness.Lease{}, nil, nil, nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	if waiter {
		if w, err = waits(ctx, p); err != nil {
			end()
			return harness.Lease{}, nil, nil, nil, err
		}
	}
	closed = harness.Go(p.Close)
	return held, w, closed, end, nil
}

func closeWaiter(a *asking) (string, string, error) {
	held, w, closed, end, err := a.closing(true)
	if err != nil {
		return "", "", err
	}
	defer end()
	told := func(when string) (string, string, error) {
		if w.err == nil {
			return "served", "", nil
		}
		return when, w.err.Error(), nil
	}
	if ended, err := w.Ends(); err != nil {
		return "", "", err
	} else if ended {
		return told("at once")
	}
	if ended, err := closed.Ends(); err != nil {
		return "", "", err
	} else if ended {
		if ended, err := w.Ends(); err != nil {
			return "", "", err
		} else if ended {
			return told("gives up")
		}
	}
	held.Put()
	if ended, err := w.Ends(); err != nil {
		return "", "", err
	} else if ended {
		return told("after the put")
	}
	return "never", "", nil
}

func closeReturns(a *asking) (string, string, error) {
	began := time.Now()
	_, _, closed, end, err := a.closing(false)
	if err != nil {
		return "", "", err
	}
	defer end()
	ended, err := closed.Ends()
	switch {
	case err != nil:
		return "", "", err
	case !ended:
		return "waits", "", nil
	case time.Since(began) > 8*time.Second:
		return "gives up", "", nil
	}
	return "returns", "", nil
}

func closeLease(a *asking) (string, string, error) {
	held, _, closed, end, err := a.closing(false)
	if err != nil {
		return "", "", err
	}
	defer end()
	if _, err := closed.Ends(); err != nil {
		return "", "", err
	}
	if held.Conn.Closed() {
		return "at once", "", nil
	}
	held.Put()
	if within(3*time.Second, held.Conn.Closed) {
		return "at the put", "", nil
	}
	return "never", "", nil
}

func afterClose(a *asking) (string, string, error) {
	p, l, err := a.lent(1)
	if err != nil {
		return "", "", err
	}
	l.Put()
	closed := harness.Go(p.Close)
	if ended, err := closed.Ends(); err != nil || !ended {
		return "", "", fmt.Errorf("bench: Close of a pool that nobody uses does not end (%v)", err)
	}
	g := get(context.Background(), p)
	ended, err := g.Ends()
	switch {
	case err != nil:
		return "", "", err
	case !ended:
		return "waits", "", nil
	case g.panicked != nil:
		return "panics", fmt.Sprint(g.panicked), nil
	case g.err != nil:
		return "refused", g.err.Error(), nil
	}
	return "lent", "", nil
}

func closeTwice(a *asking) (string, string, error) {
	p, l, err := a.lent(1)
	if err != nil {
		return "", "", err
	}
	l.Put()
	p.Close()
	var panicked any
	again := harness.Go(func() {
		defer func() { panicked = recover() }()
		p.Close()
	})
	ended, err := again.Ends()
	switch {
	case err != nil:
		return "", "", err
	case !ended:
		return "waits", "", nil
	case panicked != nil:
		return "panics", fmt.Sprint(panicked), nil
	}
	return "nothing", "", nil
}

func closeOpen(a *asking) (string, string, error) {
	begun, goes := make(chan context.Context, 1), make(chan struct{})
	a.before = func(ctx context.Context, _ int64) error {
		select {
		case begun <- ctx:
		default: // a second dial
		}
		select {
		case <-goes:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p, err := a.pool(1)
	if err != nil {
		return "", "", err
	}
	g := get(context.Background(), p)
	var dial context.Context
	select {
	case dial = <-begun:
	case <-time.After(20 * time.Second):
		return "", "", errors.New("nothing was opened")
	}
	harness.Go(p.Close)
	told, err := g.Ends()
	if err != nil {
		return "", "", err
	}
	cancelled := dial.Err() != nil
	close(goes)
	if ended, err := g.Ends(); err != nil || !ended {
		return "", "", fmt.Errorf("the caller waits on (%v)", err)
	}
	if g.err == nil {
		g.lease.Put()
		if within(3*time.Second, g.lease.Conn.Closed) {
			return "lent", "", nil
		}
		return "kept", "", nil
	}
	switch {
	case told && cancelled:
		return "cancelled", "", nil
	case !within(3*time.Second, func() bool { return a.dialer.Opened() > 0 && a.dialer.NowOpen() == 0 }):
		if a.dialer.Opened() == 0 {
			return "", "", errors.New("the dial was cancelled after the caller had been told")
		}
		return "leaks", "", nil
	case told:
		return "at once", "", nil
	}
	return "late", "", nil
}
