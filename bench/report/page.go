package report

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/S4AK4N/pool/bench/harness"
)

// Marker ends what is generated. What stands below it in the page is written by hand, and kept.
const Marker = "<!-- bench/run writes what is above this line, and keeps what is below. -->"

// Page makes the page and the files beside it, by name, from the results and the page as it was.
// With partial, a table whose scenarios were not measured is left out; otherwise it is an error.
func Page(h harness.Header, results []harness.Result, before string, partial bool) (page string, files map[string][]byte, err error) {
	_, kept, ok := strings.Cut(before, Marker)
	if !ok {
		return "", nil, fmt.Errorf("the page has no line %q: what stands below such a line is kept, and what is above it is written anew", Marker)
	}
	d, err := newData(h, results)
	if err != nil {
		return "", nil, err
	}
	var shown []table
	for _, t := range tables() {
		whole := true
		for _, c := range t.columns {
			if !slices.Contains(d.cpus[c.scenario], c.cpu) {
				whole = false
				if !partial {
					return "", nil, fmt.Errorf("the results have nothing of %s on %d cpu, which «%s» needs", c.scenario, c.cpu, t.title)
				}
			}
		}
		if whole {
			shown = append(shown, t)
		}
	}
	files = map[string][]byte{}
	var b strings.Builder
	d.intro(&b)
	d.better(&b, shown)
	d.wrong(&b)
	for _, t := range shown {
		fmt.Fprintf(&b, "## %s\n\n%s\n\n", t.title, t.text)
		if t.chart != nil {
			light, dark, err := t.chart.draw(d, t)
			if err != nil {
				return "", nil, fmt.Errorf("the chart of «%s»: %w", t.title, err)
			}
			files["benchmarks/"+t.chart.name+"-light.svg"] = light
			files["benchmarks/"+t.chart.name+"-dark.svg"] = dark
			fmt.Fprintf(&b, "<picture>\n<source media=\"(prefers-color-scheme: dark)\" srcset=\"benchmarks/%[1]s-dark.svg\">\n"+
				"<img alt=\"%[2]s: the table below as a chart\" src=\"benchmarks/%[1]s-light.svg\">\n</picture>\n\n", t.chart.name, t.chart.title)
		}
		d.table(&b, t.columns)
	}
	d.peers(&b)
	b.WriteString(Marker)
	b.WriteString(kept)
	files["benchmarks/all.md"] = d.all()
	return b.String(), files, nil
}

func (d *data) intro(b *strings.Builder) {
	h := d.header
	reps := map[int]bool{}
	for _, results := range d.at {
		reps[len(results)] = true
	}
	least, most := 0, 0
	for n := range reps {
		if least == 0 || n < least {
			least = n
		}
		most = max(most, n)
	}
	many := strconv.Itoa(most)
	if least != most {
		many = fmt.Sprintf("%d to %d", least, most)
	}
	b.WriteString("# Benchmarks\n\n")
	if h.Short {
		b.WriteString("**These are of a short run, which shows that the programs work. Its numbers mean nothing.**\n\n")
	}
	fmt.Fprintf(b, "`%s`, at commit %s on %s: %s; %s.", h.Command, h.Commit, h.Date.Format("2006-01-02"), h.Machine, h.Go)
	if h.Load >= 0 {
		fmt.Fprintf(b, " When it began, %.2f processes on average wanted a core.", h.Load)
	}
	fmt.Fprintf(b, "\n\nEvery peer goes through every scenario, %s times, in a process of its own each time. Peers take turns within a repetition, so that what else the machine does meets them alike. "+
		"Values are medians. ± is the 95 %% confidence interval of the median, where there are enough repetitions for one. A star (*) marks what is better than the pool's with p < 0.05 (Mann-Whitney). Trust the ratios more than the times.\n\n"+
		"One operation is one Get and one Put, whatever the number of callers. Each caller has a ctx of its own, which can be cancelled. A timer is pending in each process, as in any program that does something else. "+
		"[The last section](#peers) tells how each peer is used, and [benchmarks/all.md](benchmarks/all.md) has all values of all scenarios.\n\n", many)
}

// better tells first what does not speak for the pool.
func (d *data) better(b *strings.Builder, shown []table) {
	b.WriteString("## Where a peer is better\n\n")
	var rows []string
	for _, t := range shown {
		head := ""
		for _, c := range t.columns {
			if prefix, _, ok := strings.Cut(c.head, ": "); ok {
				head = prefix
			}
			if c.aside {
				continue
			}
			pools := d.cell(c.scenario, c.cpu, own, c.metric)
			type peer struct {
				name string
				at   float64
			}
			var better []peer
			for _, p := range d.header.Peers {
				other := d.cell(c.scenario, c.cpu, p.Name, c.metric)
				if p.Name != own && other.betterThan(pools, c.metric) {
					better = append(better, peer{p.Name, other.summary().Center})
				}
			}
			if len(better) == 0 {
				continue
			}
			slices.SortStableFunc(better, func(x, y peer) int {
				switch {
				case harness.Better(c.metric, x.at, y.at):
					return -1
				case harness.Better(c.metric, y.at, x.at):
					return 1
				}
				return 0
			})
			var names []string
			for _, p := range better {
				names = append(names, fmt.Sprintf("%s (%s)", p.name, times(c.metric, p.at, pools.summary().Center)))
			}
			what := c.head
			if head != "" && !strings.HasPrefix(what, head) {
				what = head + ": " + what
			}
			rows = append(rows, fmt.Sprintf("| %s | %s | %s | %s |\n", t.title, what,
				units[c.metric].show(pools.summary().Center), strings.Join(names, ", ")))
		}
	}
	if len(rows) == 0 {
		b.WriteString("Nowhere that the repetitions can tell from chance.\n\n")
		return
	}
	b.WriteString("| | | the pool | better, and how much |\n|---|---|---|---|\n")
	b.WriteString(strings.Join(rows, ""))
	b.WriteString("\nA peer that does less can be better at what it does: see what it does wrong, below, and what it does not do at all, in the notes of the tables.\n\n")
}

// wrong tells in plain words what peers did that no pool should.
func (d *data) wrong(b *strings.Builder) {
	b.WriteString("## What went wrong\n\n")
	type fault struct{ peer, what string }
	runs := map[fault]int{}
	of := map[fault]int{}
	example := map[fault]string{}
	scenarios := map[fault][]string{}
	for _, s := range harness.Scenarios {
		for _, cpu := range d.cpus[s.Name] {
			for _, p := range d.header.Peers {
				seen := map[fault]bool{}
				results := d.at[place{s.Name, cpu, p.Name}]
				for _, r := range results {
					for _, w := range r.Wrong {
						what, _, _ := strings.Cut(w, " (")
						f := fault{p.Name, what}
						runs[f]++
						seen[f] = true
						if example[f] == "" {
							example[f] = w
						}
					}
				}
				for f := range seen {
					of[f] += len(results)
					if !slices.Contains(scenarios[f], s.Name) {
						scenarios[f] = append(scenarios[f], s.Name)
					}
				}
			}
		}
	}
	if len(runs) == 0 {
		b.WriteString("Nothing was seen.\n\n")
		return
	}
	b.WriteString("| peer | what it did | in how many runs | scenarios |\n|---|---|---|---|\n")
	for _, p := range d.header.Peers {
		var whats []string
		for f := range runs {
			if f.peer == p.Name {
				whats = append(whats, f.what)
			}
		}
		slices.Sort(whats)
		for _, what := range whats {
			f := fault{p.Name, what}
			where := scenarios[f]
			if len(where) > 3 {
				where = append(slices.Clone(where[:3]), fmt.Sprintf("and %d more", len(where)-3))
			}
			fmt.Fprintf(b, "| %s | %s | %d of %d | %s |\n", p.Name, escape(example[f]), runs[f], of[f], strings.Join(where, ", "))
		}
	}
	b.WriteString("\n")
}

// table writes a row for each peer, and below it why there is no value where there is none.
func (d *data) table(b *strings.Builder, columns []column) {
	b.WriteString("| |")
	for _, c := range columns {
		fmt.Fprintf(b, " %s |", c.head)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(columns)) + "\n")
	var notes []string
	note := func(why string) string {
		i := slices.Index(notes, why)
		if i < 0 {
			i = len(notes)
			notes = append(notes, why)
		}
		return fmt.Sprintf("<sup>%d</sup>", i+1)
	}
	for _, p := range d.header.Peers {
		name := p.Name
		if name == own {
			name = "**" + name + "**"
		}
		fmt.Fprintf(b, "| %s |", name)
		for _, c := range columns {
			v := d.cell(c.scenario, c.cpu, p.Name, c.metric)
			text := "—"
			if v.sample != nil {
				s := v.summary()
				text = units[c.metric].show(s.Center)
				if pct := s.PctRangeString(); pct != "∞" && pct != "0%" && pct != "?" {
					text += " ± " + strings.Replace(pct, "%", " %", 1)
				}
				if !c.aside && p.Name != own && v.betterThan(d.cell(c.scenario, c.cpu, own, c.metric), c.metric) {
					text += " *"
				}
			}
			if v.why != "" {
				text += note(v.why)
			}
			fmt.Fprintf(b, " %s |", text)
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
	for i, why := range notes {
		fmt.Fprintf(b, "<sup>%d</sup> %s.%s\n", i+1, escape(why), map[bool]string{true: "<br>", false: "\n"}[i < len(notes)-1])
	}
}

func (d *data) peers(b *strings.Builder) {
	b.WriteString("## Peers\n\n| | module | used how |\n|---|---|---|\n")
	for _, p := range d.header.Peers {
		module := p.Module
		if module == "" {
			module = "—"
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", p.Name, module, escape(p.How))
	}
	b.WriteString("\nA dash in the second column: it comes with Go or is written here.\n\n")
}

// all has every value of every scenario that was measured.
func (d *data) all() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# All values\n\nMade by bench/run with [benchmarks.md](../benchmarks.md), which tells what they are: %s; %s; commit %s, %s.\n\n",
		d.header.Machine, d.header.Go, d.header.Commit, d.header.Date.Format("2006-01-02"))
	for _, s := range harness.Scenarios {
		for _, cpu := range d.cpus[s.Name] {
			fmt.Fprintf(&b, "## %s, %d cpu\n\n", s.Name, cpu)
			var columns []column
			for _, m := range s.Metrics {
				columns = append(columns, column{head: strings.ReplaceAll(strings.TrimSuffix(strings.TrimSuffix(m, "_ns"), "_ms"), "_", " "), scenario: s.Name, cpu: cpu, metric: m,
					aside: m == harness.HoldNs || m == harness.BaseNs || m == harness.Opened || m == harness.MostOpen})
			}
			d.table(&b, columns)
		}
	}
	return []byte(strings.TrimRight(b.String(), "\n") + "\n")
}

// escape makes s fit for a cell.
func escape(s string) string {
	s = strings.ReplaceAll(s, "\n", " ")
	return strings.ReplaceAll(s, "|", "\\|")
}
