package prompool_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/contrib/prompool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// A source is a Source with figures of its own.
type source struct {
	name  string
	stats pool.Stats
}

func (s source) Name() string      { return s.name }
func (s source) Stats() pool.Stats { return s.stats }

// filled returns figures of which each is another one, and the figures by their fields.
func filled(t *testing.T) (s pool.Stats, figures map[string]float64) {
	figures = map[string]float64{}
	v := reflect.ValueOf(&s).Elem()
	for i := range v.NumField() {
		f, name, figure := v.Field(i), v.Type().Field(i).Name, 1001+i
		figures[name] = float64(figure)
		switch f.Interface().(type) {
		case int:
			f.SetInt(int64(figure))
		case uint64:
			f.SetUint(uint64(figure))
		case time.Duration:
			f.SetInt(int64(figure) * int64(time.Second))
		case pool.Histogram:
			counts := make([]uint64, 122)
			counts[50] = uint64(figure)
			f.Set(reflect.ValueOf(pool.Histogram{Count: uint64(figure), Sum: time.Duration(figure) * time.Millisecond, Counts: counts}))
		default:
			if name != "LastOpenError" {
				t.Fatalf("Stats.%s is of a kind that this test does not know", name)
			}
			s.LastOpenError = errors.New("refused")
			figures[name] = 1
		}
	}
	return s, figures
}

func gather(t *testing.T, c prometheus.Collector) map[string]*dto.MetricFamily {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(c); err != nil {
		t.Fatal(err)
	}
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*dto.MetricFamily{}
	for _, f := range all {
		byName[f.GetName()] = f
	}
	return byName
}

// value is what a metric shows: of a histogram, its count.
func value(m *dto.Metric) float64 {
	switch {
	case m.Gauge != nil:
		return m.Gauge.GetValue()
	case m.Counter != nil:
		return m.Counter.GetValue()
	}
	return float64(m.Histogram.GetSampleCount())
}

// series returns all series as text, without those of buckets.
func series(families map[string]*dto.MetricFamily) map[string]float64 {
	all := map[string]float64{}
	for name, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			all[name+"{"+strings.Join(labels, ",")+"}"] = value(m)
		}
	}
	return all
}

func TestEveryFieldOfStatsIsExported(t *testing.T) {
	stats, figures := filled(t)
	got := series(gather(t, prompool.NewCollector(source{"p", stats})))
	values := slices.Collect(maps.Values(got))
	for name, figure := range figures {
		if !slices.Contains(values, figure) {
			t.Errorf("Stats.%s is exported by no metric", name)
		}
	}
	for name, v := range got {
		if !slices.Contains(slices.Collect(maps.Values(figures)), v) {
			t.Errorf("%s is %v, which is no figure of Stats", name, v)
		}
	}
	if len(got) != len(figures) {
		t.Errorf("%d series of %d figures", len(got), len(figures))
	}
}

func TestPromlintHasNothingToSay(t *testing.T) {
	stats, _ := filled(t)
	problems, err := testutil.CollectAndLint(prompool.NewCollector(source{"p", stats}))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestEqualNamesAreAddedUpAndTheOldestWaitIsTheLongest(t *testing.T) {
	a := source{"p", pool.Stats{Gets: 3, ActiveConnections: 1, OldestWait: time.Second, LastOpenError: errors.New("refused")}}
	b := source{"p", pool.Stats{Gets: 4, ActiveConnections: 2, OldestWait: time.Minute, LastOpenError: errors.New("refused")}}
	got := series(gather(t, prompool.NewCollector(a, b, source{"q", pool.Stats{Gets: 9}})))
	for name, want := range map[string]float64{
		`pool_leases_total{pool="p"}`:                               7,
		`pool_leases_total{pool="q"}`:                               9,
		`pool_connections{pool="p",state="active"}`:                 3,
		`pool_oldest_wait_seconds{pool="p"}`:                        60,
		`pool_open_failing{pool="p"}`:                               1,
		`pool_open_failing{pool="q"}`:                               0,
		`pool_wait_seconds{pool="q"}`:                               0,
		`pool_failures_total{pool="q",reason="gone"}`:               0,
		`pool_closed_connections_total{pool="q",reason="shutdown"}`: 0,
	} {
		if v, there := got[name]; !there || v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
	if _, there := got[`pool_use_seconds{pool="q"}`]; there {
		t.Error("there is a histogram of leases that are not timed")
	}
}

func TestAGroupHasOnlySoManySeries(t *testing.T) {
	stats, _ := filled(t)
	keys := func(yield func(prompool.Source) bool) {
		for i := range 1000 {
			if !yield(source{fmt.Sprintf("key%03d", i), stats}) {
				return
			}
		}
	}
	perName := len(series(gather(t, prompool.NewCollector(source{"p", stats}))))
	for _, c := range []struct {
		opts  []prompool.Option
		names int
	}{
		{nil, 101},
		{[]prompool.Option{prompool.MaxNames(0)}, 101},
		{[]prompool.Option{prompool.MaxNames(3)}, 4},
		{[]prompool.Option{prompool.MaxNames(-1)}, 1000},
	} {
		got := series(gather(t, prompool.NewCollectorFunc(keys, c.opts...)))
		if len(got) != c.names*perName {
			t.Errorf("a thousand keys have %d series, want those of %d names, %d", len(got), c.names, c.names*perName)
		}
		if c.names < 1000 && got[`pool_leases_total{pool="others"}`] != float64(1001-c.names)*float64(stats.Gets) {
			t.Errorf("the others have %v leases", got[`pool_leases_total{pool="others"}`])
		}
	}
	many := make([]prompool.Source, 200)
	for i := range many {
		many[i] = source{fmt.Sprint("pool", i), stats}
	}
	if got := series(gather(t, prompool.NewCollector(many...))); len(got) != 200*perName {
		t.Errorf("200 pools that are named one by one have %d series, want %d", len(got), 200*perName)
	}
}

// A name that is no UTF-8 is an error for client_golang, with which nothing at all is exported.
func TestANameThatIsNoTextSpoilsNothing(t *testing.T) {
	got := series(gather(t, prompool.NewCollector(
		source{"a\xff", pool.Stats{Gets: 1}}, source{"a\xfe", pool.Stats{Gets: 2}}, source{"", pool.Stats{Gets: 4}}, source{"a\n\"", pool.Stats{Gets: 8}})))
	for name, want := range map[string]float64{
		"pool_leases_total{pool=\"a\uFFFD\"}": 3, // as labels they are equal
		`pool_leases_total{pool=""}`:          4,
		`pool_leases_total{pool="a\n\""}`:     8,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
}

func TestASecondCollectorIsRefusedUnlessBothHaveALabel(t *testing.T) {
	r := prometheus.NewRegistry()
	r.MustRegister(prompool.NewCollector(source{"p", pool.Stats{}}))
	if err := r.Register(prompool.NewCollector(source{"q", pool.Stats{}})); !errors.As(err, new(prometheus.AlreadyRegisteredError)) {
		t.Errorf("Register returned %v", err)
	}
	r = prometheus.NewPedanticRegistry()
	for _, part := range []string{"one", "two"} {
		prometheus.WrapRegistererWith(prometheus.Labels{"part": part}, r).MustRegister(prompool.NewCollector(source{"p", pool.Stats{}}))
	}
	if _, err := r.Gather(); err != nil {
		t.Error(err)
	}
}

// middle is a duration in the middle of a bucket of ours, as it is between its bounds.
func middle(bucket int) float64 {
	below := time.Duration(0)
	for bound := range (pool.Histogram{}).All() {
		if bucket == 0 {
			if bound == math.MaxInt64 {
				bound = below + below/4
			}
			return (below + (bound-below)/2).Seconds()
		}
		below = bound
		bucket--
	}
	panic("there is no such bucket")
}

// every has another number of durations in each bucket.
func every(buckets int) map[int]uint64 {
	counts := map[int]uint64{}
	for i := range buckets {
		counts[i] = uint64(1 + i*i%7)
	}
	return counts
}

// What a histogram exports is what the histogram of client_golang does that has seen a duration
// in the middle of the bucket for each.
func TestHistogramsAreThoseOfClientGolang(t *testing.T) {
	for name, counts := range map[string]map[int]uint64{
		"nothing":              {},
		"zero":                 {0: 3},
		"the first above zero": {1: 1},
		"over all":             {121: 2},
		"neighbors":            {40: 1, 41: 7, 42: 2, 43: 1, 44: 9},
		"far apart":            {0: 2, 1: 1, 60: 5, 61: 1, 100: 3, 121: 1},
		"every bucket":         every(122),
	} {
		h := pool.Histogram{Counts: make([]uint64, 122)}
		var bounds []float64
		for bound := range h.All() {
			if bound >= 1<<14 && bound <= 1<<36 && bound&(bound-1) == 0 {
				bounds = append(bounds, bound.Seconds())
			}
		}
		theirs := prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "h", Buckets: bounds, NativeHistogramBucketFactor: 1.19, NativeHistogramZeroThreshold: 1024e-9,
		})
		for bucket, n := range counts {
			h.Counts[bucket] = n
			h.Count += n
			for range n {
				theirs.Observe(middle(bucket))
			}
		}
		h.Sum = time.Hour
		var want dto.Metric
		if err := theirs.Write(&want); err != nil {
			t.Fatal(err)
		}
		got := gather(t, prompool.NewCollector(source{"p", pool.Stats{WaitTime: h}}))["pool_wait_seconds"].Metric[0].Histogram
		if got.GetSampleSum() != 3600 {
			t.Errorf("%s: the sum is %v s, want 3600", name, got.GetSampleSum())
		}
		want.Histogram.SampleSum, want.Histogram.CreatedTimestamp, got.SampleSum = nil, nil, nil
		if got.String() != want.Histogram.String() {
			t.Errorf("%s:\n%v, want\n%v", name, got, want.Histogram)
		}
	}
}

func TestTheTextFormatHasTheClassicBuckets(t *testing.T) {
	counts := make([]uint64, 122)
	counts[0], counts[60], counts[121] = 1, 2, 3
	c := prompool.NewCollector(source{"p", pool.Stats{WaitTime: pool.Histogram{Count: 6, Sum: 5 * time.Second, Counts: counts}}})
	var b bytes.Buffer
	if _, err := expfmt.MetricFamilyToText(&b, gather(t, c)["pool_wait_seconds"]); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`pool_wait_seconds_bucket{pool="p",le="1.6384e-05"} 1`, `pool_wait_seconds_bucket{pool="p",le="0.016777216"} 1`,
		`pool_wait_seconds_bucket{pool="p",le="0.033554432"} 3`, `pool_wait_seconds_bucket{pool="p",le="68.719476736"} 3`,
		`pool_wait_seconds_bucket{pool="p",le="+Inf"} 6`, `pool_wait_seconds_sum{pool="p"} 5`, `pool_wait_seconds_count{pool="p"} 6`,
	} {
		if !strings.Contains(b.String(), want+"\n") {
			t.Errorf("there is no %s in\n%s", want, &b)
		}
	}
}

func TestPoolsAreReadWhileTheyAreUsed(t *testing.T) {
	factory := pool.Factory[*conn]{Open: open}
	p, err := pool.New(factory, pool.Config{Name: "p", MaxConnections: 2, TimeUse: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	g, err := pool.NewGroup(func(key int) (pool.Factory[*conn], pool.Config, error) {
		return factory, pool.Config{Name: fmt.Sprint("key", key)}, nil
	}, pool.GroupConfig{MaxPools: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(prompool.NewCollectorFunc(func(yield func(prompool.Source) bool) {
		if yield(p) {
			g.Sources()(yield)
		}
	}, prompool.MaxNames(4)))
	var wg sync.WaitGroup
	const users, rounds = 4, 20
	for range users {
		wg.Go(func() {
			for i := range rounds {
				if err := p.Do(t.Context(), func(_ ctx, _ *conn) error { return nil }); err != nil {
					t.Error(err)
				}
				if err := g.Do(t.Context(), i%7, func(_ ctx, _ *conn) error { return nil }); err != nil && !errors.Is(err, pool.ErrRejected) {
					t.Error(err)
				}
				if _, err := r.Gather(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		for _, m := range f.Metric {
			if f.GetName() == "pool_use_seconds" && m.Label[0].GetValue() == "p" && value(m) != users*rounds {
				t.Errorf("%v leases have been timed, want %d", value(m), users*rounds)
			}
		}
	}
}
