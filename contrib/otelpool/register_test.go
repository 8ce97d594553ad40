package otelpool_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/contrib/otelpool"
	"github.com/S4AK4N/pool/wsconn"
	"github.com/coder/websocket"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/dbconv"
)

// A source is a Source with figures of its own.
type source struct {
	name  string
	stats pool.Stats
}

func (s *source) Name() string      { return s.name }
func (s *source) Stats() pool.Stats { return s.stats }

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

// A collection is what a reader has collected, by the names of the instruments.
type collection map[string]metricdata.Metrics

func collect(t *testing.T, r sdk.Reader) collection {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := r.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	return collected(all)
}

func collected(all metricdata.ResourceMetrics) collection {
	c := collection{}
	for _, s := range all.ScopeMetrics {
		for _, m := range s.Metrics {
			c[m.Name] = m
		}
	}
	return c
}

// points returns the values of an instrument by their attributes: of a histogram, the counts.
func (c collection) points(name string) map[string]float64 {
	all := map[string]float64{}
	put := func(s attribute.Set, v float64) { all[s.Encoded(attribute.DefaultEncoder())] = v }
	switch d := c[name].Data.(type) {
	case metricdata.Sum[int64]:
		for _, p := range d.DataPoints {
			put(p.Attributes, float64(p.Value))
		}
	case metricdata.Gauge[int64]:
		for _, p := range d.DataPoints {
			put(p.Attributes, float64(p.Value))
		}
	case metricdata.Gauge[float64]:
		for _, p := range d.DataPoints {
			put(p.Attributes, p.Value)
		}
	case metricdata.Histogram[float64]:
		for _, p := range d.DataPoints {
			put(p.Attributes, float64(p.Count))
		}
	}
	return all
}

// histogram returns the only series of a histogram.
func (c collection) histogram(t *testing.T, name string) metricdata.HistogramDataPoint[float64] {
	t.Helper()
	d, ok := c[name].Data.(metricdata.Histogram[float64])
	if !ok || len(d.DataPoints) != 1 {
		t.Fatalf("%s is %v, want a histogram with one series", name, c[name].Data)
	}
	return d.DataPoints[0]
}

func provider(t *testing.T) (metric.Meter, sdk.Reader) {
	r := sdk.NewManualReader()
	p := sdk.NewMeterProvider(sdk.WithReader(r))
	t.Cleanup(func() {
		if err := p.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return p.Meter("test"), r
}

func register(t *testing.T, meter metric.Meter, sources ...otelpool.Source) metric.Registration {
	t.Helper()
	registration, err := otelpool.Register(meter, sources...)
	if err != nil {
		t.Fatal(err)
	}
	return registration
}

func TestEveryFieldOfStatsIsExported(t *testing.T) {
	stats, figures := filled(t)
	meter, reader := provider(t)
	s := &source{"p", pool.Stats{}}
	register(t, meter, s)
	s.stats = stats
	c := collect(t, reader)
	var got []float64
	for name := range c {
		got = append(got, slices.Collect(maps.Values(c.points(name)))...)
	}
	for name, figure := range figures {
		if name == "WaitTime" || name == "OpenTime" {
			continue // Hooks have that
		}
		if !slices.Contains(got, figure) {
			t.Errorf("Stats.%s is exported by no instrument", name)
		}
	}
	// Timeouts has an instrument of the conventions, and is one of the failures.
	if len(got) != len(figures)-2+1 {
		t.Errorf("%d series of %d figures", len(got), len(figures)-2)
	}
}

// An instrument is one of the conventions.
type instrument interface {
	Name() string
	Unit() string
	Description() string
}

// conventions are the instruments for pools that the conventions have, but for db.client.connection.idle.max
// and .min, which a pool does not tell.
var conventions = []struct {
	instrument
	kind string
}{
	{dbconv.ClientConnectionCount{}, "metricdata.Sum[int64]"},
	{dbconv.ClientConnectionMax{}, "metricdata.Sum[int64]"},
	{dbconv.ClientConnectionPendingRequests{}, "metricdata.Sum[int64]"},
	{dbconv.ClientConnectionTimeouts{}, "metricdata.Sum[int64] monotonic"},
	{dbconv.ClientConnectionCreateTime{}, "metricdata.Histogram[float64]"},
	{dbconv.ClientConnectionUseTime{}, "metricdata.Histogram[float64]"},
	{dbconv.ClientConnectionWaitTime{}, "metricdata.Histogram[float64]"},
}

// exported returns what Register and Hooks have together, with a value in every series.
func exported(t *testing.T) collection {
	stats, _ := filled(t)
	meter, reader := provider(t)
	s := &source{"p", pool.Stats{}}
	register(t, meter, s)
	s.stats = stats
	hooks := otelpool.Hooks(meter, "p")
	hooks.Opened(pool.OpenInfo{Number: 1})
	hooks.Waited(pool.WaitInfo{Ctx: t.Context()})
	return collect(t, reader)
}

func kind(m metricdata.Metrics) string {
	kind := fmt.Sprintf("%T", m.Data)
	if sum, ok := m.Data.(metricdata.Sum[int64]); ok && sum.IsMonotonic {
		kind += " monotonic"
	}
	return kind
}

func TestInstrumentsAreThoseOfTheConventions(t *testing.T) {
	c := exported(t)
	known := map[string]bool{}
	for _, i := range conventions {
		known[i.Name()] = true
		m, there := c[i.Name()]
		if !there {
			t.Errorf("%s is not exported", i.Name())
			continue
		}
		if m.Unit != i.Unit() || m.Description != i.Description() || kind(m) != i.kind {
			t.Errorf("%s has the unit %q, the description %q and is %s; want %q, %q, %s", m.Name, m.Unit, m.Description, kind(m), i.Unit(), i.Description(), i.kind)
		}
		want := []string{"db.client.connection.pool.name=p"}
		if m.Name == "db.client.connection.count" {
			want = []string{"db.client.connection.pool.name=p,db.client.connection.state=idle", "db.client.connection.pool.name=p,db.client.connection.state=used"}
		}
		if got := slices.Sorted(maps.Keys(c.points(m.Name))); !slices.Equal(got, want) {
			t.Errorf("%s has the series %q, want %q", m.Name, got, want)
		}
	}
	for name := range c {
		if strings.HasPrefix(name, "db.") && !known[name] {
			t.Errorf("%s is in none of the conventions", name)
		}
	}
}

// The rules of the conventions for names: https://opentelemetry.io/docs/specs/semconv/general/naming/
// and https://opentelemetry.io/docs/specs/semconv/general/metrics/.
func TestInstrumentsOfOurOwnFollowTheRulesForNames(t *testing.T) {
	c := exported(t)
	// Not 1, which is for ratios: exporters to Prometheus call those so.
	unit := regexp.MustCompile(`^(s|\{[a-z]+\})$`)
	// Prometheus has the names of prompool, none of which begins so: with both in one registry
	// no two figures are under one name.
	words := regexp.MustCompile(`^pool\.connection(\.[a-z]+(_[a-z]+)*)+$`)
	n := 0
	for name, m := range c {
		if strings.HasPrefix(name, "db.") {
			continue
		}
		n++
		if !words.MatchString(name) {
			t.Errorf("%s is not words in lower case, in a namespace", name)
		}
		for other := range c {
			if strings.HasPrefix(other, name+".") {
				t.Errorf("%s is a namespace as well: of %s", name, other)
			}
		}
		if strings.HasSuffix(name, "_total") || strings.HasSuffix(name, ".total") {
			t.Errorf("%s ends in what exporters add", name)
		}
		if !unit.MatchString(m.Unit) {
			t.Errorf("%s has the unit %q", name, m.Unit)
		}
		if m.Description == "" || !strings.HasSuffix(m.Description, ".") {
			t.Errorf("%s has the description %q", name, m.Description)
		}
		for point := range c.points(name) {
			for pair := range strings.SplitSeq(point, ",") {
				key, _, _ := strings.Cut(pair, "=")
				if key == "db.client.connection.pool.name" || key == "error.type" {
					continue
				}
				if _, metric := c[key]; metric || !words.MatchString(key) {
					t.Errorf("%s has the attribute %s", name, key)
				}
			}
		}
	}
	if n < 10 {
		t.Errorf("%d instruments of our own have been looked at", n)
	}
}

func TestTheConventionsAreTheNewestOfTheirModule(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "go.opentelemetry.io/otel").Output()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(strings.TrimSpace(string(dir)), "semconv"))
	if err != nil {
		t.Fatal(err)
	}
	newest := 0
	for _, e := range entries {
		minor := 0
		if n, _ := fmt.Sscanf(e.Name(), "v1.%d.0", &minor); n == 1 {
			newest = max(newest, minor)
		}
	}
	if got, want := semconv.SchemaURL, fmt.Sprintf("https://opentelemetry.io/schemas/1.%d.0", newest); newest == 0 || got != want {
		t.Errorf("the conventions are those of %s, want %s", got, want)
	}
}

// The conventions give these instruments the unit s and no bounds, and the bounds of the SDK are
// 0, 5, 10 … 10,000: every time below five seconds would be in one bucket.
func TestTheTimesHaveBoundsOfTheirOwn(t *testing.T) {
	for _, name := range []string{"db.client.connection.wait_time", "db.client.connection.create_time", "db.client.connection.use_time"} {
		meter, reader := provider(t)
		hooks := otelpool.Hooks(meter, "p")
		s := &source{"p", pool.Stats{}}
		register(t, meter, s)
		times := []time.Duration{10 * time.Microsecond, 100 * time.Microsecond, time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second, 4 * time.Second, time.Minute, time.Hour}
		for _, d := range times {
			hooks.Opened(pool.OpenInfo{Number: 1, Took: d})
			hooks.Waited(pool.WaitInfo{Ctx: t.Context(), Waited: d})
			s.stats.UseTime = with(s.stats.UseTime, d)
		}
		h := collect(t, reader).histogram(t, name)
		if h.Count != uint64(len(times)) {
			t.Errorf("%s has %d times, want %d", name, h.Count, len(times))
		}
		for i, n := range h.BucketCounts {
			if n > 1 {
				t.Errorf("%s has %d of the times in one bucket, that up to %v", name, n, h.Bounds[i:min(i+1, len(h.Bounds))])
			}
		}
		if first, last := h.Bounds[0], h.Bounds[len(h.Bounds)-1]; first > 20e-6 || last < 60 {
			t.Errorf("%s has bounds from %v s to %v s", name, first, last)
		}
	}
}

// with returns h with one duration more.
func with(h pool.Histogram, d time.Duration) pool.Histogram {
	counts := make([]uint64, 122)
	copy(counts, h.Counts)
	i := 0
	for bound := range h.All() {
		if d <= bound {
			counts[i]++
			break
		}
		i++
	}
	return pool.Histogram{Count: h.Count + 1, Sum: h.Sum + d, Counts: counts}
}

// merged returns the counts of h for the bounds of another histogram, each of which must be one of h's.
func merged(t *testing.T, h pool.Histogram, bounds []float64) []uint64 {
	counts := make([]uint64, 1, len(bounds)+1)
	for bound, n := range h.All() {
		counts[len(counts)-1] += n
		if i := len(counts) - 1; i < len(bounds) && bound.Seconds() >= bounds[i] {
			if bound.Seconds() != bounds[i] {
				t.Fatalf("%v s is not the bound of one of our buckets, and %v is", bounds[i], bound)
			}
			counts = append(counts, 0)
		}
	}
	return counts
}

func TestUseTimeIsThatOfStats(t *testing.T) {
	for name, times := range map[string][]time.Duration{
		"one":         {12345 * time.Microsecond},
		"at bounds":   {1 << 14, 1 << 20, 1 << 20, 1 << 36, 1 << 40},
		"behind them": {1<<14 + 1, 1<<20 + 1, 1<<36 + 1},
		"extremes":    {0, 1, time.Hour, 100 * time.Hour, 3 * time.Second},
		"longest":     {1<<40 + 1<<39},
		"many":        {time.Millisecond, 1100 * time.Microsecond, 1900 * time.Microsecond, time.Second, time.Second + 1, 1300 * time.Millisecond},
	} {
		meter, reader := provider(t)
		s := &source{"p", pool.Stats{}}
		register(t, meter, s)
		for _, d := range times {
			s.stats.UseTime = with(s.stats.UseTime, d)
			h := collect(t, reader).histogram(t, "db.client.connection.use_time")
			want := merged(t, s.stats.UseTime, h.Bounds)
			if !slices.Equal(h.BucketCounts, want) {
				t.Errorf("%s: the counts are %v, want %v", name, h.BucketCounts, want)
			}
		}
		meter, reader = provider(t)
		at := &source{"p", pool.Stats{}}
		register(t, meter, at)
		at.stats = s.stats
		h := collect(t, reader).histogram(t, "db.client.connection.use_time")
		want := merged(t, s.stats.UseTime, h.Bounds)
		if !slices.Equal(h.BucketCounts, want) {
			t.Errorf("%s, at once: the counts are %v, want %v", name, h.BucketCounts, want)
		}
		// What is longer than the last bound of ours may be of any length.
		if sum := s.stats.UseTime.Sum.Seconds(); name != "extremes" && math.Abs(h.Sum-sum) > 1e-3*sum {
			t.Errorf("%s: the sum is %v s, want %v", name, h.Sum, sum)
		}
	}
}

// The sum of a Histogram is read after its counts, and it stops at the longest Duration.
func TestUseTimeHasTheRightBucketsWhateverTheSumIs(t *testing.T) {
	for _, d := range []time.Duration{1, 1 << 14, 1<<14 + 1, 3 << 20, 1 << 36, time.Hour} {
		for _, sum := range []time.Duration{0, 1, d, 2 * d, math.MaxInt64} {
			meter, reader := provider(t)
			s := &source{"p", pool.Stats{}}
			register(t, meter, s)
			s.stats.UseTime = with(pool.Histogram{}, d)
			s.stats.UseTime.Sum = sum
			h := collect(t, reader).histogram(t, "db.client.connection.use_time")
			if want := merged(t, s.stats.UseTime, h.Bounds); !slices.Equal(h.BucketCounts, want) {
				t.Errorf("%v with the sum %v: the counts are %v, want %v", d, sum, h.BucketCounts, want)
			}
		}
	}
}

func TestUseTimeAtABoundIsInTheBucketThatEndsThere(t *testing.T) {
	for bound := range (pool.Histogram{}).All() {
		if bound == math.MaxInt64 {
			continue
		}
		meter, reader := provider(t)
		s := &source{"p", pool.Stats{}}
		register(t, meter, s)
		s.stats.UseTime = with(pool.Histogram{}, bound)
		s.stats.UseTime.Sum = math.MaxInt64 // so that it is taken to be at the end of its bucket
		h := collect(t, reader).histogram(t, "db.client.connection.use_time")
		if want := merged(t, s.stats.UseTime, h.Bounds); !slices.Equal(h.BucketCounts, want) {
			t.Errorf("%v: the counts are %v, want %v", bound, h.BucketCounts, want)
		}
	}
}

func TestUseTimeCountsEachLeaseOnceHoweverManyReadersThereAre(t *testing.T) {
	one, two := sdk.NewManualReader(), sdk.NewManualReader()
	p := sdk.NewMeterProvider(sdk.WithReader(one), sdk.WithReader(two))
	defer p.Shutdown(t.Context())
	s := &source{"p", pool.Stats{}}
	before := with(pool.Histogram{}, time.Second)
	s.stats.UseTime = before
	registration := register(t, p.Meter("test"), s)
	count := func(r sdk.Reader) float64 {
		return collect(t, r).points("db.client.connection.use_time")["db.client.connection.pool.name=p"]
	}
	if got := count(one); got != 0 {
		t.Errorf("%v leases that had ended before the registration are counted", got)
	}
	for i := range 3 {
		s.stats.UseTime = with(s.stats.UseTime, time.Second)
		if got := count(one); got != float64(i+1) {
			t.Errorf("after %d leases the first reader has %v", i+1, got)
		}
	}
	if got := count(two); got != 3 {
		t.Errorf("the second reader has %v leases, want 3", got)
	}
	var wg sync.WaitGroup
	s.stats.UseTime = with(s.stats.UseTime, time.Second)
	for range 4 {
		wg.Go(func() { count(one) })
		wg.Go(func() { count(two) })
	}
	wg.Wait()
	if a, b := count(one), count(two); a != 4 || b != 4 {
		t.Errorf("after many collections at a time the readers have %v and %v leases, want 4", a, b)
	}
	s.stats.UseTime = before // another pool of that name
	if got := count(one); got != 5 {
		t.Errorf("with another pool there are %v leases, want 5", got)
	}
	if err := registration.Unregister(); err != nil {
		t.Fatal(err)
	}
	s.stats.UseTime = with(s.stats.UseTime, time.Second)
	if got := count(one); got != 5 {
		t.Errorf("after Unregister there are %v leases, want 5", got)
	}
}

func TestAGroupHasOnlySoManySeries(t *testing.T) {
	stats, _ := filled(t)
	keys := func(yield func(otelpool.Source) bool) {
		for i := range 1000 {
			if !yield(&source{fmt.Sprintf("key%03d", i), stats}) {
				return
			}
		}
	}
	for _, c := range []struct {
		opts  []otelpool.Option
		names int
	}{
		{nil, 101},
		{[]otelpool.Option{otelpool.MaxNames(0)}, 101},
		{[]otelpool.Option{otelpool.MaxNames(3)}, 4},
		{[]otelpool.Option{otelpool.MaxNames(-1)}, 1000},
	} {
		meter, reader := provider(t)
		if _, err := otelpool.RegisterFunc(meter, keys, c.opts...); err != nil {
			t.Fatal(err)
		}
		got := collect(t, reader)
		if n := len(got.points("pool.connection.leases")); n != c.names {
			t.Errorf("a thousand keys have %d series, want %d", n, c.names)
		}
		if n := got.points("pool.connection.leases")["db.client.connection.pool.name=others"]; c.names < 1000 && n != float64(1001-c.names)*float64(stats.Gets) {
			t.Errorf("the others have %v leases", n)
		}
		if c.opts != nil {
			continue
		}
		for name := range got {
			for point := range got.points(name) {
				if strings.Contains(point, "otel.metric.overflow") {
					t.Errorf("%s has more series than the SDK keeps", name)
				}
			}
		}
	}
}

func TestAGroupIsReadPoolByPool(t *testing.T) {
	meter, reader := provider(t)
	g, err := pool.NewGroup(func(account string) (pool.Factory[*conn], pool.Config, error) {
		open := func(context.Context) (*conn, error) { return new(conn), nil }
		return pool.Factory[*conn]{Open: open}, pool.Config{Name: account, TimeUse: true, Hooks: otelpool.Hooks(meter, "accounts")}, nil
	}, pool.GroupConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	registration, err := otelpool.RegisterFunc(meter, g.Sources(), otelpool.MaxNames(2))
	if err != nil {
		t.Fatal(err)
	}
	defer registration.Unregister()
	use := func(accounts ...string) {
		for _, account := range accounts {
			if err := g.Do(t.Context(), account, func(context.Context, *conn) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
	}
	are := func(instrument string, want map[string]float64) {
		t.Helper()
		got := map[string]float64{}
		for point, n := range collect(t, reader).points(instrument) {
			got[strings.TrimPrefix(point, "db.client.connection.pool.name=")] = n
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s is %v, want %v", instrument, got, want)
		}
	}
	use("a", "b", "c", "a", "d")
	for _, instrument := range []string{"pool.connection.leases", "db.client.connection.use_time"} {
		are(instrument, map[string]float64{"a": 2, "b": 1, "others": 2})
	}
	are("db.client.connection.create_time", map[string]float64{"accounts": 4})
	are("db.client.connection.wait_time", map[string]float64{"accounts": 4})
	use("c", "a")
	for _, instrument := range []string{"pool.connection.leases", "db.client.connection.use_time"} {
		are(instrument, map[string]float64{"a": 3, "b": 1, "others": 3})
	}
}

// echo is a server that sends back what it gets.
func echo(t *testing.T) (url string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, message, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, message) != nil {
				return
			}
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestADialerHasAllTimesWithoutHooks(t *testing.T) {
	url := echo(t)
	d := &wsconn.Dialer{Options: &wsconn.Options{OneReplyPerRequest: true}, Config: pool.Config{Name: "sockets", TimeUse: true}}
	defer d.Close()
	meter, reader := provider(t)
	registration, err := otelpool.RegisterFunc(meter, d.Sources(), otelpool.WithoutHooks())
	if err != nil {
		t.Fatal(err)
	}
	defer registration.Unregister()
	for range 2 { // the second one on the connection of the first
		c, _, err := d.Dial(t.Context(), url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := d.Dial(t.Context(), "ws://127.0.0.1:1", nil); err == nil {
		t.Fatal("there is a server on port 1")
	}
	c := collect(t, reader)
	name := ""
	for source := range d.Sources() {
		if source.Name() != "sockets" {
			name = source.Name()
		}
	}
	for instrument, want := range map[string]map[string]float64{
		"db.client.connection.max":         {name: 100, "sockets": 0},
		"db.client.connection.create_time": {name: 1},
		"db.client.connection.use_time":    {name: 2},
		"pool.connection.leases":           {name: 2, "sockets": 0},
		"pool.connection.open_errors":      {name: 0, "sockets": 1},
		"pool.connection.open_failing":     {name: 0, "sockets": 1},
	} {
		got := map[string]float64{}
		for point, n := range c.points(instrument) {
			got[strings.TrimPrefix(point, "db.client.connection.pool.name=")] = n
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s is %v, want %v", instrument, got, want)
		}
	}
	if h := c.histogram(t, "db.client.connection.create_time"); h.Sum <= 0 || len(h.Bounds) != 23 {
		t.Errorf("the dial took %v s, in buckets with the bounds %v", h.Sum, h.Bounds)
	}
}

func TestTimesWithoutHooksAreThoseOfStatsAndCountOnce(t *testing.T) {
	meter, reader := provider(t)
	s := &source{"p", pool.Stats{}}
	s.stats.OpenTime = with(pool.Histogram{}, time.Second) // before the registration
	registration, err := otelpool.RegisterFunc(meter, slices.Values([]otelpool.Source{s}), otelpool.WithoutHooks())
	if err != nil {
		t.Fatal(err)
	}
	defer registration.Unregister()
	for range 2 {
		s.stats.OpenTime = with(s.stats.OpenTime, 2*time.Second)
		s.stats.WaitTime = with(with(s.stats.WaitTime, time.Millisecond), time.Minute)
		collect(t, reader)
	}
	c := collect(t, reader)
	for name, want := range map[string]pool.Histogram{
		"db.client.connection.create_time": with(with(pool.Histogram{}, 2*time.Second), 2*time.Second),
		"db.client.connection.wait_time":   s.stats.WaitTime,
	} {
		h := c.histogram(t, name)
		if counts := merged(t, want, h.Bounds); !slices.Equal(h.BucketCounts, counts) || math.Abs(h.Sum-want.Sum.Seconds()) > 1e-3*h.Sum {
			t.Errorf("%s has %v in %v s, want %v in %v", name, h.BucketCounts, h.Sum, counts, want.Sum)
		}
	}
	for _, name := range []string{"db.client.connection.create_time", "db.client.connection.wait_time"} {
		if _, err := otelpool.RegisterFunc(failing{meter, name}, slices.Values([]otelpool.Source{s}), otelpool.WithoutHooks()); !errors.Is(err, errNoInstrument) {
			t.Errorf("without %s RegisterFunc returned %v", name, err)
		}
	}
}

// failing is a Meter that makes no instrument of one name.
type failing struct {
	metric.Meter
	name string
}

var errNoInstrument = errors.New("no such instrument")

func (m failing) Int64ObservableCounter(name string, opts ...metric.Int64ObservableCounterOption) (metric.Int64ObservableCounter, error) {
	if name == m.name {
		return nil, errNoInstrument
	}
	return m.Meter.Int64ObservableCounter(name, opts...)
}

func (m failing) Float64Histogram(name string, opts ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	if name == m.name {
		return nil, errNoInstrument
	}
	return m.Meter.Float64Histogram(name, opts...)
}

func TestRegisterReturnsTheErrorOfAnInstrument(t *testing.T) {
	for _, name := range []string{"db.client.connection.timeouts", "db.client.connection.use_time", "pool.connection.leaks"} {
		meter, reader := provider(t)
		_, err := otelpool.Register(failing{meter, name}, &source{"p", pool.Stats{}})
		if !errors.Is(err, errNoInstrument) {
			t.Errorf("without %s Register returned %v", name, err)
		}
		if got := collect(t, reader); len(got) != 0 {
			t.Errorf("without %s %d instruments have figures", name, len(got))
		}
	}
	if _, err := otelpool.Register(noop.NewMeterProvider().Meter("none"), &source{"p", pool.Stats{}}); err != nil {
		t.Errorf("with a meter that does nothing, Register returned %v", err)
	}
}

func BenchmarkUseTime(b *testing.B) {
	r := sdk.NewManualReader()
	p := sdk.NewMeterProvider(sdk.WithReader(r))
	defer p.Shutdown(b.Context())
	s := &source{"p", pool.Stats{}}
	if _, err := otelpool.Register(p.Meter("test"), s); err != nil {
		b.Fatal(err)
	}
	h := with(pool.Histogram{}, time.Millisecond)
	h.Counts[50] = uint64(b.N)
	h.Count = h.Counts[50] + 1
	s.stats.UseTime = h
	b.ResetTimer()
	var all metricdata.ResourceMetrics
	if err := r.Collect(b.Context(), &all); err != nil {
		b.Fatal(err)
	}
}
