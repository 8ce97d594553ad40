//go:build linux

package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/redis/go-redis/v9"
)

// The leases of tests. A process that must lose its own has a short one. One that must not has a long one, however busy
// the machine is. Nothing is judged by them but what comes first.
const (
	short = 4 * time.Second
	long  = 10 * time.Minute
)

// lives returns the plan of a process that keeps its lease.
func (p plan) lives() plan {
	p.Lease = long
	return p
}

// scene is a server, what is protected, and a plan for processes that share a budget of max.
func scene(t *testing.T, max int, args ...string) (*server, *protected, plan) {
	t.Helper()
	t.Parallel()
	s := newServer(t, args...)
	p := newProtected(t)
	return s, p, plan{Redis: s.addr, Protected: p.addr, Name: "account", Max: max, Lease: short, Found: true}
}

// state is what the server knows.
func (s *server) state(name string) State {
	s.t.Helper()
	c := s.client()
	defer c.Close()
	st, err := Inspect(context.Background(), c, name)
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

// isFree checks that nothing is counted any more.
func (s *server) isFree(name string) {
	s.t.Helper()
	c := s.client()
	defer c.Close()
	used, err := c.HGet(context.Background(), keys(name)[0], "used").Result()
	if st := s.state(name); err != nil || used != "0" || st.Used != 0 || len(st.Processes) != 0 {
		s.t.Errorf("at the end %s rights are counted (%v):\n%v", used, err, st)
	}
}

func TestRightsOfAProcessThatDiesGoToOthersWhenItsLeaseIsOver(t *testing.T) {
	s, sv, p := scene(t, 3)
	a, b := newChild(t, p), newChild(t, p.lives())
	a.does("has 3", "get 3")
	b.tells("get 3")
	a.kill()
	b.hears("has 3")
	sv.atMost(t, 3)
	b.ends()
	s.isFree(p.Name)
}

func TestAProcessThatWasStoppedForLongerThanItsLeaseOpensNothingBeforeItHasAsked(t *testing.T) {
	s, sv, p := scene(t, 3)
	a, b := newChild(t, p), newChild(t, p.lives())
	a.does("has 3", "get 3")
	a.stop()
	b.does("has 3", "get 3")
	// Its kernel has kept its connections, and it has not woken up.
	sv.until(t, "it is stopped", func() bool { return sv.of(a.id) == 3 && sv.of(b.id) == 3 })
	a.tells("ask 1")
	a.carryOn()
	a.hears("asked")
	a.does("lost 3", "lost 3")
	sv.mu.Lock()
	if sv.total != 6 || sv.of(a.id) != 3 {
		t.Errorf("%d connections were opened, want 6, and it has %d, want its 3 leases", sv.total, sv.of(a.id))
	}
	sv.mu.Unlock()
	a.does("has 1", "put 2") // closed, not lent to the one who waits: the rights to them are lost
	sv.until(t, "what came back is closed", func() bool { return sv.of(a.id) == 1 })
	a.does("has 0", "put 1")
	b.does("has 2", "put 1")
	sv.until(t, "one who waited is served", func() bool { return sv.of(a.id) == 1 && sv.of(b.id) == 2 })
	a.ends()
	b.ends()
	s.isFree(p.Name)
}

func TestAProcessThatWasStoppedClosesWhatIsIdleWhenItWakesUp(t *testing.T) {
	s, sv, p := scene(t, 3)
	a, b := newChild(t, p), newChild(t, p.lives())
	a.does("has 3", "get 3")
	a.does("has 1", "put 2")
	a.stop()
	b.does("has 3", "get 3")
	a.carryOn()
	a.does("lost 1", "lost 1") // and what was idle may have been given up for those who wait
	sv.until(t, "what is idle is closed, and no lease is broken", func() bool { return sv.of(a.id) == 1 && sv.of(b.id) == 3 })
	a.does("has 0", "put 1")
	sv.until(t, "what came back is closed", func() bool { return sv.of(a.id) == 0 })
	a.ends()
	b.ends()
	s.isFree(p.Name)
}

func TestStrictRevokesWhatAProcessHasThatWasStoppedWhenItWakesUp(t *testing.T) {
	s, sv, p := scene(t, 3)
	p.Strict = true
	a, b := newChild(t, p), newChild(t, p.lives())
	a.does("has 3", "get 3")
	a.does("has 2", "put 1")
	a.stop()
	b.does("has 3", "get 3")
	a.carryOn()
	sv.until(t, "all is closed", func() bool { return sv.of(a.id) == 0 && sv.of(b.id) == 3 })
	a.ends()
	b.ends()
	s.isFree(p.Name)
}

// The process is stopped between the moment at which it may open and the dial.
func TestWhatIsDialedTooLateIsClosedAndNotLent(t *testing.T) {
	s, sv, p := scene(t, 1)
	late := p
	late.StopsInOpen = true
	a, b := newChild(t, late), newChild(t, p.lives())
	a.tells("ask 1")
	a.isStopped()
	b.does("has 1", "get 1")
	a.carryOn()
	a.hears("") // "asked" and "stopping", whichever comes first
	a.hears("")
	sv.until(t, "it has dialed", func() bool { return sv.total == 2 })
	sv.until(t, "it has closed it", func() bool { return sv.of(a.id) == 0 })
	a.does("has 0", "has")
	b.does("has 0", "put 1")
	sv.until(t, "it is served in its turn", func() bool { return sv.of(a.id) == 1 && sv.of(b.id) == 0 })
	a.ends()
	b.ends()
	s.isFree(p.Name)
}

func TestAProcessThatIsCutOffKeepsItsLeasesAndNothingElse(t *testing.T) {
	s, sv, p := scene(t, 4)
	way := newProxy(t, s.addr)
	far := p
	far.Redis = way.addr
	a, b := newChild(t, far), newChild(t, p.lives())
	a.does("has 3", "get 3")
	a.does("has 1", "put 2")
	way.silence(true)
	a.does("lost 3", "lost 3")
	b.does("has 4", "get 4")
	sv.until(t, "what is idle is closed", func() bool { return sv.of(a.id) == 1 && sv.of(b.id) == 4 })
	sv.atMost(t, 5)
	way.silence(false)
	a.does("has 0", "put 1")
	sv.until(t, "what has come back is closed", func() bool { return sv.of(a.id) == 0 })
	b.does("has 3", "put 1")
	a.does("has 1", "get 1")
	sv.atMost(t, 5)
	a.ends()
	b.ends()
	s.isFree(p.Name)
}

func TestStrictKeepsTheBoundWhenAProcessIsCutOff(t *testing.T) {
	s, sv, p := scene(t, 4)
	p.Strict, p.Lease = true, 10*time.Second // it has 4s to revoke what it has
	way := newProxy(t, s.addr)
	far := p
	far.Redis = way.addr
	a, b := newChild(t, far), newChild(t, p.lives())
	a.does("has 3", "get 3")
	a.does("has 2", "put 1")
	way.silence(true)
	b.does("has 4", "get 4")
	sv.until(t, "all is revoked", func() bool { return sv.of(a.id) == 0 && sv.of(b.id) == 4 })
	sv.atMost(t, 4)
	way.silence(false)
	b.does("has 2", "put 2")
	a.does("has 3", "get 1")
	sv.atMost(t, 4)
	a.ends()
	b.ends()
	s.isFree(p.Name)
}

func TestARestartWithItsDataLosesNothing(t *testing.T) {
	s, sv, p := scene(t, 4, "--appendonly", "yes", "--appendfsync", "always")
	p.Lease = 8 * time.Second // what lives has as long to say what it has
	a, b := newChild(t, p), newChild(t, p)
	a.does("has 3", "get 3")
	s.restart()
	b.tells("get 2")
	sv.until(t, "one is free", func() bool { return sv.of(b.id) == 1 })
	a.does("has 2", "put 1")
	b.hears("has 2")
	sv.atMost(t, 4)
	if got := sv.total; got != 5 {
		t.Errorf("%d connections were opened, want 5", got)
	}
	a.ends()
	b.ends()
	s.isFree(p.Name)
}

func TestARestartWithoutItsDataGivesNothingTwice(t *testing.T) {
	s, sv, p := scene(t, 4)
	p.Lease = 8 * time.Second // what lives has as long to say what it has
	p.Found = false
	founds := p
	founds.Found = true
	a, b := newChild(t, founds), newChild(t, p)
	a.does("has 3", "get 3")
	s.restart()
	b.tells("get 2")
	sv.until(t, "one is free", func() bool { return sv.of(b.id) == 1 })
	if st := s.state(p.Name); st.Used != 4 || st.Processes[0].ID != a.id || st.Processes[0].Rights != 3 {
		t.Errorf("after the restart\n%v", st)
	}
	a.does("has 2", "put 1")
	b.hears("has 2")
	sv.atMost(t, 4)
	a.ends()
	b.ends()
	s.isFree(p.Name)
}

// The last grants are known only to a server that is dead, its replica begins with what it has.
func TestAFailoverToAReplicaThatHasMissedGrantsGivesNothingTwice(t *testing.T) {
	s, sv, p := scene(t, 5)
	p.Lease = 8 * time.Second // what lives has as long to say what it has
	replica := newServer(t)
	ctx := context.Background()
	way := newProxy(t, s.addr)
	p.Redis = way.addr
	a, b := newChild(t, p), newChild(t, p)
	a.does("has 1", "get 1")
	r := replica.newClient()
	if err := r.ReplicaOf(ctx, "127.0.0.1", s.port()).Err(); err != nil {
		t.Fatal(err)
	}
	for have := ""; have == ""; { // bounded by the test's timeout
		have, _ = r.HGet(ctx, keys(p.Name)[1], a.id).Result()
	}
	if err := r.ReplicaOf(ctx, "127.0.0.1", "1").Err(); err != nil { // nobody is there
		t.Fatal(err)
	}
	a.does("has 4", "get 3") // after the link was cut
	s.kill()
	if err := r.ReplicaOf(ctx, "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	way.leads(replica.addr)
	b.tells("get 3")
	sv.until(t, "one is free", func() bool { return sv.of(b.id) == 1 })
	if st := replica.state(p.Name); st.Used != 5 {
		t.Errorf("at the new server\n%v", st)
	}
	a.does("has 2", "put 2")
	b.hears("has 3")
	sv.atMost(t, 5)
	a.ends()
	b.ends()
	replica.isFree(p.Name)
}

func TestASilentServerIsAnOutageOfOpening(t *testing.T) {
	s, sv, p := scene(t, 4)
	b, err := NewBudget(s.newClient(), p.Name, p.Max, &Options{Lease: time.Minute, Found: true, timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	q := newPool(t, sv.addr, b, pool.Config{FailFastAfter: 1})
	ctx := context.Background()
	get := func() pool.Lease[*link] {
		t.Helper()
		l, err := q.Get(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l, m := get(), get()
	_ = q.Put(l)
	s.pause()
	for range 3 { // what is idle has nothing to do with the server
		_ = q.Put(get())
	}
	l = get()
	var opening *pool.OpenError
	var timeout net.Error
	if _, err := q.Get(ctx); !errors.As(err, &timeout) || !timeout.Timeout() || !errors.As(err, &opening) {
		t.Errorf("a Get that needs a right returned %v", err)
	}
	s.carryOn()
	n, err := q.Get(ctx)
	for err != nil { // until the pause of the outage is over
		n, err = q.Get(ctx)
	}
	for _, l := range []pool.Lease[*link]{l, m, n} {
		_ = q.Put(l)
	}
	q.Close()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	sv.atMost(t, 4)
	s.isFree(p.Name)
}

// A jump costs a third of a lease, and processes are done after two thirds.
func TestAServerClockThatJumpsTakesNobodysLease(t *testing.T) {
	s, sv, p := scene(t, 3)
	p.Lease = 15 * time.Second
	c := s.newClient()
	a, b := newChild(t, p), newChild(t, p)
	a.does("has 3", "get 3")
	b.tells("get 1")
	for _, jump := range []time.Duration{10 * time.Minute, -20 * time.Minute, 10 * time.Minute} {
		// What the script takes for the last time that it has seen is changed: to it, the clock has jumped.
		if err := c.HIncrBy(context.Background(), keys(p.Name)[0], "wall", -jump.Milliseconds()).Err(); err != nil {
			t.Fatal(err)
		}
		s.isHeardOf(p.Name, a.id)
	}
	if st := s.state(p.Name); st.Used != 3 || len(st.Processes) != 2 || st.Processes[0].ID != a.id || st.Processes[0].Rights != 3 {
		t.Errorf("after the jumps\n%v", st)
	}
	sv.atMost(t, 3)
	a.does("has 2", "put 1")
	b.hears("has 1")
	a.ends()
	b.ends()
	s.isFree(p.Name)
}

// isHeardOf waits until a process has carried out one more operation.
func (s *server) isHeardOf(name, id string) {
	s.t.Helper()
	c := s.client()
	defer c.Close()
	first, last := -1, 0
	for deadline := time.Now().Add(patienceOfTests); last < first+1; time.Sleep(10 * time.Millisecond) {
		line, err := c.HGet(context.Background(), keys(name)[1], id).Result()
		if errors.Is(err, redis.Nil) && time.Now().Before(deadline) {
			continue // its lease is over
		}
		if err != nil || time.Now().After(deadline) {
			s.t.Fatalf("process %s is not heard of: %v", id, err)
		}
		var count int
		_, _ = fmt.Sscan(line, &count, &last)
		if first < 0 {
			first = last
		}
	}
}
