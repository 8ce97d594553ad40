package main

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync/atomic"
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
	fmt.Fprintf(w, "%-28s%20s%28s\n", "", "dial each time", "pool of "+grouped(uint64(r.options.max)))
	fmt.Fprintf(w, "%-28s%11s%9s%12s%9s%7s\n", "each server", "replies", "opened", "replies", "opened", "open")
	for _, t := range servers {
		name := t.server
		if len(name) > 28 {
			name = name[:25] + "..."
		}
		dialing, pooled := r.dialing.at(t.server), r.pooled.at(t.server)
		line := fmt.Sprintf("%-28s%11s%9s%12s%9s%7s", name,
			shown(dialing, dialing.replies), shown(dialing, dialing.opened),
			shown(pooled, pooled.replies), shown(pooled, pooled.opened), shown(pooled, uint64(pooled.open)))
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
	fmt.Fprintln(w, strings.Repeat("-", tableWidth))
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
