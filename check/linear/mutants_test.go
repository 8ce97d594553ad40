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
	atRest     = "at rest, TryGet found" // the same, seen by a caller who is alone
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
		"a connection for a caller who has gone goes to two others", "settle.go",
		"ch <- token{err: errEnded}\n\t\treturn false",
		"ch <- t\n\t\treturn false",
		histories, noOrder,
	}, {
		"one more may be open than MaxConnections", "pool.go",
		"first := newBank[T](0, config.MaxConnections)",
		"config.MaxConnections++; first := newBank[T](0, config.MaxConnections)",
		histories, noOrder,
	}, {
		"what was reported while it was leased is lent before Put has looked", "pool.go",
		"return c.unfit.Load() == nil && p.idleFor(word) < p.idleTicks",
		"return p.idleFor(word) < p.idleTicks",
		histories, noOrder,
	}, {
		"a waiter is lent what was reported before it came", "settle.go",
		"if c.unfit.Load() != nil {\n\t\t\tcontinue",
		"if false {\n\t\t\tcontinue",
		histories, noOrder,
	}, {
		"what was being opened at a Reset is lent", "open.go",
		"if a.era != p.era.Load() {\n\t\tp.destroyFor",
		"if false {\n\t\tp.destroyFor",
		histories, noOrder,
	}, {
		"more are opened than a Resize allows", "words.go",
		"return c%censusMax + census(n)*censusMax",
		"return c%censusMax + census(max(n, min(c.max(), 2*n)))*censusMax",
		histories, noOrder,
	}, {
		"TryGet trusts the hints", "pool.go",
		"if h, ok = p.scan(); !ok {\n\t\t\t\tbreak",
		"if true {\n\t\t\t\tbreak",
		histories, noOrder,
	}, {
		"something is lent after Close", "pool.go",
		"for gateWord(p.gate.Load()).open() {\n\t\th, ok := p.take()\n\t\tif !ok {\n\t\t\tif h",
		"for gateWord(p.gate.Load()).waiters() == 0 {\n\t\th, ok := p.take()\n\t\tif !ok {\n\t\t\tif h",
		histories, noOrder,
	}, {
		"TryGet does not care who waits", "pool.go",
		"for gateWord(p.gate.Load()).open() {\n\t\th, ok := p.take()\n\t\tif !ok {\n\t\t\tif h",
		"for !gateWord(p.gate.Load()).closed() {\n\t\th, ok := p.take()\n\t\tif !ok {\n\t\t\tif h",
		turns, outOfOrder,
	}, {
		"Get does not care who waits", "pool.go",
		"if p.gate.Load() == 0 {\n\t\tstep.At(\"get: gate read\")",
		"if !gateWord(p.gate.Load()).closed() {\n\t\tstep.At(\"get: gate read\")",
		turns, outOfOrder,
	},
}

// With -overlay, go test compiles other text than is in the files.
func TestErrorsPutIntoThePoolAreFound(t *testing.T) {
	if os.Getenv("LINEAR_MUTANTS") == "" {
		t.Skip("check/linear/run mutants takes some minutes")
	}
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/S4AK4N/pool").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			file := filepath.Join(string(bytes.TrimSpace(root)), m.file)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(text), m.old); n != 1 {
				t.Fatalf("%s has %q %d times", m.file, m.old, n)
			}
			dir := t.TempDir()
			changed, overlay := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json")
			if err := os.WriteFile(changed, []byte(strings.Replace(string(text), m.old, m.new, 1)), 0o600); err != nil {
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
