package behaviour

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
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
func (a *asking) lent(size int) (p harness.Pool, l harness.Lease, err error) {
	if p, err = a.pool(size); err == nil {
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

// within waits until it is so, for d at most: some do it in another goroutine.
func within(d time.Duration, so func() bool) bool {
	for began := time.Now(); time.Since(began) < d; time.Sleep(time.Millisecond) {
		if so() {
			return true
		}
	}
	return so()
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

func lifetimeIdle(a *asking) (string, string, error) {
	p, err := a.pool(1, func(s *harness.Settings) { s.MaxLifetime = 200 * time.Millisecond })
	if err != nil {
		return "", "", err
	}
	l, err := p.Get(context.Background())
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
	p, err := a.pool(1, func(s *harness.Settings) { s.MaxLifetime = 200 * time.Millisecond })
	if err != nil {
		return "", "", err
	}
	l, err := p.Get(context.Background())
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
	p, err := a.pool(1, func(s *harness.Settings) { s.MaxIdleTime = 300 * time.Millisecond })
	if err != nil {
		return "", "", err
	}
	l, err := p.Get(context.Background())
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
