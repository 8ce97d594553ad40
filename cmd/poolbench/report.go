package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/S4AK4N/pool"
)

// A report is the result of a run.
type report struct {
	options     options
	started     time.Time
	embedded    bool
	interrupted bool
	notes       []string     // whole sentences
	dialing     *phaseReport // each nil if not run
	shared      *phaseReport
	pooled      *phaseReport
	verdicts    []verdict // of -assert
}

// A phaseReport is the result of one phase.
type phaseReport struct {
	outcome
	peaks
	dials      int64
	dialTimes  histogram // of dials that succeeded, until the connection could be used
	clientPeak int64     // most connections that the client had open
	serverPeak int64     // most connections that the server saw; 0: not known
	stats      *pool.Stats
	spread     []serverCount // nil if there is one server
}

// phase returns where the result of a way is kept.
func (r *report) phase(key string) **phaseReport {
	switch key {
	case keyDialing:
		return &r.dialing
	case keyShared:
		return &r.shared
	case keyPooled:
		return &r.pooled
	}
	panic("poolbench: no way is called " + key)
}

// A column is one way, and what has come of it.
type column struct {
	way
	*phaseReport // nil if not run
}

// columns returns the ways that were asked for.
func (r *report) columns() (columns []column) {
	for _, w := range r.options.ways() {
		columns = append(columns, column{w, *r.phase(w.key)})
	}
	return columns
}

// first returns the first phase that was run, or nil.
func (r *report) first() *phaseReport {
	for _, c := range r.columns() {
		if c.phaseReport != nil {
			return c.phaseReport
		}
	}
	return nil
}

// answered reports whether any request had its reply.
func (r *report) answered() bool {
	for _, c := range r.columns() {
		if c.phaseReport != nil && c.latency.count > 0 {
			return true
		}
	}
	return false
}

// server names the server, or all.
func (r *report) server() string {
	if len(r.options.urls) < 2 {
		return r.serverAt(r.options.url)
	}
	var all []string
	for _, u := range r.options.urls {
		all = append(all, shownURL(u))
	}
	return strings.Join(all, ", ")
}

// serverAt names one server.
func (r *report) serverAt(url string) string {
	if r.embedded {
		return "the embedded server"
	}
	return shownURL(url)
}

// remarks returns the notes, with those that follow from the figures.
func (r *report) remarks() []string {
	notes := append([]string(nil), r.notes...)
	add := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if !r.embedded {
		add("The client has counted the connections: what the server saw is not known.")
	}
	o := r.options
	if r.closingSeen() {
		add("The server has had %s connections at once of %s clients: those are among them that a client has closed, and the server not yet.",
			grouped(uint64(r.dialing.serverPeak)), grouped(uint64(o.clients)))
	}
	if r.pooled != nil && o.rtt > 0 {
		// A connection carries one request at a time, for a round trip at least.
		most := float64(o.max) / o.rtt.Seconds()
		if r.pooled.requestsPerSecond() > 0.75*most {
			add("The size of the pool is the limit here: %s connections with a round trip of %v carry %s requests per second at most. See -max.",
				grouped(uint64(o.max)), o.rtt, count(most))
		}
	}
	for _, c := range r.columns() {
		if c.phaseReport == nil || c.unserved == 0 || o.rate == 0 {
			continue
		}
		if r.keptUp(c.phaseReport) {
			add("%s: %s requests that were due had not begun at the end.", quoted(c.name), grouped(c.unserved))
		} else {
			add("%s did not keep up with the rate: all %s clients were busy or waiting, and %s requests that were due had not begun at the end. Its latencies grow for as long as a phase lasts, and say so of that length only.",
				quoted(c.name), grouped(uint64(o.clients)), grouped(c.unserved))
		}
	}
	if r.interrupted {
		add("Interrupted: this is how far it came.")
	}
	return notes
}

func quoted(name string) string { return "\"" + name + "\"" }

// closingSeen reports whether the server has had more connections at once than there are
// clients. Each client has one at a time. It closes that on its side, and begins with the
// next one, before the server has noticed.
func (r *report) closingSeen() bool {
	return r.dialing != nil && r.embedded && r.dialing.serverPeak > int64(r.options.clients)
}

// A figure is one line of the table, and one member of the JSON ratio.
type figure struct {
	label string
	name  string
	// value returns the figure of a phase, and false if it is not known.
	value func(*phaseReport) (float64, bool)
	text  func(float64) string
}

// percentileOf returns the percentile of one of the histograms of a phase.
func percentileOf(percent float64, of func(*phaseReport) *histogram) func(*phaseReport) (float64, bool) {
	return func(p *phaseReport) (float64, bool) {
		h := of(p)
		return float64(h.percentile(percent)), h.count > 0
	}
}

// The histograms of a phase.
func latencies(p *phaseReport) *histogram { return &p.latency }
func waits(p *phaseReport) *histogram     { return &p.waits }
func dials(p *phaseReport) *histogram     { return &p.dialTimes }
func trips(p *phaseReport) *histogram     { return &p.trips }

func (p *phaseReport) requestsPerSecond() float64 {
	return float64(p.answered) / max(p.elapsed.Seconds(), 1e-9)
}

// figures returns the lines of the table.
func (r *report) figures() []figure {
	connections := figure{"connections at once (server)", "peak_connections",
		func(p *phaseReport) (float64, bool) { return float64(p.serverPeak), true }, count}
	if !r.embedded {
		connections.label = "connections at once (client)"
		connections.value = func(p *phaseReport) (float64, bool) { return float64(p.clientPeak), true }
	}
	number := func(value func(*phaseReport) float64) func(*phaseReport) (float64, bool) {
		return func(p *phaseReport) (float64, bool) { return value(p), true }
	}
	return []figure{
		{"requests per second", "requests_per_second", number((*phaseReport).requestsPerSecond), count},
		{"latency p50", "latency_p50", percentileOf(50, latencies), duration},
		{"latency p90", "latency_p90", percentileOf(90, latencies), duration},
		{"latency p99", "latency_p99", percentileOf(99, latencies), duration},
		{"latency p99.9", "latency_p99_9", percentileOf(99.9, latencies), duration},
		{"latency max", "latency_max", percentileOf(100, latencies), duration},
		{"wait p50", "wait_p50", percentileOf(50, waits), duration},
		{"wait p99", "wait_p99", percentileOf(99, waits), duration},
		{"dial p50", "dial_p50", percentileOf(50, dials), duration},
		{"dial p99", "dial_p99", percentileOf(99, dials), duration},
		{"round trip p50", "round_trip_p50", percentileOf(50, trips), duration},
		{"round trip p99", "round_trip_p99", percentileOf(99, trips), duration},
		{"errors", "errors", number(func(p *phaseReport) float64 { return float64(p.errors) }), count},
		{"wrong replies", "wrong_replies", number(func(p *phaseReport) float64 { return float64(p.wrong) }), count},
		{"unserved", "unserved", number(func(p *phaseReport) float64 { return float64(p.unserved) }), count},
		{"dials", "dials", number(func(p *phaseReport) float64 { return float64(p.dials) }), count},
		connections,
		{"client heap, peak", "peak_heap_bytes", number(func(p *phaseReport) float64 { return float64(p.heap) }), size},
		{"client goroutines, peak", "peak_goroutines", number(func(p *phaseReport) float64 { return float64(p.goroutines) }), count},
	}
}

// An amount is the value of a figure in one phase, or none.
type amount struct {
	float64
	known bool
}

func (f figure) in(p *phaseReport) amount {
	if p == nil {
		return amount{}
	}
	v, ok := f.value(p)
	return amount{v, ok}
}

func (f figure) show(a amount) string {
	if !a.known {
		return "-"
	}
	return f.text(a.float64)
}
