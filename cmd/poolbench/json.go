package main

import (
	"encoding/json"
	"io"
	"math"
	"runtime"
	"time"
)

// The JSON form. Its names are documented in the text of -h and do not change.
type (
	jsonReport struct {
		Clients         int                 `json:"clients"`
		MaxConnections  int                 `json:"max_connections"`
		SizeBytes       int                 `json:"size_bytes"`
		DurationSeconds float64             `json:"duration_seconds"`
		RTTSeconds      *float64            `json:"rtt_seconds"`
		Rate            *float64            `json:"rate"`
		WarmupSeconds   float64             `json:"warmup_seconds"`
		Started         *time.Time          `json:"started"`
		URL             string              `json:"url"`
		URLs            []string            `json:"urls"`
		Embedded        bool                `json:"embedded"`
		GoVersion       string              `json:"go_version"`
		OS              string              `json:"os"`
		Arch            string              `json:"arch"`
		CPUs            int                 `json:"cpus"`
		Interrupted     bool                `json:"interrupted"`
		Notes           []string            `json:"notes"`
		Dialing         *jsonPhase          `json:"dialing"`
		Shared          *jsonPhase          `json:"shared"`
		Pooled          *jsonPhase          `json:"pooled"`
		Ratio           map[string]*float64 `json:"ratio"`
		Recommended     *jsonAdvice         `json:"recommended"`
		Assertions      []jsonVerdict       `json:"assertions"`
	}
	jsonAdvice struct {
		MaxConnections int     `json:"max_connections"`
		AtLeast        bool    `json:"at_least"`
		Demand         float64 `json:"demand"`
		Reason         string  `json:"reason"`
	}
	jsonVerdict struct {
		Assertion string   `json:"assertion"`
		Value     *float64 `json:"value"`
		Holds     bool     `json:"holds"`
	}
	jsonPhase struct {
		Seconds               float64      `json:"seconds"`
		Requests              uint64       `json:"requests"`
		RequestsPerSecond     float64      `json:"requests_per_second"`
		Latency               *jsonLatency `json:"latency_ms"`
		Wait                  *jsonLatency `json:"wait_ms"`
		Dial                  *jsonLatency `json:"dial_ms"`
		RoundTrip             *jsonLatency `json:"round_trip_ms"`
		LatencyCurve          []jsonPoint  `json:"latency_curve"`
		Errors                uint64       `json:"errors"`
		WrongReplies          uint64       `json:"wrong_replies"`
		Unserved              uint64       `json:"unserved"`
		FirstErrors           []string     `json:"first_errors"`
		Dials                 int64        `json:"dials"`
		PeakConnectionsClient int64        `json:"peak_connections_client"`
		PeakConnectionsServer *int64       `json:"peak_connections_server"`
		PeakHeapBytes         uint64       `json:"peak_heap_bytes"`
		PeakGoroutines        uint64       `json:"peak_goroutines"`
		Pool                  *jsonPool    `json:"pool"`
		Servers               []jsonServer `json:"servers"`
		Series                []jsonSample `json:"series"`
	}
	jsonPoint struct {
		Percentile float64 `json:"percentile"`
		MS         float64 `json:"ms"`
	}
	jsonSample struct {
		Seconds  float64 `json:"seconds"`
		Requests uint64  `json:"requests"`
		Errors   uint64  `json:"errors"`
		Dials    int64   `json:"dials"`
		InUse    float64 `json:"in_use"`
		Waiting  float64 `json:"waiting"`
		Open     float64 `json:"open"`
	}
	jsonServer struct {
		Server  string `json:"server"`
		Replies uint64 `json:"replies"`
		Opened  uint64 `json:"opened"`
		Open    *int   `json:"open"`
	}
	jsonLatency struct {
		P50  float64 `json:"p50"`
		P90  float64 `json:"p90"`
		P99  float64 `json:"p99"`
		P999 float64 `json:"p99_9"`
		Max  float64 `json:"max"`
		Mean float64 `json:"mean"`
	}
	jsonPool struct {
		Gets       uint64 `json:"gets"`
		Waits      uint64 `json:"waits"`
		Timeouts   uint64 `json:"timeouts"`
		Canceled   uint64 `json:"canceled"`
		Rejected   uint64 `json:"rejected"`
		Opened     uint64 `json:"opened"`
		OpenErrors uint64 `json:"open_errors"`
	}
)

// writeJSON writes r for machines.
func (r *report) writeJSON(w io.Writer) error {
	o := r.options
	j := jsonReport{
		Clients:         o.clients,
		MaxConnections:  o.max,
		SizeBytes:       o.size,
		DurationSeconds: o.duration.Seconds(),
		URL:             shownURL(o.url),
		URLs:            []string{},
		Embedded:        r.embedded,
		GoVersion:       runtime.Version(),
		OS:              runtime.GOOS,
		Arch:            runtime.GOARCH,
		CPUs:            runtime.NumCPU(),
		Interrupted:     r.interrupted,
		Notes:           append([]string{}, r.remarks()...),
		Dialing:         r.jsonPhase(r.dialing),
		Shared:          r.jsonPhase(r.shared),
		Pooled:          r.jsonPhase(r.pooled),
		Ratio:           map[string]*float64{},
		WarmupSeconds:   o.warmup.Seconds(),
		Assertions:      []jsonVerdict{},
	}
	if o.rate > 0 {
		j.Rate = &o.rate
	}
	if !r.started.IsZero() {
		j.Started = new(r.started.UTC().Truncate(time.Second))
	}
	if a := r.advise(); a != nil {
		j.Recommended = &jsonAdvice{a.size, a.atLeast, rounded(a.demand, 1000), a.reason}
	}
	for _, v := range r.verdicts {
		verdict := jsonVerdict{Assertion: v.text, Holds: v.holds}
		if v.value.known {
			verdict.Value = new(rounded(v.value.float64, 1e6))
		}
		j.Assertions = append(j.Assertions, verdict)
	}
	for _, u := range o.urls {
		j.URLs = append(j.URLs, shownURL(u))
	}
	if r.embedded {
		j.RTTSeconds = new(o.rtt.Seconds())
	}
	for _, f := range r.figures() {
		var ratio *float64
		a, b := f.in(r.dialing), f.in(r.pooled)
		if a.known && b.known && a.float64 != 0 {
			ratio = new(rounded(b.float64/a.float64, 1e6))
		}
		j.Ratio[f.name] = ratio
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(j)
}

func (r *report) jsonPhase(p *phaseReport) *jsonPhase {
	if p == nil {
		return nil
	}
	j := &jsonPhase{
		Seconds:               rounded(p.elapsed.Seconds(), 1e6),
		Requests:              p.answered,
		RequestsPerSecond:     rounded(p.requestsPerSecond(), 10),
		Errors:                p.errors,
		WrongReplies:          p.wrong,
		FirstErrors:           append([]string{}, p.first...),
		Dials:                 p.dials,
		PeakConnectionsClient: p.clientPeak,
		PeakHeapBytes:         p.heap,
		PeakGoroutines:        p.goroutines,
	}
	if r.embedded {
		j.PeakConnectionsServer = &p.serverPeak
	}
	j.Latency, j.Wait, j.Dial, j.RoundTrip = jsonOf(&p.latency), jsonOf(&p.waits), jsonOf(&p.dialTimes), jsonOf(&p.trips)
	j.Unserved = p.unserved
	j.LatencyCurve = []jsonPoint{}
	for _, percent := range curve {
		if p.latency.tells(percent) {
			j.LatencyCurve = append(j.LatencyCurve, jsonPoint{percent, ms(p.latency.percentile(percent))})
		}
	}
	j.Series = []jsonSample{}
	for _, s := range p.series {
		j.Series = append(j.Series, jsonSample{rounded(s.end.Seconds(), 1e3), s.answered, s.failed, s.dials, rounded(s.inUse, 100), rounded(s.waiting, 100), rounded(s.open, 100)})
	}
	if s := p.stats; s != nil {
		j.Pool = &jsonPool{s.Gets, s.Waits, s.Timeouts, s.Canceled, s.Rejected, s.Opened, s.OpenErrors}
	}
	for _, c := range p.spread {
		s := jsonServer{Server: c.server, Replies: c.replies, Opened: c.opened}
		if p.stats != nil {
			s.Open = &c.open
		}
		j.Servers = append(j.Servers, s)
	}
	return j
}

// jsonOf returns what is told of a histogram, or nil if it is empty.
func jsonOf(h *histogram) *jsonLatency {
	if h.count == 0 {
		return nil
	}
	p := func(percent float64) float64 { return ms(h.percentile(percent)) }
	return &jsonLatency{p(50), p(90), p(99), p(99.9), p(100), ms(h.mean())}
}

// ms returns d in milliseconds.
func ms(d time.Duration) float64 { return rounded(float64(d)/1e6, 1e6) }

// curve is the percentiles that make a curve.
var curve = []float64{1, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99, 100}

// tells reports whether h has enough for a percentile that is not the maximum.
func (h *histogram) tells(percent float64) bool {
	return h.count > 0 && (percent == 100 || float64(h.count)*(100-percent) >= 100)
}

// rounded rounds v to multiples of 1/parts.
func rounded(v, parts float64) float64 { return math.Round(v*parts) / parts }
