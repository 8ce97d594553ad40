package behaviour

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/S4AK4N/pool/bench/harness"
)

func openError(a *asking) (string, string, error) {
	a.before = func(context.Context, int64) error { return errFails }
	p, err := a.pool(1)
	if err != nil {
		return "", "", err
	}
	g := get(context.Background(), p)
	within(8*time.Second, g.Ended) // some try again
	ended, err := g.Ends()
	switch {
	case err != nil:
		return "", "", err
	case !ended:
		return "waits", "", nil
	case g.err == nil:
		return "", "", errors.New("a connection was lent")
	case errors.Is(g.err, errFails):
		return "is", "", nil
	case strings.Contains(g.err.Error(), errFails.Error()):
		return "reads", g.err.Error(), nil
	}
	return "hides", g.err.Error(), nil
}

func openHangs(a *asking) (string, string, error) {
	hangs, goes := make(chan struct{}), make(chan struct{})
	var once sync.Once
	a.before = func(_ context.Context, n int64) error {
		if n > 1 {
			once.Do(func() { close(hangs) })
			<-goes
		}
		return nil
	}
	defer close(goes)
	p, held, err := a.lent(2)
	if err != nil {
		return "", "", err
	}
	g := get(context.Background(), p)
	select {
	case <-hangs:
	case <-time.After(20 * time.Second):
		return "", "", errors.New("nothing was opened for the second caller")
	}
	put := harness.Go(held.Put)
	back, err := put.Ends()
	if err != nil {
		return "", "", err
	}
	served, err := g.Ends()
	switch {
	case err != nil:
		return "", "", err
	case served && g.err != nil:
		return "", "", g.err
	case served:
		return "takes", "", nil
	case !back:
		return "put waits", "", nil
	}
	return "waits", "", nil
}

func openCtx(a *asking) (string, string, error) {
	begun, goes := make(chan context.Context, 1), make(chan struct{})
	a.before = func(ctx context.Context, n int64) error {
		if n > 1 {
			return nil
		}
		begun <- ctx
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
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	g := get(ctx, p)
	var dial context.Context
	select {
	case dial = <-begun:
	case <-time.After(20 * time.Second):
		return "", "", errors.New("nothing was opened")
	}
	cancel()
	ended, err := g.Ends()
	if err != nil {
		return "", "", err
	}
	cancelled := dial.Err() != nil
	close(goes)
	if !ended {
		return "held", "", nil
	}
	next := get(context.Background(), p)
	if ended, err := next.Ends(); err != nil || !ended || next.err != nil {
		return "", "", fmt.Errorf("the next caller is not served (%v, %v)", err, next.err)
	}
	switch {
	case cancelled:
		return "cancelled", "", nil
	case a.begun.Load() == 1:
		return "kept", "", nil
	}
	return "dropped", "", nil
}

// broken has so many callers wait for the only connection, whose holder then says that it is dead.
// It is one over TCP: one of the pools sees by its socket that it is.
func (a *asking) broken(callers int) ([]*getter, func(), error) {
	server := new(harness.Server)
	if err := server.Start(); err != nil {
		return nil, nil, err
	}
	a.dialer.Address = server.Address()
	ctx, cancel := context.WithCancel(context.Background())
	end := func() {
		cancel()
		_ = server.Stop()
	}
	p, err := a.pool(1)
	if err != nil {
		return nil, end, err
	}
	held, err := p.Get(context.Background())
	if err != nil {
		return nil, end, err
	}
	var all []*getter
	for range callers {
		g, err := waits(ctx, p)
		if err != nil {
			return nil, end, err
		}
		all = append(all, g)
	}
	harness.Go(held.Drop) // which may open another one
	return all, end, nil
}

func breaks(a *asking) (string, string, error) {
	g, end, err := a.broken(1)
	if end != nil {
		defer end()
	}
	if err != nil {
		return "", "", err
	}
	if ended, err := g[0].Ends(); err != nil {
		return "", "", err
	} else if !ended {
		return "waits", "", nil
	}
	return "served", "", g[0].err
}

func openFails(a *asking) (string, string, error) {
	a.before = func(_ context.Context, n int64) error {
		if n == 2 {
			return errFails
		}
		return nil
	}
	all, end, err := a.broken(2)
	if end != nil {
		defer end()
	}
	if err != nil {
		return "", "", err
	}
	served, told, left := 0, 0, all
	for len(left) > 0 {
		var wait []*getter
		for _, g := range left {
			ended, err := g.Ends()
			switch {
			case err != nil:
				return "", "", err
			case !ended:
				wait = append(wait, g)
			case g.err != nil:
				told++
			default:
				served++
				g.lease.Put() // for the other one
			}
		}
		if len(wait) == len(left) {
			break
		}
		left = wait
	}
	switch {
	case served == 2:
		return "both served", "", nil
	case served == 1 && told == 1:
		return "one told", "", nil
	case told == 2:
		return "both told", "", nil
	case told == 1:
		return "one waits", "", nil
	case served == 0:
		return "both wait", "", nil
	}
	return "", "", fmt.Errorf("%d served, %d told", served, told)
}

func openPanics(a *asking) (string, string, error) {
	a.before = func(_ context.Context, n int64) error {
		if n == 1 {
			panic(errPanics)
		}
		return nil
	}
	p, err := a.pool(1)
	if err != nil {
		return "", "", err
	}
	g := get(context.Background(), p)
	if ended, err := g.Ends(); err != nil || !ended {
		return "", "", fmt.Errorf("the caller waits on (%v)", err)
	}
	next := get(context.Background(), p)
	ended, err := next.Ends()
	switch {
	case err != nil:
		return "", "", err
	case ended && next.err != nil:
		return "", "", next.err
	case !ended:
		return "lost", "", nil
	case g.panicked != nil:
		return "panics", "", nil
	case g.err != nil:
		return "error", g.err.Error(), nil
	}
	return "", "", errors.New("the caller was served")
}
