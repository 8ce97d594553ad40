//go:build explore

package schedules

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/explore"
	"github.com/S4AK4N/pool/internal/queue"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
	"github.com/S4AK4N/pool/ring"
)

// A scene is a pool in an exploration (see internal/explore), with what is watched at
// each step of each schedule.
type scene struct {
	*explore.Run
	x       *testkit.Exchange
	p       *pool.Pool[*testkit.Wire]
	in      core.Inside
	holders map[*testkit.Wire]string
	numbers map[pool.Mark]int      // of the connections of Marks
	revoked map[*testkit.Wire]bool // whose lease a Revoke has ended, and returned
	lent    map[string]time.Time   // when somebody was served last
	parkers []*queue.Parker

	// The waiters in the order in which they were linked, which the code itself does
	// not keep.
	linked []*sighting
	seen   map[*queue.Waiter]bool

	shrinks bool // more may be open than the limit
	ages    bool // idle connections may be too old to be handed out
	rights  bool // it has a budget
}

// A sighting is a waiter as its scene has seen it.
type sighting struct {
	w       *queue.Waiter
	by      string // who waits
	over    bool
	overran []*queue.Waiter // older ones that lived when it was decided as taken
}

// timeless is the configuration in which nothing happens because time passes.
func timeless(n int) pool.Config {
	return pool.Config{MaxConnections: n, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1}
}

func newScene(r *explore.Run, x *testkit.Exchange, f pool.Factory[*testkit.Wire], c pool.Config) *scene {
	s := bareScene(r, x, f, c)
	s.watch()
	r.Start(s.note)
	r.Always(s.look)
	return s
}

// watch is the beginning of what the scene knows of the inside of its pool.
func (s *scene) watch() {
	s.in = testkit.Inside(s.p)
	made := s.in.Parkers.New
	s.in.Parkers.New = func() any {
		k := made().(*queue.Parker)
		s.parkers = append(s.parkers, k)
		return k
	}
	s.Ignore(unsafe.Pointer(s.in.Counters), unsafe.Sizeof(*s.in.Counters))
	s.Ignore(unsafe.Pointer(s.in.Workers), unsafe.Sizeof(*s.in.Workers)) // check/model/ends.pml does not
	s.note()
}

// note is look for those who have come before the schedule begins: nobody watches over them.
func (s *scene) note() {
	for w := range s.in.Queue.Cells() {
		s.seen[w] = true
	}
}

// bareScene is newScene for a pool at which nobody looks: it sleeps until it is used.
func bareScene(r *explore.Run, x *testkit.Exchange, f pool.Factory[*testkit.Wire], c pool.Config) *scene {
	p, err := pool.New(f, c)
	if err != nil {
		r.Fatalf("New: %v", err)
	}
	s := &scene{Run: r, x: x, p: p, holders: map[*testkit.Wire]string{}, numbers: map[pool.Mark]int{}, seen: map[*queue.Waiter]bool{}, revoked: map[*testkit.Wire]bool{}, lent: map[string]time.Time{}}
	r.Cleanup(func() { p.Close() })
	stopAtPoints(r)
	return s
}

// lending returns a scene with n connections, all of them leased.
func lending(r *explore.Run, n int) (*scene, []pool.Lease[*testkit.Wire]) {
	x := new(testkit.Exchange)
	s := newScene(r, x, x.Factory(), timeless(n))
	return s, s.lend(n)
}

// lend opens n connections, and leases them.
func (s *scene) lend(n int) []pool.Lease[*testkit.Wire] {
	leases := make([]pool.Lease[*testkit.Wire], n)
	for i := range leases {
		l, err := s.p.Get(background)
		if err != nil {
			s.Fatalf("Get: %v", err)
		}
		s.holders[l.Value()] = "setup"
		leases[i] = l
	}
	synctest.Wait()
	return leases
}

// look checks what must hold at every instant.
func (s *scene) look() {
	for w := range s.in.Queue.Cells() {
		if !s.seen[w] {
			s.link(w, s.Running())
		}
	}
	var alive []*queue.Waiter
	for _, w := range s.linked {
		if w.over {
			continue
		}
		if w.w.Live() {
			alive = append(alive, w.w)
			continue
		}
		w.over = true
		if w.w.WasTaken() {
			w.overran = alive
		}
	}
	live := len(alive)
	g, c := words.Gate(s.in.Gate.Load()), words.Census(s.in.Conns.Load())
	if g.Waiters() < live {
		s.Errorf("the gate counts %d waiters of %d", g.Waiters(), live)
	}
	if c.Max() > 0 && c.Open() > c.Max() && !s.shrinks {
		s.Errorf("%d are open, %d may be", c.Open(), c.Max())
	}
	if c.Opening() > c.Open() {
		s.Errorf("%d are being opened of %d open", c.Opening(), c.Open())
	}
}

// hold says that somebody has a lease.
func (s *scene) hold(name string, l pool.Lease[*testkit.Wire]) {
	w := l.Value()
	if w == nil {
		s.Fatalf("%s was lent nothing", name)
	}
	if other := s.holders[w]; other != "" {
		s.Errorf("%s and %s were lent connection %d at the same time", other, name, w.Number)
	}
	if s.revoked[w] {
		s.Errorf("%s was lent connection %d after a Revoke of it had returned", name, w.Number)
	}
	s.holders[w] = name
	s.lent[name] = time.Now()
	for _, seen := range s.linked {
		if seen.by != name {
			continue
		}
		after := testkit.CoreLease(l).After()
		for _, older := range seen.overran {
			if older.Suits(after) {
				s.Errorf("%s was served before one who came to wait earlier", name)
			}
		}
		if seen.w.WasTaken() && !seen.w.Suits(after) {
			s.Errorf("%s was lent what was opened before it came", name)
		}
	}
}

// put puts a lease back that nobody else has.
func (s *scene) put(l pool.Lease[*testkit.Wire]) error {
	delete(s.holders, l.Value())
	return s.p.Put(l)
}

func (s *scene) mustPut(l pool.Lease[*testkit.Wire]) {
	if err := s.put(l); err != nil {
		s.Errorf("Put of connection %d: %v", l.Value().Number, err)
	}
}

func (s *scene) discard(l pool.Lease[*testkit.Wire]) error {
	delete(s.holders, l.Value())
	return s.p.Discard(l, nil)
}

// putter is a goroutine that puts a lease back.
func (s *scene) putter(name string, l pool.Lease[*testkit.Wire]) {
	s.Go(name, func() { s.mustPut(l) })
}

// after is a goroutine that begins when so much time has passed, or stops there, as before an
// atomic operation: see Later.
func (s *scene) after(d time.Duration, name string, f func()) {
	s.Go(name, func() {
		time.Sleep(d)
		s.Point("begins")
		f()
	})
}

// An asking is a Get of a scene.
type asking struct {
	lease    pool.Lease[*testkit.Wire]
	err      error
	returned bool
}

// ask is what a getter does: it asks for a connection and puts it back.
func (s *scene) ask(name string, ctx context.Context, a *asking) {
	a.lease, a.err = s.p.Get(ctx)
	a.returned = true
	if a.err == nil {
		s.hold(name, a.lease)
		s.mustPut(a.lease)
	}
}

// getter is a goroutine that gets a connection, which must not fail, and puts it back.
func (s *scene) getter(name string) { s.Go(name, func() { s.mustAsk(name) }) }

func (s *scene) mustAsk(name string) {
	var a asking
	if s.ask(name, background, &a); a.err != nil {
		s.Errorf("%s: Get: %v", name, a.err)
	}
}

// waiting is the same for a caller that is already waiting when the schedule begins.
func (s *scene) waiting(name string, ctx context.Context) *asking {
	return s.waitingIn(name, func(a *asking) { s.ask(name, ctx, a) })
}

// waitingIn is waiting for another way to ask.
func (s *scene) waitingIn(name string, ask func(*asking)) *asking {
	a := new(asking)
	s.Begin(name, func() { ask(a) })
	if a.returned {
		s.Fatalf("%s does not wait", name)
	}
	for w := range s.in.Queue.Cells() {
		if !s.seen[w] && w.Live() {
			s.link(w, name)
		}
	}
	return a
}

// link notes a waiter in its place: who has taken a cell later may be written down earlier.
func (s *scene) link(w *queue.Waiter, by string) {
	s.seen[w] = true
	i, _ := slices.BinarySearchFunc(s.linked, w.Number(), func(seen *sighting, n uint64) int { return cmp.Compare(seen.w.Number(), n) })
	s.linked = slices.Insert(s.linked, i, &sighting{w: w, by: by})
}

// canceler is a goroutine that ends a ctx.
func (s *scene) canceler(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	s.Cleanup(cancel)
	s.Go("canceler", func() {
		s.Point("cancel")
		cancel()
	})
	return ctx
}

// closer is a goroutine that closes the pool.
func (s *scene) closer(name string) {
	s.Go(name, func() {
		if err := s.p.Close(); err != nil {
			s.Errorf("Close: %v", err)
		}
	})
}

// exploredDials returns an exchange in whose Open the schedule stops, and in which those
// attempts fail that are named.
func exploredDials(r *explore.Run, failing ...int) *testkit.Exchange {
	return &testkit.Exchange{Open: func(_ context.Context, attempt int) error {
		r.Point("the open returns")
		if slices.Contains(failing, attempt) {
			return testkit.ErrDial
		}
		return nil
	}}
}

// freshGetter is getter for GetFresh.
func (s *scene) freshGetter(name string) {
	s.Go(name, func() {
		var a asking
		if s.askFresh(name, background, &a); a.err != nil {
			s.Errorf("%s: GetFresh: %v", name, a.err)
		}
	})
}

// askFresh is ask for GetFresh.
func (s *scene) askFresh(name string, ctx context.Context, a *asking) {
	a.lease, a.err = s.p.GetFresh(ctx)
	a.returned = true
	if a.err == nil {
		s.hold(name, a.lease)
		s.mustPut(a.lease)
	}
}

// madeRoom checks at the end how many were closed for GetFresh.
func (s *scene) madeRoom(n uint64) {
	s.End(func() {
		if got := s.p.Stats().ClosedFresh; got != n {
			s.Errorf("%d were closed to make room, want %d", got, n)
		}
	})
}

// must fails the schedule unless a Get has returned a lease or one of those errors.
func (s *scene) must(name string, a *asking, errs ...error) {
	s.End(func() {
		if a.err == nil {
			return
		}
		for _, err := range errs {
			if errors.Is(a.err, err) {
				return
			}
		}
		s.Errorf("%s: Get: %v", name, a.err)
	})
}

// rests checks at the end of the schedule that the pool is at rest, with so many
// leases.
func (s *scene) rests(leased int) {
	s.End(func() { s.atRest(leased) })
}

func (s *scene) atRest(leased int) {
	testkit.AtRest(s, s.p, leased)
	for _, k := range s.parkers {
		if len(k.Tokens()) != 0 {
			s.Errorf("a token is left in a channel that will be used again")
		}
	}
	open := 0
	for _, w := range s.x.Wires {
		switch len(w.Closes) {
		case 0:
			open++
		case 1:
		default:
			s.Errorf("connection %d was closed %d times", w.Number, len(w.Closes))
		}
	}
	if c := words.Census(s.in.Conns.Load()); open != c.Open() {
		s.Errorf("%d connections have not been closed, and the pool counts %d", open, c.Open())
	}
	if s.rights && s.in.Rights() != open {
		s.Errorf("the pool has %d rights of its budget, and %d connections", s.in.Rights(), open)
	}
	if s.ages {
		return
	}
	// Idle connections can be taken.
	idle := 0
	for _, slot := range s.in.Slots() {
		if slot.Word.Phase() == ring.Idle {
			idle++
		}
	}
	for range idle {
		l, ok := s.p.TryGet()
		if !ok {
			s.Errorf("TryGet does not find all of %d idle connections", idle)
			return
		}
		if other := s.holders[l.Value()]; other != "" {
			s.Errorf("connection %d was idle while %s had it", l.Value().Number, other)
		}
		if len(l.Value().Closes) != 0 {
			s.Errorf("connection %d is lent, and has been closed", l.Value().Number)
		}
		defer s.p.Put(l)
	}
}

// idles checks that n connections are idle at the end.
func (s *scene) idles(n int) {
	s.End(func() {
		if got := s.p.Stats().IdleConnections; got != n {
			s.Errorf("%d connections are idle at the end, want %d", got, n)
		}
	})
}

var background = context.Background()
