// Package leftover finds what tests leave behind: goroutines and memory. It is for tests
// alone, and imports nothing of ours, so that any of our packages may be tested with it.
package leftover

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
)

// module is what the functions of our packages begin with.
const module = "github.com/S4AK4N/pool"

// Main runs the tests, for a TestMain, and fails if one has left a goroutine behind that
// is of this module.
func Main(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if left := Goroutines(20*time.Second, module); len(left) > 0 {
			fmt.Printf("%d goroutines were left behind:\n\n%s\n", len(left), bytes.Join(left, []byte("\n\n")))
			code = 1
		}
	}
	os.Exit(code)
}

// Goroutines waits until no goroutine but the calling one has a text like name on its
// stack, such as part of the name of a function, and returns the stacks of those that
// have, once the time is up. A goroutine that is about to end tells nobody when it has, so
// there is nothing to wait for but to look again.
func Goroutines(limit time.Duration, name string) (left [][]byte) {
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

// Heap returns how many bytes are alive.
func Heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
