package pool_test

import (
	"os"
	"strings"
	"testing"
)

// TestReadmeShowsWhatTheExamplesRun fails when the README's code is not, line for
// line, that of an example. Addresses are the one difference: the examples have
// servers of their own.
func TestReadmeShowsWhatTheExamplesRun(t *testing.T) {
	var examples string
	for _, name := range []string{"example_readme_test.go", "wsconn/example_pool_test.go"} {
		examples += trimLines(readFile(t, name))
	}
	blocks := codeBlocks(readFile(t, "README.md"), "go")
	if len(blocks) != 2 {
		t.Fatalf("the README has %d blocks of Go, want 2", len(blocks))
	}
	addresses := strings.NewReplacer(`"ws://localhost:8080/ws"`, "url", `"localhost:7"`, "address")
	for _, block := range blocks {
		if !strings.Contains(examples, trimLines(addresses.Replace(block))) {
			t.Errorf("no example runs this code of the README:\n%s", block)
		}
	}
}

// TestReadmeHasOneCommandToTryItAndOneToTestIt pins what .ci/run and readers rely on.
func TestReadmeHasOneCommandToTryItAndOneToTestIt(t *testing.T) {
	readme := readFile(t, "README.md")
	for _, heading := range []string{"## Try it\n", "## Test it\n"} {
		_, section, found := strings.Cut(readme, heading)
		if !found {
			t.Errorf("no %q", heading)
			continue
		}
		blocks := codeBlocks(section, "sh")
		if len(blocks) == 0 || strings.Count(blocks[0], "\n") != 1 || !strings.HasPrefix(blocks[0], "go ") {
			t.Errorf("the first block under %q is not one go command: %q", heading, blocks)
		}
	}
	if lines := strings.Count(readme, "\n"); lines >= 150 {
		t.Errorf("the README has %d lines, want fewer than 150", lines)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// codeBlocks returns the fenced blocks of a language.
func codeBlocks(markdown, language string) (blocks []string) {
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

func trimLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.Join(lines, "\n")
}
