package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// saved writes r as -json does, and returns the name of the file.
func saved(t *testing.T, name string, r *report) string {
	t.Helper()
	var b strings.Builder
	if err := r.writeJSON(&b); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(machine.ReplaceAllString(b.String(), `"$1": null`)), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestCompare(t *testing.T) {
	before := testReport()
	before.started = time.Date(2026, 11, 29, 8, 30, 0, 0, time.UTC)
	after := testReport()
	after.started = before.started.Add(time.Hour)
	after.pooled = testPhase(900*time.Microsecond, 300_000)
	after.pooled.errors = 12
	after.options.max, after.options.rate = 50, 60_000
	after.shared = nil
	after.dialing.latency, after.dialing.dials = histogram{}, 0
	var stdout, stderr strings.Builder
	files := []string{saved(t, "before.json", before), saved(t, "a-name-that-is-too-long.json", after)}
	if status := run(append([]string{"compare"}, files...), &stdout, &stderr); status != exitDone || stderr.Len() > 0 {
		t.Fatalf("status %d, %q", status, stderr.String())
	}
	got := stdout.String()
	for _, file := range files {
		got = strings.ReplaceAll(got, filepath.Dir(file)+string(filepath.Separator), "")
	}
	_, got, _ = strings.Cut(got, "\n\n") // the lines before are as long as the names of the folders
	golden(t, "compare.txt", got)
	for line := range strings.Lines(got) {
		if line = strings.TrimSuffix(line, "\n"); len([]rune(line)) > 80 || strings.HasSuffix(line, " ") {
			t.Errorf("line over 80 columns, or with a space at its end: %q", line)
		}
	}
	if !strings.Contains(stdout.String(), "2026-11-29 08:30:00 UTC") {
		t.Errorf("does not say when: %s", stdout.String())
	}
}

// What the command wrote before it had three ways.
func TestCompareReadsResultsOfEarlierVersions(t *testing.T) {
	old := map[string]any{}
	var b strings.Builder
	if err := testReport().writeJSON(&b); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(b.String()), &old); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"rate", "warmup_seconds", "started", "shared", "recommended", "assertions"} {
		delete(old, name)
	}
	for _, way := range []string{"dialing", "pooled"} {
		for _, name := range []string{"wait_ms", "dial_ms", "round_trip_ms", "latency_curve", "unserved", "series"} {
			delete(old[way].(map[string]any), name)
		}
	}
	text, err := json.Marshal(old)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "old.json")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr strings.Builder
	if status := run([]string{"compare", file, saved(t, "new.json", testReport())}, &stdout, &stderr); status != exitDone {
		t.Fatalf("status %d, %s", status, stderr.String())
	}
	for _, want := range []string{"pool of 100", "latency p99", "Ways that only one of them has run are left out."} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %q in:\n%s", want, stdout.String())
		}
	}
}

func TestWhatCannotBeComparedGetsOneClearLine(t *testing.T) {
	good := saved(t, "good.json", testReport())
	file := func(name, text string) string {
		name = filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{nil, exitUsage, "compare wants two files of -json, not 0"},
		{[]string{good}, exitUsage, "not 1"},
		{[]string{good, good, good}, exitUsage, "not 3"},
		{[]string{good, filepath.Join(t.TempDir(), "missing.json")}, exitFailed, "missing.json"},
		{[]string{file("table.txt", "requests per second"), good}, exitFailed, "table.txt is no result of -json: "},
		{[]string{good, file("empty.json", "")}, exitFailed, "empty.json is no result of -json: "},
		{[]string{good, file("other.json", `{"name": "other"}`)}, exitFailed, "other.json is no result of -json: it does not say"},
		{[]string{good, file("list.json", `[]`)}, exitFailed, "list.json is no result of -json: "},
		{[]string{good, file("nothing.json", `{"clients": 1, "duration_seconds": 1}`)}, exitFailed, "nothing.json has no phase that was run"},
	} {
		var stdout, stderr strings.Builder
		status := run(append([]string{"compare"}, c.args...), &stdout, &stderr)
		if status != c.status || stdout.Len() > 0 {
			t.Errorf("%q: status %d, %q", c.args, status, stdout.String())
		}
		if got := stderr.String(); !strings.HasPrefix(got, "poolbench: ") || !strings.Contains(got, c.want) || strings.Count(got, "\n") != 1 {
			t.Errorf("%q: got %q, want one line with %q", c.args, got, c.want)
		}
	}
}

func TestCompareHasHelp(t *testing.T) {
	var stdout, stderr strings.Builder
	if status := run([]string{"compare", "-h"}, &stdout, &stderr); status != exitDone || stdout.String() != usage {
		t.Errorf("status %d, %q", status, stderr.String())
	}
}

func TestChangesAreInPercentOrFactors(t *testing.T) {
	for _, c := range []struct {
		a, b amount
		want string
	}{
		{amount{100, true}, amount{100, true}, "same"},
		{amount{100, true}, amount{100.01, true}, "same"},
		{amount{100, true}, amount{109.3, true}, "+9.3 %"},
		{amount{100, true}, amount{60, true}, "-40.0 %"},
		{amount{100, true}, amount{250, true}, "2.5x more"},
		{amount{100, true}, amount{20, true}, "5.0x less"},
		{amount{0, true}, amount{0, true}, "same"},
		{amount{0, true}, amount{7, true}, "more"},
		{amount{7, true}, amount{0, true}, "none"},
		{amount{}, amount{7, true}, ""},
	} {
		if got := change(c.a, c.b); got != c.want {
			t.Errorf("%v and %v: got %q, want %q", c.a, c.b, got, c.want)
		}
	}
}
