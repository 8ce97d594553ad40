package leftover

import (
	"bytes"
	"testing"
	"time"
)

func TestMain(m *testing.M) { Main(m) }

func TestGoroutinesFindsOneThatIsLeft(t *testing.T) {
	release := make(chan struct{})
	go func() { <-release }()
	left := Goroutines(0, "leftover.TestGoroutinesFindsOneThatIsLeft")
	// The other one is the goroutine that runs the test.
	if len(left) != 1 {
		t.Errorf("found %d goroutines, want 1:\n%s", len(left), bytes.Join(left, []byte("\n\n")))
	}
	close(release)
	if left = Goroutines(5*time.Second, "leftover.TestGoroutinesFindsOneThatIsLeft"); len(left) > 0 {
		t.Errorf("found a goroutine that has ended:\n%s", left[0])
	}
}
