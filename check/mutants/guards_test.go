package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const guarded = `package p

func f(a, b bool, w *word) {
	if a && b {
		g()
	}
	for i := 0; i < 3; i++ {
		step.At("here")
	}
	if w.Load() == 0 && w.CompareAndSwap(0, 1) {
		return
	}
	if !w.CompareAndSwap(1, 2) || b {
		go g()
	}
}
`

// What it becomes. The numbers are not looked at.
const mutated = `package p

func f(a, b bool, w *word) {
	if ((((a) || mutant == 12) && ((b) || mutant == 13)) && mutant != 11) {
		if mutant != 14 { g() }
	}
	for i := 0; ((i < 3) && mutant != 15); i++ {
		step.At("here")
	}
	if ((w.Load() == 0 && ((w.CompareAndSwap(0, 1)) || mutant == 17)) && mutant != 16) {
		return
	}
	if ((!w.CompareAndSwap(1, 2)) && mutant != 18) || ((b) && mutant != 19) {
		if mutant != 20 { go g() }
	}
}
`

func TestEachGuardAndEachCallHasItsMutant(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p.go"), []byte(guarded), 0o644); err != nil {
		t.Fatal(err)
	}
	source, mutants, err := mutate(dir, "p.go", 10)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(source); shape(got) != shape(mutated) {
		t.Errorf("the mutants are\n%s\nwant, but for the numbers,\n%s", got, mutated)
	}
	if len(mutants) != 10 {
		t.Errorf("there are %d mutants, want 10", len(mutants))
	}
	ids := map[string]bool{}
	for i, m := range mutants {
		if ids[m.id] {
			t.Errorf("two mutants are called %s", m.id)
		}
		ids[m.id] = true
		if m.number != 11+i {
			t.Errorf("%s has the number %d, want %d", m.id, m.number, 11+i)
		}
	}
	for _, id := range []string{"p.go:f:if1", "p.go:f:if1.1", "p.go:f:for1", "p.go:f:call2", "p.go:f:if2.2", "p.go:f:if3.1"} {
		if !ids[id] {
			t.Errorf("there is no mutant %s", id)
		}
	}
}

// shape is a source without its numbers.
func shape(source string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, source)
}

// The code moves on, and survivors.md with it: a row for a mutant that is no more would
// excuse another one some day.
func TestEverySurvivorThatIsListedIsAMutant(t *testing.T) {
	dir, all, _, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	names, err := listed(filepath.Join(dir, "check/mutants/survivors.md"))
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < 50 {
		t.Errorf("only %d survivors are listed", len(names))
	}
	for _, m := range all {
		delete(names, m.id)
	}
	for name := range names {
		t.Errorf("survivors.md lists %s, and there is no such mutant", name)
	}
}
