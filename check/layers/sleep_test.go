package layers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// atOnce are folders whose tests want that all happens at the same instant.
var atOnce = []string{"check/stress/"}

// CI failed in another place than here: a test in a bubble had slept to the very instant at which the
// pool's sweeper comes as well, and then looked. Which of them was first was a matter of luck.
// testkit.Sleep waits for all others.
func TestTestsInBubblesDoNotRaceWithWhatIsDueAtTheSameInstant(t *testing.T) {
	sleeps := 0
	if err := filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(path, filepath.Join("..", "..")+string(filepath.Separator)))
		for _, folder := range atOnce {
			if strings.HasPrefix(name, folder) {
				return nil
			}
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if !imports(file, module+"/internal/testkit") {
			return nil
		}
		ast.Inspect(file, func(n ast.Node) bool {
			var kind *ast.FuncType
			var body *ast.BlockStmt
			switch n := n.(type) {
			case *ast.FuncDecl:
				kind, body = n.Type, n.Body
			case *ast.FuncLit:
				kind, body = n.Type, n.Body
			}
			if body != nil && hasT(kind) {
				sleeps += len(own(body, "testkit"))
				for _, at := range own(body, "time") {
					t.Errorf("%s: time.Sleep, want testkit.Sleep", set.Position(at))
				}
			}
			return true
		})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if sleeps < 100 {
		t.Errorf("%d calls of testkit.Sleep were found, want hundreds: the test has lost its point", sleeps)
	}
}

func imports(f *ast.File, path string) bool {
	for _, i := range f.Imports {
		if i.Path.Value == `"`+path+`"` {
			return true
		}
	}
	return false
}

// hasT reports whether a function has a *testing.T: it runs in the goroutine of a test, which alone
// may wait for the others.
func hasT(f *ast.FuncType) bool {
	for _, field := range f.Params.List {
		if star, ok := field.Type.(*ast.StarExpr); ok {
			if s, ok := star.X.(*ast.SelectorExpr); ok && s.Sel.Name == "T" {
				return true
			}
		}
	}
	return false
}

// own returns where a body, without the functions in it, calls pkg.Sleep.
func own(body *ast.BlockStmt, pkg string) (at []token.Pos) {
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			return false
		case *ast.CallExpr:
			if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Sleep" {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == pkg {
					at = append(at, n.Pos())
				}
			}
		}
		return true
	})
	return at
}
