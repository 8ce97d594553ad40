// Package readme checks what people read first: that the code in it compiles, and that
// the README is as scripts and readers expect it.
package readme

import (
	"go/doc/comment"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the folder of the root module.
const root = "../../"

// TestEachCodeBlockIsInAnExample fails when a block of Go in a document, or of any code
// in a package comment, is not part of an example, line for line. The examples are
// compiled by go vet and go test, and run by the latter.
func TestEachCodeBlockIsInAnExample(t *testing.T) {
	var examples string
	for _, name := range files(t, "example*_test.go", "*/example*_test.go", "contrib/*/example*_test.go") {
		examples += "\n" + trimLines(read(t, name))
	}
	for name, blocks := range codeBlocks(t) {
		for _, block := range blocks {
			if !strings.Contains(examples, "\n"+trimLines(block)+"\n") {
				t.Errorf("%s: no example has this code:\n%s", name, block)
			}
		}
	}
}

// TestTheDocumentsThatUsersReadHaveCode fails when blocks are not found any more.
func TestTheDocumentsThatUsersReadHaveCode(t *testing.T) {
	blocks := codeBlocks(t)
	for _, name := range []string{"README.md", "doc.go", "netconn/doc.go", "wsconn/doc.go", "pooltest/doc.go", "contrib/pooldebug/doc.go", "contrib/prompool/doc.go", "contrib/otelpool/doc.go", "docs/metrics.md", "docs/fleet.md", "contrib/puddle/README.md"} {
		if len(blocks[root+name]) == 0 {
			t.Errorf("%s has no block of code", name)
		}
	}
}

// TestTheReadmeHasOneCommandToTryItAndOneToTestIt pins what .ci/run and readers rely on.
func TestTheReadmeHasOneCommandToTryItAndOneToTestIt(t *testing.T) {
	readme := read(t, root+"README.md")
	for _, heading := range []string{"\n## Try it\n", "\n## Test it\n"} {
		_, section, found := strings.Cut(readme, heading)
		if !found {
			t.Errorf("no %q", heading)
			continue
		}
		section, _, _ = strings.Cut(section, "\n## ")
		blocks := fenced(section, "sh")
		if len(blocks) != 1 || strings.Count(blocks[0], "\n") != 1 || !strings.HasPrefix(blocks[0], "go ") {
			t.Errorf("under %q there is not one go command but %q", heading, blocks)
		}
	}
	if lines := strings.Count(readme, "\n"); lines >= 150 {
		t.Errorf("the README has %d lines, want fewer than 150", lines)
	}
}

var link = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)

// TestLinksLeadToFiles looks at links between the documents and to the code.
func TestLinksLeadToFiles(t *testing.T) {
	links := 0
	for _, name := range files(t, "*.md", "docs/*.md", "check/*/*.md", "contrib/*/*.md") {
		for _, to := range link.FindAllStringSubmatch(read(t, name), -1) {
			links++
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), to[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if links == 0 {
		t.Error("no links were found")
	}
}

// codeBlocks returns the blocks of each file: those of Go in a document, all of them in
// the package comment of a doc.go.
func codeBlocks(t *testing.T) map[string][]string {
	blocks := map[string][]string{}
	for _, name := range files(t, "*.md", "docs/*.md", "contrib/*/*.md") {
		blocks[name] = fenced(read(t, name), "go")
	}
	for _, name := range files(t, "doc.go", "*/doc.go", "contrib/*/doc.go") {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range new(comment.Parser).Parse(file.Doc.Text()).Content {
			if code, ok := part.(*comment.Code); ok && !strings.HasPrefix(code.Text, "replace ") { // a line of go.mod
				blocks[name] = append(blocks[name], code.Text)
			}
		}
	}
	return blocks
}

// fenced returns the fenced blocks of a language.
func fenced(markdown, language string) (blocks []string) {
	for {
		_, rest, found := strings.Cut(markdown, "```"+language+"\n")
		if !found {
			return blocks
		}
		var block string
		block, markdown, _ = strings.Cut(rest, "```\n")
		blocks = append(blocks, block)
	}
}

// files returns the names below root that match a pattern.
func files(t *testing.T, patterns ...string) (names []string) {
	t.Helper()
	for _, pattern := range patterns {
		matches, err := filepath.Glob(root + pattern)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, matches...)
	}
	return names
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// trimLines removes what stands before and after the text of each line.
func trimLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.Join(lines, "\n")
}
