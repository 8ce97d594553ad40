package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
)

// Values of Erlang's formulas, summed up term by term as they are defined. The code uses
// a recursion.
func TestTheSizeForADemandIsThatOfErlang(t *testing.T) {
	waits := func(n int, demand float64) float64 {
		term, sum := 1.0, 0.0
		for k := range n {
			sum += term
			term *= demand / float64(k+1)
		}
		top := term * float64(n) / (float64(n) - demand)
		return top / (sum + top)
	}
	for _, demand := range []float64{0.01, 0.5, 1, 1.9, 2, 7.3, 20, 33.5, 62.5, 99} {
		got := sizeFor(demand, 0.01)
		if float64(got) <= demand || waits(got, demand) >= 0.01 {
			t.Errorf("demand %v: with %d connections %.3f wait", demand, got, waits(got, demand))
		}
		if float64(got-1) > demand && waits(got-1, demand) < 0.01 {
			t.Errorf("demand %v: %d connections are enough, got %d", demand, got-1, got)
		}
	}
	// A pool of any size would have most requests wait.
	if got := sizeFor(1e6, 0.01); got != maxPool {
		t.Errorf("got %d", got)
	}
}

// advised returns the advice for a pool that answered a number of requests in a second, of
// which each took a time, when one that has the server for itself takes alone.
func advised(o options, answered uint64, held, alone time.Duration, unserved uint64) *advice {
	r := &report{options: o, pooled: &phaseReport{outcome: outcome{elapsed: time.Second, answered: answered, unserved: unserved}}, shared: &phaseReport{}}
	r.pooled.stats = &pool.Stats{}
	r.pooled.trips.record(held)
	r.pooled.trips.record(held)
	if alone > 0 {
		r.shared.trips.record(alone)
	}
	return r.advise()
}

func TestTheRecommendedSizeFollowsFromTheDemand(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name        string
		options     options
		answered    uint64
		held, alone time.Duration
		unserved    uint64
		want        string
		demand      float64
		reason      string
	}{
		{"a closed loop that the server limits", options{clients: 1000, max: 100}, 10_000, 10 * ms, 1 * ms, 0,
			"recommended MaxConnections: 13", 10, "10,000 requests/s were answered, and one that has the server for itself takes 1.00 ms: 10.0 connections carry that"},
		{"a closed loop for which one is enough", options{clients: 1000, max: 100}, 500, 200 * ms, 1 * ms, 0,
			"recommended MaxConnections: 2", 0.5, "A second one lets the others go on"},
		{"a closed loop that the pool limits", options{clients: 1000, max: 100}, 4_900, 20 * ms, 20 * ms, 0,
			"recommended MaxConnections: at least 123", 98, "The pool of 100 is the limit"},
		{"as many connections as clients", options{clients: 100, max: 100}, 4_900, 20 * ms, 20 * ms, 0,
			"recommended MaxConnections: 100", 98, "(Little's law). 100 clients use no more than that."},
		{"a closed loop without the shared way", options{clients: 1000, max: 100}, 5_000, 2 * ms, 0, 0,
			"recommended MaxConnections: 13", 10, "one of the quickest takes 2.00 ms"},
		{"an open loop", options{clients: 1000, max: 100, rate: 1000}, 1_000, 20 * ms, 19 * ms, 0,
			"recommended MaxConnections: 32", 20, "were in use at a time (Little's law). With 32 connections fewer than 1 % of requests wait that come at random (Erlang C)."},
		{"an open loop with few clients", options{clients: 25, max: 100, rate: 1000}, 1_000, 20 * ms, 19 * ms, 0,
			"recommended MaxConnections: 25", 20, "But 25 clients use no more than that."},
		{"an open loop that the pool does not carry", options{clients: 1000, max: 10, rate: 1000}, 500, 20 * ms, 20 * ms, 500,
			"recommended MaxConnections: at least 32", 20, "The pool of 10 did not keep up with 1,000 requests/s."},
		{"an open loop that the server does not carry", options{clients: 1000, max: 100, rate: 1000}, 500, 200 * ms, 20 * ms, 500,
			"recommended MaxConnections: at least 32", 20, "The pool has as many: the server is the limit, or this program."},
	} {
		a := advised(c.options, c.answered, c.held, c.alone, c.unserved)
		if a == nil || a.String() != c.want || math.Abs(a.demand-c.demand) > 1e-9 || !strings.Contains(a.reason, c.reason) {
			t.Errorf("%s: got %v, demand %v, %q; want %s, %v, %q", c.name, a, a.demand, a.reason, c.want, c.demand, c.reason)
		}
	}
}

func TestThereIsNoRecommendationWithoutAMeasurement(t *testing.T) {
	for name, r := range map[string]*report{
		"not run":  {options: options{clients: 10, max: 5}},
		"no reply": {options: options{clients: 10, max: 5}, pooled: &phaseReport{outcome: outcome{elapsed: time.Second, errors: 3}}},
	} {
		if a := r.advise(); a != nil {
			t.Errorf("%s: got %v", name, a)
		}
	}
}
