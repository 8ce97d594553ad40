package wsconn

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// discoverLimit is when the ctx of Discover ends.
	discoverLimit = 10 * time.Second

	// discoverWait is how long an Open that knows some servers waits for Discover.
	discoverWait = 250 * time.Millisecond

	// discoverAgain is the shortest time between two calls that are made because no server
	// could be reached.
	discoverAgain = time.Second
)

// An asking is one call of Discover.
type asking struct {
	began time.Duration
	done  chan struct{}
}

// ask calls Discover. mu is held, and none is under way.
func (s *servers) ask(now time.Duration) *asking {
	a := &asking{began: now, done: make(chan struct{})}
	s.asking, s.askedAt = a, now
	ctx := s.background()
	go func() {
		var list []string
		err := errEnded
		defer func() { s.answered(a, list, err) }()
		defer caught("Discover", &err)
		limited, cancel := context.WithTimeout(ctx, discoverLimit)
		defer cancel()
		list, err = s.discover(limited)
	}()
	return a
}

// answered notes what Discover has returned.
func (s *servers) answered(a *asking, list []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(a.done)
	s.asking = nil
	switch {
	case err != nil:
		err = fmt.Errorf("wsconn: Discover: %w", err)
	case len(list) == 0:
		err = errors.New("wsconn: Discover: it returned no endpoint")
	default:
		if err = s.set(list); err != nil {
			err = within("Discover", err)
		}
	}
	s.discovered = err
	s.schedule(since())
}

// refresh calls Discover if that is due. It waits for the answer: for a moment if some
// servers are known, and otherwise until ctx ends.
func (s *servers) refresh(ctx context.Context) error {
	if s.discover == nil {
		return nil
	}
	s.mu.Lock()
	now := since()
	known := len(s.all) > 0
	if s.asking == nil && (!known || now-s.askedAt >= s.interval) {
		s.ask(now)
	}
	a := s.asking
	s.schedule(now)
	s.mu.Unlock()
	if a == nil {
		return nil
	}
	s.await(ctx, a, known, a.began+discoverWait-now)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.all) > 0:
		return nil
	case s.discovered != nil:
		return s.discovered
	}
	return fmt.Errorf("wsconn: Discover has not answered: %w", context.Cause(ctx))
}

func (s *servers) await(ctx context.Context, a *asking, bounded bool, d time.Duration) {
	var timeout <-chan time.Time
	if bounded {
		timer := time.NewTimer(max(d, 0))
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-a.done:
	case <-timeout:
	case <-ctx.Done():
	}
}

// rediscover is refresh for an Open that has reached no server. It reports whether Discover
// has been called meanwhile.
func (s *servers) rediscover(ctx context.Context) bool {
	if s.discover == nil {
		return false
	}
	s.mu.Lock()
	now := since()
	if s.asking == nil && now-s.askedAt >= discoverAgain {
		s.ask(now)
	}
	a := s.asking
	s.mu.Unlock()
	if a == nil {
		return false
	}
	s.await(ctx, a, true, discoverWait)
	return true
}
