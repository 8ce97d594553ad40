package linear

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/S4AK4N/pool"

	"github.com/anishathalye/porcupine"
)

var profiles = []profile{
	{name: "one", callers: 4, calls: 12, config: pool.Config{MaxConnections: 1, MaxIdleTime: -1, MaxWaitTime: -1}},
	{name: "few", callers: 5, calls: 12, config: pool.Config{MaxConnections: 2, MaxIdleTime: -1, MaxWaitTime: -1}},
	{name: "enough", callers: 3, calls: 16, config: pool.Config{MaxConnections: 3, MaxIdleTime: -1, MaxWaitTime: -1}},
	{name: "nobody waits", callers: 4, calls: 12, tryOnly: true, config: pool.Config{MaxConnections: 3, MaxIdleTime: -1}},
	{name: "no patience", callers: 4, calls: 12, config: pool.Config{MaxConnections: 1, MaxIdleTime: -1, MaxWaitTime: 50 * time.Microsecond}},
	{name: "short line", callers: 5, calls: 12, config: pool.Config{MaxConnections: 2, MaxIdleTime: -1, MaxWaitTime: -1, MaxWaiters: 1}},
	{name: "age", callers: 3, calls: 12, pauses: true, config: pool.Config{MaxConnections: 2, MaxIdleTime: time.Millisecond, MaxWaitTime: -1}},
	{name: "lifetime", callers: 3, calls: 12, pauses: true, config: pool.Config{MaxConnections: 3, MaxIdleTime: -1, MaxWaitTime: -1,
		MaxLifetime: 20 * time.Millisecond, MinIdle: 1}},
	{name: "checks", callers: 4, calls: 12, checks: true, config: pool.Config{MaxConnections: 2, MaxIdleTime: -1, MaxWaitTime: -1, CheckInterval: -1}},
	{name: "slow checks", callers: 4, calls: 12, checks: true, slow: true, config: pool.Config{MaxConnections: 2, MaxIdleTime: -1, MaxWaitTime: -1, CheckInterval: -1}},
	{name: "changes", callers: 4, calls: 12, changes: true, config: pool.Config{MaxConnections: 2, MaxIdleTime: -1, MaxWaitTime: -1}},
	{name: "changes of a strict pool", callers: 4, calls: 12, changes: true, config: pool.Config{MaxConnections: 2, MaxIdleTime: -1, MaxWaitTime: -1,
		StrictMax: true, OpenEagerly: true, MaxOpening: 1, LeakAfter: time.Millisecond}},
	{name: "revokes", callers: 4, calls: 12, revokes: true, config: pool.Config{MaxConnections: 2, MaxIdleTime: -1, MaxWaitTime: -1}},
	{name: "revokes in checks", callers: 4, calls: 12, revokes: true, checks: true, config: pool.Config{MaxConnections: 1, MaxIdleTime: -1, MaxWaitTime: -1, CheckInterval: -1}},
	{name: "revokes and end", callers: 4, calls: 12, revokes: true, ends: true, config: pool.Config{MaxConnections: 2, MaxIdleTime: -1, MaxWaitTime: -1}},
	{name: "end", callers: 4, calls: 12, ends: true, config: pool.Config{MaxConnections: 2, MaxIdleTime: -1, MaxWaitTime: -1}},
	{name: "end of a short line", callers: 4, calls: 12, ends: true, config: pool.Config{MaxConnections: 1, MaxIdleTime: -1, MaxWaitTime: -1, MaxWaiters: 2}},
}

// budget is how long all profiles together may take.
func budget(t *testing.T) time.Duration {
	if v := os.Getenv("LINEAR_TIME"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if testing.Short() {
		return 3 * time.Second
	}
	return 15 * time.Second
}

func seed(t *testing.T) uint64 {
	if v := os.Getenv("LINEAR_SEED"); v != "" {
		s, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	return rand.Uint64()
}

func TestHistoriesOfAPoolAreLinearizable(t *testing.T) {
	each := budget(t) / time.Duration(len(profiles))
	total := 0
	for _, pr := range profiles {
		t.Run(strings.ReplaceAll(pr.name, " ", "_"), func(t *testing.T) {
			total += try(t, pr, each)
		})
	}
	t.Logf("%d calls in all", total)
}

// perWorld is after how many windows a pool is closed and another one made.
const perWorld = 500

// try checks histories of one profile for some time, and returns of how many calls.
func try(t *testing.T, pr profile, d time.Duration) (calls int) {
	s := seed(t)
	t.Logf("seed %d", s)
	rnd := rand.New(rand.NewPCG(s, 0))
	shake(t, s)
	var counts [len(kindNames)]int
	windows := 0
	for end := time.Now().Add(d); time.Now().Before(end) && !t.Failed(); {
		w := newWorld(t, pr)
		for n := 0; n < perWorld && time.Now().Before(end) && !t.Failed(); n++ {
			h := w.window(rnd)
			if h == nil {
				break
			}
			judge(t, h, &counts)
			windows++
			calls += len(h.events)
			if pr.ends {
				break
			}
		}
		w.over()
	}
	var b strings.Builder
	for k, n := range counts {
		if n > 0 {
			b.WriteString(", " + strconv.Itoa(n) + " " + kind(k).String())
		}
	}
	t.Logf("%d calls in %d windows%s", calls, windows, b.String())
	return calls
}

// suspects names each TryGet without whose miss an order would be found.
func suspects(h *history, model porcupine.Model, ops []porcupine.Operation) string {
	var b strings.Builder
	for i := range h.events {
		e := &h.events[i]
		if !e.refused {
			continue
		}
		first := slices.IndexFunc(ops, func(o porcupine.Operation) bool { return o.Call == e.call && o.Input.(action).kind == missed })
		for k, w := range h.looksOf(e) {
			rest := slices.Delete(slices.Clone(ops), first+k, first+k+1)
			if porcupine.CheckOperationsTimeout(model, rest, 20*time.Second) == porcupine.Ok {
				fmt.Fprintf(&b, ", unless the TryGet at %d did not have to find c%d", e.call, w.number)
			}
		}
	}
	return b.String()
}

// judge asks porcupine.
func judge(t *testing.T, h *history, counts *[len(kindNames)]int) {
	first, ops := h.operations()
	for i := range ops {
		counts[ops[i].Input.(action).kind]++
	}
	for i := range h.events {
		if h.events[i].kind == fruitless {
			counts[fruitless]++
		}
	}
	model := spec(first)
	switch porcupine.CheckOperationsTimeout(model, ops, 20*time.Second) {
	case porcupine.Illegal:
		t.Errorf("no order explains this%s:\n%v", suspects(h, model, ops), h)
		if dir := os.Getenv("LINEAR_OUT"); dir != "" {
			_, info := porcupine.CheckOperationsVerbose(model, ops, 0)
			if err := porcupine.VisualizePath(model, info, filepath.Join(dir, "linear.html")); err != nil {
				t.Error(err)
			}
		}
	case porcupine.Unknown:
		t.Errorf("not decided in time:\n%v", h)
	}
}
