package otelpool_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/contrib/otelpool"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// A conn is a connection that does nothing.
type conn struct{}

func (*conn) Close() error { return nil }

const dial = 100 * time.Millisecond

var errRefused = errors.New("refused")

// A scene is a pool with Hooks, whose opens take 100 ms, in a bubble of its own.
type scene struct {
	pool   *pool.Pool[*conn]
	reader sdk.Reader
	meter  metric.Meter
	spans  *tracetest.SpanRecorder
	tracer trace.Tracer
	fails  atomic.Bool
	began  time.Time
}

func start(t *testing.T, config pool.Config, opts ...otelpool.HooksOption) *scene {
	s := &scene{spans: tracetest.NewSpanRecorder(), began: time.Now()}
	s.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(s.spans)).Tracer("test")
	s.meter, s.reader = provider(t)
	config.Name, config.Hooks = "p", otelpool.Hooks(s.meter, "p", opts...)
	p, err := pool.New(pool.Factory[*conn]{Open: func(context.Context) (*conn, error) {
		time.Sleep(dial)
		if s.fails.Load() {
			return nil, errRefused
		}
		return new(conn), nil
	}}, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	s.pool = p
	return s
}

// request calls Get in a trace of its own, named so, and returns what Get does.
func (s *scene) request(t *testing.T, name string) (pool.Lease[*conn], error) {
	ctx, span := s.tracer.Start(t.Context(), name)
	defer span.End()
	return s.pool.Get(ctx)
}

// tree returns the spans of the request with this name below it, one a line: name, when it began and ended, in
// milliseconds, and its kind of error.
func (s *scene) tree(name string) string {
	var b strings.Builder
	all := s.spans.Ended()
	var below func(parent trace.SpanID, depth int)
	below = func(parent trace.SpanID, depth int) {
		for _, span := range slices.SortedStableFunc(slices.Values(all), func(a, b sdktrace.ReadOnlySpan) int { return a.StartTime().Compare(b.StartTime()) }) {
			if span.Parent().SpanID() != parent || !parent.IsValid() {
				continue
			}
			fmt.Fprintf(&b, "%s%s %d-%d", strings.Repeat(" ", depth), span.Name(), span.StartTime().Sub(s.began).Milliseconds(), span.EndTime().Sub(s.began).Milliseconds())
			for _, a := range span.Attributes() {
				if a.Key == "error.type" {
					fmt.Fprintf(&b, " %s", a.Value.AsString())
				}
			}
			b.WriteString("\n")
			below(span.SpanContext().SpanID(), depth+1)
		}
	}
	for _, span := range all {
		if span.Name() == name && !span.Parent().IsValid() {
			below(span.SpanContext().SpanID(), 0)
		}
	}
	return b.String()
}

func (s *scene) is(t *testing.T, request string, lines ...string) {
	t.Helper()
	want := strings.Join(lines, "\n")
	if want != "" {
		want += "\n"
	}
	if got := s.tree(request); got != want {
		t.Errorf("in the trace of %s there is\n%s, want\n%s", request, got, want)
	}
}

func TestAWaitAndAnOpenAreSpansInTheTraceOfTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, pool.Config{MaxConnections: 1, MaxIdleTime: -1})
		l, err := s.request(t, "the first")
		if err != nil {
			t.Fatal(err)
		}
		s.is(t, "the first", "pool.wait 0-100", " pool.open 0-100")

		time.AfterFunc(50*time.Millisecond, func() { s.pool.Put(l) })
		l, err = s.request(t, "by a return")
		if err != nil {
			t.Fatal(err)
		}
		s.is(t, "by a return", "pool.wait 100-150")

		time.AfterFunc(9*time.Millisecond, func() { s.pool.Put(l) })
		l, err = s.request(t, "a short wait")
		if err != nil {
			t.Fatal(err)
		}
		s.is(t, "a short wait")

		s.pool.Put(l)
		l, err = s.request(t, "at once")
		if err != nil {
			t.Fatal(err)
		}
		s.is(t, "at once")

		time.AfterFunc(20*time.Millisecond, func() { s.pool.Discard(l, errRefused) })
		l, err = s.request(t, "after a Discard")
		if err != nil {
			t.Fatal(err)
		}
		s.is(t, "after a Discard", "pool.wait 159-279", " pool.open 179-279")
		for _, span := range s.spans.Ended() {
			if span.Parent().IsValid() && (span.Status().Code != codes.Unset || !slices.Contains(span.Attributes(), attribute.String("db.client.connection.pool.name", "p"))) {
				t.Errorf("%s has the status %v and the attributes %v", span.Name(), span.Status(), span.Attributes())
			}
		}
		s.pool.Put(l)
	})
}

func TestAnOpenIsInTheTraceOfWhoeverGotTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, pool.Config{MaxConnections: 2, MaxIdleTime: -1})
		l, _ := s.request(t, "the first")
		time.AfterFunc(30*time.Millisecond, func() { s.pool.Put(l) })
		if _, err := s.request(t, "served by a return"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(dial) // what was opened for that request is idle now
		l, err := s.request(t, "finds it idle")
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(30*time.Millisecond, func() { s.pool.Put(l) })
		if _, err := s.request(t, "gets it from another"); err != nil {
			t.Fatal(err)
		}
		s.is(t, "served by a return", "pool.wait 100-130")
		s.is(t, "finds it idle")
		s.is(t, "gets it from another", "pool.wait 230-260")
	})
}

func TestFailuresAreInTheTraceOfTheWaitThatTheyProlonged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, pool.Config{MaxConnections: 1, FailFastAfter: -1, MaxWaitTime: 250 * time.Millisecond, MaxBackoff: 1})
		s.fails.Store(true)
		_, err := s.request(t, "fails")
		if !errors.Is(err, pool.ErrUnavailable) {
			t.Fatalf("Get returned %v", err)
		}
		if got := s.tree("fails"); !strings.HasPrefix(got, "pool.wait 0-250 unavailable\n pool.open 0-100 *errors.errorString\n pool.open 100-200 *errors.errorString") {
			t.Errorf("in the trace there is\n%s", got)
		}
		for _, span := range s.spans.Ended() {
			if span.Name() == "pool.open" && (span.Status().Code != codes.Error || span.Status().Description != errRefused.Error()) {
				t.Errorf("an open that failed has the status %v", span.Status())
			}
			if span.Name() == "pool.wait" && (span.Status().Code != codes.Error || span.Status().Description != err.Error()) {
				t.Errorf("a wait that failed has the status %v", span.Status())
			}
		}
	})
}

func TestOnlyTheLastFailuresAreInATrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, pool.Config{MaxConnections: 1, FailFastAfter: -1, MaxBackoff: 1})
		s.fails.Store(true)
		time.AfterFunc(950*time.Millisecond, func() { s.fails.Store(false) })
		if _, err := s.request(t, "at last"); err != nil {
			t.Fatal(err)
		}
		got := s.tree("at last")
		if n := strings.Count(got, "errorString"); n != 3 {
			t.Errorf("there are %d attempts that failed, want 3:\n%s", n, got)
		}
		lines := strings.Split(strings.TrimSpace(got), "\n")
		if last := lines[len(lines)-1]; len(lines) != 5 || !strings.HasPrefix(last, " pool.open") || strings.Contains(last, "error") {
			t.Errorf("the attempt that succeeded is not the last one:\n%s", got)
		}
	})
}

func TestTheThresholdIsAnOption(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		want  []string
	}{
		{0, []string{"pool.wait 100-101"}},
		{time.Millisecond, []string{"pool.wait 100-101"}},
		{time.Millisecond + 1, nil},
		{-1, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := start(t, pool.Config{MaxConnections: 1}, otelpool.WaitSpans(c.after))
			l, err := s.request(t, "the first")
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(s.tree("the first"), "pool.open 0-100") {
				t.Errorf("with %v the open is no span", c.after)
			}
			time.AfterFunc(time.Millisecond, func() { s.pool.Put(l) })
			if _, err := s.request(t, "waits"); err != nil {
				t.Fatal(err)
			}
			s.is(t, "waits", c.want...)
		})
	}
}

func TestARequestThatIsNotSampledHasNoSpans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, pool.Config{MaxConnections: 1})
		s.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(s.spans), sdktrace.WithSampler(sdktrace.NeverSample())).Tracer("test")
		l, err := s.request(t, "not sampled")
		if err != nil {
			t.Fatal(err)
		}
		s.pool.Discard(l, errRefused)
		if _, err := s.pool.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(s.spans.Started()); n != 0 {
			t.Errorf("%d spans were started", n)
		}
		if got := collect(t, s.reader).histogram(t, "db.client.connection.wait_time").Count; got != 2 {
			t.Errorf("%d waits are counted, want 2", got)
		}
	})
}

// unsampled is the span of a request that is not sampled.
type unsampled struct{ trace.Span }

func (unsampled) IsRecording() bool                    { return false }
func (unsampled) TracerProvider() trace.TracerProvider { panic("asked for a tracer") }

func TestARequestThatIsNotSampledIsNotAskedForATracer(t *testing.T) {
	hooks := otelpool.Hooks(noop.Meter{}, "p")
	hooks.Waited(pool.WaitInfo{Ctx: trace.ContextWithSpan(t.Context(), unsampled{}), Waited: time.Minute})
}

func TestATraceHasNothingOfOtherWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scene{spans: tracetest.NewSpanRecorder(), began: time.Now()}
		s.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(s.spans)).Tracer("test")
		hooks := otelpool.Hooks(noop.Meter{}, "p", otelpool.WaitSpans(0))
		waited := func(name string, i pool.WaitInfo) {
			ctx, span := s.tracer.Start(t.Context(), name)
			i.Ctx = ctx
			hooks.Waited(i)
			span.End()
		}
		hooks.Opened(pool.OpenInfo{Number: 128, Took: time.Second})
		waited("an open that is forgotten", pool.WaitInfo{Number: 64})
		s.is(t, "an open that is forgotten", "pool.wait 0-0")
		refused := errors.New("refused")
		hooks.Opened(pool.OpenInfo{Err: refused})
		time.Sleep(time.Second)
		waited("after a failure", pool.WaitInfo{Number: 1, Reused: true, Waited: time.Second / 2})
		s.is(t, "after a failure", "pool.wait 500-1000")
		waited("the failure", pool.WaitInfo{Err: fmt.Errorf("x: %w", &pool.OpenError{Err: refused})})
		s.is(t, "the failure", "pool.wait 1000-1000 *errors.errorString", " pool.open 0-0 *errors.errorString")
	})
}

func TestErrorsOfWaitsAreOfAFewKinds(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("x: %w", pool.ErrExhausted), "timeout"},
		{pool.ErrRejected, "rejected"},
		{pool.ErrGone, "gone"},
		{pool.ErrClosed, "closed"},
		{errors.Join(pool.ErrUnavailable, &pool.OpenError{Err: errRefused}), "unavailable"},
		{fmt.Errorf("x: %w", context.Canceled), "canceled"},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), "canceled"},
		{&pool.OpenError{Err: context.DeadlineExceeded}, "context.deadlineExceededError"},
		{&pool.OpenError{Err: errRefused}, "*errors.errorString"},
	} {
		s := tracetest.NewSpanRecorder()
		ctx, span := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(s)).Tracer("test").Start(t.Context(), "request")
		otelpool.Hooks(noop.Meter{}, "p").Waited(pool.WaitInfo{Ctx: ctx, Waited: time.Second, Err: c.err})
		span.End()
		if got := s.Ended()[0].Attributes(); !slices.Contains(got, attribute.String("error.type", c.want)) {
			t.Errorf("the wait that ended with %v has the attributes %v, want %s", c.err, got, c.want)
		}
	}
}

func TestWaitsAndOpensAreTimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, pool.Config{MaxConnections: 1, MaxWaitTime: 300 * time.Millisecond})
		for range 2 {
			l, err := s.request(t, "served")
			if err != nil {
				t.Fatal(err)
			}
			s.pool.Put(l)
		}
		l, err := s.request(t, "at once")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.request(t, "fails"); !errors.Is(err, pool.ErrExhausted) {
			t.Fatalf("Get returned %v", err)
		}
		s.pool.Discard(l, errRefused)
		s.fails.Store(true)
		if _, err := s.request(t, "fails"); err == nil {
			t.Fatal("Get returned a connection")
		}
		c := collect(t, s.reader)
		waits, opens := c.histogram(t, "db.client.connection.wait_time"), c.histogram(t, "db.client.connection.create_time")
		stats := s.pool.Stats()
		if waits.Count != stats.WaitTime.Count || time.Duration(waits.Sum*1e9).Round(time.Millisecond) != stats.WaitTime.Sum.Round(time.Millisecond) {
			t.Errorf("%d waits of %v s, want those of Stats, %v", waits.Count, waits.Sum, stats.WaitTime)
		}
		if opens.Count != stats.Opened || opens.Sum != 0.1 {
			t.Errorf("%d opens of %v s, want %d and 0.1", opens.Count, opens.Sum, stats.Opened)
		}
	})
}

func TestAGetThatFindsSomethingIdleIsNoConcernOfTheHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, pool.Config{MaxConnections: 1, TimeUse: true}, otelpool.WaitSpans(0))
		register(t, s.meter, s.pool)
		for range 100 {
			l, err := s.request(t, "request")
			if err != nil {
				t.Fatal(err)
			}
			s.pool.Put(l)
		}
		c := collect(t, s.reader)
		if waits, used := c.histogram(t, "db.client.connection.wait_time").Count, c.histogram(t, "db.client.connection.use_time").Count; waits != 1 || used != 100 {
			t.Errorf("%d waits and %d leases are timed, want 1 and 100", waits, used)
		}
		if n := len(s.spans.Ended()); n != 102 {
			t.Errorf("there are %d spans, want those of the requests, of a wait and of an open", n)
		}
	})
}

// An exemplar leads from a wait to the trace of the request.
func TestAWaitIsAnExemplar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, pool.Config{MaxConnections: 1})
		if _, err := s.request(t, "the first"); err != nil {
			t.Fatal(err)
		}
		exemplars := collect(t, s.reader).histogram(t, "db.client.connection.wait_time").Exemplars
		id := s.spans.Ended()[0].SpanContext().TraceID()
		if len(exemplars) != 1 || trace.TraceID(exemplars[0].TraceID) != id {
			t.Errorf("the exemplars are %v, want the trace %v", exemplars, id)
		}
	})
}

func TestHooksWithoutInstrumentsPutSpansAllTheSame(t *testing.T) {
	s := tracetest.NewSpanRecorder()
	ctx, span := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(s)).Tracer("test").Start(t.Context(), "request")
	hooks := otelpool.Hooks(noTimes{noop.Meter{}}, "p")
	hooks.Opened(pool.OpenInfo{Number: 7, Took: time.Second})
	hooks.Waited(pool.WaitInfo{Ctx: ctx, Waited: time.Second, Number: 7})
	span.End()
	if n := len(s.Ended()); n != 3 {
		t.Errorf("there are %d spans, want those of the request, the wait and the open", n)
	}
}

// noTimes is a Meter without histograms.
type noTimes struct{ metric.Meter }

func (noTimes) Float64Histogram(string, ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	return nil, errNoInstrument
}
