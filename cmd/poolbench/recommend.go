package main

import (
	"fmt"
	"math"
)

// An advice is the recommended MaxConnections.
type advice struct {
	size    int
	atLeast bool    // the pool was the limit, so that more may be needed
	demand  float64 // connections in use on average
	reason  string  // whole sentences
}

// waitShare is the share of requests that may wait for a connection, with the
// recommended size and a given rate.
const waitShare = 0.01

// advise returns the recommended size of the pool, or nil if nothing was measured.
func (r *report) advise() *advice {
	p := r.pooled
	if p == nil || p.trips.count == 0 || p.answered == 0 {
		return nil
	}
	if r.options.rate > 0 {
		return r.adviseForRate()
	}
	// The connections that the server keeps busy are its throughput times the time that it
	// takes for a request that has it for itself. With more of them in use the round trip
	// grows, and the throughput does not (the knee of the throughput bound: Denning and
	// Buzen, The Operational Analysis of Queueing Network Models, 1978, section 5).
	alone, how := r.alone()
	demand := p.requestsPerSecond() * alone / 1e9
	a := &advice{demand: demand, size: r.bounded(max(2, math.Ceil(1.25*demand)))}
	a.reason = fmt.Sprintf("%s requests/s were answered, and %s takes %s: %s connections carry that (Little's law).",
		count(p.requestsPerSecond()), how, duration(alone), digits(demand))
	if demand > 0.75*float64(r.options.max) && r.options.max < r.options.clients {
		a.atLeast = true
		a.size = max(a.size, r.options.max)
		a.reason += fmt.Sprintf(" The pool of %s is the limit: measure with a larger -max to see how far it goes.", grouped(uint64(r.options.max)))
		return a
	}
	switch {
	case float64(a.size) < 1.25*demand:
		a.reason += fmt.Sprintf(" %s clients use no more than that.", grouped(uint64(r.options.clients)))
		return a
	case 1.25*demand <= 1:
		a.reason += " A second one lets the others go on when one reply takes long."
	default:
		a.reason += " A quarter more leaves room for unevenness."
	}
	a.reason += " Further ones would only wait for each other at the server, or in this program."
	return a
}

// adviseForRate returns the size for an open loop.
func (r *report) adviseForRate() *advice {
	p, o := r.pooled, r.options
	held := float64(p.trips.mean())
	if demand := p.requestsPerSecond() * held / 1e9; r.keptUp(p) && demand < 0.9*float64(o.max) {
		a := &advice{demand: demand}
		n := sizeFor(demand, waitShare)
		a.size = r.bounded(float64(n))
		a.reason = fmt.Sprintf("%s requests/s held a connection for %s on average: %s were in use at a time (Little's law). With %s connections fewer than 1 %% of requests wait that come at random (Erlang C).",
			count(p.requestsPerSecond()), duration(held), digits(demand), grouped(uint64(n)))
		if a.size < n {
			a.reason += fmt.Sprintf(" But %s clients use no more than that.", grouped(uint64(o.clients)))
		}
		return a
	}
	alone, how := r.alone()
	demand := o.rate * alone / 1e9
	n := sizeFor(demand, waitShare)
	a := &advice{demand: demand, atLeast: true, size: r.bounded(float64(max(n, 1)))}
	a.reason = fmt.Sprintf("The pool of %s did not keep up with %s requests/s. %s takes %s: at that speed %s connections are in use at a time (Little's law), and with %s fewer than 1 %% of requests wait (Erlang C).",
		grouped(uint64(o.max)), count(o.rate), capital(how), duration(alone), digits(demand), grouped(uint64(n)))
	if n <= o.max {
		a.reason += " The pool has as many: the server is the limit, or this program."
	}
	return a
}

// keptUp reports whether a phase of an open loop began all that was due but for a few.
func (r *report) keptUp(p *phaseReport) bool {
	return float64(p.unserved) <= 0.01*r.options.rate*p.elapsed.Seconds()
}

// alone returns how long a request takes that has the server for itself, in nanoseconds,
// and how that is known.
func (r *report) alone() (nanoseconds float64, how string) {
	if s := r.shared; s != nil && s.trips.count > 0 {
		return float64(s.trips.percentile(50)), "one that has the server for itself"
	}
	return float64(r.pooled.trips.percentile(1)), "one of the quickest"
}

// bounded returns n within what makes sense: with more connections than clients, some
// are never used.
func (r *report) bounded(n float64) int {
	return int(max(1, min(n, float64(r.options.clients), maxPool)))
}

// sizeFor returns the least number of connections with which less than the given share of
// requests waits, if demand connections are in use on average and requests come at
// random.
func sizeFor(demand, share float64) int {
	// Erlang's formulas. blocked is B(n, demand), by its recursion from n = 0 on.
	blocked := 1.0
	for n := 1; n < maxPool; n++ {
		blocked = demand * blocked / (float64(n) + demand*blocked)
		if busy := demand / float64(n); busy < 1 && blocked/(1-busy*(1-blocked)) < share {
			return n
		}
	}
	return maxPool
}

// String is the advice on a line of its own, without the reason.
func (a *advice) String() string {
	if a.atLeast {
		return "recommended MaxConnections: at least " + grouped(uint64(a.size))
	}
	return "recommended MaxConnections: " + grouped(uint64(a.size))
}

func capital(text string) string { return string(text[0]-'a'+'A') + text[1:] }
