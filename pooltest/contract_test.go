package pooltest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
)

// TestContractsStandInTheDocumentation fails when the documentation of Factory is worded anew.
func TestContractsStandInTheDocumentation(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../factory.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{} // by what they document
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.TYPE || g.Specs[0].(*ast.TypeSpec).Name.Name != "Factory" {
			continue
		}
		texts["Factory"] = words(g.Doc.Text())
		for _, f := range g.Specs[0].(*ast.TypeSpec).Type.(*ast.StructType).Fields.List {
			texts["Factory."+f.Names[0].Name] = words(f.Doc.Text())
		}
	}
	for _, c := range contracts {
		if !strings.Contains(texts[c.where], c.text) {
			t.Errorf("the documentation of %s does not say: %s", c.where, c.text)
		}
	}
}

// words returns a text without its line breaks.
func words(text string) string { return strings.Join(strings.Fields(text), " ") }
