package prompool

import (
	"iter"
	"slices"
	"strings"

	"github.com/S4AK4N/pool"
	"github.com/prometheus/client_golang/prometheus"
)

// A Source is what a collector reads. A [*pool.Pool] is one.
type Source = pool.Source

// NewCollector returns a collector of these sources. Those with equal names are added up.
//
// Its metrics have no label but pool, state and reason. Two collectors in the same registry would
// have the same metrics, so the second one is refused. Give all sources to one collector, by
// [NewCollectorFunc] if a Group is among them. Or register both, not only the second, by
// prometheus.WrapRegistererWith with different values of one label.
func NewCollector(sources ...Source) prometheus.Collector {
	return collector{byName(slices.Values(slices.Clone(sources)), 0)}
}

// An Option changes what [NewCollectorFunc] returns.
type Option func(*options)

type options struct{ maxNames int }

const defaultMaxNames = 100

// MaxNames sets how many names a collector keeps apart: see [NewCollectorFunc]. If zero, 100 are.
// Negative: there is no limit.
func MaxNames(n int) Option { return func(o *options) { o.maxNames = n } }

// NewCollectorFunc returns a collector of what sources yields each time that Prometheus asks, such
// as the Sources of a [pool.Group] or of a Dialer of package wsconn. It may come from several
// goroutines at the same time.
//
// A name has some 110 series. So at most 100 names are kept apart, unless MaxNames says how many; all
// others are added up as the pool «others», as [pool.ByName] does it. The series of a name end when there is no
// source of that name any more.
func NewCollectorFunc(sources iter.Seq[Source], opts ...Option) prometheus.Collector {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	if o.maxNames == 0 {
		o.maxNames = defaultMaxNames
	}
	return collector{byName(sources, o.maxNames)}
}

// byName adds up sources whose names are equal as labels, which have to be UTF-8.
func byName(sources iter.Seq[Source], most int) iter.Seq[Source] {
	return pool.ByName(func(yield func(Source) bool) {
		for s := range sources {
			if !yield(pool.NewSource(strings.ToValidUTF8(s.Name(), "\uFFFD"), s)) {
				return
			}
		}
	}, most)
}

type collector struct {
	sources iter.Seq[Source]
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("pool_"+name, help, append([]string{"pool"}, labels...), nil)
}

// A metric is what is read of Stats: one series, or one for each value of its second label.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(s *pool.Stats, add func(v float64, labels ...string))
}

func gauge(name, help string, read func(s *pool.Stats) float64) metric {
	return metric{desc(name, help), prometheus.GaugeValue, func(s *pool.Stats, add func(float64, ...string)) { add(read(s)) }}
}

func counter(name, help string, read func(s *pool.Stats) uint64) metric {
	return metric{desc(name, help), prometheus.CounterValue, func(s *pool.Stats, add func(float64, ...string)) { add(float64(read(s))) }}
}

var metrics = []metric{
	{
		desc("connections", "Connections by their state: active ones are leased or held by the pool, idle ones can be lent, opening ones are being opened.", "state"), prometheus.GaugeValue,
		func(s *pool.Stats, add func(float64, ...string)) {
			add(float64(s.ActiveConnections), "active")
			add(float64(s.IdleConnections), "idle")
			add(float64(s.OpeningConnections), "opening")
		},
	},
	gauge("max_connections", "The limit of connections in force.", func(s *pool.Stats) float64 { return float64(s.MaxConnections) }),
	gauge("reserved_connections", "Idle connections that PutFor has reserved.", func(s *pool.Stats) float64 { return float64(s.ReservedConnections) }),
	gauge("awaiting_budget_connections", "Connections that would be opened if the budget had rights for them.", func(s *pool.Stats) float64 { return float64(s.AwaitingBudget) }),
	gauge("waiting_requests", "Callers that wait for a connection.", func(s *pool.Stats) float64 { return float64(s.WaitingRequests) }),
	gauge("oldest_wait_seconds", "How long the first of those who wait has waited.", func(s *pool.Stats) float64 { return s.OldestWait.Seconds() }),
	gauge("open_failing", "1 while opening fails: the last attempt failed, and nothing has ended the outage since.", func(s *pool.Stats) float64 {
		if s.LastOpenError != nil {
			return 1
		}
		return 0
	}),

	counter("leases_total", "Connections that were lent.", func(s *pool.Stats) uint64 { return s.Gets }),
	counter("waits_total", "Calls that found nothing idle, or waited for one connection, however they ended.", func(s *pool.Stats) uint64 { return s.Waits }),
	counter("same_waits_total", "Waits of GetSame.", func(s *pool.Stats) uint64 { return s.SameWaits }),
	{
		desc("failures_total", "Calls that got no connection, by the reason: timeout is ErrExhausted, canceled the end of the caller's context, and rejected, unavailable and gone are the errors of that name.", "reason"), prometheus.CounterValue,
		func(s *pool.Stats, add func(float64, ...string)) {
			add(float64(s.Timeouts), "timeout")
			add(float64(s.Canceled), "canceled")
			add(float64(s.Rejected), "rejected")
			add(float64(s.Unavailable), "unavailable")
			add(float64(s.Gone), "gone")
		},
	},
	counter("leaks_total", "Leases that were reported after LeakAfter.", func(s *pool.Stats) uint64 { return s.Leaked }),
	counter("opened_connections_total", "Connections that were opened.", func(s *pool.Stats) uint64 { return s.Opened }),
	counter("open_errors_total", "Attempts to open a connection that failed.", func(s *pool.Stats) uint64 { return s.OpenErrors }),
	counter("detached_connections_total", "Connections that left the pool by Detach.", func(s *pool.Stats) uint64 { return s.Detached }),
	{
		desc("closed_connections_total", "Connections that were closed, by the reason.", "reason"), prometheus.CounterValue,
		func(s *pool.Stats, add func(float64, ...string)) {
			for reason, n := range s.ClosedBy() {
				add(float64(n), reason)
			}
		},
	},
	counter("abandoned_calls_total", "Calls of the factory's functions that did not return in time.", func(s *pool.Stats) uint64 { return s.Abandoned }),
}

// A duration is a histogram of Stats.
type duration struct {
	desc *prometheus.Desc
	read func(s *pool.Stats) pool.Histogram
	rare bool // there is nothing in it unless Config.TimeUse is set: then it is left out
}

var durations = []duration{
	{desc("wait_seconds", "How long callers waited that found nothing idle, however that ended."), func(s *pool.Stats) pool.Histogram { return s.WaitTime }, false},
	{desc("open_seconds", "How long attempts to open a connection took, failed ones included."), func(s *pool.Stats) pool.Histogram { return s.OpenTime }, false},
	{desc("use_seconds", "How long leases lasted that their holders have ended."), func(s *pool.Stats) pool.Histogram { return s.UseTime }, true},
}

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range metrics {
		ch <- m.desc
	}
	for _, d := range durations {
		ch <- d.desc
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	for source := range c.sources {
		name, s := source.Name(), source.Stats()
		for _, m := range metrics {
			m.read(&s, func(v float64, labels ...string) {
				ch <- prometheus.MustNewConstMetric(m.desc, m.kind, v, append([]string{name}, labels...)...)
			})
		}
		for _, d := range durations {
			if h := d.read(&s); h.Count > 0 || !d.rare {
				ch <- histogram{d.desc, name, h}
			}
		}
	}
}
