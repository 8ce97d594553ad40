package histogram

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/leftover"
	"github.com/S4AK4N/pool/internal/words"
	"github.com/google/go-cmp/cmp"
)

const longest = time.Duration(math.MaxInt64)

func TestMain(m *testing.M) { leftover.Main(m) }

func TestEveryDurationIsInTheBucketThatHasIt(t *testing.T) {
	bounds := make([]time.Duration, Buckets)
	for i := range bounds {
		bounds[i] = BoundOf(i) // which the tests of the root package compare with what is described
	}
	seen := make([]bool, len(bounds))
	check := func(d time.Duration) {
		want, _ := slices.BinarySearch(bounds, d) // the first bound that is not less
		if got := BucketOf(d); got != want {
			t.Fatalf("%d ns is in bucket %d, want %d", d, got, want)
		}
		seen[want] = true
	}
	for d := range time.Duration(1 << 16) {
		check(d)
		check(-d)
	}
	for exp := 16; exp < 63; exp++ {
		for eighth := range time.Duration(8) {
			at := 1<<exp + eighth<<(exp-3)
			for d := at - 2000; d <= at+2000; d++ {
				check(d)
			}
		}
	}
	for d := range time.Duration(2000) {
		check(longest - d)
		check(math.MinInt64 + d)
	}
	for range 1_000_000 {
		check(time.Duration(rand.Uint64() >> rand.UintN(64)))
	}
	if i := slices.Index(seen, false); i >= 0 {
		t.Errorf("nothing has been tried in bucket %d", i)
	}
}

func TestASumThatIsTooLongStaysAtTheLongest(t *testing.T) {
	for _, stripes := range []uint{1, stripes} {
		r := new(Recorder)
		for i := range uint(20) {
			r.Record(i%stripes, longest-5)
			r.Record(i%stripes, time.Second)
		}
		h := r.Snapshot()
		if h.Sum != longest || h.Count != 40 {
			t.Errorf("%d stripes: the sum of %d is %d, want %d of 40", stripes, h.Count, h.Sum, longest)
		}
	}
}

// The numbers are exact in the end; and while they are counted up, they agree with each
// other, and none ever goes down.
func TestManyRecordWhileOthersRead(t *testing.T) {
	const (
		recorders, readers = 6, 2
		snapshots          = 300 // of each reader that are to see something move
		d                  = 3 * time.Microsecond
	)
	in := func(s Snapshot, bucket int) uint64 {
		if s.Counts == nil {
			return 0
		}
		return s.Counts[bucket]
	}
	r := new(Recorder)
	var (
		recording, reading sync.WaitGroup
		done               atomic.Bool
		made               [recorders]uint64
	)
	for g := range recorders {
		recording.Go(func() {
			for !done.Load() {
				for range 100 {
					r.Record(uint(g), d)
					r.Record(uint(g)+uint(made[g]), d<<g)
					made[g]++
				}
				runtime.Gosched() // with one processor too, others have their turn
			}
		})
	}
	for range readers {
		reading.Go(func() {
			var last Snapshot
			for seen := 0; seen < snapshots; {
				h := r.Snapshot()
				var sum uint64
				for b, n := range h.Counts {
					if n < in(last, b) {
						t.Errorf("bucket %d had %d, has %d", b, in(last, b), n)
						return
					}
					sum += n
				}
				if h.Count != sum {
					t.Errorf("Count is %d, but the buckets have %d", h.Count, sum)
					return
				}
				var least time.Duration // that those counted took
				for g := range recorders {
					least += time.Duration(in(h, BucketOf(d<<g))) * (d << g)
				}
				if h.Sum < least || h.Sum < last.Sum {
					t.Errorf("Sum is %v, was %v, and those that are counted took %v", h.Sum, last.Sum, least)
					return
				}
				if h.Count > last.Count {
					seen++
				}
				last = h
				runtime.Gosched()
			}
		})
	}
	reading.Wait()
	done.Store(true)
	recording.Wait()

	want := new(Recorder)
	for g := range recorders {
		for range made[g] {
			want.Record(0, d)
			want.Record(0, d<<g)
		}
	}
	if diff := cmp.Diff(want.Snapshot(), r.Snapshot()); diff != "" {
		t.Errorf("in the end (-want +got):\n%s", diff)
	}
}

func TestRecordersWithDifferentStripesNeverMeet(t *testing.T) {
	r := new(Recorder)
	for stripe := range uint(3 * stripes) {
		r.Record(stripe, time.Second)
	}
	for i := range r.stripes {
		if got := time.Duration(r.stripes[i].Load().sum.Load()); got != 3*time.Second {
			t.Errorf("stripe %d has %v, want 3s", i, got)
		}
	}
	for _, stripe := range []uint{1_000_003, math.MaxUint} {
		r.Record(stripe, time.Second)
	}
	if h := r.Snapshot(); h.Count != 3*stripes+2 || h.Sum != (3*stripes+2)*time.Second {
		t.Errorf("a recorder has %v, %v together, want %d", h, h.Sum, 3*stripes+2)
	}
}

func TestStripesLieApart(t *testing.T) {
	if size := unsafe.Sizeof(stripe{}); size%words.Pad != 0 || size != 1024 {
		t.Errorf("a stripe has %d bytes, want 1024, which is a multiple of %d", size, words.Pad)
	}
	r := new(Recorder)
	for i := range uint(stripes) {
		r.Record(i, time.Second)
		if at := uintptr(unsafe.Pointer(r.stripes[i].Load())); at%words.Pad != 0 {
			t.Errorf("stripe %d begins at %#x, which is no multiple of %d", i, at, words.Pad)
		}
	}
}

func TestARecorderHasOnlyTheStripesThatAreRecordedIn(t *testing.T) {
	r := new(Recorder)
	r.Snapshot()
	r.Record(stripes+1, time.Second)
	r.Record(1, time.Second)
	for i := range r.stripes {
		if got, want := r.stripes[i].Load() != nil, i == 1; got != want {
			t.Errorf("stripe %d is there: %v, want %v", i, got, want)
		}
	}
	if h := r.Snapshot(); h.Count != 2 || h.Sum != 2*time.Second {
		t.Errorf("it has %d, %v together, want 2, 2s", h.Count, h.Sum)
	}
}

// Two find no stripe, and each makes one: both record in the same.
func TestTwoWhoMakeAStripeHaveTheSame(t *testing.T) {
	r := new(Recorder)
	first, second := r.begin(2), r.begin(2)
	if first != second || r.stripes[2].Load() != first {
		t.Errorf("they have %p and %p, and the recorder has %p", first, second, r.stripes[2].Load())
	}
}

func TestRecordAllocatesNothing(t *testing.T) {
	r := new(Recorder)
	for i := range uint(stripes) {
		r.Record(i, 0)
	}
	var d time.Duration
	if n := testing.AllocsPerRun(1000, func() {
		r.Record(uint(d), d)
		d = d*5/4 + 1
	}); n != 0 {
		t.Errorf("record allocates %v objects, want none", n)
	}
	if n := testing.AllocsPerRun(1000, func() { r.Snapshot() }); n != 1 {
		t.Errorf("a snapshot allocates %v objects, want 1", n)
	}
	r = new(Recorder)
	if n := testing.AllocsPerRun(1000, func() { r.Snapshot() }); n != 0 {
		t.Errorf("a snapshot of nothing allocates %v objects, want none", n)
	}
}

// One operation is one call of record, all in the same bucket, which is the worst.
func BenchmarkRecord(b *testing.B) {
	for _, same := range []bool{false, true} {
		name := "stripe=own"
		if same {
			name = "stripe=same"
		}
		b.Run(name, func(b *testing.B) {
			r := new(Recorder)
			var next atomic.Uint32
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				var stripe uint
				if !same {
					stripe = uint(next.Inc())
				}
				for pb.Next() {
					r.Record(stripe, time.Millisecond)
				}
			})
		})
	}
}

func BenchmarkSnapshot(b *testing.B) {
	r := new(Recorder)
	r.Record(0, time.Second)
	b.ReportAllocs()
	for b.Loop() {
		r.Snapshot()
	}
}
