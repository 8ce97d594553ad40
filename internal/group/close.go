package group

import (
	"context"
	"time"

	"github.com/S4AK4N/pool/internal/core"
)

// close closes the group, and returns all pools that may have anything open.
func (g *Group[K, M]) close() (pools []*core.Pool) {
	g.mu.Lock()
	if !g.closed {
		g.closed = true
		g.timer.Stop()
		for _, o := range g.opening {
			g.cancel(o, core.ErrClosed)
		}
		g.noteOpeners()
		for m := range g.All {
			g.Tender.remove(&m.Node)
			g.leaving[m] = struct{}{}
		}
		g.Clear()
	}
	for m := range g.leaving {
		pools = append(pools, m.core)
	}
	g.mu.Unlock()
	for _, p := range pools {
		p.Retire()
	}
	return pools
}

// Shutdown closes the group and waits until everything is closed and nothing is being made, or
// ctx ends.
func (g *Group[K, M]) Shutdown(ctx context.Context) error {
	if core.Elsewhere(g.epoch) {
		return core.ErrBubble
	}
	pools := g.close()
	ended := func(c <-chan struct{}) bool { return closedBefore(c, ctx.Done()) }
	all := ended(g.noOpeners)
	for _, p := range pools {
		if !all {
			break
		}
		all = ended(p.AllGone())
	}
	if all {
		g.awaitQuiet(pools)
		return nil
	}
	s, unclosed := g.Stats(), 0
	for _, p := range pools {
		unclosed += p.Unclosed()
		p.Sever()
	}
	return core.ShutdownEnded(ctx, s.ActiveConnections, unclosed, s.OpeningConnections)
}

// Close closes the group and all connections at once.
func (g *Group[K, M]) Close() error {
	if core.Elsewhere(g.epoch) {
		return core.ErrBubble
	}
	pools := g.close()
	for _, p := range pools {
		p.Sever()
	}
	g.awaitQuiet(pools)
	return nil
}

// closedBefore waits until c is closed or end comes. If both have happened, c counts.
func closedBefore[T any](c <-chan struct{}, end <-chan T) bool {
	select {
	case <-c:
		return true
	default:
	}
	select {
	case <-c:
		return true
	case <-end:
		return false
	}
}

// awaitQuiet waits for the last goroutines of the pools, and of those that make one, for as long
// as Close of one pool does, for all together.
func (g *Group[K, M]) awaitQuiet(pools []*core.Pool) {
	grace := time.NewTimer(core.CloseGrace)
	defer grace.Stop()
	quiet := func(c <-chan struct{}) bool { return closedBefore(c, grace.C) }
	if !quiet(g.noOpeners) {
		return
	}
	for _, p := range pools {
		if !quiet(p.Quiet()) {
			return
		}
	}
}
