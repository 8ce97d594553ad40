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

// If it were in go.work, puddle would be that module in all others, and bench would compare the pool with itself.
func TestPuddleIsNotReplacedInTheWorkspace(t *testing.T) {
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Main}} {{.Replace}} {{.Version}}", "github.com/jackc/puddle/v2")
	cmd.Dir = "../../bench"
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.TrimSpace(string(out)), "false <nil> v2.2.3"; got != want {
		t.Errorf("puddle is %q in the workspace, want %q: puddle itself", got, want)
	}
}
