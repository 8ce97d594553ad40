package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// A load drives clients at a source for a time. In a closed loop each client sends its
// next request when it has the reply to the last one. In an open loop requests are due at
// a fixed rate, and whichever client is free takes the next one.
type load struct {
	source   source
	clients  int
	size     int
	rate     float64       // requests that are due in a second; 0: a closed loop
	warmup   time.Duration // before the duration; what is due then does not count
	duration time.Duration

	// early ends the load before its time when it is closed. Nil never is.
	early <-chan struct{}
	// begin, if not nil, is called when what is due begins to count.
	begin func()
	// ended, if not nil, is called when no more requests are begun.
	ended func()
	// grace is how long, after the end, a reply may take that is under way.
	grace time.Duration
	// cut closes the connections under the clients that do not end even when
	// their context does.
	cut func()
	// show, if not nil, is told every showPeriod how far the load is.
	show       func(soFar)
	showPeriod time.Duration
	// samplePeriod is the time between two looks at the source for the series; 0: none.
	samplePeriod time.Duration
}

// soFar is what is shown while a load runs.
type soFar struct {
	elapsed          time.Duration // since the duration began; negative while the load warms up
	answered, failed uint64
}

// An outcome is what a load has measured.
type outcome struct {
	elapsed  time.Duration // from when it counted until no more requests were begun
	answered uint64        // right replies within elapsed
	latency  histogram     // of all right replies: from when the request was due to the whole reply
	waits    histogram     // of these, from when the request was due until it had its connection, without its own dial
	trips    histogram     // of these, from the connection to the whole reply
	errors   uint64
	wrong    uint64   // wrong replies
	unserved uint64   // requests that were due, and had no client or no turn when the load ended
	first    []string // the first few different errors
	series   []sample
}

const (
	// graceful is the grace of a load that has run its time. A request that
	// gets no reply within it is an error.
	graceful = 5 * time.Second
	// hasty is the grace of a load that is interrupted. Its requests without a
	// reply count as nothing.
	hasty = time.Second
	// errorPause is how long a client of a closed loop waits after a failure, so that a
	// server that refuses connections is not asked thousands of times a second.
	errorPause = 10 * time.Millisecond
	// cutAfter is how long a client may take to notice that its context ended.
	cutAfter = time.Second
)

// A loadRun is a load that runs.
type loadRun struct {
	*load
	start    time.Time
	schedule schedule
	from     atomic.Pointer[time.Time] // what is due from then on counts; nil while the load warms up
	stopped  atomic.Bool
	stop     chan struct{} // closed when no more requests are begun
	begun    atomic.Uint64 // of an open loop, requests that count

	latency, waits, trips recorder
	failures              failures
}

// A client sends one request after the other.
type client struct {
	*loadRun
	place    int
	message  *message
	wrong    uint64
	unserved uint64

	late uint64 // of those answered, after the end

	// Read while the client runs, to show how far it is.
	answered, failed atomic.Uint64
}

// run drives the clients until the time is up, l.early is closed or ctx ends,
// and waits for the replies that are under way then.
func (l *load) run(ctx context.Context) outcome {
	// The requests do not end with ctx, but after the grace.
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	r := &loadRun{load: l, stop: make(chan struct{})}
	if l.warmup == 0 {
		r.start = r.count()
	} else {
		r.start = time.Now()
	}
	r.schedule = schedule{start: r.start, rate: l.rate}
	var running sync.WaitGroup
	clients := make([]*client, l.clients)
	for i := range clients {
		clients[i] = &client{loadRun: r, place: i, message: newMessage(i, l.size)}
	}
	for _, c := range clients {
		running.Go(func() { c.work(ctx, requests) })
	}
	series := r.wait(ctx, clients)
	r.stopped.Store(true)
	end := time.Now()
	close(r.stop)
	l.source.ended()
	if l.ended != nil {
		l.ended()
	}

	done := make(chan struct{})
	go func() {
		defer close(done)
		running.Wait()
	}()
	l.finish(ctx, done, cancel)

	out := outcome{first: r.failures.texts, latency: r.latency.all(), waits: r.waits.all(), trips: r.trips.all(), series: series}
	for _, c := range clients {
		out.answered += c.answered.Load() - c.late
		out.errors += c.failed.Load() - c.wrong
		out.wrong += c.wrong
		out.unserved += c.unserved
	}
	if from := r.from.Load(); from != nil {
		out.elapsed = end.Sub(*from)
		if l.rate > 0 {
			out.unserved += r.schedule.due(*from, end) - min(r.schedule.due(*from, end), r.begun.Load())
		}
	}
	return out
}

// count makes what is due from now on count, and returns when that is.
func (r *loadRun) count() time.Time {
	if r.begin != nil {
		r.begin() // which may take a while
	}
	now := time.Now()
	r.from.Store(&now)
	return now
}

// counts reports whether a request counts that is due at the given time, and has just
// ended. In an open loop each that is due in the warm-up does not count, however late it
// is: so those that count are those of the rate. In a closed loop a queue may be longer
// than the phase, and what ends in the phase counts.
func (r *loadRun) counts(due time.Time) bool {
	from := r.from.Load()
	return from != nil && (r.rate == 0 || !due.Before(*from))
}

// wait returns at the end of the load, and shows how far it is until then.
func (r *loadRun) wait(ctx context.Context, clients []*client) []sample {
	total := func() (s soFar) {
		if s.elapsed = time.Since(r.start) - r.warmup; r.warmup > 0 && r.from.Load() != nil {
			s.elapsed = time.Since(*r.from.Load())
		}
		for _, c := range clients {
			s.answered += c.answered.Load()
			s.failed += c.failed.Load()
		}
		return s
	}
	end := time.NewTimer(r.duration)
	defer end.Stop()
	var warm <-chan time.Time
	if r.warmup > 0 {
		end.Stop()
		timer := time.NewTimer(r.warmup)
		defer timer.Stop()
		warm = timer.C
	}
	var tick <-chan time.Time
	if r.show != nil {
		ticker := time.NewTicker(r.showPeriod)
		defer ticker.Stop()
		tick = ticker.C
	}
	var look <-chan time.Time
	series := newSeries(r.duration)
	if r.samplePeriod > 0 {
		ticker := time.NewTicker(r.samplePeriod)
		defer ticker.Stop()
		look = ticker.C
	}
	for {
		select {
		case <-warm:
			r.count()
			series.dials = r.source.usage().dials
			end.Reset(r.duration)
		case <-look:
			if from := r.from.Load(); from != nil {
				series.look(r.source.usage(), time.Since(*from), total)
			}
		case <-tick:
			r.show(total())
		case <-end.C:
			return series.samples(total())
		case <-r.early:
			return series.samples(total())
		case <-ctx.Done():
			return series.samples(total())
		}
	}
}

// finish waits for the clients to be done: in peace for the grace, then with
// their requests canceled, then with their connections cut.
func (l *load) finish(ctx context.Context, done <-chan struct{}, cancel func()) {
	grace := time.NewTimer(l.grace)
	defer grace.Stop()
	select {
	case <-done:
		return
	case <-grace.C:
	case <-ctx.Done():
		select {
		case <-done:
			return
		case <-grace.C:
		case <-time.After(hasty):
		}
	}
	cancel()
	select {
	case <-done:
	case <-time.After(cutAfter):
		l.cut()
		<-done
	}
}

// work sends requests until the load ends.
func (c *client) work(ctx, requests context.Context) {
	for !c.stopped.Load() {
		due := time.Now()
		if c.rate > 0 {
			if due = c.schedule.take(); !waitUntil(due, c.stop) {
				return
			}
			if c.counts(due) {
				c.begun.Add(1)
			}
		}
		err := c.request(requests, due)
		if err == nil {
			continue
		}
		if c.blame(ctx, requests, due, err) {
			c.failures.note(explain(requests, err))
		}
		if c.rate > 0 {
			continue // the rate bounds what the server is asked
		}
		select {
		case <-time.After(errorPause):
		case <-c.stop:
		}
	}
}

// request sends the next message, which is due at the given time, and waits for its
// reply. What it measures begins when the request is due, not when a client is free for
// it: a server that stalls makes all requests late that are due meanwhile, also those
// that are not even begun (coordinated omission).
func (c *client) request(ctx context.Context, due time.Time) error {
	c.message.next()
	h, err := c.source.get(ctx)
	if err != nil {
		return err
	}
	got := time.Now()
	err = c.source.exchange(ctx, h, c.message)
	if err == nil {
		c.record(due, got, time.Now(), h.dialed)
	}
	c.source.put(h, err)
	return err
}

// record counts a right reply.
func (c *client) record(due, got, done time.Time, dialed time.Duration) {
	if c.from.Load() == nil {
		return
	}
	c.answered.Add(1)
	if c.stopped.Load() {
		c.late++
	}
	if c.counts(due) {
		c.latency.record(c.place, done.Sub(due))
		c.waits.record(c.place, got.Sub(due)-dialed)
		c.trips.record(c.place, done.Sub(got))
	}
}

// blame counts err, unless it is none of the server's doing, and reports whether
// it did.
func (c *client) blame(ctx, requests context.Context, due time.Time, err error) bool {
	if !c.counts(due) {
		return false
	}
	if errors.Is(err, errOver) {
		c.unserved++
		return false
	}
	if errors.Is(err, errDialLimit) || requests.Err() != nil && ctx.Err() != nil {
		return false
	}
	if errors.Is(err, errWrongReply) {
		c.wrong++
	}
	c.failed.Add(1)
	return true
}

// explain returns err, or what it means if it is we who ended the request.
func explain(requests context.Context, err error) error {
	if requests.Err() != nil {
		return fmt.Errorf("no reply within %v of the end of the phase", graceful)
	}
	return err
}
