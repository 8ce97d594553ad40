package behaviour

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/S4AK4N/pool/bench/harness"
	"go.uber.org/atomic"
)

// An asking is one question asked of one pool.
type asking struct {
	peer   harness.Peer
	dialer harness.Dialer
	begun  atomic.Int64

	// before is called before the nth connection is opened. If it returns an error, none is.
	before func(ctx context.Context, n int64) error
}

var (
	errFails  = errors.New("bench: Open fails")
	errPanics = errors.New("bench: Open panics")
)

func (a *asking) open(ctx context.Context) (*harness.Conn, error) {
	n := a.begun.Inc()
	if a.before != nil {
		if err := a.before(ctx, n); err != nil {
			return nil, err
		}
	}
	return a.dialer.Open(ctx)
}

// pool makes a pool in which nothing ends a wait but its ctx.
func (a *asking) pool(size int, more ...func(*harness.Settings)) (harness.Pool, error) {
	s := harness.Settings{Size: size, Open: a.open, MaxWait: time.Hour}
	for _, f := range more {
		f(&s)
	}
	return a.peer.New(s)
}

// lent makes a pool of which one connection is leased.
func (a *asking) lent(size int, more ...func(*harness.Settings)) (p harness.Pool, l harness.Lease, err error) {
	if p, err = a.pool(size, more...); err == nil {
		l, err = p.Get(context.Background())
	}
	return p, l, err
}

// A getter is a caller of Get.
type getter struct {
	*harness.Call
	lease    harness.Lease
	err      error
	panicked any
}

func get(ctx context.Context, p harness.Pool) *getter {
	g := new(getter)
	g.Call = harness.Go(func() {
		defer func() { g.panicked = recover() }()
		g.lease, g.err = p.Get(ctx)
	})
	return g
}

// waits has a caller wait for a connection of p, or fails.
func waits(ctx context.Context, p harness.Pool) (*getter, error) {
	g := get(ctx, p)
	ended, err := g.Ends()
	if err == nil && ended {
		err = fmt.Errorf("a Get did not wait though everything was leased (%v)", g.err)
	}
	return g, err
}

// within waits until it is so, for d at most: some do it in another goroutine.
func within(d time.Duration, so func() bool) bool {
	for began := time.Now(); time.Since(began) < d; time.Sleep(time.Millisecond) {
		if so() {
			return true
		}
	}
	return so()
}

func waitLimit(a *asking) (string, string, error) {
	p, err := a.peer.New(harness.Settings{Size: 1, Open: a.open})
	if err != nil {
		return "", "", err
	}
	if _, err := p.Get(context.Background()); err != nil {
		return "", "", err
	}
	w, err := waits(context.Background(), p)
	if err != nil {
		return "", "", err
	}
	if !within(40*time.Second, w.Ended) {
		return "goes on", "", nil
	}
	if w.err == nil {
		return "", "", errors.New("a Get was given a connection while all were leased")
	}
	return "ends", w.err.Error(), nil
}

func cancelError(a *asking) (string, string, error) {
	p, err := a.pool(1)
	if err != nil {
		return "", "", err
	}
	if _, err := p.Get(context.Background()); err != nil {
		return "", "", err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w, err := waits(ctx, p)
	if err != nil {
		return "", "", err
	}
	cancel()
	if ended, err := w.Ends(); err != nil || !ended || w.err == nil {
		return "", "", fmt.Errorf("the wait does not end with its ctx (%v)", err)
	}
	if errors.Is(w.err, context.Canceled) {
		return "ctx", "", nil
	}
	return "other", w.err.Error(), nil
}

func endedCtx(a *asking) (string, string, error) {
	p, l, err := a.lent(1)
	if err != nil {
		return "", "", err
	}
	l.Put()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	const tries = 64
	lent := 0
	for range tries {
		if l, err := p.Get(ctx); err == nil {
			l.Put()
			lent++
		}
	}
	switch lent {
	case 0:
		return "refused", "", nil
	case tries:
		return "lent", "", nil
	}
	return "lot", "", nil
}

// measured asks the scenario «order» of the benchmarks.
func (a *asking) measured(metric string) (float64, error) {
	s, err := harness.Find("order")
	if err != nil {
		return 0, err
	}
	r := harness.One(a.peer, s, true)
	if r.Failed != "" || r.Lacks != "" {
		return 0, errors.New(r.Failed + r.Lacks)
	}
	if r.Metrics[harness.Waited] < 16 {
		return 0, errors.New("a Get did not wait")
	}
	return r.Metrics[metric], nil
}

func order(a *asking) (string, string, error) {
	n, err := a.measured(harness.Overtaken)
	if err != nil {
		return "", "", err
	}
	if n > 0 {
		return "lot", "", nil
	}
	return "fifo", "", nil
}

func returner(a *asking) (string, string, error) {
	n, err := a.measured(harness.Barged)
	if err != nil {
		return "", "", err
	}
	if n > 0 {
		return "again and again", "", nil
	}
	return "never", "", nil
}

func secondPut(a *asking) (string, string, error) {
	p, first, err := a.lent(1)
	if err != nil {
		return "", "", err
	}
	first.Put()
	second, err := p.Get(context.Background())
	if err != nil {
		return "", "", err
	}
	if second.Conn != first.Conn {
		return "", "", errors.New("another connection was lent")
	}
	var returned error
	var panicked any
	again := harness.Go(func() {
		defer func() { panicked = recover() }()
		if first.Again != nil {
			returned = first.Again()
		} else {
			first.Put()
		}
	})
	if ended, err := again.Ends(); err != nil || !ended {
		return "", "", fmt.Errorf("the second Put does not return (%v)", err)
	}
	third := get(context.Background(), p)
	ended, err := third.Ends()
	switch {
	case err != nil:
		return "", "", err
	case ended && third.err != nil:
		return "", "", third.err
	case ended && third.lease.Conn == second.Conn:
		return "two", "", nil
	case ended:
		return "more", "", nil
	case panicked != nil:
		return "panics", fmt.Sprint(panicked), nil
	case returned != nil:
		return "refused", returned.Error(), nil
	}
	return "ignored", "", nil
}

// ask asks q of p.
func ask(p harness.Peer, q Question) Said {
	s := Said{Peer: p.Name, Question: q.Name}
	for _, t := range q.Needs {
		if s.Lacks = p.Lacks[t]; s.Lacks != "" {
			return s
		}
	}
	// A process in which nothing is to come would end itself when a pool hangs.
	defer time.AfterFunc(time.Hour, func() {}).Stop()
	answer, detail, err := q.ask(&asking{peer: p})
	switch {
	case err != nil:
		s.Failed = err.Error()
	case !slices.ContainsFunc(q.Answers, func(a Answer) bool { return a.Key == answer }):
		s.Failed = fmt.Sprintf("%q is no answer to %s", answer, q.Name)
	default:
		s.Answer, s.Detail = answer, detail
	}
	return s
}
