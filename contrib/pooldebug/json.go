package pooldebug

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/S4AK4N/pool"
)

// most is how many leases and how many keys are told.
const most = 100

// A report is the JSON.
type report struct {
	Since float64      `json:"since"` // when the handler was made: another program has another one
	Time  float64      `json:"time"`
	Pools []poolReport `json:"pools"`
}

type poolReport struct {
	Name       string     `json:"name"`
	Stats      pool.Stats `json:"stats"`
	Window     window     `json:"window"`
	History    history    `json:"history"`
	Leases     []lease    `json:"leases"`
	LeaseCount int        `json:"lease_count"`
	Keys       []key      `json:"keys,omitempty"`
	KeyCount   *int       `json:"key_count,omitempty"`
}

// A history has one element for each snapshot.
type history struct {
	Time    []float64 `json:"time"` // seconds since 1970
	Max     []int     `json:"max"`
	Active  []int     `json:"active"`
	Idle    []int     `json:"idle"`
	Opening []int     `json:"opening"`
	Waiting []int     `json:"waiting"`
	Gets    []float64 `json:"gets_per_second"`
	Waits   []float64 `json:"waits_per_second"`
	Failed  []float64 `json:"failed_per_second"`
	Opened  []float64 `json:"opened_per_second"`
	Ended   []float64 `json:"closed_per_second"`
	Waited  []float64 `json:"wait_p99_seconds"` // of the waits since the snapshot before
}

type lease struct {
	Number uint64   `json:"number"`
	Age    *float64 `json:"age_seconds"`            // null if the pool has not seen it yet
	Opened float64  `json:"connection_age_seconds"` // of the connection
	Where  string   `json:"where"`
}

// json returns the report of now, with snapshots after some time.
func (h *handler) json(now time.Time, after float64) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := report{Since: seconds(h.since), Time: seconds(now), Pools: []poolReport{}}
	for _, w := range h.sources {
		s := w.source.Stats()
		p := poolReport{Name: redacted(w.source.Name()), Stats: s, Window: w.window(now, s), History: w.history(after), Leases: []lease{}}
		if s.LastOpenError != nil {
			p.Stats.LastOpenError = errors.New(redacted(s.LastOpenError.Error()))
		}
		if l, ok := w.source.(lessor); ok {
			var first []pool.LeaseInfo
			first, p.LeaseCount = oldest(l.Leases(), most)
			for _, info := range first {
				p.Leases = append(p.Leases, leaseOf(info, now))
			}
		}
		if g, ok := w.source.(*group); ok {
			var count int
			p.Keys, count = g.keys(now, most)
			p.KeyCount = &count
		}
		r.Pools = append(r.Pools, p)
	}
	return json.Marshal(r)
}

func leaseOf(info pool.LeaseInfo, now time.Time) lease {
	l := lease{Number: info.Number, Opened: max(now.Sub(info.Opened).Seconds(), 0), Where: redacted(info.Where)}
	if !info.Since.IsZero() {
		age := max(now.Sub(info.Since).Seconds(), 0)
		l.Age = &age
	}
	return l
}

// seconds returns t for JSON.
func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

func (w *watched) history(after float64) (h history) {
	h = history{[]float64{}, []int{}, []int{}, []int{}, []int{}, []int{}, []float64{}, []float64{}, []float64{}, []float64{}, []float64{}, []float64{}}
	for _, p := range w.points {
		at := seconds(p.at)
		if at <= after {
			continue
		}
		h.Time = append(h.Time, at)
		h.Max = append(h.Max, p.max)
		h.Active = append(h.Active, p.active)
		h.Idle = append(h.Idle, p.idle)
		h.Opening = append(h.Opening, p.opening)
		h.Waiting = append(h.Waiting, p.waiting)
		h.Gets = append(h.Gets, p.gets)
		h.Waits = append(h.Waits, p.waits)
		h.Failed = append(h.Failed, p.failed)
		h.Opened = append(h.Opened, p.opened)
		h.Ended = append(h.Ended, p.ended)
		h.Waited = append(h.Waited, p.waited.Seconds())
	}
	return h
}
