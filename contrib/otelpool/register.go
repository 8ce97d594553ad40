package otelpool

import (
	"context"
	"errors"
	"iter"
	"math"
	"slices"
	"sync"

	"github.com/S4AK4N/pool"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/dbconv"
)

// A Source is what Register reads. A [*pool.Pool] is one.
type Source = pool.Source

// Register makes the instruments of pools, and a callback that reads the sources whenever a
// reader of the meter's provider collects. Those with equal names are added up. Register a pool
// once: what is registered twice counts twice in use_time.
//
// The callback ends with the Registration. If an instrument cannot be made, Register returns an
// error and registers nothing.
func Register(meter metric.Meter, sources ...Source) (metric.Registration, error) {
	return register(meter, pool.ByName(slices.Values(slices.Clone(sources)), 0), false)
}

// An Option changes what [RegisterFunc] does.
type Option func(*options)

type options struct {
	maxNames     int
	withoutHooks bool
}

const defaultMaxNames = 100

// MaxNames sets how many names are kept apart: see [RegisterFunc]. If zero, 100 are. Negative:
// there is no limit.
func MaxNames(n int) Option { return func(o *options) { o.maxNames = n } }

// WithoutHooks says that the sources have no [Hooks] of this package, as those of a Dialer. Then wait_time and
// create_time are recorded from their Stats when a reader collects, as use_time is: by the name of each source, without exemplars, and
// create_time has attempts that failed. With Hooks as well, both would count twice.
func WithoutHooks() Option { return func(o *options) { o.withoutHooks = true } }

// RegisterFunc is Register for what sources yields each time that a reader collects, such as the
// Sources of a [pool.Group] or of a Dialer of package wsconn.
//
// A name has some 40 series, 13 of them of one instrument, and by default the SDK keeps 2,000 of an instrument. So at most 100 names are
// kept apart, unless MaxNames says how many; all others are added up as the pool «others», as [pool.ByName]
// does it.
func RegisterFunc(meter metric.Meter, sources iter.Seq[Source], opts ...Option) (metric.Registration, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	if o.maxNames == 0 {
		o.maxNames = defaultMaxNames
	}
	return register(meter, pool.ByName(sources, o.maxNames), o.withoutHooks)
}

func register(meter metric.Meter, sources iter.Seq[Source], withoutHooks bool) (metric.Registration, error) {
	r := &reader{sources: sources, last: map[string]pool.Stats{}}
	if err := r.makeInstruments(meter); err != nil {
		return nil, err
	}
	if withoutHooks {
		if err := r.makeTimes(meter); err != nil {
			return nil, err
		}
	}
	for s := range sources {
		r.last[s.Name()] = s.Stats() // times are recorded from here on
	}
	return meter.RegisterCallback(r.observe, r.instruments...)
}

// A reader reads pools for the callback.
type reader struct {
	sources     iter.Seq[Source]
	instruments []metric.Observable
	figures     []func(o metric.Observer, s *pool.Stats, name attribute.KeyValue)
	times       []times

	mu   sync.Mutex // held by a collection: what two of them record is recorded once
	last map[string]pool.Stats
}

// times are what a histogram of Stats is recorded in.
type times struct {
	to metric.Float64Histogram
	of func(*pool.Stats) *pool.Histogram
}

func (r *reader) observe(ctx context.Context, o metric.Observer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := make(map[string]pool.Stats, len(r.last)) // without those that are gone
	for source := range r.sources {
		name, s := source.Name(), source.Stats()
		attr := semconv.DBClientConnectionPoolName(name)
		for _, f := range r.figures {
			f(o, &s, attr)
		}
		last := r.last[name]
		for _, t := range r.times {
			then, h := t.of(&last), t.of(&s)
			if h.Count < then.Count {
				then = &pool.Histogram{} // it is another pool now
			}
			record(ctx, t.to, h.Sub(*then), attribute.NewSet(attr))
		}
		now[name] = s
	}
	r.last = now
	return nil
}

// makeTimes makes the two that Hooks has otherwise.
func (r *reader) makeTimes(meter metric.Meter) error {
	createTime, err := dbconv.NewClientConnectionCreateTime(meter, bounds())
	if err != nil {
		return err
	}
	waitTime, err := dbconv.NewClientConnectionWaitTime(meter, bounds())
	if err != nil {
		return err
	}
	r.times = append(r.times,
		times{createTime.Inst(), func(s *pool.Stats) *pool.Histogram { return &s.OpenTime }},
		times{waitTime.Inst(), func(s *pool.Stats) *pool.Histogram { return &s.WaitTime }})
	return nil
}

const closeReasonKey = attribute.Key("pool.connection.close.reason")

// makeInstruments makes all instruments, and what each is told of Stats.
func (r *reader) makeInstruments(meter metric.Meter) error {
	var failed []error
	// add has an instrument told what read tells it, with these attributes beside the name.
	add := func(i metric.Int64Observable, err error, read func(s *pool.Stats, tell func(n uint64, attrs ...attribute.KeyValue))) {
		failed = append(failed, err)
		r.instruments = append(r.instruments, i)
		r.figures = append(r.figures, func(o metric.Observer, s *pool.Stats, name attribute.KeyValue) {
			read(s, func(n uint64, attrs ...attribute.KeyValue) {
				o.ObserveInt64(i, int64(min(n, math.MaxInt64)), metric.WithAttributes(append(attrs, name)...))
			})
		})
	}
	one := func(read func(s *pool.Stats) uint64) func(*pool.Stats, func(uint64, ...attribute.KeyValue)) {
		return func(s *pool.Stats, tell func(uint64, ...attribute.KeyValue)) { tell(read(s)) }
	}
	counter := func(name, unit, description string) (metric.Int64ObservableCounter, error) {
		return meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	}
	connections := func(name, description string) (metric.Int64ObservableUpDownCounter, error) {
		return meter.Int64ObservableUpDownCounter(name, metric.WithUnit("{connection}"), metric.WithDescription(description))
	}

	count, err := dbconv.NewClientConnectionCountObservable(meter)
	add(count.Inst(), err, func(s *pool.Stats, tell func(uint64, ...attribute.KeyValue)) {
		tell(uint64(s.IdleConnections), semconv.DBClientConnectionStateIdle)
		tell(uint64(s.ActiveConnections), semconv.DBClientConnectionStateUsed)
	})
	most, err := dbconv.NewClientConnectionMaxObservable(meter)
	add(most.Inst(), err, one(func(s *pool.Stats) uint64 { return uint64(s.MaxConnections) }))
	pending, err := dbconv.NewClientConnectionPendingRequestsObservable(meter)
	add(pending.Inst(), err, one(func(s *pool.Stats) uint64 { return uint64(s.WaitingRequests) }))
	timeouts, err := dbconv.NewClientConnectionTimeoutsObservable(meter)
	add(timeouts.Inst(), err, one(func(s *pool.Stats) uint64 { return s.Timeouts }))
	useTime, err := dbconv.NewClientConnectionUseTime(meter, bounds())
	failed = append(failed, err)
	r.times = append(r.times, times{useTime.Inst(), func(s *pool.Stats) *pool.Histogram { return &s.UseTime }})

	opening, err := connections("pool.connection.opening", "Connections that are being opened.")
	add(opening, err, one(func(s *pool.Stats) uint64 { return uint64(s.OpeningConnections) }))
	reserved, err := connections("pool.connection.reserved", "Idle connections that PutFor has reserved.")
	add(reserved, err, one(func(s *pool.Stats) uint64 { return uint64(s.ReservedConnections) }))
	awaiting, err := connections("pool.connection.awaiting_budget", "Connections that would be opened if the budget had rights for them.")
	add(awaiting, err, one(func(s *pool.Stats) uint64 { return uint64(s.AwaitingBudget) }))

	opened, err := counter("pool.connection.opened", "{connection}", "Connections that were opened.")
	add(opened, err, one(func(s *pool.Stats) uint64 { return s.Opened }))
	openErrors, err := counter("pool.connection.open_errors", "{attempt}", "Attempts to open a connection that failed.")
	add(openErrors, err, one(func(s *pool.Stats) uint64 { return s.OpenErrors }))
	detached, err := counter("pool.connection.detached", "{connection}", "Connections that left the pool by Detach.")
	add(detached, err, one(func(s *pool.Stats) uint64 { return s.Detached }))
	closed, err := counter("pool.connection.closed", "{connection}", "Connections that were closed, by the reason.")
	add(closed, err, func(s *pool.Stats, tell func(uint64, ...attribute.KeyValue)) {
		for reason, n := range s.ClosedBy() {
			tell(n, closeReasonKey.String(reason))
		}
	})

	leases, err := counter("pool.connection.leases", "{lease}", "Connections that were lent.")
	add(leases, err, one(func(s *pool.Stats) uint64 { return s.Gets }))
	waits, err := counter("pool.connection.waits", "{request}", "Calls that found nothing idle, or waited for one connection, however they ended.")
	add(waits, err, one(func(s *pool.Stats) uint64 { return s.Waits }))
	sameWaits, err := counter("pool.connection.same_waits", "{request}", "Waits of GetSame.")
	add(sameWaits, err, one(func(s *pool.Stats) uint64 { return s.SameWaits }))
	failures, err := counter("pool.connection.failures", "{request}", "Calls that got no connection, by the error.")
	add(failures, err, func(s *pool.Stats, tell func(uint64, ...attribute.KeyValue)) {
		tell(s.Timeouts, errTimeout)
		tell(s.Canceled, errCanceled)
		tell(s.Rejected, errRejected)
		tell(s.Unavailable, errUnavailable)
		tell(s.Gone, errGone)
	})
	leaks, err := counter("pool.connection.leaks", "{lease}", "Leases that were reported after LeakAfter.")
	add(leaks, err, one(func(s *pool.Stats) uint64 { return s.Leaked }))
	abandoned, err := counter("pool.connection.abandoned_calls", "{call}", "Calls of the factory's functions that did not return in time.")
	add(abandoned, err, one(func(s *pool.Stats) uint64 { return s.Abandoned }))

	failing, err := meter.Int64ObservableGauge("pool.connection.open_failing", metric.WithUnit("{outage}"),
		metric.WithDescription("1 while opening fails: the last attempt failed, and nothing has ended the outage since."))
	add(failing, err, one(func(s *pool.Stats) uint64 {
		if s.LastOpenError != nil {
			return 1
		}
		return 0
	}))
	oldest, err := meter.Float64ObservableGauge("pool.connection.oldest_wait", metric.WithUnit("s"),
		metric.WithDescription("How long the first of those who wait has waited."))
	failed = append(failed, err)
	r.instruments = append(r.instruments, oldest)
	r.figures = append(r.figures, func(o metric.Observer, s *pool.Stats, name attribute.KeyValue) {
		o.ObserveFloat64(oldest, s.OldestWait.Seconds(), metric.WithAttributes(name))
	})
	return errors.Join(failed...)
}
