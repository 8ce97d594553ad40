package pool

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
)

// TestMain fails if a test has left a goroutine behind.
func TestMain(m *testing.M) {
	code := m.Run()
	if left := awaitGoroutines(5*time.Second, "github.com/S4AK4N/pool."); code == 0 && len(left) > 0 {
		fmt.Printf("%d goroutines were left behind:\n\n%s\n", len(left), bytes.Join(left, []byte("\n\n")))
		code = 1
	}
	os.Exit(code)
}

// awaitGoroutines waits until no goroutine but the calling one has a function of the
// named package on its stack or was started by one, and returns the stacks of those
// that have, once the time is up. A goroutine that is about to end tells nobody when
// it has, so there is nothing to wait for but to look again.
func awaitGoroutines(limit time.Duration, name string) (left [][]byte) {
	buf := make([]byte, 1<<20)
	for began := time.Now(); ; runtime.Gosched() {
		n := runtime.Stack(buf, true)
		if n == len(buf) {
			buf = make([]byte, 2*len(buf))
			continue
		}
		left = nil
		for i, stack := range bytes.Split(bytes.TrimSpace(buf[:n]), []byte("\n\n")) {
			if i > 0 && bytes.Contains(stack, []byte(name)) { // the first is the caller
				left = append(left, bytes.Clone(stack))
			}
		}
		if len(left) == 0 || time.Since(began) > limit {
			return left
		}
	}
}

func TestAwaitGoroutinesFindsOneThatIsLeft(t *testing.T) {
	release := make(chan struct{})
	go func() { <-release }()
	left := awaitGoroutines(0, "pool.TestAwaitGoroutinesFindsOneThatIsLeft")
	// The other one is the goroutine that runs the test.
	if len(left) != 1 {
		t.Errorf("found %d goroutines, want 1:\n%s", len(left), bytes.Join(left, []byte("\n\n")))
	}
	close(release)
	if left = awaitGoroutines(5*time.Second, "pool.TestAwaitGoroutinesFindsOneThatIsLeft"); len(left) > 0 {
		t.Errorf("found a goroutine that has ended:\n%s", left[0])
	}
}
