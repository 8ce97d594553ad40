package interop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/S4AK4N/pool/contrib/puddle/interop/postgres"
)

// The modules whose suites are run, and the sums of what is run: they come from the module cache, and are
// copied to a temporary folder.
const (
	puddleModule = "github.com/jackc/puddle/v2"
	puddleSum    = "h1:f8HoREISb3l5eO9coPgK7U3hKLhWGokOFVcThl5jrao="
	pgxModule    = "github.com/jackc/pgx/v5@v5.13.0"
	pgxSum       = "h1:Hl08k64maU0nrRyVUEbwCnK6/gT0EhMrtAqBHz9/gA4="
)

// server starts a PostgreSQL for a test, which is skipped where there is none, unless INTEROP_MUST says that there must be.
func server(t *testing.T) *postgres.Server {
	t.Helper()
	s, err := postgres.Start()
	if errors.Is(err, postgres.ErrMissing) && os.Getenv("INTEROP_MUST") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Remove)
	return s
}

// command runs a command, with the go command's own view of modules, and returns what it prints.
func command(t *testing.T, dir string, env []string, args ...string) []byte {
	t.Helper()
	out, stderr, err := try(dir, env, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(args, " "), err, out, stderr)
	}
	return out
}

func try(dir string, env []string, args ...string) (out, stderr []byte, err error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), append([]string{"GOWORK=off", "GOFLAGS=-mod=mod"}, env...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err = cmd.Output()
	return out, errs.Bytes(), err
}

// fetched returns the folder of a module in the module cache.
func fetched(t *testing.T, module, sum string) string {
	t.Helper()
	var got struct{ Dir, Sum, Error string }
	if err := json.Unmarshal(command(t, t.TempDir(), nil, "go", "mod", "download", "-json", module), &got); err != nil {
		t.Fatal(err)
	}
	if got.Sum != sum {
		t.Fatalf("the sum of %s is %s, want %s (%s)", module, got.Sum, sum, got.Error)
	}
	return got.Dir
}

// here returns the absolute path of a folder of this repository.
func here(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// suite runs the tests of a package in a folder. Those that are known to fail must be there. These suites look at the
// clock, and expect to be served in time: one that fails on a busy machine is run alone, up to three times.
func suite(t *testing.T, dir, pkg string, env []string, want int, known ...string) {
	t.Helper()
	list := strings.Fields(string(command(t, dir, env, "go", "test", "-list", "^Test", pkg)))
	list = slices.DeleteFunc(list, func(name string) bool { return !strings.HasPrefix(name, "Test") })
	for _, name := range known {
		if !slices.Contains(list, name) {
			t.Errorf("%s has no %s any more", pkg, name)
		}
	}
	if len(list) != want+len(known) {
		t.Errorf("%s has %d tests, want %d", pkg, len(list), want+len(known))
	}
	passed := map[string]bool{}
	var last string
	for range 4 {
		var left []string
		for _, name := range list {
			if !passed[name] && !slices.Contains(known, name) {
				left = append(left, name)
			}
		}
		if len(left) == 0 {
			break
		}
		last = run(t, dir, pkg, env, left, passed)
	}
	t.Logf("%s: %d of %d tests pass, without %v", pkg, len(passed), len(list), known)
	if len(passed) < want {
		t.Errorf("%d of %d pass, want %d:\n%s", len(passed), len(list), want, last)
	}
	// They are known to fail, and not only left out.
	also := map[string]bool{}
	run(t, dir, pkg, env, known, also)
	for _, name := range slices.Sorted(maps.Keys(also)) {
		t.Errorf("%s passes: the documentation says that it does not", name)
	}
}

// run runs some tests, notes which of them pass, and returns what they print.
func run(t *testing.T, dir, pkg string, env []string, names []string, passed map[string]bool) string {
	t.Helper()
	if len(names) == 0 {
		return ""
	}
	for i, name := range names {
		names[i] = regexp.QuoteMeta(name)
	}
	out, stderr, _ := try(dir, env, "go", "test", "-count=1", "-timeout", "4m", "-json", "-run", "^("+strings.Join(names, "|")+")$", pkg)
	var printed strings.Builder
	printed.Write(stderr)
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var event struct{ Action, Test, Output string }
		if json.Unmarshal(lines.Bytes(), &event) != nil {
			continue
		}
		printed.WriteString(event.Output)
		if event.Action == "pass" && event.Test != "" && !strings.Contains(event.Test, "/") {
			passed[event.Test] = true
		}
	}
	return printed.String()
}

// files copies files into a folder, where they can be written.
func files(t *testing.T, to string, from ...string) {
	t.Helper()
	for _, name := range from {
		text, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, filepath.Base(name)), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Two do not pass. TestPoolStatResources expects that a caller waits on for its own Constructor beside a
// resource that has been released: here it gets that one. TestAcquireAllSem tests a function inside puddle.
func TestTheSuiteOfPuddlePasses(t *testing.T) {
	theirs := fetched(t, puddleModule+"@v2.2.3", puddleSum)
	dir := t.TempDir()
	ours, err := filepath.Glob("../*.go")
	if err != nil {
		t.Fatal(err)
	}
	ours = slices.DeleteFunc(ours, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
	files(t, dir, append(ours, "../go.mod", "../go.sum", filepath.Join(theirs, "pool_test.go"))...)
	// What the suite wants to see of puddle's inside.
	err = os.WriteFile(filepath.Join(dir, "inside_test.go"), []byte(`package puddle

import (
	"context"

	"golang.org/x/sync/semaphore"
)

func (p *Pool[T]) AcquireRaw(ctx context.Context) (*Resource[T], error) { return p.Acquire(ctx) }

func AcquireSemAll(*semaphore.Weighted, int) int { return -1 }
`), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	command(t, dir, nil, "go", "mod", "edit", "-replace=github.com/S4AK4N/pool="+here(t, "../../.."),
		"-require=github.com/stretchr/testify@v1.11.1", "-require=golang.org/x/sync@v0.22.0")
	suite(t, dir, ".", nil, 43, "TestPoolStatResources", "TestAcquireAllSem")
}

func TestTheSuitesOfPgxPass(t *testing.T) {
	s := server(t)
	if err := s.Exec("test", "create extension hstore", "create extension ltree", "create domain uint64 as numeric(20,0)"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(fetched(t, pgxModule, pgxSum))); err != nil {
		t.Fatal(err)
	}
	command(t, dir, nil, "go", "mod", "edit", "-replace="+puddleModule+"="+here(t, ".."), "-replace=github.com/S4AK4N/pool="+here(t, "../../.."))
	env := []string{"PGX_TEST_DATABASE=" + s.Conn("test")}
	for pkg, want := range map[string]int{"./pgxpool": 71, "./stdlib": 48} {
		t.Run(pkg, func(t *testing.T) { suite(t, dir, pkg, env, want) })
	}
	if used := command(t, dir, nil, "go", "list", "-deps", "./pgxpool"); !bytes.Contains(used, []byte("github.com/S4AK4N/pool/internal/core")) {
		t.Error("the suites were run with another puddle than this one")
	}
}
