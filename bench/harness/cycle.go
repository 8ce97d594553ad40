package harness

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"go.uber.org/atomic"
)

// A watch is what one caller has seen. Its histogram must not allocate while it is recorded
// to, or the collector would show in what it measures.
type watch struct {
	all   *watcher
	waits *hdrhistogram.Histogram
	hold  time.Duration
	turns int64 // that ended in time
}

const (
	longest   = 100 * time.Second
	cycleSpan = 200 * time.Millisecond
)

func newWatch(all *watcher) *watch {
	return &watch{all: all, waits: hdrhistogram.New(1, int64(longest), 2)}
}

func (w *watch) waited(d time.Duration) {
	_ = w.waits.RecordValue(int64(min(max(d, 1), longest))) // within its bounds it records everything
}

func (w *watch) held(d time.Duration) { w.hold += d }

// cycle has callers get a connection, hold it and put it back, again and again: first without a
// look at the clock, for the time and the allocations, then with one, for the waits. Each caller
// has a ctx of its own that could end, and does not.
func cycle(r *run, goroutines, size int, hold string) error {
	if r.short { // on a machine that does other things too
		r.patient()
	}
	if err := r.open(size, ""); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := fill(ctx, r.pool, size); err != nil {
		return err
	}
	span := r.span(cycleSpan)
	counts := make([]int64, goroutines)
	timed := func(ctx context.Context, stop *atomic.Bool, i int) (err error) {
		counts[i], err = r.pool.cycles(ctx, stop, Holds[hold])
		return err
	}
	if _, err := together(goroutines, span/5, timed); err != nil { // as a warm-up
		return err
	}
	runtime.GC()
	var before, after runtime.MemStats
	var took time.Duration
	var ops int64
	for ; ops == 0; span *= 2 { // once, but on a machine that has other things to do
		if span > longest {
			return fmt.Errorf("nobody came to a second turn within %v", span)
		}
		var err error
		runtime.ReadMemStats(&before)
		if took, err = together(goroutines, span, timed); err != nil {
			return err
		}
		runtime.ReadMemStats(&after)
		for _, n := range counts {
			ops += n
		}
	}
	r.set(NsOp, float64(took)/float64(ops))
	// What starting the callers allocates is not an operation's: it is measured with callers
	// that do nothing.
	var idleBefore, idleAfter runtime.MemStats
	runtime.ReadMemStats(&idleBefore)
	if _, err := together(goroutines, 0, func(context.Context, *atomic.Bool, int) error { return nil }); err != nil {
		return err
	}
	runtime.ReadMemStats(&idleAfter)
	perOp := func(n, idle uint64) float64 { return max(0, float64(n)-float64(idle)) / float64(ops) }
	r.set(AllocsOp, perOp(after.Mallocs-before.Mallocs, idleAfter.Mallocs-idleBefore.Mallocs))
	r.set(BytesOp, perOp(after.TotalAlloc-before.TotalAlloc, idleAfter.TotalAlloc-idleBefore.TotalAlloc))

	var all watcher
	sum := newWatch(&all)
	fewest := int64(math.MaxInt64)
	for span = r.span(cycleSpan); sum.turns == 0; span *= 2 {
		if span > longest {
			return fmt.Errorf("nobody came to a second turn within %v", span)
		}
		watches := make([]*watch, goroutines)
		for i := range watches {
			watches[i] = newWatch(&all)
		}
		if _, err := together(goroutines, span, func(ctx context.Context, stop *atomic.Bool, i int) error {
			return r.pool.watched(ctx, stop, Holds[hold], watches[i])
		}); err != nil {
			return err
		}
		fewest = math.MaxInt64
		for _, w := range watches {
			sum.waits.Merge(w.waits)
			sum.hold += w.hold
			sum.turns += w.turns
			fewest = min(fewest, w.turns)
		}
	}
	r.set(WaitP50, float64(sum.waits.ValueAtQuantile(50)))
	r.set(WaitP99, float64(sum.waits.ValueAtQuantile(99)))
	r.set(WaitMax, float64(sum.waits.Max()))
	r.set(HoldNs, float64(sum.hold)/float64(sum.waits.TotalCount()))
	r.set(Served, float64(fewest)*float64(goroutines)/float64(sum.turns))
	r.set(MostOpen, float64(r.dialer.MostOpen()))
	r.set(Opened, float64(r.dialer.Opened()))
	if least := HoldTimes[hold]; r.res.Metrics[HoldNs] < float64(least) {
		return fmt.Errorf("a hold of %v lasted for %.0f ns: nothing else can be believed", least, r.res.Metrics[HoldNs])
	}
	r.judge(&all, size)
	r.pool.Close()
	return nil
}

// judge says what the watcher has seen that must not be.
func (r *run) judge(all *watcher, size int) {
	if all.twice.Load() > 0 {
		r.wrong("a connection was lent to two callers at once")
	}
	if all.closed.Load() > 0 {
		r.wrong("a connection was lent that was closed")
	}
	if r.peer.Lacks[Waits] != "" {
		return // it does not say that it limits
	}
	if all.mostInUse.Load() > int64(size) {
		r.wrong("more connections than its limit were lent at once")
	}
	r.limited(size)
}

// together runs op in each of so many goroutines, which begin at the same time, and tells them
// to stop after span. It returns how long they had.
func together(goroutines int, span time.Duration, op func(ctx context.Context, stop *atomic.Bool, i int) error) (time.Duration, error) {
	var stop atomic.Bool
	var ready, done sync.WaitGroup
	begin := make(chan struct{})
	errs := make([]error, goroutines)
	for i := range goroutines {
		ready.Add(1)
		done.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			ready.Done()
			<-begin
			errs[i] = op(ctx, &stop, i)
		})
	}
	ready.Wait()
	began := time.Now()
	close(begin)
	time.Sleep(span)
	stop.Store(true)
	took := time.Since(began)
	done.Wait()
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return took, nil
}
