//go:build !explore

package atomic_test

import (
	"os"
	"os/exec"
	"regexp"
	"testing"
)

// Without the function inline, the fast paths grow by a third: single instructions become
// calls.
func TestTheFastPathsHaveTheirAtomicsInlined(t *testing.T) {
	build := exec.Command("go", "build", "-gcflags=-m", "github.com/S4AK4N/pool/ring")
	build.Env = append(os.Environ(), "GOARCH=amd64") // others have a smaller budget, or larger words
	out, err := build.CombinedOutput()
	if err != nil {
		t.Skipf("no compiler: %v\n%s", err, out)
	}
	for _, f := range []string{"move", "hinted", "learn"} {
		if !regexp.MustCompile(`can inline \(\*Ring\)\.` + f + `\b`).Match(out) {
			t.Errorf("ring.%s is not inlined", f)
		}
	}
}
