package main

import (
	"fmt"
	"strings"

	"github.com/S4AK4N/pool"
)

// A report is the result of a run.
type report struct {
	options     options
	embedded    bool
	interrupted bool
	notes       []string // whole sentences
	dialing     *phaseReport
	pooled      *phaseReport // each nil if not run
}

// A phaseReport is the result of one phase.
type phaseReport struct {
	outcome
	peaks
	dials      int64
	clientPeak int64 // most connections that the client had open
	serverPeak int64 // most connections that the server saw; 0: not known
	stats      *pool.Stats
	spread     []serverCount // nil if there is one server
}

// answered reports whether any request had its reply.
func (r *report) answered() bool {
	for _, p := range []*phaseReport{r.dialing, r.pooled} {
		if p != nil && p.latency.count > 0 {
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
	if !r.embedded {
		notes = append(notes, "The client has counted the connections: what the server saw is not known.")
	}
	if o := r.options; r.pooled != nil && o.rtt > 0 {
		// A connection carries one request at a time, for a round trip at least.
		most := float64(o.max) / o.rtt.Seconds()
		if r.pooled.requestsPerSecond() > 0.75*most {
			notes = append(notes, fmt.Sprintf("The size of the pool is the limit here: %s connections with a round trip of %v carry %s requests per second at most. See -max.",
				grouped(uint64(o.max)), o.rtt, count(most)))
		}
	}
	if r.interrupted {
		notes = append(notes, "Interrupted: this is how far it came.")
	}
	return notes
}

// A figure is one line of the table, and one member of the JSON ratio.
type figure struct {
	label string
	name  string
	// value returns the figure of a phase, and false if it is not known.
	value func(*phaseReport) (float64, bool)
	text  func(float64) string
}

func known(value func(*phaseReport) float64) func(*phaseReport) (float64, bool) {
	return func(p *phaseReport) (float64, bool) { return value(p), true }
}

func latency(percent float64) func(*phaseReport) (float64, bool) {
	return func(p *phaseReport) (float64, bool) {
		return float64(p.latency.percentile(percent)), p.latency.count > 0
	}
}

func (p *phaseReport) requestsPerSecond() float64 {
	return float64(p.answered) / max(p.elapsed.Seconds(), 1e-9)
}

// figures returns the lines of the table.
func (r *report) figures() []figure {
	connections := figure{"connections at once (server)", "peak_connections",
		known(func(p *phaseReport) float64 { return float64(p.serverPeak) }), count}
	if !r.embedded {
		connections.label = "connections at once (client)"
		connections.value = known(func(p *phaseReport) float64 { return float64(p.clientPeak) })
	}
	return []figure{
		{"requests per second", "requests_per_second", known((*phaseReport).requestsPerSecond), count},
		{"latency p50", "latency_p50", latency(50), duration},
		{"        p90", "latency_p90", latency(90), duration},
		{"        p99", "latency_p99", latency(99), duration},
		{"        p99.9", "latency_p99_9", latency(99.9), duration},
		{"        max", "latency_max", latency(100), duration},
		{"errors", "errors", known(func(p *phaseReport) float64 { return float64(p.errors) }), count},
		{"wrong replies", "wrong_replies", known(func(p *phaseReport) float64 { return float64(p.wrong) }), count},
		{"dials", "dials", known(func(p *phaseReport) float64 { return float64(p.dials) }), count},
		connections,
		{"client heap, peak", "peak_heap_bytes", known(func(p *phaseReport) float64 { return float64(p.heap) }), size},
		{"client goroutines, peak", "peak_goroutines", known(func(p *phaseReport) float64 { return float64(p.goroutines) }), count},
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
