package main

import (
	"os"
	"strings"
	"testing"

	"github.com/S4AK4N/pool/bench/harness"
)

func TestVitessDoesWhatItsTraitsSay(t *testing.T) {
	if err := harness.Verify(vitess); err != nil {
		t.Error(err)
	}
}

func TestVitessHasTheVersionThatIsBuilt(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(mod), "\t"+vitess.Module+"\n") {
		t.Errorf("go.mod does not require %q", vitess.Module)
	}
}
