package linear

import (
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"

	"go.uber.org/atomic"
)

var (
	errDial      = errors.New("the peer does not answer")
	errDiscarded = errors.New("discarded by a caller")
	errUnfit     = errors.New("objected to by Check or Clean")
	errReported  = errors.New("reported by a caller")
)

// A wire is a connection.
type wire struct {
	number  int
	begun   int64 // when Factory.Open was called
	ready   int64 // when Factory.Open returned
	closing int64 // when Factory.Close was called first
	cause   error // that it was called with
	closes  int
	lent    atomic.Bool // at least once
	away    atomic.Bool // detached
	broken  func(error)
}

// A world is a pool and all that is known about it.
type world struct {
	profile
	p     *pool.Pool[*wire]
	clock atomic.Int64 // one for every stamp, so that all agree on their order
	lease atomic.Int64
	fail  func(format string, args ...any)

	recent [8]atomic.Pointer[held] // leases, for others to end
	known  []*wire                 // idle at the last stop, and not reserved
	from   int64                   // when that was
	max    int                     // MaxConnections then

	mu     sync.Mutex
	marks  []pool.Mark // of connections that were reserved since the last stop
	wires  []*wire     // all that were ever opened
	opened []*wire     // since the last stop
	closed []*wire
	closes int // all calls of Factory.Close
}

// A held is a lease that was in force.
type held struct {
	pool.Lease[*wire]
	number int
	info   pool.LeaseInfo // the zero one if nobody has asked for it
}

// A profile is a kind of world.
type profile struct {
	name    string
	config  pool.Config
	callers int
	calls   int  // of each caller between two stops
	tryOnly bool // nobody calls Get, but to open what there is
	ends    bool // the pool is closed in each window
	checks  bool // there are Check and Clean, which object now and then
	slow    bool // Check takes so long now and then that a Get whose ctx ends leaves it behind
	changes bool // Resize, Reset, Warm and Add are called
	revokes bool // Revoke is called
	pauses  bool // long enough now and then for connections to grow old
}

func newWorld(t testing.TB, pr profile) *world {
	w := &world{profile: pr, fail: t.Errorf, max: pr.config.MaxConnections}
	f := pool.Factory[*wire]{Open: w.open, Close: w.close, Watch: w.watch}
	if pr.checks {
		f.Check, f.Clean = w.examine, w.examine
	}
	if pr.slow {
		f.Check = func(c *wire) error {
			if rand.IntN(8) == 0 {
				<-time.After(core.LookGrace + time.Duration(rand.IntN(200))*time.Microsecond)
			}
			return w.examine(c)
		}
	}
	p, err := pool.New(f, pr.config)
	if err != nil {
		t.Fatal(err)
	}
	w.p = p
	return w
}

func (w *world) now() int64 { return w.clock.Inc() }

func (w *world) open(context.Context) (*wire, error) {
	begun := w.now()
	if rand.IntN(4) == 0 {
		runtime.Gosched()
	}
	if rand.IntN(16) == 0 {
		return nil, errDial
	}
	c := &wire{begun: begun}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wires, w.opened = append(w.wires, c), append(w.opened, c)
	c.number, c.ready = len(w.wires), w.now()
	return c, nil
}

// examine is Check and Clean.
func (w *world) examine(*wire) error {
	switch rand.IntN(32) {
	case 0:
		return errUnfit
	case 1:
		panic(errUnfit)
	case 2, 3:
		runtime.Gosched()
	}
	return nil
}

func (w *world) watch(c *wire, broken func(error)) { c.broken = broken }

func (w *world) close(c *wire, cause error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closes++
	if c.closes++; c.closes == 1 {
		c.closing, c.cause = w.now(), cause
		w.closed = append(w.closed, c)
	}
	return nil
}

// A caller is one goroutine between two stops.
type caller struct {
	*world
	number int
	rnd    *rand.Rand
	events []event
	own    *held
}

// write adds an event that has just come to its end.
func (c *caller) write(e event) {
	e.client, e.ret = c.number, c.now()
	c.events = append(c.events, e)
}

func (c *caller) lend(l pool.Lease[*wire], e event) {
	e.kind, e.wire, e.lease = lent, l.Value(), int(c.lease.Inc())
	e.wire.lent.Store(true)
	c.write(e)
	c.own = &held{Lease: l, number: e.lease}
	if c.revokes && c.rnd.IntN(4) == 0 {
		for _, i := range c.p.Leases() {
			if i.Conn == l.Value() { // this lease, unless it has been revoked by now
				c.own.info = i
			}
		}
	}
	c.recent[c.rnd.IntN(len(c.recent))].Store(c.own)
}

func (c *caller) tryGet() bool {
	e := event{kind: fruitless, try: true, call: c.now()}
	// A connection that is looked at for a Get which has returned, or closed for a GetFresh, is
	// not idle until the look is over. A Get that returns during this call overlaps it, and excuses it anyway.
	adrift := testkit.Inside(c.p).Adrift.Load() > 0
	l, ok := c.p.TryGet()
	if ok {
		c.lend(l, e)
	} else {
		e.refused = !adrift
		c.write(e)
	}
	return ok
}

func (c *caller) get() {
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	switch c.rnd.IntN(8) {
	case 0:
		ctx, cancel = context.WithTimeout(ctx, time.Duration(c.rnd.IntN(100))*time.Microsecond)
	case 1, 2:
		ctx, cancel = context.WithCancel(ctx)
		patience := c.rnd.IntN(4)
		go func() {
			for range patience {
				runtime.Gosched()
			}
			cancel()
		}()
	}
	defer cancel()
	e := event{kind: fruitless, get: true, call: c.now()}
	ask := c.p.Get
	if e.fresh = c.rnd.IntN(4) == 0; e.fresh {
		ask = c.p.GetFresh
	}
	l, err := ask(ctx)
	switch {
	case err == nil:
		if e.fresh && l.Value().begun < e.call {
			c.fail("GetFresh, called at %d, was lent c%d, whose opening began at %d", e.call, l.Value().number, l.Value().begun)
		}
		c.lend(l, e)
	case errors.Is(err, pool.ErrClosed):
		e.kind = sawClosed
		c.write(e)
	case errors.Is(err, errDial), errors.Is(err, pool.ErrExhausted), errors.Is(err, pool.ErrRejected), errors.Is(err, pool.ErrUnavailable), ctx.Err() != nil && errors.Is(err, ctx.Err()):
		c.write(e)
	default:
		c.fail("Get: %v", err)
	}
}

// keep remembers that a connection was reserved.
func (w *world) keep(m pool.Mark) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.marks = append(w.marks, m)
}

// tryGetSame asks for the connection of a Mark, without a wait.
func (c *caller) tryGetSame(m pool.Mark) bool {
	e := event{kind: fruitless, get: true, same: true, call: c.now()}
	l, ok := c.p.TryGetSame(m)
	if ok {
		c.lend(l, e)
	} else {
		c.write(e)
	}
	return ok
}

// getSame asks for the connection of a lease of somebody's, which may be in force or not.
func (c *caller) getSame(h *held) {
	if c.rnd.IntN(4) == 0 {
		c.tryGetSame(h.Mark())
		return
	}
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	if c.rnd.IntN(3) == 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(c.rnd.IntN(100))*time.Microsecond)
	}
	defer cancel()
	m := h.Mark()
	e := event{kind: fruitless, get: true, same: true, wire: h.Value(), call: c.now()}
	l, err := c.p.GetSame(ctx, m)
	switch {
	case err == nil:
		if l.Value() != e.wire {
			c.fail("GetSame was lent c%d, want c%d", l.Value().number, e.wire.number)
		}
		if l.Follows(m) {
			e.follows = h.number
		}
		c.lend(l, e)
		return
	case errors.Is(err, pool.ErrClosed):
		e.kind = sawClosed
	case errors.Is(err, pool.ErrGone):
		e.kind = sawGone
	case errors.Is(err, pool.ErrExhausted), errors.Is(err, pool.ErrRejected), ctx.Err() != nil && errors.Is(err, ctx.Err()):
	case err.Error() == "pool: the lease of the Mark is still in force":
	default:
		c.fail("GetSame: %v", err)
	}
	c.write(e)
}

// end ends a lease, which may be in force or not.
func (c *caller) end(h *held) {
	e := event{wire: h.Value(), lease: h.number, call: c.now()}
	var err error
	switch c.rnd.IntN(12) {
	case 0:
		e.kind, err = discarded, c.p.Discard(h.Lease, errDiscarded)
	case 1:
		e.kind = detached
		var conn *wire
		if conn, err = c.p.Detach(h.Lease); err == nil {
			conn.away.Store(true)
		} else if err == pool.ErrClosed {
			e.kind, err = lostToClose, nil
		} else if err == pool.ErrRevoked {
			e.kind, err = lostToRevoke, nil
		}
	case 2:
		e.kind, err = put, c.p.PutUnused(h.Lease)
	case 3, 4:
		e.kind, err = kept, c.p.PutFor(h.Lease, time.Hour)
		if err == nil {
			c.keep(h.Mark())
		}
	default:
		e.kind, err = put, c.p.Put(h.Lease)
	}
	if err == pool.ErrNotLeased {
		e.kind = notLeased
	} else if err != nil {
		c.fail("ending a lease: %v", err)
	}
	c.write(e)
}

// revoke ends a lease of somebody's, or takes what is on its way to somebody.
func (c *caller) revoke(h *held) {
	e := event{kind: cut, call: c.now()}
	i := pool.LeaseInfo{}
	if h != nil && h.info != i {
		i, e.lease = h.info, h.number
	} else if all := c.p.Leases(); len(all) > 0 {
		i = all[c.rnd.IntN(len(all))]
	} else {
		return
	}
	e.wire = i.Conn.(*wire)
	switch {
	case c.p.Revoke(i):
	case e.lease != 0:
		e.kind = notCut
	default:
		e.kind = fruitless
	}
	c.write(e)
}

func (c *caller) report(conn *wire) {
	e := event{kind: reported, wire: conn, call: c.now()}
	conn.broken(errReported)
	c.write(e)
}

// change calls Resize, Reset, Warm or Add.
func (c *caller) change() {
	e := event{call: c.now()}
	switch c.rnd.IntN(4) {
	case 0, 1:
		e.kind, e.max = resized, 1+c.rnd.IntN(3)
		if err := c.p.Resize(e.max); err != nil {
			c.fail("Resize: %v", err)
		}
	case 2:
		e.kind = reset
		c.p.Reset()
	case 3:
		e.kind = fruitless
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(c.rnd.IntN(100))*time.Microsecond)
		if n := c.rnd.IntN(3); n > 0 {
			_ = c.p.Warm(ctx, n) // it may be more than MaxConnections
		} else {
			_ = c.p.Add(ctx)
		}
		cancel()
	}
	c.write(e)
}

// run does one thing after the other, and has no lease at the end.
func (c *caller) run() {
	for range c.calls {
		if c.rnd.IntN(4) == 0 {
			runtime.Gosched()
		}
		other := c.recent[c.rnd.IntN(len(c.recent))].Load()
		switch n := c.rnd.IntN(32); {
		case n < 2 && other != nil:
			c.end(other)
		case n == 2 && other != nil && !c.tryOnly:
			c.report(other.Value())
		case n == 3 && c.changes:
			c.change()
		case n == 4 && c.revokes:
			c.revoke(other)
		case c.own != nil:
			own := c.own
			c.own = nil
			c.end(own)
		case n < 8 && other != nil && !c.tryOnly:
			c.getSame(other)
		case n < 14 || c.tryOnly:
			c.tryGet()
		default:
			c.get()
		}
	}
	if c.own != nil {
		c.end(c.own)
		c.own = nil
	}
}

// shutDown closes the pool.
func (c *caller) shutDown() {
	// At any time in the window: a call is two ticks of the clock.
	at := c.clock.Load() + int64(c.rnd.IntN(2*c.callers*c.calls))
	for began := time.Now(); c.clock.Load() < at && time.Since(began) < time.Second; {
		runtime.Gosched()
	}
	e := event{kind: shut, call: c.now()}
	if c.rnd.IntN(2) == 0 {
		_ = c.p.Close()
	} else {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(c.rnd.IntN(100))*time.Microsecond)
		defer cancel()
		_ = c.p.Shutdown(ctx)
	}
	c.write(e)
}

// window lets the callers come, then stops them, and returns what they saw. It returns
// nil if the test has failed.
func (w *world) window(rnd *rand.Rand) *history {
	var wg sync.WaitGroup
	begin := make(chan struct{})
	var callers []*caller
	come := func(run func(*caller)) {
		c := &caller{world: w, number: len(callers), rnd: rand.New(rand.NewPCG(rnd.Uint64(), 0))}
		callers = append(callers, c)
		if run != nil {
			wg.Go(func() {
				<-begin
				run(c)
			})
		}
	}
	for range w.callers {
		come((*caller).run)
	}
	if w.ends {
		come((*caller).shutDown)
	}
	come(nil)
	last := callers[len(callers)-1]
	if w.tryOnly {
		last.fill()
	}
	if w.pauses && rnd.IntN(8) == 0 {
		<-time.After(time.Duration(10+rnd.IntN(20)) * time.Millisecond)
	}
	dog := time.AfterFunc(20*time.Second, func() {
		w.fail("callers are stuck: %+v", w.p.Stats())
		_ = w.p.Close()
	})
	close(begin)
	wg.Wait()
	if !dog.Stop() {
		return nil
	}
	if !w.rest() {
		return nil
	}
	// What nobody closes meanwhile is found, whatever has happened before.
	idle := w.p.Stats().IdleConnections
	idleNow := last.drain()
	// If Reset has marked a connection just as it was published, the goroutine that
	// opened it may be about to close it.
	if still := w.p.Stats().IdleConnections; len(idleNow) < min(idle, still) && !w.pauses && !w.checks {
		w.fail("at rest, TryGet and TryGetSame found %d of %d idle connections, %d are still there: %+v", len(idleNow), idle, still, w.p.Stats())
		return nil
	}
	// Once more: what is closed for its age may have gone while it was drained, and
	// is written down when Factory.Close is called.
	if !w.rest() {
		return nil
	}

	h := &history{initial: w.known, begin: w.from, max: w.max, mortal: w.config.MaxLifetime > 0}
	w.max = w.p.Stats().MaxConnections
	for _, c := range callers {
		h.events = append(h.events, c.events...)
	}
	if e := h.poached(); e != nil {
		w.fail("%v\nwas lent to whoever came, and was reserved, and nobody had waited:\n%v", e, h)
	}
	if between, e := h.overtaken(); e != nil {
		w.fail("%v\nsays that it follows, and there was another lease in between:\n%v", e, between)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	h.end = w.now()
	h.opened, h.closed = w.opened, w.closed
	w.opened, w.closed, w.from = nil, nil, h.end
	// A goroutine of the pool that was about to open one when the last waiter left may
	// do so at any time. Nobody has seen such a connection, so it is as good as opened
	// after the stop.
	for _, c := range h.opened {
		if !c.lent.Load() && c.closes == 0 {
			w.opened = append(w.opened, c)
		}
	}
	w.known = slices.DeleteFunc(idleNow, func(c *wire) bool { return c.closes > 0 })
	return h
}

// rest waits until nothing moves any more in the pool. It fails if anything is lost.
func (w *world) rest() bool {
	for began := time.Now(); ; runtime.Gosched() {
		s := w.p.Stats()
		ended := ends(s)
		w.mu.Lock()
		closes := w.closes
		w.mu.Unlock()
		if s.ActiveConnections+s.OpeningConnections+s.WaitingRequests == 0 && testkit.Inside(w.p).Adrift.Load() == 0 &&
			s.Opened == ended+uint64(s.IdleConnections) && ended-s.Detached == uint64(closes) {
			return true
		}
		if time.Since(began) > 10*time.Second {
			w.fail("the pool does not come to rest: %+v; %d closed", s, closes)
			return false
		}
	}
}

// ends is how many connections have ended, for all reasons that there are.
func ends(s pool.Stats) uint64 {
	n := s.Detached
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		if strings.HasPrefix(v.Type().Field(i).Name, "Closed") {
			n += v.Field(i).Uint()
		}
	}
	return n
}

// over closes the pool and checks what has become of each connection.
func (w *world) over() {
	_ = w.p.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.wires {
		if away := c.away.Load(); away && c.closes != 0 || !away && c.closes != 1 {
			w.fail("connection %d was closed %d times; detached: %v", c.number, c.closes, away)
		}
	}
}

// fill opens as many connections as there may be.
func (c *caller) fill() {
	var all []*held
	for range 100 {
		if c.get(); c.own != nil {
			all = append(all, c.own)
			c.own = nil
		}
		if len(all) == c.config.MaxConnections {
			break
		}
	}
	c.putAll(all)
}

func (c *caller) putAll(all []*held) {
	for _, h := range all {
		e := event{kind: put, wire: h.Value(), lease: h.number, call: c.now()}
		if err := c.p.Put(h.Lease); err != nil {
			c.fail("Put: %v", err)
		}
		c.write(e)
	}
}

// drain takes all that is idle or reserved and puts it back: nothing is reserved any more.
func (c *caller) drain() (all []*wire) {
	var taken []*held
	take := func() {
		taken = append(taken, c.own)
		all = append(all, c.own.Value())
		c.own = nil
	}
	for c.tryGet() {
		take()
	}
	for _, m := range c.marks { // nobody else is there
		if c.tryGetSame(m) {
			take()
		}
	}
	c.marks = nil
	c.putAll(taken)
	return all
}
