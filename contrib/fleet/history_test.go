//go:build linux

package fleet

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// record has processes ask for rights, and use them, for some time. They are killed and stopped, and the server is
// restarted with its data and without. It returns what they asked for and what they got.
func record(t *testing.T, limit int, d time.Duration, mutant [2]string) (lines []line, lease time.Duration) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newServer(t, "--appendonly", "yes", "--appendfsync", "always")
	sv := newProtected(t)
	path := filepath.Join(t.TempDir(), "record")
	r, err := newRecorder(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.file.Close()
	p := plan{Redis: s.addr, Protected: sv.addr, Name: "account", Max: limit, Lease: 1500 * time.Millisecond, Found: true, Record: path, Mutant: mutant}
	start := func() *child {
		c := newChild(t, p)
		p.Found = false
		c.does("loads", "load 3")
		return c
	}
	children := []*child{start(), start(), start(), start()}
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
		c := children[random.IntN(len(children))]
		switch random.IntN(8) {
		case 0:
			c.kill()
			r.write(line{Kind: lineKilled, ID: c.id})
		case 1, 2:
			c.stop()
			time.Sleep(time.Duration(random.IntN(2200)) * time.Millisecond)
			c.carryOn()
		case 3:
			lost := random.IntN(2) == 0
			r.write(line{Kind: lineRestart, Lost: lost})
			s.kill()
			if lost {
				s.forget()
			}
			s.start()
			r.write(line{Kind: lineRestarted})
		case 4, 5: // what is sent meanwhile is given up, and carried out later
			s.pause()
			time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
			s.carryOn()
		}
		for i, c := range children {
			if c.cmd.ProcessState != nil {
				children[i] = start()
			}
		}
	}
	for _, c := range children {
		c.tells("end")
		c.hears("ended") // also if the server was too busy for the last call
	}
	if keep := os.Getenv("FLEET_RECORD"); keep != "" { // for a record that is not explained
		_ = os.Rename(path, keep)
		path = keep
	}
	return readRecord(t, path), p.Lease
}

// What processes are granted can be told as a story in which one operation comes after the other: rights never exceed the limit,
// they go to processes in the order in which they asked, nothing is granted while what was granted before may be unknown, and what is
// carried out late changes nothing. FLEET_HISTORY says for how long.
func TestGrantsAreLinearizable(t *testing.T) {
	if testing.Short() {
		t.Skip("not in short mode")
	}
	d := 6 * time.Second
	if v := os.Getenv("FLEET_HISTORY"); v != "" {
		var err error
		if d, err = time.ParseDuration(v); err != nil {
			t.Fatal(err)
		}
	} else {
		t.Parallel()
	}
	const limit = 3
	for end := time.Now().Add(d); time.Now().Before(end) && !t.Failed(); {
		lines, lease := record(t, limit, min(d, 6*time.Second), [2]string{})
		count := map[string]int{}
		for _, l := range lines {
			count[l.Kind]++
			if l.Failed {
				count["failed"]++
			}
		}
		start := time.Now()
		wrong, err := judge(lines, rules{limit, lease})
		if wrong != "" || err != nil {
			t.Errorf("%s; %v", wrong, err)
		}
		t.Logf("%v, judged in %v", count, time.Since(start).Round(time.Millisecond))
	}
}

// mutants are errors that the histories find.
var mutants = []struct{ what, there, instead string }{
	{"who asked last is served first", "redis.call('ZRANGE', Q, 0, 0)[1]", "redis.call('ZRANGE', Q, -1, -1)[1]"},
	{"who has been served keeps its place", "ticket = ticket + 1\n        redis.call('ZADD', Q, text(ticket), id)", "redis.call('ZADD', Q, '0', id)"},
	{"what is handed on is not counted", "used, o.count, wants, o.want = used + n,", "used, o.count, wants, o.want = used + n - 1,"},
	{"what is claimed is not bounded", "math.min(-extra, math.max(0, max - used))", "-extra"},
	{"what is late is carried out", "seq <= r.seq", "seq < 0"},
	{"a restart is not noticed", "s[6] ~= run", "false"},
	{"no data are taken for a new budget", "(founding and now or now + lease)", "now"},
	{"what an answer that was lost has granted stays", "math.min(extra, want, r.offered)", "extra"},
	{"what was given back is granted again before it is offered to others", "math.min(extra, want, r.offered)", "math.min(extra, want)"},
	{"a lease ends early", "redis.call('ZADD', D, text(now + lease), me)", "redis.call('ZADD', D, text(now + lease / 4), me)"},
	{"what a process had is not free when its lease is over", "used = used - lost\n", "used = used - lost + 1\n"},
	{"an offer stays for ever, and is free", "used, r.count, r.offered = used - r.offered, r.count - r.offered, 0", "used = used - r.offered"},
}

// FLEET_MUTANTS=1 puts each of them into the script of all processes.
func TestErrorsPutIntoTheScriptAreFound(t *testing.T) {
	if os.Getenv("FLEET_MUTANTS") == "" {
		t.Skip("FLEET_MUTANTS is not set")
	}
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.what, " ", "_"), func(t *testing.T) {
			if strings.Count(source, m.there) != 1 {
				t.Fatalf("%q stands %d times in the script", m.there, strings.Count(source, m.there))
			}
			for range 10 {
				lines, lease := record(t, 3, 3*time.Second, [2]string{m.there, m.instead})
				if wrong, err := judge(lines, rules{3, lease}); err == nil && wrong != "" {
					first, _, _ := strings.Cut(wrong, ":")
					t.Log(first)
					return
				}
			}
			t.Error("it was not found")
		})
	}
}

// What must not happen has no order that explains it.
func TestTheSpecificationOfGrantsRefuses(t *testing.T) {
	for _, c := range []struct {
		what string
		ok   bool
		ops  []tale
	}{
		{"who asks gets", true, []tale{{id: "a", want: 2, mine: 2, used: 2}, {id: "b", want: 1, mine: 1, used: 3}}},
		{"more than there are", false, []tale{{id: "a", want: 2, mine: 2, used: 2}, {id: "b", want: 2, mine: 2, used: 4}}},
		{"less than are free", false, []tale{{id: "a", want: 2, mine: 1, used: 1}}},
		{"who asks first is served first", true, []tale{{id: "a", want: 3, mine: 3, used: 3}, {id: "b", want: 1, used: 3}, {id: "c", want: 1, used: 3, others: 1},
			{id: "a", held: 2, mine: 2, used: 3, others: 1}, {id: "b", want: 1, mine: 1, used: 3, others: 1}}},
		{"who asks first is overtaken", false, []tale{{id: "a", want: 3, mine: 3, used: 3}, {id: "b", want: 1, used: 3}, {id: "c", want: 1, used: 3, others: 1},
			{id: "a", held: 2, mine: 2, used: 3, others: 1}, {id: "c", want: 1, mine: 1, used: 3, others: 1}}},
		{"what is late is told so", true, []tale{{id: "a", seq: 2, want: 1, mine: 1, used: 1}, {id: "a", seq: 1, want: 3, mine: 1, used: 1, status: statusLate}}},
		{"what is late is carried out", false, []tale{{id: "a", seq: 2, want: 1, mine: 1, used: 1}, {id: "a", seq: 1, want: 3, mine: 3, used: 3}}},
		{"an answer is lost, and what was granted stays", false, []tale{{id: "a", want: 3, silent: true}, {id: "a", mine: 0, used: 3}}},
		{"an answer is lost, and others get it afterwards", true, []tale{{id: "a", want: 3, silent: true}, {id: "a", mine: 0, used: 0}, {id: "b", want: 3, mine: 3, used: 3}}},
		{"a lease ends at its time", true, []tale{{id: "a", want: 3, mine: 3, used: 3}, {id: "b", want: 1, mine: 1, used: 1, after: time.Second}}},
		{"a lease ends before", false, []tale{{id: "a", want: 3, mine: 3, used: 3}, {id: "b", want: 1, mine: 1, used: 1, after: 900 * time.Millisecond}}},
		{"an offer passes on at its time", true, []tale{{id: "a", want: 3, mine: 3, used: 3}, {id: "b", want: 1, used: 3}, {id: "c", want: 1, used: 3, others: 1},
			{id: "a", held: 2, mine: 2, used: 3, others: 1}, {id: "c", want: 1, mine: 1, used: 3, after: patience}}},
		{"nothing is granted after a restart", true, []tale{{id: "a", want: 2, mine: 2, used: 2}, {restart: true}, {id: "b", want: 1, used: 2}}},
		{"something is granted after a restart", false, []tale{{id: "a", want: 2, mine: 2, used: 2}, {restart: true}, {id: "b", want: 1, mine: 1, used: 3}}},
		{"something is granted by a server without data", false, []tale{{id: "a", want: 2, mine: 2, used: 2}, {restart: true, lost: true}, {id: "b", want: 1, mine: 1, used: 1}}},
		{"what there was is claimed", true, []tale{{id: "a", want: 2, mine: 2, used: 2}, {restart: true, lost: true}, {id: "b", want: 1}, {id: "a", held: 2, mine: 2, used: 2, others: 1},
			{id: "b", want: 1, mine: 1, used: 3, after: time.Second}}},
		{"the grace is longer than a lease", true, []tale{{id: "a", want: 2, mine: 2, used: 2}, {restart: true}, {id: "a", held: 2, mine: 2, used: 2, after: 900 * time.Millisecond},
			{id: "b", want: 1, used: 2, after: 200 * time.Millisecond}, {id: "b", want: 1, mine: 1, used: 3, after: 100 * time.Millisecond}}},
		{"who comes back too late claims nothing", true, []tale{{id: "a", want: 1, mine: 1, used: 1}, {restart: true, lost: true}, {id: "a", held: 1, late: true, missing: 1}}},
		{"who comes back too late claims it", false, []tale{{id: "a", want: 1, mine: 1, used: 1}, {restart: true, lost: true}, {id: "a", held: 1, late: true, mine: 1, used: 1}}},
	} {
		lines := tell(c.ops)
		ops, err := history(lines)
		if err != nil {
			t.Fatal(err)
		}
		if got := porcupine.CheckOperations(spec(rules{3, time.Second}), ops); got != c.ok {
			t.Errorf("%s: there is an order: %v, want %v", c.what, got, c.ok)
		}
	}
}

// A tale is an operation and its answer, one after the other.
type tale struct {
	id                 string
	seq                uint64 // 0: one more than the last
	held, want         int
	mine, used, others int
	status, missing    int
	late               bool
	silent             bool          // there is no answer
	never              bool          // and it is not carried out
	after              time.Duration // that has passed since the one before
	restart, lost      bool
}

func tell(ops []tale) (lines []line) {
	seqs := map[string]uint64{}
	now, rev := int64(0), int64(0)
	for _, o := range ops {
		now += int64(o.after)
		if o.restart {
			lines = append(lines, line{Kind: lineRestart, At: now, Lost: o.lost}, line{Kind: lineRestarted, At: now})
			if o.lost {
				rev = 0
			}
			continue
		}
		if seqs[o.id]++; o.seq > 0 {
			seqs[o.id] = o.seq
		}
		l := line{ID: o.id, Seq: seqs[o.id], At: now}
		call, ret := l, l
		call.Kind, call.Held, call.Want, call.Founds = lineCall, o.held, o.want, len(lines) == 0
		if rev++; o.never {
			rev--
		}
		ret.Kind, ret.Mine, ret.Used, ret.Others, ret.Status, ret.Failed, ret.Rev = lineReturn, o.mine, o.used, o.others, o.status, o.silent, rev
		call.Late, ret.Missing = o.late, o.missing
		lines = append(lines, call, ret)
	}
	return lines
}
