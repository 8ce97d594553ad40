package behaviour

import (
	"context"
	"errors"
	"time"

	"github.com/S4AK4N/pool/bench/harness"
)

func lifetimeIdle(a *asking) (string, string, error) {
	p, l, err := a.lent(1, func(s *harness.Settings) { s.MaxLifetime = 200 * time.Millisecond })
	if err != nil {
		return "", "", err
	}
	old := l.Conn
	l.Put()
	time.Sleep(time.Second)
	if l, err = p.Get(context.Background()); err != nil {
		return "", "", err
	}
	if l.Conn == old {
		return "lent", "", nil
	}
	return "replaced", "", nil
}

func lifetimePut(a *asking) (string, string, error) {
	_, l, err := a.lent(1, func(s *harness.Settings) { s.MaxLifetime = 200 * time.Millisecond })
	if err != nil {
		return "", "", err
	}
	time.Sleep(time.Second)
	if l.Conn.Closed() {
		return "", "", errors.New("it is closed under its holder")
	}
	l.Put()
	return a.left(l.Conn)
}

// left says what has become of a connection that nobody asks for any more.
func (a *asking) left(c *harness.Conn) (string, string, error) {
	within(3*time.Second, func() bool { return c.Closed() && a.begun.Load() > 1 })
	switch {
	case !c.Closed():
		return "kept", "", nil
	case a.begun.Load() > 1:
		return "reopened", "", nil
	}
	return "closed", "", nil
}

func idleTime(a *asking) (string, string, error) {
	_, l, err := a.lent(1, func(s *harness.Settings) { s.MaxIdleTime = 300 * time.Millisecond })
	if err != nil {
		return "", "", err
	}
	l.Put()
	return a.left(l.Conn)
}

func idleOrder(a *asking) (string, string, error) {
	p, err := a.pool(3)
	if err != nil {
		return "", "", err
	}
	var leases []harness.Lease
	for range 3 {
		l, err := p.Get(context.Background())
		if err != nil {
			return "", "", err
		}
		leases = append(leases, l)
	}
	for _, l := range leases {
		l.Put()
	}
	seen := map[*harness.Conn]bool{}
	for range 30 {
		l, err := p.Get(context.Background())
		if err != nil {
			return "", "", err
		}
		seen[l.Conn] = true
		l.Put()
	}
	switch len(seen) {
	case 1:
		return "one", "", nil
	case 2:
		return "two", "", nil
	case 3:
		return "all", "", nil
	}
	return "", "", errors.New("more were opened")
}
