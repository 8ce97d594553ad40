package layers

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The module that takes puddle's place stands on the root package alone.
func TestPuddlesPlaceIsTakenWithTheRootPackageAlone(t *testing.T) {
	cmd := exec.Command("go", "list", "-f", "{{range .Imports}}{{.}} {{end}}", ".")
	cmd.Dir = "../../contrib/puddle"
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	imports := slices.DeleteFunc(strings.Fields(string(out)), func(path string) bool {
		first, _, _ := strings.Cut(path, "/")
		return !strings.Contains(first, ".") // the standard library
	})
	if want := []string{module}; !slices.Equal(imports, want) {
		t.Errorf("contrib/puddle imports %v, want %v", imports, want)
	}
}

// If it were in go.work, all modules of the workspace that use puddle would get it instead.
func TestPuddlesPlaceIsNotTakenInTheWorkspace(t *testing.T) {
	out, err := exec.Command("go", "work", "edit", "-json", "../../go.work").Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), "contrib/puddle") || !strings.Contains(string(out), "cmd/poolbench") {
		t.Errorf("go.work: %s", out)
	}
}
