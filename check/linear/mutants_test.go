package linear

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A mutant is the pool with an error in it that a test must find.
type mutant struct {
	name, file, old, new string
	test, says           string // which test, and what it says then, or atRest
}

const (
	histories  = "TestHistoriesOfAPoolAreLinearizable"
	noOrder    = "no order explains this:\n"
	atRest     = "at rest, TryGet and TryGetSame found" // the same, seen by a caller who is alone
	ofGroups   = "TestHistoriesOfAGroupAreLinearizable"
	turns      = "TestWaitersAreServedBeforeAllWhoComeLater"
	outOfOrder = "a caller who stood in line"
)

var mutants = []mutant{
	{
		"a lease that has ended is taken for the one in force", "ring/word.go",
		"Word(stamp)<<stampShift | (w+1)&genMask",
		"Word(stamp)<<stampShift | w&genMask",
		histories, noOrder,
	}, {
		"a connection for a caller who has gone goes to two others", "internal/core/settle.go",
		"ch <- queue.Token{Err: errEnded}\n\t\treturn false",
		"ch <- t\n\t\treturn false",
		histories, noOrder,
	}, {
		"one more may be open than MaxConnections", "internal/core/pool.go",
		"first := newBank(0, config.MaxConnections)",
		"config.MaxConnections++; first := newBank(0, config.MaxConnections)",
		histories, noOrder,
	}, {
		"what was reported while it was leased is lent before Put has looked", "internal/core/pool.go",
		"c != nil && !word.Precedes(c.claimed) && c.notice.Load() == nil {",
		"c != nil && !word.Precedes(c.claimed) {",
		histories, noOrder,
	}, {
		"a lease that has ended can be revoked", "internal/core/revoke.go",
		"p.revokeLease(l, closedByRevoke, ErrRevoked)",
		"p.revokeLease(Lease{l.conn, l.conn.ring.At(l.conn.index)}, closedByRevoke, ErrRevoked)",
		histories, noOrder,
	}, {
		"a waiter is lent what was reported before it came", "internal/core/settle.go",
		"if c.defect() != nil {\n\t\t\tcontinue",
		"if false {\n\t\t\tcontinue",
		histories, noOrder,
	}, {
		"what was being opened at a Reset is lent", "internal/core/open.go",
		"if a.era != p.era.Load() {\n\t\tp.conns.Add",
		"if false {\n\t\tp.conns.Add",
		histories, noOrder,
	}, {
		"GetFresh is lent what was opened before", "internal/queue/waiter.go",
		"return !w.Fresh() || after >= w.number()",
		"return true || after >= w.number()",
		histories, "GetFresh, called at",
	}, {
		"PutFor reserves nothing", "internal/core/pool.go",
		"if keep > 0 {",
		"if false {",
		histories, "was lent to whoever came",
	}, {
		"more are opened than a Resize allows", "internal/words/census.go",
		"return c%CensusMax + Census(n)*CensusMax",
		"return c%CensusMax + Census(max(n, min(c.Max(), 2*n)))*CensusMax",
		histories, noOrder,
	}, {
		"TryGet trusts the hints", "internal/core/pool.go",
		"if h, ok = p.scan(); !ok {\n\t\t\t\tbreak",
		"if true {\n\t\t\t\tbreak",
		histories, noOrder,
	}, {
		"something is lent after Close", "internal/core/pool.go",
		"for words.Gate(p.gate.Load()).Open() {\n\t\th, ok := p.take()\n\t\tif !ok {\n\t\t\tif h",
		"for words.Gate(p.gate.Load()).Waiters() == 0 {\n\t\th, ok := p.take()\n\t\tif !ok {\n\t\t\tif h",
		histories, noOrder,
	}, {
		"TryGet does not care who waits", "internal/core/pool.go",
		"for words.Gate(p.gate.Load()).Open() {\n\t\th, ok := p.take()\n\t\tif !ok {\n\t\t\tif h",
		"for !words.Gate(p.gate.Load()).Closed() {\n\t\th, ok := p.take()\n\t\tif !ok {\n\t\t\tif h",
		turns, outOfOrder,
	}, {
		"Get does not care who waits", "internal/core/pool.go",
		"if p.gate.Load() == 0 {\n\t\tstep.At(\"get: gate read\")",
		"if !words.Gate(p.gate.Load()).Closed() {\n\t\tstep.At(\"get: gate read\")",
		turns, outOfOrder,
	}, {
		"who comes after Remove gets what was being made before", "internal/group/remove.go",
		"g.cancel(o, errAgain)",
		"_ = o",
		ofGroups, noOrder,
	},
}

// rootOf returns the directory of the pool's module.
func rootOf(t *testing.T) string {
	t.Helper()
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/S4AK4N/pool").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(root))
}

// put returns the text of a file with the error in it.
func (m mutant) put(t *testing.T, root string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		t.Fatalf("%s: %s has %q %d times, want once", m.name, m.file, m.old, n)
	}
	return strings.Replace(string(text), m.old, m.new, 1)
}

// A change of the code may take an error's place away, and should hear of it at once.
func TestEveryErrorHasItsPlace(t *testing.T) {
	root := rootOf(t)
	for _, m := range mutants {
		m.put(t, root)
	}
}

// With -overlay, go test compiles other text than is in the files.
func TestErrorsPutIntoThePoolAreFound(t *testing.T) {
	if os.Getenv("LINEAR_MUTANTS") == "" {
		t.Skip("check/linear/run mutants takes some minutes")
	}
	root := rootOf(t)
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			file := filepath.Join(root, m.file)
			dir := t.TempDir()
			changed, overlay := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json")
			if err := os.WriteFile(changed, []byte(m.put(t, root)), 0o600); err != nil {
				t.Fatal(err)
			}
			list, err := json.Marshal(map[string]map[string]string{"Replace": {file: changed}})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(overlay, list, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("go", "test", "-overlay", overlay, "-tags", "step", "-count=1", "-timeout", "3m", "-run", "^"+m.test+"$", ".")
			cmd.Env = append(os.Environ(), "LINEAR_MUTANTS=", "LINEAR_TIME=24s")
			out, err := cmd.CombinedOutput()
			_, rest, found := strings.Cut(string(out), m.says)
			if !found && m.test == histories {
				_, rest, found = strings.Cut(string(out), atRest)
			}
			if err == nil || !found {
				t.Fatalf("not found: %v\n%s", err, out[:min(len(out), 5000)])
			}
			t.Logf("found:\n%s", rest[:min(len(rest), 3000)])
		})
	}
}
