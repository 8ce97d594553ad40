package main

import (
	"encoding/json"
	"io"
	"math"
	"runtime"
)

// The JSON form. Its names are documented in the text of -h and do not change.
type (
	jsonReport struct {
		Clients         int                 `json:"clients"`
		MaxConnections  int                 `json:"max_connections"`
		SizeBytes       int                 `json:"size_bytes"`
		DurationSeconds float64             `json:"duration_seconds"`
		RTTSeconds      *float64            `json:"rtt_seconds"`
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
		Pooled          *jsonPhase          `json:"pooled"`
		Ratio           map[string]*float64 `json:"ratio"`
	}
	jsonPhase struct {
		Seconds               float64      `json:"seconds"`
		Requests              uint64       `json:"requests"`
		RequestsPerSecond     float64      `json:"requests_per_second"`
		Latency               *jsonLatency `json:"latency_ms"`
		Errors                uint64       `json:"errors"`
		WrongReplies          uint64       `json:"wrong_replies"`
		FirstErrors           []string     `json:"first_errors"`
		Dials                 int64        `json:"dials"`
		PeakConnectionsClient int64        `json:"peak_connections_client"`
		PeakConnectionsServer *int64       `json:"peak_connections_server"`
		PeakHeapBytes         uint64       `json:"peak_heap_bytes"`
		PeakGoroutines        uint64       `json:"peak_goroutines"`
		Pool                  *jsonPool    `json:"pool"`
		Servers               []jsonServer `json:"servers"`
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
		Pooled:          r.jsonPhase(r.pooled),
		Ratio:           map[string]*float64{},
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
	if p.latency.count > 0 {
		ms := func(percent float64) float64 {
			return rounded(float64(p.latency.percentile(percent))/1e6, 1e6)
		}
		j.Latency = &jsonLatency{ms(50), ms(90), ms(99), ms(99.9), ms(100)}
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

// rounded rounds v to multiples of 1/parts.
func rounded(v, parts float64) float64 { return math.Round(v*parts) / parts }
