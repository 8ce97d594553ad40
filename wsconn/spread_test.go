package wsconn

import (
	"context"
	"maps"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
)

// TestTheSpreadIsEvenAMinuteAfterAReturn, to within a fifth, and no request fails on the way.
// One waits if the server has swallowed its dial, and for as long as that costs.
func TestTheSpreadIsEvenAMinuteAfterAReturn(t *testing.T) {
	t.Run("refuses", func(t *testing.T) { leaveAndReturn(t, LeastConnections, behavior{refuses: true}) })
	t.Run("swallows", func(t *testing.T) { leaveAndReturn(t, LeastConnections, behavior{swallows: true}) })
	t.Run("RoundRobin", func(t *testing.T) { leaveAndReturn(t, RoundRobin, behavior{refuses: true}) })
}

func leaveAndReturn(t *testing.T, policy Policy, away behavior) {
	const size, work = 60, 1500 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b", "c")
		o := n.options("a", "b", "c")
		o.Policy = policy
		p := newPool(t, "", o, pool.Config{MaxConnections: size})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan time.Duration, size)
		var left atomic.Bool // b is just leaving: what it was working on fails
		for range size {
			go func() {
				var longest time.Duration
				for ctx.Err() == nil {
					began := time.Now()
					endpoint, err := request(t.Context(), p, work)
					if err != nil && !(endpoint == "ws://b" && left.Load()) {
						t.Errorf("a request to %q has failed: %v", endpoint, err)
					}
					longest = max(longest, time.Since(began))
				}
				done <- longest
			}()
		}
		spreadIs := func(when string, want map[string]int) {
			t.Helper()
			if got := spread(o); !maps.Equal(got, want) {
				t.Errorf("%s %v, want %v", when, got, want)
			}
		}
		testkit.Sleep(10 * time.Second)
		spreadIs("before,", map[string]int{"a": size / 3, "b": size / 3, "c": size / 3})
		left.Store(true)
		n.host("b").be(away, true)
		testkit.Sleep(2 * work)
		left.Store(false)
		testkit.Sleep(90 * time.Second) // probes are as rare as they become
		spreadIs("without b,", map[string]int{"a": size / 2, "b": 0, "c": size / 2})
		n.host("b").be(behavior{}, false)
		testkit.Sleep(time.Minute)
		for name, got := range spread(o) {
			if got < size/3*4/5 || got > size/3*6/5 {
				t.Errorf("a minute after the return %s has %d of %d", name, got, size)
			}
		}
		spreadIs("at last,", map[string]int{"a": size / 3, "b": size / 3, "c": size / 3})
		closed := p.Stats().ClosedClean
		testkit.Sleep(20 * time.Second)
		if more := p.Stats().ClosedClean - closed; more != 0 || closed < size/3 || closed > size/3+2 {
			t.Errorf("%d connections were retired, and %d when all was even", closed, more)
		}
		stop()
		for range size {
			if took := <-done; took > work+headStart {
				t.Errorf("a request took %v", took)
			}
		}
	})
}

// TestOneConnectionIsMovedInASecond.
func TestOneConnectionIsMovedInASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		n.host("a").be(behavior{refuses: true}, false)
		o := n.options("a", "b")
		p := newPool(t, "", o, pool.Config{MaxConnections: 10})
		leases := take(t, p, 10)
		n.host("a").be(behavior{}, false)
		testkit.Sleep(time.Second)
		for _, l := range leases {
			p.Put(l) // a probe is due: it is begun here
		}
		synctest.Wait()
		for i := range 5 {
			for range 3 {
				leases = take(t, p, 10)
				for _, l := range leases {
					p.Put(l)
				}
				synctest.Wait()
			}
			if got, want := p.Stats().ClosedClean, uint64(i+1); got != want {
				t.Errorf("after %d s %d connections were retired, want %d", i, got, want)
			}
			testkit.Sleep(time.Second)
		}
	})
}

func take(t *testing.T, p *pool.Pool[*Conn], n int) (leases []pool.Lease[*Conn]) {
	t.Helper()
	for range n {
		l, err := p.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		leases = append(leases, l)
	}
	return leases
}

// TestFailoverMovesBackToTheFirst, one connection each second, and from the third to the second
// if that one alone is back.
func TestFailoverMovesBackToTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b", "c")
		n.host("a").be(behavior{refuses: true}, false)
		n.host("b").be(behavior{refuses: true}, false)
		o := n.options("a", "b", "c")
		o.Policy = Failover
		p := newPool(t, "", o, pool.Config{MaxConnections: 10})
		use := func(seconds int) {
			for range seconds {
				for _, l := range take(t, p, 10) {
					p.Put(l)
				}
				testkit.Sleep(time.Second)
			}
		}
		for _, step := range []struct {
			name string
			then map[string]int
		}{
			{"", map[string]int{"a": 0, "b": 0, "c": 10}},
			{"b", map[string]int{"a": 0, "b": 10, "c": 0}},
			{"a", map[string]int{"a": 10, "b": 0, "c": 0}},
		} {
			if step.name != "" {
				n.host(step.name).be(behavior{}, false)
			}
			use(40)
			if got := spread(o); !maps.Equal(got, step.then) {
				t.Errorf("with %q back: %v, want %v", step.name, got, step.then)
			}
		}
		if got := p.Stats().ClosedClean; got != 20 {
			t.Errorf("%d connections were retired, want 20", got)
		}
	})
}

// TestARetiredConnectionGetsAClosingHandshake, and OnClose is told why.
func TestARetiredConnectionGetsAClosingHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		o := n.options("a", "b")
		o.Policy = Failover
		n.host("a").be(behavior{refuses: true}, false)
		var why error
		o.OnClose = func(conn *Conn, cause error) { why = cause }
		p := newPool(t, "", o, pool.Config{MaxConnections: 1})
		request(t.Context(), p, 0)
		n.host("a").be(behavior{}, false)
		for range 3 {
			testkit.Sleep(time.Second)
			request(t.Context(), p, 0)
		}
		synctest.Wait()
		if !retired(why) || n.host("b").ended() != 1000 {
			t.Errorf("OnClose was told %v, the peer %d", why, n.host("b").ended())
		}
	})
}

// TestAServerThatLeavesLosesItsConnectionsAtPutAndWhileTheyAreIdle, and none in use.
func TestAServerThatLeavesLosesItsConnectionsAtPutAndWhileTheyAreIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b", "c")
		o := n.options()
		r := &registry{list: []string{"ws://a", "ws://b"}}
		o.Discover = r.discover
		o.DiscoverInterval = 10 * time.Second
		p := newPool(t, "", o, pool.Config{MaxConnections: 12})
		leases := take(t, p, 12)
		var used pool.Lease[*Conn]
		for _, l := range leases {
			if l.Value().Endpoint() == "ws://a" && used == (pool.Lease[*Conn]{}) {
				used = l
				continue
			}
			p.Put(l)
		}
		r.set([]string{"ws://b", "ws://c"}, nil)
		testkit.Sleep(20 * time.Second)
		if got, want := spread(o), map[string]int{"a": 1, "b": 6, "c": 0}; !maps.Equal(got, want) {
			t.Errorf("while one is in use: %v, want %v", got, want)
		}
		for _, e := range o.Distribution.Endpoints() {
			if e.Left != (e.URL == "ws://a") {
				t.Errorf("%+v", e)
			}
		}
		ask(t, used.Value(), "hello")
		if n, _ := n.host("c").count(); n != 0 {
			t.Errorf("%d dials of c, which nobody needs yet", n)
		}
		for range 10 {
			for _, l := range take(t, p, 11) {
				p.Put(l)
			}
			testkit.Sleep(time.Second)
		}
		p.Put(used)
		synctest.Wait()
		if got := spread(o); got["a"] != 0 || got["b"]+got["c"] != 11 || got["b"] > 6 || got["b"] < 5 || len(got) != 2 {
			t.Errorf("at last: %v", got)
		}
		if s := p.Stats(); s.OpenErrors != 0 || s.LastOpenError != nil {
			t.Errorf("%d failed opens, %v: the pool took it for a failure", s.OpenErrors, s.LastOpenError)
		}
	})
}

// TestWhatIsAboutToCloseIsNotMovedTwice: as long as the peer has not answered the closing
// handshake, a connection is open, but the spread must not look uneven for it, or even too early.
func TestWhatIsAboutToCloseIsNotMovedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		n.host("a").be(behavior{refuses: true}, false)
		o := n.options("a", "b")
		o.moveInterval = 1
		f := newFactory(t, "", o)
		conns := openN(t, f, 6)
		n.host("a").be(behavior{}, false)
		testkit.Sleep(time.Second)
		f.Check(conns[0]) // begins a probe
		synctest.Wait()
		moved := 0
		for _, c := range conns {
			testkit.Sleep(time.Millisecond)
			if err := f.Clean(c); retired(err) {
				moved++
				open(t, f) // in its place
			} else if err != nil {
				t.Error(err)
			}
		}
		if moved != 3 {
			t.Errorf("%d of six connections are moved, want 3", moved)
		}
	})
}
