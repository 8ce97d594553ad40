package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/S4AK4N/pool/bench/harness"
)

const before = "what was there\n" + Marker + "\n\n## Kept\n\nby hand\n"

// made are results of all scenarios in the tables, of the pool, a peer that is better in one metric
// and worse in all others, and one that can do nothing.
func made() (harness.Header, []harness.Result) {
	h := harness.Header{
		Machine: "a machine", Go: "go1", Commit: "c0ffee", Command: "bench/run", Date: time.Unix(1e9, 0).UTC(), Reps: 8, Load: 0.25,
		Peers: []harness.Info{{Name: own, How: "so"}, {Name: "rival", Module: "example.org/rival v1", How: "so"}, {Name: "none", How: "not at all"}},
	}
	var all []harness.Result
	for _, s := range harness.Scenarios {
		if s.All {
			continue
		}
		cpus := s.CPUs
		if cpus == nil {
			cpus = []int{1, 2}
		}
		for _, cpu := range cpus {
			for rep := 1; rep <= h.Reps; rep++ {
				pool, rival := map[string]float64{}, map[string]float64{}
				for i, m := range s.Metrics {
					pool[m] = float64(100 + 10*i + rep)
					rival[m] = 2 * pool[m]
					if !harness.Better(m, pool[m], rival[m]) {
						rival[m] = pool[m] / 2
					}
				}
				if s.Name == "memory" {
					rival[harness.IdleBytes] = pool[harness.IdleBytes] / 4
				}
				all = append(all,
					harness.Result{Rep: rep, CPU: cpu, Peer: own, Scenario: s.Name, Metrics: pool},
					harness.Result{Rep: rep, CPU: cpu, Peer: "rival", Scenario: s.Name, Metrics: rival},
					harness.Result{Rep: rep, CPU: cpu, Peer: "none", Scenario: s.Name, Lacks: "it is none"})
			}
		}
	}
	return h, all
}

func page(t *testing.T, h harness.Header, results []harness.Result) (string, map[string][]byte) {
	t.Helper()
	text, files, err := Page(h, results, before, false)
	if err != nil {
		t.Fatal(err)
	}
	return text, files
}

// section returns what stands under a heading.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("the page has no section %q", heading)
	}
	body, _, _ := strings.Cut(rest, "\n## ")
	return body
}

func TestTheSameResultsMakeTheSamePage(t *testing.T) {
	h, results := made()
	text, files := page(t, h, results)
	for range 3 { // the order of maps differs from run to run
		again, others := page(t, h, results)
		if again != text {
			t.Fatal("the page differs")
		}
		for name := range files {
			if !bytes.Equal(files[name], others[name]) {
				t.Errorf("%s differs", name)
			}
		}
	}
}

func TestWhatIsBelowTheMarkerIsKept(t *testing.T) {
	h, results := made()
	text, _ := page(t, h, results)
	if !strings.HasSuffix(text, Marker+"\n\n## Kept\n\nby hand\n") {
		t.Errorf("the page ends with %q", text[len(text)-100:])
	}
	if strings.Contains(text, "what was there") {
		t.Error("what was above the marker is still there")
	}
	again, _, err := Page(h, results, text, false)
	if err != nil || again != text {
		t.Errorf("a page that is made of itself is another one (%v)", err)
	}
}

func TestWhereAPeerIsBetterStandsFirst(t *testing.T) {
	h, results := made()
	text, _ := page(t, h, results)
	first := text[strings.Index(text, "\n## "):]
	if !strings.HasPrefix(first, "\n## Where a peer is better\n") {
		t.Errorf("the first section begins %.40q", first)
	}
	want := "\n\n| | | the pool | better, and how much |\n|---|---|---|---|\n| Memory | an idle connection | 124 B | rival (4.00 times) |\n"
	if got := section(t, text, "Where a peer is better"); !strings.Contains("\n"+got, want) {
		t.Errorf("it says %q, want %q", got, want)
	}
	if !strings.Contains(text, "| 31 B ± ") || strings.Count(text, " * |") != 1 {
		t.Errorf("the better cell is not the only one with a star: %d have one", strings.Count(text, " * |"))
	}
}

func TestABetterMedianByChanceIsNotCalledBetter(t *testing.T) {
	h, results := made()
	for i := range results {
		r := &results[i]
		if r.Peer == "rival" && r.Scenario == "memory" {
			// Half of the runs are better, half worse, and the median is better by a little.
			r.Metrics[harness.IdleBytes] = []float64{1, 1000}[r.Rep%2]
			if r.Rep == 1 {
				r.Metrics[harness.IdleBytes] = 2
			}
		}
	}
	text, _ := page(t, h, results)
	if got := section(t, text, "Where a peer is better"); !strings.Contains(got, "Nowhere") {
		t.Errorf("it says %q", got)
	}
}

func TestNoCellIsEmpty(t *testing.T) {
	h, results := made()
	text, files := page(t, h, results)
	for _, file := range []string{text, string(files["benchmarks/all.md"])} {
		width := 0
		for line := range strings.SplitSeq(file, "\n") {
			if !strings.HasPrefix(line, "|") {
				width = 0
				continue
			}
			cells := strings.Split(strings.Trim(line, "|"), "|")
			if width == 0 {
				width = len(cells) // of the head, which may have empty ones
				continue
			}
			if len(cells) != width {
				t.Errorf("%d cells under a head of %d: %s", len(cells), width, line)
			}
			for _, c := range cells {
				if strings.TrimSpace(c) == "" {
					t.Errorf("an empty cell: %s", line)
				}
			}
			if strings.Contains(line, "—") && !strings.Contains(line, "<sup>") && !strings.HasSuffix(line, "| so |") && !strings.HasSuffix(line, "| not at all |") {
				t.Errorf("a dash without a note: %s", line)
			}
		}
	}
	if got := section(t, text, "Memory"); !strings.Contains(got, "<sup>1</sup> it is none.\n") {
		t.Errorf("no reason stands below the table: %s", got)
	}
}

func TestARunThatFailedIsTold(t *testing.T) {
	h, results := made()
	for i := range results {
		r := &results[i]
		if r.Peer != "rival" {
			continue
		}
		switch {
		case r.Scenario == "memory" && r.Rep == 3:
			r.Metrics, r.Failed = nil, "it fell over"
		case r.Scenario == "storm":
			r.Metrics, r.Failed = nil, "it did not end within 1m0s"
		case r.Scenario == "order" && r.CPU == 2 && r.Rep < 3:
			r.Wrong = []string{"a waiter was eaten (order)"}
		}
	}
	text, _ := page(t, h, results)
	if got, want := section(t, text, "Memory"), "in 1 of 8 runs: it fell over."; !strings.Contains(got, want) {
		t.Errorf("%s: no %q", got, want)
	}
	if got, want := section(t, text, "A storm of deadlines"), "| rival | —<sup>1</sup> | —<sup>1</sup> | —<sup>1</sup> |"; !strings.Contains(got, want) {
		t.Errorf("%s: no %q", got, want)
	}
	if got, want := section(t, text, "What went wrong"), "| rival | a waiter was eaten (order) | 2 of 8 | order |"; !strings.Contains(got, want) {
		t.Errorf("%s: no %q", got, want)
	}
}

func TestBadResultsMakeNoPageAndSayWhy(t *testing.T) {
	for _, c := range []struct {
		name   string
		spoil  func(*harness.Header, *[]harness.Result)
		before string
		want   string
	}{
		{"no marker", nil, "a page", "the page has no line"},
		{"no pool", func(h *harness.Header, _ *[]harness.Result) { h.Peers = h.Peers[1:] }, before, `no peer "pool" to compare with`},
		{"one twice", func(_ *harness.Header, r *[]harness.Result) { *r = append(*r, (*r)[0]) }, before, "twice"},
		{"a peer without results", func(h *harness.Header, _ *[]harness.Result) {
			h.Peers = append(h.Peers, harness.Info{Name: "lost"})
		}, before, "the results have nothing of lost in"},
		{"no outage", func(_ *harness.Header, all *[]harness.Result) {
			var rest []harness.Result
			for _, r := range *all {
				if r.Scenario != "outage" {
					rest = append(rest, r)
				}
			}
			*all = rest
		}, before, "the results have nothing of outage on 2 cpu, which «An outage of four seconds» needs"},
	} {
		h, results := made()
		if c.spoil != nil {
			c.spoil(&h, &results)
		}
		text, files, err := Page(h, results, c.before, false)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
		if text != "" || files != nil {
			t.Errorf("%s: there is a page all the same", c.name)
		}
	}
}

func TestAPartOfTheScenariosMakesAPageWhenAskedTo(t *testing.T) {
	h, all := made()
	var results []harness.Result
	for _, r := range all {
		if r.Scenario == "memory" {
			results = append(results, r)
		}
	}
	text, _, err := Page(h, results, before, true)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, "\n## Memory\n") || strings.Contains(text, "\n## A cold start\n") {
		t.Error("the page has not the tables of what was measured, and no others")
	}
}

func TestChartsAreDrawnForLightAndDarkPages(t *testing.T) {
	h, results := made()
	text, files := page(t, h, results)
	charts := 0
	for _, c := range tables() {
		if c.chart == nil {
			continue
		}
		charts++
		light, dark := "benchmarks/"+c.chart.name+"-light.svg", "benchmarks/"+c.chart.name+"-dark.svg"
		if !strings.Contains(text, `media="(prefers-color-scheme: dark)" srcset="`+dark+`"`) || !strings.Contains(text, `src="`+light+`"`) {
			t.Errorf("the page does not show %s", c.chart.name)
		}
		if bytes.Equal(files[light], files[dark]) {
			t.Errorf("%s is the same in the light and in the dark", c.chart.name)
		}
		for _, name := range []string{light, dark} {
			for d := xml.NewDecoder(bytes.NewReader(files[name])); ; {
				if _, err := d.Token(); err == io.EOF {
					break
				} else if err != nil {
					t.Errorf("%s: %v", name, err)
					break
				}
			}
			for _, i := range c.chart.series {
				column := c.columns[i]
				d, err := newData(h, results)
				if err != nil {
					t.Fatal(err)
				}
				for _, peer := range []string{own, "rival"} {
					value := c.chart.unit.show(d.cell(column.scenario, column.cpu, peer, column.metric).summary().Center)
					if !bytes.Contains(files[name], []byte(">"+value+"<")) {
						t.Errorf("%s does not show %s of %s", name, value, peer)
					}
				}
			}
			if !bytes.Contains(files[name], []byte("rival")) || bytes.Contains(files[name], []byte(">none<")) {
				t.Errorf("%s has not those and only those that have values", name)
			}
		}
	}
	if charts == 0 || len(files) != 2*charts+1 {
		t.Errorf("%d charts, %d files", charts, len(files))
	}
}

func TestEveryScenarioOfTheTablesIsMeasuredWithoutAll(t *testing.T) {
	for _, table := range tables() {
		for _, c := range table.columns {
			s, err := harness.Find(c.scenario)
			if err != nil {
				t.Errorf("%s: %v", table.title, err)
				continue
			}
			if s.All {
				t.Errorf("%s: %s is measured only with -all", table.title, c.scenario)
			}
			if !strings.Contains(fmt.Sprint(s.Metrics), c.metric) {
				t.Errorf("%s: %s does not measure %s", table.title, c.scenario, c.metric)
			}
		}
	}
}

func TestNumbersAreShownWithThreeDigits(t *testing.T) {
	for _, c := range []struct {
		unit unit
		v    float64
		want string
	}{
		{nanoseconds, 9.87, "9.87 ns"}, {nanoseconds, 98.76, "98.8 ns"}, {nanoseconds, 999.4, "999 ns"}, {nanoseconds, 999.6, "1.00 µs"},
		{nanoseconds, 12345678, "12.3 ms"}, {nanoseconds, 12345678901, "12,346 ms"},
		{milliseconds, 150.7, "151 ms"}, {bytesUnit, 9999, "9,999 B"}, {bytesUnit, 29694, "29.7 kB"},
		{part, 0.256, "26 %"}, {number, 0.0928, "0.09"}, {count, 36040, "36,040"}, {count, -0.2, "0"}, {count, -1234, "-1,234"},
	} {
		if got := c.unit.show(c.v); got != c.want {
			t.Errorf("%v is shown as %q, want %q", c.v, got, c.want)
		}
	}
}
