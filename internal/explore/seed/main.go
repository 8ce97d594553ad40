// Command seed shows that the explorer finds faults. It writes faults into copies of the
// source files, each behind a switch, builds the tests with them by means of go test
// -overlay, and runs those that should find each fault, one fault at a time. Nothing in
// the tree is changed. It is run in the root of the module, and fails if a fault is not
// found, or if its place in the code is not.
//
//	go run ./internal/explore/seed [-run regexp of the names of faults] [-v]
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

func main() {
	only := flag.String("run", "", "regexp of the faults to seed")
	verbose := flag.Bool("v", false, "print what the tests print")
	flag.Parse()
	if err := seed(regexp.MustCompile(*only), *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "seed:", err)
		os.Exit(1)
	}
}

func seed(only *regexp.Regexp, verbose bool) error {
	dir, err := os.MkdirTemp("", "seed")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	overlay, err := write(dir)
	if err != nil {
		return err
	}
	binaries := map[string]string{}
	for _, pkg := range []string{schedulesPkg, queueCode, ringCode} {
		binary := filepath.Join(dir, filepath.Base(pkg)+"-explore.test")
		build := exec.Command("go", "test", "-c", "-tags", "explore", "-overlay", overlay, "-o", binary, "./"+pkg)
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		binaries[pkg] = binary
	}
	missed := 0
	for _, f := range faults {
		if !only.MatchString(f.name) {
			continue
		}
		began := time.Now()
		out, found := run(binaries[f.pkg], f, "1500")
		if !found { // deeper than most
			out, found = run(binaries[f.pkg], f, "15000")
		}
		verdict := "NOT FOUND"
		if found {
			verdict = "found"
		} else {
			missed++
		}
		fmt.Printf("%-9s  %2d  %-64s %s, %.1fs\n", verdict, f.number, f.name, effort(out), time.Since(began).Seconds())
		if verbose || !found {
			fmt.Println(out)
		}
	}
	if missed > 0 {
		return fmt.Errorf("%d faults were not found", missed)
	}
	return nil
}

// run reports whether the tests of a fault fail in one of so many schedules each, and not in
// another way.
func run(binary string, f fault, schedules string) (out string, found bool) {
	cmd := exec.Command(binary, "-test.run", "^("+f.tests+")$", "-test.v", "-test.failfast", "-test.timeout", "1m")
	cmd.Dir = f.pkg
	// The same random schedules each time, unless one is named.
	cmd.Env = append([]string{"EXPLORE_SEED=1", "EXPLORE_TIME=50s", "EXPLORE_SCHEDULES=" + schedules}, os.Environ()...)
	cmd.Env = append(cmd.Env, "EXPLORE_FAULT="+strconv.Itoa(f.number))
	b, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	return string(b), errors.As(err, &exit) && (replay.Match(b) || f.crashes && strings.Contains(string(b), "panic: "))
}

var (
	replay    = regexp.MustCompile(`To repeat it: EXPLORE_REPLAY=`)
	schedules = regexp.MustCompile(`; (\d+) schedules in`)
	failed    = regexp.MustCompile(`(?m)^ *--- FAIL: (\S+)`)
)

// effort says how many schedules it took, and in which test.
func effort(out string) string {
	before, last := 0, 0
	for _, m := range schedules.FindAllStringSubmatch(out, -1) {
		before += last
		last, _ = strconv.Atoi(m[1])
	}
	m := failed.FindAllStringSubmatch(out, -1)
	if m == nil {
		return "by a crash"
	}
	said := fmt.Sprintf("in %d schedules of %s", last, m[len(m)-1][1])
	if before > 0 {
		said += fmt.Sprintf(", after %d of others", before)
	}
	return said
}

// write writes the files with the faults, and an overlay that puts them in place.
func write(dir string) (overlay string, err error) {
	root, err := os.Getwd()
	if err != nil {
		return "", err
	}
	text := map[string]string{}
	for _, f := range faults {
		for _, e := range f.edits {
			name := filepath.Join(f.code, e.file)
			if text[name] == "" {
				b, err := os.ReadFile(name)
				if err != nil {
					return "", err
				}
				text[name] = string(b)
			}
			if n := strings.Count(text[name], e.old); n != 1 {
				return "", fmt.Errorf("fault %d, %s: its place is in %s %d times, not once:\n%s", f.number, f.name, name, n, e.old)
			}
			text[name] = strings.Replace(text[name], e.old, strings.ReplaceAll(e.new, "FAULT", "(seeded == "+strconv.Itoa(f.number)+")"), 1)
		}
	}
	for _, code := range []string{rootCode, groupCode, coreCode, queueCode, ringCode} {
		name := filepath.Base(code)
		if code == rootCode {
			name = "pool"
		}
		text[filepath.Join(code, "seeded_fault.go")] = strings.Replace(support, "PACKAGE", name, 1)
	}
	replace := map[string]string{}
	for name, s := range text {
		copied := filepath.Join(dir, strings.ReplaceAll(name, string(filepath.Separator), "-"))
		if err := os.WriteFile(copied, []byte(s), 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(root, name)] = copied
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, b, 0o600)
}

// support is what each package gets beside the faults.
const support = `//go:build explore

package PACKAGE

import (
	"os"
	"strconv"

	"github.com/S4AK4N/pool/internal/atomic"
)

var seeded, _ = strconv.Atoi(os.Getenv("EXPLORE_FAULT"))

// firstAtGate is whether a goroutine was the first to raise the gate.
var firstAtGate [64]bool

func noteFirst(first bool) { firstAtGate[atomic.Lane()] = first }
func wasFirst() bool       { return firstAtGate[atomic.Lane()] }
`
