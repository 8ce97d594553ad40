package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
)

// compareMain compares two results of -json, and returns the exit status.
func compareMain(args []string, stdout, stderr io.Writer) int {
	for _, arg := range args {
		if arg == "-h" || arg == "-help" || arg == "--help" {
			fmt.Fprint(stdout, usage)
			return exitDone
		}
	}
	if len(args) != 2 {
		fmt.Fprintf(stderr, "poolbench: compare wants two files of -json, not %d (-h shows the usage)\n", len(args))
		return exitUsage
	}
	var both [2]*jsonReport
	for i, name := range args {
		r, err := readReport(name)
		if err != nil {
			fmt.Fprintf(stderr, "poolbench: compare: %v\n", err)
			return exitFailed
		}
		both[i] = r
	}
	if _, err := io.WriteString(stdout, compareReports(args[0], args[1], both[0], both[1])); err != nil {
		fmt.Fprintf(stderr, "poolbench: writing the result: %v\n", err)
		return exitFailed
	}
	return exitDone
}

// readReport reads what -json has written, in this version or an earlier one.
func readReport(name string) (*jsonReport, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	r := new(jsonReport)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s is no result of -json: %w", name, err)
	}
	if r.Clients == 0 || r.DurationSeconds == 0 {
		return nil, fmt.Errorf("%s is no result of -json: it does not say how many clients there were", name)
	}
	if r.Dialing == nil && r.Shared == nil && r.Pooled == nil {
		return nil, fmt.Errorf("%s has no phase that was run", name)
	}
	return r, nil
}

// compareReports writes both side by side.
func compareReports(nameA, nameB string, a, b *jsonReport) string {
	var out strings.Builder
	for _, of := range []struct {
		letter, name string
		*jsonReport
	}{{"a", nameA, a}, {"b", nameB, b}} {
		line := fmt.Sprintf("%s: %s", of.letter, of.name)
		if of.Started != nil {
			line += " of " + of.Started.Format("2006-01-02 15:04:05 MST")
		}
		if of.Interrupted {
			line += " (interrupted)"
		}
		fmt.Fprintln(&out, wrap(line, tableWidth))
	}
	fmt.Fprintln(&out)
	names := [2]string{columnName(nameA), columnName(nameB)}
	if names[0] == names[1] {
		names = [2]string{"a", "b"}
	}
	left := 0
	for _, w := range []struct {
		title string
		a, b  *jsonPhase
	}{
		{"dial each time", a.Dialing, b.Dialing},
		{"one, shared", a.Shared, b.Shared},
		{"pool of " + either(a.MaxConnections, b.MaxConnections), a.Pooled, b.Pooled},
	} {
		if w.a == nil || w.b == nil {
			if w.a != nil || w.b != nil {
				left++
			}
			continue
		}
		t := newTable(28, 2, true)
		t.AppendHeader(table.Row{w.title, names[0], names[1], "change"})
		for _, f := range jsonFigures {
			va, vb := f.in(w.a), f.in(w.b)
			if !va.known && !vb.known {
				continue
			}
			t.AppendRow(table.Row{f.label, f.show(va), f.show(vb), change(va, vb)})
		}
		fmt.Fprintln(&out, t.Render())
		fmt.Fprintln(&out)
	}
	if a.Recommended != nil && b.Recommended != nil {
		fmt.Fprintf(&out, "recommended MaxConnections: %s (%s), %s (%s)\n", a.Recommended, names[0], b.Recommended, names[1])
	}
	for _, d := range differences(a, b) {
		fmt.Fprintln(&out, wrap("note: "+d, tableWidth))
	}
	if left > 0 {
		fmt.Fprintln(&out, wrap("note: Ways that only one of them has run are left out.", tableWidth))
	}
	fmt.Fprintln(&out, wrap("note: Each is one run. Two runs of the same thing differ, too: repeat both before you believe a small difference.", tableWidth))
	return out.String()
}

// columnName is what a file is called above its column.
func columnName(file string) string {
	name := strings.TrimSuffix(filepath.Base(file), ".json")
	if runes := []rune(name); len(runes) > 12 {
		name = "..." + string(runes[len(runes)-9:])
	}
	return name
}

func (a *jsonAdvice) String() string {
	return (&advice{size: a.MaxConnections, atLeast: a.AtLeast}).Text()
}

func either(a, b int) string {
	if a == b {
		return grouped(uint64(a))
	}
	return grouped(uint64(a)) + " and " + grouped(uint64(b))
}

// A jsonFigure is one line of a comparison.
type jsonFigure struct {
	label string
	in    func(*jsonPhase) amount
	text  func(float64) string
}

func (f jsonFigure) show(a amount) string {
	if !a.known {
		return "-"
	}
	return f.text(a.float64)
}

// jsonFigures are the lines of a comparison.
var jsonFigures = func() []jsonFigure {
	number := func(label string, value func(*jsonPhase) float64, text func(float64) string) jsonFigure {
		return jsonFigure{label, func(p *jsonPhase) amount { return amount{value(p), true} }, text}
	}
	time := func(label string, of func(*jsonPhase) *jsonLatency, value func(*jsonLatency) float64) jsonFigure {
		return jsonFigure{label, func(p *jsonPhase) amount {
			l := of(p)
			if l == nil {
				return amount{}
			}
			return amount{value(l) * 1e6, true}
		}, duration}
	}
	latency := func(p *jsonPhase) *jsonLatency { return p.Latency }
	wait := func(p *jsonPhase) *jsonLatency { return p.Wait }
	dial := func(p *jsonPhase) *jsonLatency { return p.Dial }
	trip := func(p *jsonPhase) *jsonLatency { return p.RoundTrip }
	p50 := func(l *jsonLatency) float64 { return l.P50 }
	p99 := func(l *jsonLatency) float64 { return l.P99 }
	return []jsonFigure{
		number("requests per second", func(p *jsonPhase) float64 { return p.RequestsPerSecond }, count),
		time("latency p50", latency, p50),
		time("latency p90", latency, func(l *jsonLatency) float64 { return l.P90 }),
		time("latency p99", latency, p99),
		time("latency p99.9", latency, func(l *jsonLatency) float64 { return l.P999 }),
		time("latency max", latency, func(l *jsonLatency) float64 { return l.Max }),
		time("wait p50", wait, p50),
		time("wait p99", wait, p99),
		time("dial p50", dial, p50),
		time("dial p99", dial, p99),
		time("round trip p50", trip, p50),
		time("round trip p99", trip, p99),
		number("errors", func(p *jsonPhase) float64 { return float64(p.Errors) }, count),
		number("wrong replies", func(p *jsonPhase) float64 { return float64(p.WrongReplies) }, count),
		number("unserved", func(p *jsonPhase) float64 { return float64(p.Unserved) }, count),
		number("dials", func(p *jsonPhase) float64 { return float64(p.Dials) }, count),
		number("connections at once (client)", func(p *jsonPhase) float64 { return float64(p.PeakConnectionsClient) }, count),
		number("client heap, peak", func(p *jsonPhase) float64 { return float64(p.PeakHeapBytes) }, size),
		number("client goroutines, peak", func(p *jsonPhase) float64 { return float64(p.PeakGoroutines) }, count),
	}
}()

// change says how b differs from a: in percent, or as a factor where that is shorter.
func change(a, b amount) string {
	switch {
	case !a.known || !b.known:
		return ""
	case a.float64 == b.float64:
		return "same"
	case a.float64 == 0:
		return "more"
	case b.float64 == 0:
		return "none"
	}
	if factor := b.float64 / a.float64; factor < 2 && factor > 0.5 {
		percent := math.Round(1000*(factor-1)) / 10
		if percent == 0 {
			return "same"
		}
		return fmt.Sprintf("%+.1f %%", percent)
	}
	return compare(a, b)
}

// differences says in which settings a and b differ, so that it is not taken for a
// difference of what was measured.
func differences(a, b *jsonReport) (notes []string) {
	// What is measured under a setting, by its name in JSON.
	ofRun := []string{"clients", "rate", "duration_seconds", "warmup_seconds", "size_bytes", "max_connections",
		"rtt_seconds", "url", "urls", "embedded", "go_version", "os", "arch", "cpus"}
	va, vb := settingsOf(a), settingsOf(b)
	for _, name := range ofRun {
		if !reflect.DeepEqual(va[name], vb[name]) && !(name == "url" && a.Embedded && b.Embedded) {
			notes = append(notes, fmt.Sprintf("They differ in %s: %s and %s.", name, settingText(va[name]), settingText(vb[name])))
		}
	}
	return notes
}

// settingsOf returns what r says, by its names in JSON.
func settingsOf(r *jsonReport) map[string]any {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // it was read from JSON
	}
	var m map[string]any
	json.Unmarshal(b, &m)
	return m
}

func settingText(v any) string {
	switch v := v.(type) {
	case nil:
		return "none"
	case []any:
		var all []string
		for _, e := range v {
			all = append(all, settingText(e))
		}
		return strings.Join(append(all, "none")[:max(1, len(all))], ", ")
	default:
		return fmt.Sprint(v)
	}
}
