// Package layers holds the rules of who may import whom.
package layers

import (
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/S4AK4N/pool"

// may says what each package may import beside the standard library: packages of the module
// by their folders, and those of others by their paths. Commands and packages that have
// nothing but tests are not in it.
var may = map[string]string{
	"internal/words":     "",
	"internal/step":      "", // with the tag step, go.uber.org/atomic as well
	"internal/atomic":    "go.uber.org/atomic",
	"internal/explore":   "internal/atomic",
	"internal/leftover":  "",
	"ring":               "internal/atomic internal/step",
	"internal/queue":     "internal/atomic internal/step ring",
	"internal/sight":     "internal/atomic internal/step ring",
	"internal/histogram": "internal/atomic internal/words",
	"internal/opentime":  "",
	"internal/core":      "internal/atomic internal/opentime internal/histogram internal/queue internal/sight internal/step internal/words ring",
	"internal/group":     "internal/atomic internal/core internal/step",
	".":                  "internal/core internal/group internal/histogram",
	"internal/peek":      "",
	"netconn":            ". internal/peek",
	"pooltest":           ".",
	"contrib/pooldebug":  ".",
	"contrib/fleet":      ". github.com/redis/go-redis/v9 github.com/redis/go-redis/v9/maintnotifications",
	"wsconn":             ". internal/opentime internal/peek go.uber.org/atomic github.com/coder/websocket",
	"contrib/prompool":   ". github.com/prometheus/client_golang/prometheus github.com/prometheus/client_model/go",
	"contrib/otelpool": ". go.opentelemetry.io/otel go.opentelemetry.io/otel/attribute go.opentelemetry.io/otel/codes go.opentelemetry.io/otel/metric " +
		"go.opentelemetry.io/otel/semconv/v1.43.0 go.opentelemetry.io/otel/semconv/v1.43.0/dbconv go.opentelemetry.io/otel/trace",
	"internal/testkit": ". github.com/google/go-cmp/cmp go.uber.org/atomic internal/core internal/group internal/leftover internal/queue internal/words ring",
}

// forTests are the packages that nothing but tests and each other may import.
var forTests = []string{"internal/testkit", "internal/leftover", "internal/stage", "internal/explore"}

func TestNobodyImportsWhatItMayNot(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{.Name}}{{range .Imports}} {{.}}{{end}}", module+"/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		pkg, imports := folder(fields[0]), fields[2:]
		seen[pkg] = true
		allowed, ruled := may[pkg]
		for _, path := range imports {
			if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
				continue // the standard library
			}
			name := folder(path)
			if ruled && !slices.Contains(strings.Fields(allowed), name) {
				t.Errorf("%s imports %s, and may not", pkg, name)
			}
			if slices.Contains(forTests, name) && !slices.Contains(forTests, pkg) {
				t.Errorf("%s imports %s, which is for tests", pkg, name)
			}
		}
		if !ruled && fields[1] != "main" && len(imports) > 0 {
			t.Errorf("%s is new: say in may what it may import", pkg)
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(may)) {
		if !seen[pkg] {
			t.Errorf("there is no package %s any more", pkg)
		}
	}
}

// folder returns the folder of a package of the module, and the path of any other.
func folder(path string) string {
	if path == module {
		return "."
	}
	return strings.TrimPrefix(path, module+"/")
}
