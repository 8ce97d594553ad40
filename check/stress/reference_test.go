package stress

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
	"go.uber.org/atomic"
)

// A reference is what a pool should do, with a slice for everything and nothing going
// on at the same time. Connections are known by their number.
type reference struct {
	max     int
	patient bool // nobody is told that opening fails
	failing bool // Open fails
	opened  int
	closed  bool
	idle    map[int]bool
	broken  map[int]bool
	leased  []int // by lease, 0: ended; negative: revoked
	waiting []*caller
}

// A caller waits, in the pool and in the reference.
type caller struct {
	*testkit.Request[*testkit.Wire]
	cancel context.CancelFunc
	conn   int   // that it should have been given
	err    error // or this
}

func (r *reference) leases() (n int) {
	for _, conn := range r.leased {
		if conn > 0 {
			n++
		}
	}
	return n
}

// serve opens what may be opened for waiters. While opening fails, the pool tries again
// and again, with backoff: waiters get the error if there is no connection that may come
// back to them, and never if they are patient.
func (r *reference) serve() {
	for len(r.waiting) > 0 && !r.closed && r.leases()+len(r.idle) < r.max {
		if !r.failing {
			r.opened++
			r.place(r.opened)
			continue
		}
		if r.leases()+len(r.idle) > 0 || r.patient {
			return
		}
		for _, c := range r.waiting {
			c.err = testkit.ErrDial
		}
		r.waiting = nil
	}
}

// place finds the next owner of a connection.
func (r *reference) place(conn int) {
	if len(r.waiting) == 0 {
		r.idle[conn] = true
		return
	}
	c := r.waiting[0]
	r.waiting = r.waiting[1:]
	c.conn = conn
	r.leased = append(r.leased, conn)
}

// A trial runs a pool beside its reference.
type trial struct {
	*reference
	t      *testing.T
	p      *pool.Pool[*testkit.Wire]
	x      *testkit.Exchange
	report func(number int, cause error)
	held   []pool.Lease[*testkit.Wire] // as in reference.leased
	down   atomic.Bool                 // as reference.failing, for Open
}

// check compares all that can be seen.
func (r *trial) check(step int, what string) {
	r.t.Helper()
	synctest.Wait()
	s := r.p.Stats()
	want := [...]int{r.leases(), len(r.idle), 0, len(r.waiting), r.opened}
	got := [...]int{s.ActiveConnections, s.IdleConnections, s.OpeningConnections, s.WaitingRequests, int(s.Opened)}
	if got != want {
		r.t.Fatalf("step %d, %s: active, idle, opening, waiting, opened are %v, want %v", step, what, got, want)
	}
	if got := len(testkit.Walk(r.t, testkit.Inside(r.p).Queue)); got != len(r.waiting) {
		r.t.Fatalf("step %d, %s: %d are linked, want %d", step, what, got, len(r.waiting))
	}
	for _, w := range r.x.Opened() {
		lives := r.idle[w.Number] || slices.Contains(r.leased, w.Number)
		if n := len(w.ClosedWith()); (n == 0) != lives && !r.away(w.Number) || n > 1 {
			r.t.Fatalf("step %d, %s: connection %d was closed %d times", step, what, w.Number, n)
		}
	}
}

// away reports whether a connection was detached.
func (r *trial) away(number int) bool { return r.broken[-number] }

// settled checks what a caller has got and makes a lease of it.
func (r *trial) settled(step int, c *caller) {
	r.t.Helper()
	if c.err != nil {
		c.Failed(r.t, "reference", c.err)
		return
	}
	l := c.Served(r.t, "reference")
	if l.Value().Number != c.conn {
		r.t.Fatalf("step %d: a waiter was given connection %d, want %d", step, l.Value().Number, c.conn)
	}
	r.held = append(r.held, l)
}

func (r *trial) run(actions []byte) {
	live := []*caller{} // who have not returned when last seen
	for step, action := range actions {
		pick := int(action >> 4)
		what := ""
		switch action & 15 {
		case 0, 1, 2, 3:
			what = "Get"
			ctx, cancel := context.WithCancel(context.Background())
			r.t.Cleanup(cancel)
			c := &caller{cancel: cancel}
			if len(r.waiting) == 0 && len(r.idle) > 0 && !r.closed {
				// The ring chooses which one.
				l := testkit.Borrow(r.t, r.p)
				if !r.idle[l.Value().Number] {
					r.t.Fatalf("step %d: Get returned connection %d, which is not idle", step, l.Value().Number)
				}
				delete(r.idle, l.Value().Number)
				r.leased, r.held = append(r.leased, l.Value().Number), append(r.held, l)
				break
			}
			if r.closed {
				c.err = pool.ErrClosed
			} else {
				r.waiting = append(r.waiting, c)
				r.serve()
			}
			c.Request = testkit.Ask(ctx, r.p)
			live = append(live, c)
		case 4, 5, 6, 7, 8, 9, 10, 11:
			if len(r.held) == 0 {
				continue
			}
			i := pick % len(r.held)
			conn := r.leased[i]
			r.leased[i] = 0
			var err error
			var want error
			switch {
			case conn == 0:
				want = pool.ErrNotLeased
			case conn < 0 && action&15 == 9:
				want = pool.ErrClosed
			}
			switch action & 15 {
			case 8:
				what = "Discard"
				err = r.p.Discard(r.held[i], nil)
			case 9:
				what = "Detach"
				_, err = r.p.Detach(r.held[i])
				if conn > 0 {
					r.broken[-conn] = true
				}
			default:
				what = "Put"
				err = r.p.Put(r.held[i])
				if conn > 0 && !r.closed && !r.broken[conn] {
					r.place(conn)
				}
			}
			if err != want {
				r.t.Fatalf("step %d: %s returned %v, want %v", step, what, err, want)
			}
			r.serve()
		case 12:
			what = "cancel"
			if len(r.waiting) == 0 {
				continue
			}
			i := pick % len(r.waiting)
			c := r.waiting[i]
			c.err = context.Canceled
			r.waiting = slices.Delete(r.waiting, i, i+1)
			c.cancel()
		case 13:
			what = "report"
			if r.opened == 0 {
				continue
			}
			conn := pick%r.opened + 1
			testkit.Sleep(core.Probation) // earlier it would count as an open that fails
			r.report(conn, testkit.ErrCause)
			r.broken[conn] = true
			delete(r.idle, conn)
			r.serve()
		case 14:
			what = "TryGet"
			l, ok := r.p.TryGet()
			if want := !r.closed && len(r.idle) > 0; ok != want {
				r.t.Fatalf("step %d: TryGet returned %v, want %v", step, ok, want)
			}
			if ok {
				if !r.idle[l.Value().Number] {
					r.t.Fatalf("step %d: TryGet returned connection %d, which is not idle", step, l.Value().Number)
				}
				delete(r.idle, l.Value().Number)
				r.leased, r.held = append(r.leased, l.Value().Number), append(r.held, l)
			}
		default:
			if pick < 14 {
				what = "turn"
				r.failing = pick%3 == 0
				r.down.Store(r.failing)
				testkit.Sleep(time.Second)
				r.serve()
				break
			}
			what = "Close"
			if err := r.p.Close(); err != nil {
				r.t.Fatalf("step %d: Close: %v", step, err)
			}
			r.closed = true
			for i, conn := range r.leased {
				r.leased[i] = min(conn, -conn)
			}
			for _, c := range r.waiting {
				c.err = pool.ErrClosed
			}
			clear(r.idle)
			r.waiting = nil
		}
		if r.failing {
			testkit.Sleep(time.Second) // the backoff ends
		}
		var still []*caller
		for _, c := range live {
			// With a connection open, those who wait are told after four failures in a row
			// with nothing coming back. When that is depends on the backoff.
			if c.err == nil && c.conn == 0 && r.failing && !r.patient && r.leases()+len(r.idle) < r.max && c.Returned() {
				c.err = testkit.ErrDial
				r.waiting = slices.DeleteFunc(r.waiting, func(w *caller) bool { return w == c })
			}
			if c.err == nil && c.conn == 0 {
				c.Pending(r.t, "reference")
				still = append(still, c)
			} else {
				r.settled(step, c)
			}
		}
		live = still
		r.check(step, what)
	}
}

func tryActions(t *testing.T, max int, patient bool, actions []byte) {
	synctest.Test(t, func(t *testing.T) {
		failFastAfter := testkit.AtOnce
		if patient {
			failFastAfter = -1
		}
		r := &trial{t: t, reference: &reference{max: max, patient: patient, idle: map[int]bool{}, broken: map[int]bool{}}}
		r.x = &testkit.Exchange{}
		r.x.Open = func(context.Context, int) error {
			if r.down.Load() {
				return testkit.ErrDial
			}
			return nil
		}
		var f pool.Factory[*testkit.Wire]
		f, r.report = testkit.Watched(r.x)
		r.p = testkit.Start(t, f, pool.Config{MaxConnections: max, MaxWaitTime: -1, MaxIdleTime: -1, FailFastAfter: failFastAfter,
			MaxOpening: 1}) // they land in the order of their numbers
		r.run(actions)
		r.p.Close()
		synctest.Wait()
		testkit.AtRest(t, r.p, 0)
		for _, w := range r.x.Opened() {
			if n := len(w.ClosedWith()); n != 1 && !r.away(w.Number) || n > 1 {
				t.Errorf("connection %d was closed %d times", w.Number, n)
			}
		}
	})
}

func TestRandomActionsAgreeWithTheReference(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	rounds := 300
	if testing.Short() {
		rounds = 60
	}
	for range rounds {
		actions := make([]byte, 100)
		for i := range actions {
			actions[i] = byte(rnd.Uint32())
			if actions[i]&15 == 15 && i < 80 && rnd.IntN(4) > 0 {
				actions[i] = 0xd0 | 15 // Close seldom
			}
		}
		max, patient := 1+rnd.IntN(5), rnd.IntN(2) == 0
		tryActions(t, max, patient, actions)
		if t.Failed() {
			t.Fatalf("with MaxConnections %d, patient %v, actions %x", max, patient, actions)
		}
	}
}

func FuzzActions(f *testing.F) {
	f.Add(byte(1), []byte{0x00, 0x00, 0x00, 0x04, 0x04, 0x14, 0x24})             // hand-offs
	f.Add(byte(2), []byte{0x00, 0x00, 0x00, 0x00, 0x1c, 0x04, 0x14, 0x24})       // a cancel in line
	f.Add(byte(1), []byte{0x0f, 0x00, 0x1f, 0x00, 0x00, 0x00, 0x0f, 0x08, 0x1f}) // opens fail, before and behind others
	f.Add(byte(2), []byte{0x00, 0x00, 0x00, 0x09, 0x18, 0x04, 0x14})             // Detach, Discard while somebody waits
	f.Add(byte(2), []byte{0x00, 0x00, 0x0d, 0x04, 0x14, 0x1d, 0x0e, 0x0e})       // reports
	f.Add(byte(0x81), []byte{0x0f, 0x00, 0x1f, 0x00, 0x00, 0x00, 0x0f, 0x08, 0x1f})
	f.Add(byte(3), []byte{0x00, 0x00, 0x00, 0x00, 0xff, 0x04, 0x04, 0x19, 0x28, 0x00, 0x0e})
	f.Fuzz(func(t *testing.T, max byte, actions []byte) {
		if len(actions) > 200 {
			actions = actions[:200]
		}
		tryActions(t, 1+int(max)%8, max&0x80 != 0, actions)
	})
}
