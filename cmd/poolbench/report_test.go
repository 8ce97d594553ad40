package main

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with the file of the given name in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got:\n%s\nwant:\n%s", file, got, want)
	}
}

// testPhase returns a phase in which every reply took unit, but for a few, and of that
// nine tenths were waiting.
func testPhase(unit time.Duration, answered uint64) *phaseReport {
	p := &phaseReport{
		outcome:    outcome{elapsed: 5 * time.Second, answered: answered},
		peaks:      peaks{heap: answered * 500, goroutines: 1117},
		dials:      100,
		clientPeak: 99,
		serverPeak: 100,
	}
	for _, c := range []struct {
		times int
		unit  time.Duration
	}{{900, unit}, {95, 2 * unit}, {5, 10 * unit}} {
		for range c.times {
			p.latency.record(c.unit)
			p.waits.record(c.unit / 10 * 9)
			p.trips.record(c.unit / 10)
		}
	}
	for range 100 {
		p.dialTimes.record(3 * time.Millisecond)
	}
	for i := range 10 {
		p.series = append(p.series, sample{
			end: time.Duration(i+1) * 500 * time.Millisecond, answered: answered / 10, dials: 10,
			inUse: 90.5, waiting: 800 + float64(i), open: 100,
		})
	}
	return p
}

func testReport() *report {
	r := &report{
		options:  options{url: "ws://127.0.0.1:1", clients: 1000, max: 100, duration: 5 * time.Second, size: 64},
		embedded: true,
		dialing:  testPhase(153*time.Millisecond, 21_140),
		shared:   testPhase(32*time.Millisecond, 150_210),
		pooled:   testPhase(870*time.Microsecond, 281_020),
	}
	r.dialing.dials, r.dialing.clientPeak, r.dialing.serverPeak, r.dialing.goroutines = 21_900, 1000, 1_191, 2680
	r.dialing.waits = histogram{}
	r.shared.dials, r.shared.clientPeak, r.shared.serverPeak, r.shared.unserved = 1, 1, 1, 999
	r.pooled.stats = &pool.Stats{Gets: 281_120, Waits: 281_000, Opened: 100}
	return r
}

func reports() map[string]*report {
	full := testReport()
	failing := testReport()
	failing.dialing.errors, failing.dialing.wrong = 1234, 0
	failing.dialing.first = []string{"dial tcp 127.0.0.1:1: connect: connection refused", strings.Repeat("long text ", 20)}
	failing.pooled.wrong, failing.pooled.errors = 7, 0
	failing.pooled.first = []string{`wrong reply: sent "a", got "b"`}
	failing.notes = []string{"Something happened, and this sentence about it is too long for one line of the terminal."}
	foreign := testReport()
	foreign.embedded = false
	foreign.options.url = "wss://user:secret@example.com/echo?token=secret"
	interrupted := testReport()
	interrupted.interrupted, interrupted.shared, interrupted.pooled = true, nil, nil
	nothing := testReport()
	nothing.dialing = &phaseReport{outcome: outcome{elapsed: time.Second}}
	open := testReport()
	open.options.rate, open.options.warmup, open.options.only = 5000, 2*time.Second, []string{keyPooled}
	open.dialing, open.shared = nil, nil
	open.pooled.answered, open.pooled.stats.Waits = 25_000, 12
	behind := testReport()
	behind.options.rate, behind.dialing.unserved, behind.shared.unserved, behind.pooled.unserved = 100_000, 478_860, 349_790, 12
	asserting := testReport()
	asserting.options.asserts = must(parseAsserts("p99<50ms,errors<0.1%,shared:wait.p50<1us"))
	for _, a := range asserting.options.asserts {
		asserting.verdicts = append(asserting.verdicts, a.check(asserting))
	}
	limited := testReport()
	limited.options.rtt, limited.pooled.answered = 20*time.Millisecond, 22_000
	several := testReport()
	several.embedded = false
	several.options.urls = []string{"wss://user:secret@a.example.com/echo?token=secret", "wss://b.example.com/echo", "wss://a-name-that-is-too-long-for-the-table.example.com"}
	several.options.url = several.options.urls[0]
	for i, u := range several.options.urls {
		several.dialing.spread = append(several.dialing.spread, serverCount{serverOf(u), 7_040, 7_300, 0})
		several.shared.spread = append(several.shared.spread, serverCount{serverOf(u), uint64(150_210 * (1 - min(i, 1))), uint64(1 - min(i, 1)), 0})
		several.pooled.spread = append(several.pooled.spread, serverCount{serverOf(u), uint64(93_000 + i), uint64(33 + i%2), 33 + i%2})
	}
	return map[string]*report{"several": several, "full": full, "failing": failing, "foreign": foreign, "interrupted": interrupted, "nothing": nothing, "limited": limited, "open": open, "behind": behind, "asserting": asserting}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestTable(t *testing.T) {
	for name, r := range reports() {
		var b strings.Builder
		if err := r.writeTable(&b); err != nil {
			t.Fatal(err)
		}
		golden(t, name+".txt", b.String())
		for line := range strings.Lines(b.String()) {
			line = strings.TrimSuffix(line, "\n")
			if len([]rune(line)) > 80 || strings.HasSuffix(line, " ") {
				t.Errorf("%s: line over 80 columns, or with a space at its end: %q", name, line)
			}
		}
	}
}

// machine is what differs from one machine to the next.
var machine = regexp.MustCompile(`"(go_version|os|arch|cpus)": [^,]*`)

func TestJSON(t *testing.T) {
	for name, r := range reports() {
		var b strings.Builder
		if err := r.writeJSON(&b); err != nil {
			t.Fatal(err)
		}
		golden(t, name+".json", machine.ReplaceAllString(b.String(), `"$1": "-"`))
		if strings.Contains(b.String(), "secret") {
			t.Errorf("%s: shows a secret", name)
		}
	}
}

// Every name in the JSON form is in the text of -h.
func TestJSONNamesAreDocumented(t *testing.T) {
	var b strings.Builder
	if err := reports()["asserting"].writeJSON(&b); err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal([]byte(b.String()), &v); err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	_, section, _ := strings.Cut(usage, "JSON fields.")
	for _, word := range regexp.MustCompile(`[a-z0-9_]+`).FindAllString(section, -1) {
		documented[word] = true
	}
	var check func(v any)
	check = func(v any) {
		list, _ := v.([]any)
		for _, element := range list {
			check(element)
		}
		object, _ := v.(map[string]any)
		for name, member := range object {
			if !documented[name] {
				t.Errorf("%q is not documented", name)
			}
			check(member)
		}
	}
	check(v)
}

func TestComparisonsAreInWords(t *testing.T) {
	for _, c := range []struct {
		a, b amount
		want string
	}{
		{amount{100, true}, amount{1350, true}, "14x more"},
		{amount{100, true}, amount{950, true}, "9.5x more"},
		{amount{100, true}, amount{104, true}, "same"},
		{amount{100, true}, amount{50, true}, "2.0x less"},
		{amount{9999, true}, amount{1, true}, "9,999x less"},
		{amount{12345, true}, amount{1, true}, ">9999x less"},
		{amount{0, true}, amount{0, true}, ""},
		{amount{0, true}, amount{3, true}, "more"},
		{amount{3, true}, amount{0, true}, "none"},
		{amount{3, true}, amount{}, ""},
	} {
		if got := compare(c.a, c.b); got != c.want {
			t.Errorf("%v and %v: got %q, want %q", c.a, c.b, got, c.want)
		}
	}
}

func TestNumbersHaveThreeDigits(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{duration(0), "0 ns"},
		{duration(999), "999 ns"},
		{duration(1234), "1.23 µs"},
		{duration(999_949), "1000 µs"},
		{duration(12_345_678), "12.3 ms"},
		{duration(99_960_000), "100 ms"},
		{duration(9_996_000), "10.0 ms"},
		{duration(1_500_000_000), "1.50 s"},
		{duration(125e9), "125 s"},
		{size(512), "0.50 KiB"},
		{size(1 << 20), "1.00 MiB"},
		{size(37.7 * (1 << 20)), "37.7 MiB"},
		{size(3 << 30), "3.00 GiB"},
		{count(0), "0"},
		{count(999.6), "1,000"},
		{count(1234567), "1,234,567"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
