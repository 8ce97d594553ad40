package puddle_test

import (
	"log/slog"
	"os"
	"testing"
)

// TestMain keeps what pools log out of what tests print.
func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}
