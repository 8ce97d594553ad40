package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A mutant is one change of the source, which is in effect while the variable mutant of
// the package has its number.
type mutant struct {
	id     string // file:function:kind and number, as in "settle.go:grant:if1"
	file   string // from the root of the module
	line   int
	change string
	number int // in the build; 1 is the first
}

// An insertion is text that turns the source of a file into that with its mutants.
type insertion struct {
	offset int
	depth  int // of what encloses what
	closes bool
	text   string
}

// A mutator goes through the source of one file.
type mutator struct {
	fset    *token.FileSet
	source  []byte
	file    string
	number  int // of the last mutant in the build
	mutants []mutant
	inserts []insertion

	function string
	counts   map[string]int // of guards of a kind in a function
}

// mutate returns the source of a file with all its mutants in it, and which they are.
// number is that of the last one in the files before.
func mutate(root, file string, number int) ([]byte, []mutant, error) {
	source, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		return nil, nil, err
	}
	m := &mutator{fset: token.NewFileSet(), source: source, file: file, number: number, counts: map[string]int{}}
	tree, err := parser.ParseFile(m.fset, file, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, nil, err
	}
	for _, d := range tree.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
			m.function = f.Name.Name
			ast.Inspect(f.Body, func(n ast.Node) bool {
				if n != nil {
					m.visit(n)
				}
				return true
			})
		}
	}
	return m.apply(), m.mutants, nil
}

func (m *mutator) visit(n ast.Node) {
	switch n := n.(type) {
	case *ast.IfStmt:
		m.condition(m.next("if"), n.Cond)
	case *ast.ForStmt:
		if n.Cond != nil {
			m.force(m.next("for"), n.Cond, false, 0)
		}
	case *ast.SwitchStmt:
		if n.Tag == nil {
			for _, c := range n.Body.List {
				for _, e := range c.(*ast.CaseClause).List {
					m.condition(m.next("case"), e)
				}
			}
		}
	case *ast.ReturnStmt:
		m.values("return", n.Results)
	case *ast.AssignStmt:
		m.values("value", n.Rhs)
	case *ast.BlockStmt:
		m.statements(n.List)
	case *ast.CaseClause:
		m.statements(n.Body)
	case *ast.CommClause:
		m.statements(n.Body)
	}
}

// next numbers the guards of a kind in a function.
func (m *mutator) next(kind string) string {
	key := m.function + ":" + kind
	m.counts[key]++
	return fmt.Sprintf("%s%d", key, m.counts[key])
}

// condition makes the mutants of a guard. What it guards is left out; or, if the guard is
// that of a compare-and-swap which may be lost, the loss is ignored. Of a guard in several
// parts each is left out for itself.
func (m *mutator) condition(name string, e ast.Expr) {
	switch op, parts := operands(e); {
	case op == token.LAND:
		m.force(name, e, false, 0)
		m.parts(name, e, 1)
	case len(parts) > 1:
		m.parts(name, e, 1)
	default:
		m.force(name, e, isSwap(e), 0)
	}
}

// parts makes a mutant of each operand of && and ||: the one without which the others
// decide.
func (m *mutator) parts(name string, e ast.Expr, depth int) {
	op, parts := operands(e)
	for i, part := range parts {
		name := fmt.Sprintf("%s.%d", name, i+1)
		if i+1 < len(parts) && m.sparesSwap(part, parts[i+1]) {
			continue
		}
		m.force(name, part, op == token.LAND, depth)
		if _, inner := operands(part); len(inner) > 1 {
			m.parts(name, part, depth+1)
		}
	}
}

// sparesSwap reports whether a look at a variable comes before a compare-and-swap of it.
// That is for speed only: without the look, the compare-and-swap decides the same.
func (m *mutator) sparesSwap(look, swap ast.Expr) bool {
	if !isSwap(swap) {
		return false
	}
	variable, _, found := strings.Cut(m.text(swap), ".CompareAndSwap(")
	return found && strings.HasPrefix(strings.TrimPrefix(m.text(look), "!"), variable+".Load()")
}

func (m *mutator) values(kind string, values []ast.Expr) {
	for _, e := range values {
		if _, parts := operands(e); len(parts) > 1 {
			m.parts(m.next(kind), e, 1)
		}
	}
}

// statements makes mutants without one call.
func (m *mutator) statements(list []ast.Stmt) {
	for _, s := range list {
		var call *ast.CallExpr
		switch s := s.(type) {
		case *ast.ExprStmt:
			call, _ = s.X.(*ast.CallExpr)
		case *ast.GoStmt:
			call = s.Call
		}
		if call == nil || talks(m.text(call.Fun)) {
			continue
		}
		name := m.next("call")
		n := m.add(name, s, "left out: "+m.text(s))
		m.insert(s, -1, fmt.Sprintf("if mutant != %d { ", n), " }")
	}
}

// talks reports whether a call is not for what the pool does, but for its log and its
// hooks, for text, or for the tests.
func talks(function string) bool {
	if strings.HasPrefix(function, "p.hook") || strings.Contains(function, ".Logger.") {
		return true
	}
	return slices.Contains([]string{"panic", "step.At", "p.warn", "runtime.Gosched", "b.WriteString", "fmt.Fprintf"}, function)
}

// operands returns the operands of a chain of && or of ||.
func operands(e ast.Expr) (token.Token, []ast.Expr) {
	b, ok := ast.Unparen(e).(*ast.BinaryExpr)
	if !ok || b.Op != token.LAND && b.Op != token.LOR {
		return token.ILLEGAL, []ast.Expr{e}
	}
	if op, left := operands(b.X); op == b.Op {
		return b.Op, append(left, b.Y)
	}
	return b.Op, []ast.Expr{b.X, b.Y}
}

// isSwap reports whether e is a compare-and-swap, or a method that is one in short.
func isSwap(e ast.Expr) bool {
	call, ok := ast.Unparen(e).(*ast.CallExpr)
	if !ok {
		return false
	}
	f, ok := call.Fun.(*ast.SelectorExpr)
	return ok && slices.Contains([]string{"CompareAndSwap", "move", "decide"}, f.Sel.Name)
}

// force makes the mutant in which e is evaluated, and then taken to be value.
func (m *mutator) force(name string, e ast.Expr, value bool, depth int) {
	n := m.add(name, e, fmt.Sprintf("%v: %s", value, m.text(e)))
	if value {
		m.insert(e, depth, "((", fmt.Sprintf(") || mutant == %d)", n))
	} else {
		m.insert(e, depth, "((", fmt.Sprintf(") && mutant != %d)", n))
	}
}

func (m *mutator) add(name string, n ast.Node, change string) int {
	m.number++
	line := m.fset.Position(n.Pos()).Line
	m.mutants = append(m.mutants, mutant{m.file + ":" + name, m.file, line, change, m.number})
	return m.number
}

func (m *mutator) insert(n ast.Node, depth int, before, after string) {
	m.inserts = append(m.inserts,
		insertion{m.offset(n.Pos()), depth, false, before},
		insertion{m.offset(n.End()), depth, true, after})
}

func (m *mutator) offset(p token.Pos) int { return m.fset.Position(p).Offset }

// text returns the source of n in one line.
func (m *mutator) text(n ast.Node) string {
	s := strings.Join(strings.Fields(string(m.source[m.offset(n.Pos()):m.offset(n.End())])), " ")
	if len(s) > 100 {
		s = s[:97] + "..."
	}
	return s
}

// apply makes the insertions. At the same place, what ends comes before what begins, the
// inner end before the outer, and the outer beginning before the inner.
func (m *mutator) apply() []byte {
	slices.SortStableFunc(m.inserts, func(a, b insertion) int {
		switch {
		case a.offset != b.offset:
			return a.offset - b.offset
		case a.closes != b.closes:
			if a.closes {
				return -1
			}
			return 1
		case a.closes:
			return b.depth - a.depth
		}
		return a.depth - b.depth
	})
	var out bytes.Buffer
	at := 0
	for _, i := range m.inserts {
		out.Write(m.source[at:i.offset])
		out.WriteString(i.text)
		at = i.offset
	}
	out.Write(m.source[at:])
	return out.Bytes()
}
