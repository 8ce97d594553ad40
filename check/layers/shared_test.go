package layers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// shares says why a variable of a package may hold what a testing/synctest bubble must not
// share with another: all that is in it is plain memory.
var shares = map[string]string{
	"wsconn chunks": "arrays of bytes",
}

// bubbled are the names by which channels, and what has channels or timers in it, are made.
var bubbled = []string{"sync.Pool", "sync.Cond", "sync.WaitGroup", "time.Timer", "time.Ticker", "time.NewTimer", "time.NewTicker",
	"time.After", "time.AfterFunc", "time.Tick", "context.WithCancel", "context.WithCancelCause", "context.WithTimeout", "context.WithDeadline"}

// tailscale#20693: a channel that one bubble leaves in a variable of a package, and another
// finds there, ends the process.
func TestNoPackageKeepsWhatBubblesMustNotShare(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}{{range .GoFiles}} {{.}}{{end}}",
		module, module+"/ring", module+"/wsconn", module+"/internal/core", module+"/internal/queue", module+"/internal/words",
		module+"/internal/histogram", module+"/internal/sight", module+"/internal/group").Output()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		for _, name := range f[1:] {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(f[0], name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range keepers(file) {
				found = append(found, file.Name.Name+" "+v)
			}
		}
	}
	for _, v := range found {
		if shares[v] == "" {
			t.Errorf("%s keeps a channel, a timer, or things that may have some, for the whole process: it would cross a bubble", v)
		}
	}
	for v := range shares {
		if !slices.Contains(found, v) {
			t.Errorf("%s is excused, and keeps nothing", v)
		}
	}
}

// keepers returns the variables of a file's package that hold such things.
func keepers(file *ast.File) (names []string) {
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		for _, s := range g.Specs {
			ast.Inspect(s, func(n ast.Node) bool {
				keeps := false
				switch n := n.(type) {
				case *ast.FuncLit:
					return false // what it makes is its caller's
				case *ast.ChanType:
					keeps = true
				case *ast.SelectorExpr:
					if x, ok := n.X.(*ast.Ident); ok {
						keeps = slices.Contains(bubbled, x.Name+"."+n.Sel.Name)
					}
				}
				if name := s.(*ast.ValueSpec).Names[0].Name; keeps && !slices.Contains(names, name) {
					names = append(names, name)
				}
				return true
			})
		}
	}
	return names
}

func TestKeepersAreFoundWhereverTheyStand(t *testing.T) {
	const source = `package p
var a = make(chan int)
var b struct{ c <-chan int }
var c, d = 1, func() { make(chan int) }
var ( e = sync.Pool{New: nil}; f map[string]*time.Timer )
func f() { var g chan int }`
	file, err := parser.ParseFile(token.NewFileSet(), "a.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := keepers(file), []string{"a", "b", "e", "f"}; !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}
