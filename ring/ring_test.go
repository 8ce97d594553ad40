package ring

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain fails if a goroutine outlives the tests.
func TestMain(m *testing.M) {
	code := m.Run()
	stacks := leftOver()
	for i := 0; i < 1000 && stacks != ""; i++ { // those that are done may not be gone
		runtime.Gosched()
		stacks = leftOver()
	}
	if stacks != "" && code == 0 {
		fmt.Fprintf(os.Stderr, "goroutines left over:\n%s\n", stacks)
		code = 1
	}
	os.Exit(code)
}

// leftOver returns the stacks of all goroutines but the calling one.
func leftOver() string {
	stacks := make([]byte, 1<<16)
	_, others, _ := strings.Cut(string(stacks[:runtime.Stack(stacks, true)]), "\n\n")
	return others
}

// A lease is what an owner has.
type lease struct {
	slot int
	w    Word
}

// full returns a ring with all n slots idle.
func full(n int) *Ring { return fullFrom(n, 0, 0) }

// fullFrom returns a ring with all n slots idle, in the generation gen and with the
// given stamp.
func fullFrom(n int, gen uint64, stamp uint16) *Ring {
	r := New(n)
	for range n {
		i, w, _ := r.Claim()
		start := w&^genMask | Word(gen-1)&genMask
		r.cell(i).Store(uint64(start))
		r.Give(i, r.Fill(i, start, stamp), stamp)
	}
	return r
}

// drain leases all idle slots by Scan, which leaves the hints as they are.
func drain(r *Ring) (held []lease) {
	for {
		slot, w, ok := r.Scan()
		if !ok {
			return held
		}
		held = append(held, lease{slot, w})
	}
}

// checkRest checks what must be so while no call is under way: each idle slot has
// its hint and is within High, and each start is a slot.
func checkRest(t *testing.T, r *Ring) {
	t.Helper()
	for slot := range r.Len() {
		w := r.At(slot)
		if w.Phase() == Idle && !r.hinted(slot) {
			t.Fatalf("slot %d is idle without a hint", slot)
		}
		if w.Phase() != Vacant && slot >= r.High() {
			t.Fatalf("slot %d is in phase %d, but High is %d", slot, w.Phase(), r.High())
		}
	}
	for i := range r.starts {
		if s := r.starts[i].slot.Load(); int(s) >= r.Len() {
			t.Fatalf("start %d is %d of %d slots", i, s, r.Len())
		}
	}
}

// stressTime is how long each stress test lasts: what POOL_STRESS says (such as
// 1m), or half a second, or next to nothing if -short.
func stressTime(t *testing.T) time.Duration {
	if s := os.Getenv("POOL_STRESS"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatalf("POOL_STRESS: %v", err)
		}
		return d
	}
	if testing.Short() {
		return 30 * time.Millisecond
	}
	return 500 * time.Millisecond
}

// newSeed returns a seed for a test, and prints it if the test fails.
func newSeed(t *testing.T) uint64 {
	seed := rand.Uint64()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %#x", seed)
		}
	})
	return seed
}

func TestNewRefusesSizesOutOfRange(t *testing.T) {
	for size, want := range map[int]bool{-1: false, 0: false, 1: true, MaxSize: true, MaxSize + 1: false} {
		ok := func() (ok bool) {
			defer func() { ok = recover() == nil }()
			New(size)
			return
		}()
		if ok != want {
			t.Errorf("New(%d) succeeds: %v, want %v", size, ok, want)
		}
	}
}

func TestANewRingIsVacant(t *testing.T) {
	r := New(100)
	if r.Len() != 100 || r.High() != 0 {
		t.Errorf("Len %d, High %d, want 100, 0", r.Len(), r.High())
	}
	for slot := range r.Len() {
		if w := r.At(slot); w != 0 || w.Phase() != Vacant {
			t.Fatalf("slot %d has word %#x", slot, w)
		}
	}
	if _, _, ok := r.Take(); ok {
		t.Error("Take succeeds")
	}
	if _, _, ok := r.Scan(); ok {
		t.Error("Scan succeeds")
	}
}

func TestHighNeverFallsAndBoundsWhatScanMustSee(t *testing.T) {
	r := New(5)
	for want := range 5 {
		slot, w, _ := r.Claim()
		if slot != want || r.High() != want+1 {
			t.Fatalf("Claim returned slot %d, High is %d, want %d and %d", slot, r.High(), want, want+1)
		}
		r.Give(slot, r.Fill(slot, w, 0), 0)
	}
	for _, l := range drain(r)[:3] {
		w, _ := r.Reserve(l.slot, l.w)
		r.Vacate(l.slot, w)
	}
	if slot, _, _ := r.Claim(); slot != 0 {
		t.Errorf("Claim returned slot %d, want the lowest that is vacant", slot)
	}
	if r.High() != 5 {
		t.Errorf("High is %d, want 5", r.High())
	}
}

func TestClaimTakesUpWhereItWasAndGoesRound(t *testing.T) {
	r := New(4)
	words := make([]Word, 4)
	for range words {
		slot, w, _ := r.Claim()
		words[slot] = w
	}
	r.Vacate(2, words[2])
	if low := r.low.Load(); low != 2 {
		t.Errorf("low is %d after Vacate(2), want 2", low)
	}
	if slot, _, _ := r.Claim(); slot != 2 {
		t.Errorf("Claim returned slot %d, want 2", slot)
	}
	if low := r.low.Load(); low != 3 {
		t.Errorf("low is %d after that, want 3", low)
	}
	r.low.Store(4) // as a lost race may leave it
	r.Vacate(1, words[1])
	r.low.Store(4)
	if slot, _, _ := r.Claim(); slot != 1 {
		t.Errorf("Claim returned slot %d, want 1", slot)
	}
	if slot, _, ok := r.Claim(); ok {
		t.Errorf("Claim returned slot %d of none", slot)
	}
}
