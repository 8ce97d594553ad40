package main

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"sync/atomic"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// A serverCount is what one of several servers has had of a phase.
type serverCount struct {
	server  string // scheme and host
	replies uint64 // right ones, late ones included
	opened  uint64 // connections
	open    int    // at the end, of a pool
}

// A tally counts for one server while a phase runs. All methods are for nil, too.
type tally struct{ answered, opened atomic.Uint64 }

func (t *tally) replies() {
	if t != nil {
		t.answered.Add(1)
	}
}

func (t *tally) opens() {
	if t != nil {
		t.opened.Add(1)
	}
}

// tallies are those of several servers, in their order. They do not change. Nil are those of
// one.
type tallies []struct {
	server string
	*tally
}

// newTallies returns a tally for each server: for each scheme and host among urls.
func newTallies(urls []string) tallies {
	if len(urls) < 2 {
		return nil
	}
	var all tallies
	for _, u := range urls {
		if s := serverOf(u); all.of(s) == nil {
			all = append(all, struct {
				server string
				*tally
			}{s, new(tally)})
		}
	}
	return all
}

func (all tallies) of(server string) *tally {
	for _, t := range all {
		if t.server == server {
			return t.tally
		}
	}
	return nil
}

func (all tallies) counts() (counts []serverCount) {
	for _, t := range all {
		counts = append(counts, serverCount{server: t.server, replies: t.answered.Load(), opened: t.opened.Load()})
	}
	return counts
}

// serverOf returns scheme and host of a URL, as wsconn shows them.
func serverOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host}).String()
}

// writeSpread writes how the phases were spread over several servers.
func (r *report) writeSpread(w io.Writer) {
	servers := newTallies(r.options.urls)
	if servers == nil {
		return
	}
	// One connection has one server. Only JSON tells of it.
	columns := slices.DeleteFunc(r.columns(), func(c column) bool { return c.key == keyShared })
	if len(columns) == 0 {
		return
	}
	t := newTable(28, 0, false)
	first, second := table.Row{""}, table.Row{"each server"}
	for _, c := range columns {
		first, second = append(first, c.name, c.name), append(second, "replies", "opened")
		if c.key == keyPooled {
			first, second = append(first, c.name), append(second, "open")
		}
	}
	widths := []table.ColumnConfig{{Number: 1, WidthMin: 28, AlignHeader: text.AlignLeft}}
	for n := range len(second) - 1 {
		widths = append(widths, table.ColumnConfig{Number: n + 2, WidthMin: 10, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(widths)
	t.AppendHeader(first, table.RowConfig{AutoMerge: true, AutoMergeAlign: text.AlignRight})
	t.AppendHeader(second)
	for _, server := range servers {
		name := server.server
		if len(name) > 28 {
			name = name[:25] + "..."
		}
		row := table.Row{name}
		for _, c := range columns {
			got := c.phaseReport.at(server.server)
			row = append(row, shown(got, got.replies), shown(got, got.opened))
			if c.key == keyPooled {
				row = append(row, shown(got, uint64(got.open)))
			}
		}
		t.AppendRow(row)
	}
	fmt.Fprintln(w, t.Render())
	fmt.Fprintln(w)
}

// at returns what a server has had of the phase, or the zero serverCount.
func (p *phaseReport) at(server string) serverCount {
	if p != nil {
		for _, c := range p.spread {
			if c.server == server {
				return c
			}
		}
	}
	return serverCount{}
}

func shown(c serverCount, n uint64) string {
	if c.server == "" {
		return "-" // the phase was not run
	}
	return grouped(n)
}
