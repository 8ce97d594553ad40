//go:build !explore

package atomic_test

import (
	"os/exec"
	"regexp"
	"testing"
)

// Without the function inline, the fast paths grew by a third: what is a single
// instruction became a call.
func TestTheFastPathsHaveTheirAtomicsInlined(t *testing.T) {
	out, err := exec.Command("go", "build", "-gcflags=-m", "github.com/S4AK4N/pool/ring").CombinedOutput()
	if err != nil {
		t.Skipf("no compiler: %v\n%s", err, out)
	}
	for _, f := range []string{"move", "hinted", "learn"} {
		if !regexp.MustCompile(`can inline \(\*Ring\)\.` + f + `\b`).Match(out) {
			t.Errorf("ring.%s is not inlined", f)
		}
	}
}
