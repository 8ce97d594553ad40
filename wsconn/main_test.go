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
	if address := os.Getenv(processVariable); address != "" {
		serverProcess(address)
		return
	}
	code := m.Run()
	if code == 0 {
		if left := leakedGoroutines(time.Minute); left != "" {
			fmt.Fprintf(os.Stderr, "goroutines left after the tests:\n%s\n", left)
			code = 1
		}
	}
	os.Exit(code)
}

// leakedGoroutines returns the stacks of the goroutines that have not ended when
// patience is over. Nothing tells when a goroutine ends, so it looks again and again.
// A CloseRead that data meets while the connection is being closed takes 15 s to end.
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
