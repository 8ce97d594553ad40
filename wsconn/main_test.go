package wsconn

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain fails the run if a goroutine of this package, or of the WebSocket
// layer, is left when all tests are done.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if left := leakedGoroutines(20 * time.Second); left != "" {
			fmt.Fprintf(os.Stderr, "goroutines left after the tests:\n%s\n", left)
			code = 1
		}
	}
	os.Exit(code)
}

// leakedGoroutines returns the stacks, after up to 20 s: a CloseRead that is met by
// data while the connection is being closed waits for itself, for 15 s.
//
// It returns the stacks of those that have not ended when the
// time is up. Nothing tells when a goroutine has ended, so that it must look
// again and again.
func leakedGoroutines(patience time.Duration) string {
	deadline := time.Now().Add(patience)
	for {
		var left []string
		buf := make([]byte, 1<<20)
		for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			ours := strings.Contains(stack, "/wsconn.") || strings.Contains(stack, "coder/websocket")
			if ours && !strings.Contains(stack, "leakedGoroutines") {
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return ""
		}
		if time.Now().After(deadline) {
			return strings.Join(left, "\n\n")
		}
		time.Sleep(time.Millisecond)
	}
}
