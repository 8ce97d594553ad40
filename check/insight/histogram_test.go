package insight

import (
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/histogram"
	"github.com/google/go-cmp/cmp"
)

const longest = time.Duration(math.MaxInt64)

// recorded returns the histogram of some durations.
func recorded(durations ...time.Duration) pool.Histogram {
	r := new(histogram.Recorder)
	for i, d := range durations {
		r.Record(uint(i), d)
	}
	return pool.Histogram(r.Snapshot())
}

// wantBounds are the upper bounds as they are described, made by addition.
func wantBounds() []time.Duration {
	bounds := []time.Duration{1024}
	for quarter, last := time.Duration(256), 1<<40*time.Nanosecond; bounds[len(bounds)-1] < last; quarter *= 2 {
		for range 4 {
			bounds = append(bounds, bounds[len(bounds)-1]+quarter)
		}
	}
	return append(bounds, longest)
}

// Exporters and what they feed count on it.
func TestTheBoundsOfAHistogramNeverChange(t *testing.T) {
	bounds := wantBounds()
	if len(bounds) != 122 {
		t.Fatalf("the test has %d bounds, want 122", len(bounds))
	}
	for _, h := range []pool.Histogram{{}, recorded(time.Second)} {
		var got []time.Duration
		for bound := range h.All() {
			got = append(got, bound)
		}
		if diff := cmp.Diff(bounds, got); diff != "" {
			t.Errorf("bounds of %v (-want +got):\n%s", h, diff)
		}
	}
	for i, want := range map[int]time.Duration{0: 1024, 1: 1280, 2: 1536, 3: 1792, 4: 2048, 5: 2560, 120: 1_099_511_627_776} {
		if got := histogram.BoundOf(i); got != want {
			t.Errorf("bucket %d ends at %d ns, want %d", i, got, want)
		}
	}
}

func TestAllTellsHowManyAreInEachBucketAlone(t *testing.T) {
	h := recorded(-time.Second, 0, 1024, 1025, 1280, 1281, time.Second, 1<<40, 1<<40+1, longest)
	got := map[time.Duration]uint64{}
	for bound, n := range h.All() {
		if n > 0 {
			got[bound] = n
		}
	}
	want := map[time.Duration]uint64{1024: 3, 1280: 2, 1536: 1, 1 << 30: 1, 1 << 40: 1, longest: 2}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if h.Count != 10 {
		t.Errorf("Count is %d, want 10", h.Count)
	}
	for range h.All() { // a loop that ends early is told no more
		break
	}
}

func TestQuantileIsNeverLessThanTheExactOneNorAQuarterMore(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for name, next := range map[string]func() float64{
		"uniform":     func() float64 { return 2e3 + random.Float64()*1e9 },
		"exponential": func() float64 { return 2e3 + random.ExpFloat64()*50e6 },
		"lognormal":   func() float64 { return math.Exp(math.Log(1e6) + random.NormFloat64()) },
		"heavy tail":  func() float64 { return 2e3 / math.Pow(1-random.Float64(), 0.8) },
		"two humps": func() float64 {
			if random.IntN(20) == 0 {
				return 5e9 + random.NormFloat64()*1e6
			}
			return 1e6 + random.NormFloat64()*1e5
		},
		"all alike":          func() float64 { return 1e6 },
		"all at a bound":     func() float64 { return 1 << 20 },
		"all behind a bound": func() float64 { return 1<<20 + 1 },
		"every scale":        func() float64 { return math.Exp2(10 + 30*random.Float64()) },
	} {
		for _, n := range []int{1, 2, 10, 1000, 20_000} {
			durations := make([]time.Duration, n)
			for i := range durations {
				// Above the first bucket, not in the last.
				durations[i] = time.Duration(min(max(next(), 1025), 1<<40))
			}
			h := recorded(durations...)
			slices.Sort(durations)
			for _, q := range []float64{0, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1} {
				exact := durations[max(int(math.Ceil(q*float64(n))), 1)-1]
				if got := h.Quantile(q); got < exact || got > exact+exact/4 {
					t.Errorf("%s, %d durations: quantile %v is %v, want from %v to %v", name, n, q, got, exact, exact+exact/4)
				}
			}
		}
	}
}

func TestQuantileAtTheLimits(t *testing.T) {
	three := recorded(1500, 3000, 6000) // bounds 1536, 3072, 6144
	huge := pool.Histogram{Count: math.MaxUint64, Counts: []uint64{1, math.MaxUint64 - 2, 1}}
	for _, tt := range []struct {
		name string
		h    pool.Histogram
		q    float64
		want time.Duration
	}{
		{"nothing", pool.Histogram{}, 0.5, 0},
		{"0", three, 0, 1536},
		{"below 0", three, -7, 1536},
		{"minus infinity", three, math.Inf(-1), 1536},
		{"not a number", three, math.NaN(), 1536},
		{"a third", three, 1. / 3, 1536},
		{"just above a third", three, 0.334, 3072},
		{"two thirds", three, 2. / 3, 3072},
		{"just above two thirds", three, 0.667, 6144},
		{"1", three, 1, 6144},
		{"above 1", three, 7, 6144},
		{"infinity", three, math.Inf(1), 6144},
		{"in the first bucket", recorded(0), 0.5, 1024},
		{"in the last bucket", recorded(1<<40 + 1), 0.5, longest},
		{"more than a float can tell apart, shortest", huge, 0, 1024},
		{"more than a float can tell apart, middle", huge, 0.5, 1280},
		{"more than a float can tell apart, nearly all", huge, math.Nextafter(1, 0), 1280},
		{"more than a float can tell apart, all", huge, 1, 1536},
	} {
		if got := tt.h.Quantile(tt.q); got != tt.want {
			t.Errorf("%s: Quantile(%v) is %v, want %v", tt.name, tt.q, got, tt.want)
		}
	}
}

func TestMeanIsExact(t *testing.T) {
	for _, tt := range []struct {
		durations []time.Duration
		want      time.Duration
	}{
		{nil, 0},
		{[]time.Duration{0}, 0},
		{[]time.Duration{-time.Hour, 0, 3 * time.Second}, time.Second}, // negative is zero
		{[]time.Duration{1, 2}, 1},
		{[]time.Duration{time.Millisecond, time.Second, time.Minute}, 20_333_666_666},
		{[]time.Duration{longest}, longest},
	} {
		if got := recorded(tt.durations...).Mean(); got != tt.want {
			t.Errorf("the mean of %v is %v, want %v", tt.durations, got, tt.want)
		}
	}
}

func TestWhatIsNotUsedIsTheZeroHistogram(t *testing.T) {
	if diff := cmp.Diff(pool.Histogram{}, pool.Histogram(new(histogram.Recorder).Snapshot())); diff != "" {
		t.Errorf("a new recorder (-want +got):\n%s", diff)
	}
	h := recorded(time.Millisecond, time.Second)
	if diff := cmp.Diff(pool.Histogram{}, h.Sub(h)); diff != "" {
		t.Errorf("less itself (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(recorded(time.Second, time.Millisecond), h); diff != "" {
		t.Errorf("the same in another order (-want +got):\n%s", diff)
	}
	if cmp.Diff(recorded(time.Millisecond, time.Minute), h) == "" {
		t.Error("cmp.Diff sees no difference between a minute and a second")
	}
}

func TestSubIsWhatHasBeenRecordedBetween(t *testing.T) {
	r := new(histogram.Recorder)
	record := func(durations ...time.Duration) pool.Histogram {
		for i, d := range durations {
			r.Record(uint(i), d)
		}
		return pool.Histogram(r.Snapshot())
	}
	none := record()
	one := record(time.Millisecond)
	four := record(2*time.Millisecond, time.Millisecond, time.Hour)
	for _, tt := range []struct {
		name      string
		got, want pool.Histogram
	}{
		{"from the start", one.Sub(none), recorded(time.Millisecond)},
		{"from the start, all", four.Sub(none), four},
		{"between", four.Sub(one), recorded(time.Millisecond, 2*time.Millisecond, time.Hour)},
		{"nothing less nothing", none.Sub(none), pool.Histogram{}},
		{"the wrong way round", one.Sub(four), pool.Histogram{}},
		{"in part more than there is", recorded(time.Second, time.Second).Sub(recorded(time.Second, time.Hour)),
			pool.Histogram{Count: 1, Counts: recorded(time.Second).Counts}},
	} {
		if diff := cmp.Diff(tt.want, tt.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	before := recorded(time.Millisecond)
	if diff := cmp.Diff(before, one); diff != "" {
		t.Errorf("a snapshot has changed afterwards (-want +got):\n%s", diff)
	}
}

func TestHistogramForPeople(t *testing.T) {
	many := make([]time.Duration, 0, 1000)
	for i := range time.Duration(1000) {
		many = append(many, (i+1)*time.Millisecond)
	}
	many[999] = time.Minute
	for _, tt := range []struct {
		h         pool.Histogram
		text, log string
	}{
		{pool.Histogram{}, "count 0", "wait.count=0 wait.p50=0s wait.p90=0s wait.p99=0s wait.mean=0s"},
		{recorded(0), "count 1, p50 1.02µs, p99 1.02µs, max 1.02µs", "wait.count=1 wait.p50=1.024µs wait.p90=1.024µs wait.p99=1.024µs wait.mean=0s"},
		{recorded(many...), "count 1000, p50 537ms, p99 1.07s, max 1m0.1s", "wait.count=1000 wait.p50=536.870912ms wait.p90=939.524096ms wait.p99=1.073741824s wait.mean=559.5ms"},
		{recorded(5*time.Second, 5*time.Second, time.Hour), "count 3, p50 5.37s, p99 over 18m20s, max over 18m20s", "wait.count=3 wait.p50=5.36870912s wait.p90=2562047h47m16.854775807s wait.p99=2562047h47m16.854775807s wait.mean=20m3.333333333s"},
	} {
		if got := tt.h.String(); got != tt.text {
			t.Errorf("String is\n%s, want\n%s", got, tt.text)
		}
		// As a field of a struct it reads the same.
		if got, want := fmt.Sprintf("%+v", struct{ WaitTime pool.Histogram }{tt.h}), "{WaitTime:"+tt.text+"}"; got != want {
			t.Errorf("a struct that has it reads\n%s, want\n%s", got, want)
		}
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("", "wait", tt.h)
		if _, got, _ := strings.Cut(strings.TrimSpace(log.String()), `msg="" `); got != tt.log {
			t.Errorf("the log has\n%s, want\n%s", got, tt.log)
		}
	}
}

func TestQuantileAllocatesNothing(t *testing.T) {
	h := recorded(time.Second)
	if n := testing.AllocsPerRun(1000, func() { h.Quantile(0.99) }); n != 0 {
		t.Errorf("Quantile allocates %v objects, want none", n)
	}
}
