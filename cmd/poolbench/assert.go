package main

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// An assertion is one comparison of -assert.
type assertion struct {
	text   string // as it was given
	way    string
	metric string
	unit   unit
	op     string
	limit  float64 // milliseconds, percent or a number

	value func(*phaseReport) amount
}

// A unit is what the number of an assertion is.
type unit int

const (
	plain unit = iota
	milliseconds
	percent
)

// A verdict is what has come of an assertion.
type verdict struct {
	assertion
	value amount
	holds bool
	why   string // if it does not hold and value is not the reason
}

var (
	comparison = regexp.MustCompile(`^([^<>=]*)(<=|>=|==|<|>|=)([^<>=]*)$`)
	percentile = regexp.MustCompile(`^p([0-9]{1,2}(?:[._][0-9]{1,6})?|100)$`)
)

// parseAsserts reads a list of assertions. Its errors name the part that is wrong.
func parseAsserts(list string) (asserts []assertion, err error) {
	for _, text := range strings.Split(list, ",") {
		a, err := parseAssert(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		asserts = append(asserts, a)
	}
	return asserts, nil
}

func parseAssert(text string) (assertion, error) {
	a := assertion{text: text, way: keyPooled}
	fail := func(format string, args ...any) (assertion, error) {
		return a, fmt.Errorf("%q: %s", text, fmt.Sprintf(format, args...))
	}
	if text == "" {
		return a, errors.New("an assertion is empty: want some such as p99<50ms, with commas between them")
	}
	parts := comparison.FindStringSubmatch(text)
	if parts == nil {
		return fail("want a metric, one of < <= > >= =, and a limit, such as p99<50ms")
	}
	metric, limit := strings.TrimSpace(parts[1]), strings.TrimSpace(parts[3])
	if a.op = parts[2]; a.op == "==" {
		a.op = "="
	}
	if way, rest, found := strings.Cut(metric, ":"); found {
		a.way, metric = strings.TrimSpace(way), strings.TrimSpace(rest)
	}
	switch a.way {
	case keyDialing, keyShared, keyPooled:
	default:
		return fail("there is no way %q: want one of %s", a.way, strings.Join(allWays, ", "))
	}
	a.metric = metric
	isTime, isCount := a.find()
	switch {
	case a.value == nil:
		return fail("there is no metric %q: see -h", metric)
	case limit == "":
		return fail("there is no limit behind %s", a.op)
	case isTime:
		a.unit = milliseconds
		d, err := time.ParseDuration(strings.ReplaceAll(limit, " ", ""))
		if err != nil || d < 0 {
			return fail("%q is no time: want a number and its unit, such as 50ms", limit)
		}
		a.limit = float64(d) / 1e6
		return a, nil
	}
	number, isShare := strings.CutSuffix(limit, "%")
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	switch {
	case err != nil || math.IsNaN(n) || math.IsInf(n, 0) || n < 0:
		return fail("%q is no number", limit)
	case isShare && !isCount:
		return fail("%s has no share: want a number without %%", metric)
	case isShare && n > 100:
		return fail("more than 100 %%")
	}
	if a.limit = n; isShare {
		a.unit = percent
		part := a.value
		a.value = func(p *phaseReport) amount {
			v, all := part(p), float64(p.latency.count+p.errors+p.wrong+p.unserved)
			return amount{100 * v.float64 / all, all > 0}
		}
	}
	return a, nil
}

// find sets what a.metric is. It says whether that is a time, and if not, whether it
// counts some of all requests.
func (a *assertion) find() (isTime, isCount bool) {
	number := func(value func(*phaseReport) float64) {
		a.value = func(p *phaseReport) amount { return amount{value(p), true} }
	}
	switch a.metric {
	case "errors":
		number(func(p *phaseReport) float64 { return float64(p.errors + p.wrong) })
		return false, true
	case "wrong":
		number(func(p *phaseReport) float64 { return float64(p.wrong) })
		return false, true
	case "unserved":
		number(func(p *phaseReport) float64 { return float64(p.unserved) })
		return false, true
	case "requests":
		number(func(p *phaseReport) float64 { return float64(p.answered) })
		return false, false
	case "rps", "requests_per_second":
		number((*phaseReport).requestsPerSecond)
		return false, false
	case "dials":
		number(func(p *phaseReport) float64 { return float64(p.dials) })
		return false, false
	case "connections":
		number(func(p *phaseReport) float64 { return float64(max(p.clientPeak, p.serverPeak)) })
		return false, false
	}

	of := func(p *phaseReport) *histogram { return &p.latency }
	metric := a.metric
	if part, rest, found := strings.Cut(metric, "."); found {
		switch part {
		case "wait":
			of, metric = func(p *phaseReport) *histogram { return &p.waits }, rest
		case "dial":
			of, metric = func(p *phaseReport) *histogram { return &p.dialTimes }, rest
		case "round_trip":
			of, metric = func(p *phaseReport) *histogram { return &p.trips }, rest
		}
	}
	var figure func(*histogram) time.Duration
	if rank := percentile.FindStringSubmatch(metric); rank != nil {
		n, _ := strconv.ParseFloat(strings.ReplaceAll(rank[1], "_", "."), 64)
		figure = func(h *histogram) time.Duration { return h.percentile(n) }
	} else if metric == "max" {
		figure = func(h *histogram) time.Duration { return h.max }
	} else if metric == "mean" {
		figure = (*histogram).mean
	} else {
		return false, false
	}
	a.value = func(p *phaseReport) amount {
		h := of(p)
		return amount{float64(figure(h)) / 1e6, h.count > 0}
	}
	return true, false
}

// check compares a with what was measured.
func (a assertion) check(r *report) verdict {
	v := verdict{assertion: a}
	p := *r.phase(a.way)
	if p != nil {
		v.value = a.value(p)
	}
	switch {
	case r.interrupted:
		v.why = "interrupted"
	case p == nil:
		v.why = "not run"
	case !v.value.known:
		v.why = "not known: nothing was measured"
	default:
		v.holds = map[string]bool{
			"<": v.value.float64 < a.limit, "<=": v.value.float64 <= a.limit,
			">": v.value.float64 > a.limit, ">=": v.value.float64 >= a.limit,
			"=": v.value.float64 == a.limit,
		}[a.op]
	}
	return v
}

// String says what has come of it, on one line.
func (v verdict) String() string {
	text := v.why
	if text == "" {
		text = v.shown()
	}
	if v.holds {
		return fmt.Sprintf("%s holds: %s", v.text, text)
	}
	return fmt.Sprintf("%s does not hold: %s", v.text, text)
}

// shown writes the value in the unit of the assertion.
func (v verdict) shown() string {
	switch v.unit {
	case milliseconds:
		return duration(v.value.float64 * 1e6)
	case percent:
		return strconv.FormatFloat(v.value.float64, 'g', 3, 64) + " %"
	default:
		return strconv.FormatFloat(rounded(v.value.float64, 10), 'f', -1, 64)
	}
}

// failed returns the assertions that do not hold.
func (r *report) failed() (failed []verdict) {
	for _, v := range r.verdicts {
		if !v.holds {
			failed = append(failed, v)
		}
	}
	return failed
}
