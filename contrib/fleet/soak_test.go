//go:build linux

package fleet

import (
	"context"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// Processes are killed and stopped at random, and the server is restarted, with its data and without. Rights are
// never exceeded, and all are given back at the end. FLEET_SOAK says for how long; then the
// connections are judged, too: of a machine that is busy for seconds it is not known which processes stood still.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("not in short mode")
	}
	duration := 8 * time.Second
	judged := os.Getenv("FLEET_SOAK") != ""
	if judged {
		var err error
		if duration, err = time.ParseDuration(os.Getenv("FLEET_SOAK")); err != nil {
			t.Fatal(err)
		}
	} else {
		t.Parallel()
	}
	const limit, processes = 12, 8
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newServer(t, "--appendonly", "yes", "--appendfsync", "always")
	sv := newProtected(t)
	p := plan{Redis: s.addr, Protected: sv.addr, Name: "account", Max: limit, Lease: 3 * time.Second, Strict: true, Found: true}
	start := func() *child {
		c := newChild(t, p)
		c.does("loads", "load 4")
		return c
	}
	var children []*child
	for range processes {
		children = append(children, start())
		p.Found = false
	}
	type sleeper struct {
		*child
		until time.Time
	}
	var asleep []sleeper
	woken := map[string]time.Time{} // and may still have what it had
	c := s.newClient()
	most, worst, actions := 0, 0, map[string]int{}
	for end := time.Now().Add(duration); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		switch n := random.IntN(60); {
		case n < 2:
			actions["killed"]++
			i := random.IntN(processes)
			children[i].carryOn()
			children[i].kill()
			children[i] = start()
		case n < 4 && len(asleep) < 3:
			actions["stopped"]++
			i := random.IntN(processes)
			children[i].stop()
			asleep = append(asleep, sleeper{children[i], time.Now().Add(time.Duration(random.IntN(6000)) * time.Millisecond)})
		case n == 4:
			actions["restarted"]++
			s.restart()
		case n == 5:
			actions["emptied"]++
			s.kill()
			s.forget()
			s.start()
		}
		for i := len(asleep) - 1; i >= 0; i-- {
			if time.Now().After(asleep[i].until) {
				asleep[i].carryOn()
				woken[asleep[i].id] = time.Now()
				asleep = append(asleep[:i], asleep[i+1:]...)
			}
		}
		st, err := Inspect(context.Background(), c, p.Name)
		if err != nil {
			continue
		}
		if most = max(most, st.Used); st.Used > limit {
			t.Fatalf("rights are exceeded:\n%v", st)
		}
		sv.mu.Lock()
		excused := 0
		for _, a := range asleep {
			excused += sv.of(a.id)
		}
		for id, since := range woken {
			if time.Since(since) < time.Second {
				excused += sv.of(id)
			}
		}
		worst = max(worst, len(sv.conns)-excused)
		sv.mu.Unlock()
	}
	for _, a := range asleep {
		a.carryOn()
	}
	for _, c := range children {
		c.ends()
	}
	sv.until(t, "all is closed", func() bool { return len(sv.conns) == 0 })
	t.Logf("%v: at most %d rights of %d, %d connections; %d were opened", actions, most, limit, worst, sv.total)
	if judged && worst > limit {
		t.Errorf("there were %d connections beside those of processes that were stopped, want at most %d", worst, limit)
	}
	if most < limit {
		t.Errorf("at most %d rights were used, of %d", most, limit)
	}
	free := time.Now().Add(patienceOfTests)
	for len(s.state(p.Name).Processes) > 0 && time.Now().Before(free) { // those that were killed: until somebody asks
		b, err := NewBudget(c, p.Name, limit, &Options{Lease: p.Lease})
		if err != nil {
			t.Fatal(err)
		}
		endAll(t, b)
		time.Sleep(100 * time.Millisecond)
	}
	s.isFree(p.Name)
}
