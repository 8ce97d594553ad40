package otelpool

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/S4AK4N/pool"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/dbconv"
	"go.opentelemetry.io/otel/trace"
)

const scope = "github.com/S4AK4N/pool/contrib/otelpool"

const defaultWaitSpans = 10 * time.Millisecond

// A HooksOption changes what [Hooks] returns.
type HooksOption func(*hooks)

// WaitSpans sets how long a wait must have taken to be a span. If zero, all waits are spans.
// Negative: none is. Without this option it is 10 ms.
func WaitSpans(after time.Duration) HooksOption { return func(h *hooks) { h.waitSpans = after } }

// Hooks returns hooks for one pool. They record how long callers waited and how long opening took,
// by the name, and put waits and opens as spans into the traces of those who waited: see the
// package documentation. pool.JoinHooks adds hooks of your own.
//
// Make hooks for each pool. In a [pool.Group] give them a name for all of its pools, or for a few kinds: the
// number of names has no limit here. If an instrument cannot be made, the error goes to the ErrorHandler of
// OpenTelemetry, and nothing is recorded.
func Hooks(meter metric.Meter, name string, opts ...HooksOption) pool.Hooks {
	h := &hooks{waitSpans: defaultWaitSpans, name: semconv.DBClientConnectionPoolName(name)}
	for _, opt := range opts {
		opt(h)
	}
	h.attrs = metric.WithAttributeSet(attribute.NewSet(h.name))
	createTime, err := dbconv.NewClientConnectionCreateTime(meter, bounds())
	if err != nil {
		otel.Handle(err)
	}
	waitTime, err := dbconv.NewClientConnectionWaitTime(meter, bounds())
	if err != nil {
		otel.Handle(err)
	}
	h.createTime, h.waitTime = createTime.Inst(), waitTime.Inst()
	return pool.Hooks{Opened: h.opened, Waited: h.waited}
}

// hooks are those of one pool.
type hooks struct {
	waitSpans            time.Duration
	name                 attribute.KeyValue
	attrs                metric.MeasurementOption
	createTime, waitTime metric.Float64Histogram

	mu     sync.Mutex
	opens  [64]opening // the last ones that went well, by their numbers
	failed [3]opening  // the last ones that failed
	next   int         // which of failed is next
}

// An opening is a call of Factory.Open.
type opening struct {
	number     uint64
	began, end time.Time
	err        error
}

func (h *hooks) opened(i pool.OpenInfo) {
	now := time.Now()
	o := opening{i.Number, now.Add(-i.Took), now, i.Err}
	if i.Err == nil {
		h.createTime.Record(context.Background(), i.Took.Seconds(), h.attrs)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if i.Err == nil {
		h.opens[i.Number%uint64(len(h.opens))] = o
		return
	}
	h.failed[h.next] = o
	h.next = (h.next + 1) % len(h.failed)
}

func (h *hooks) waited(i pool.WaitInfo) {
	h.waitTime.Record(i.Ctx, i.Waited.Seconds(), h.attrs)
	parent := trace.SpanFromContext(i.Ctx)
	if !parent.IsRecording() {
		return
	}
	now := time.Now()
	began := now.Add(-i.Waited)
	tracer := parent.TracerProvider().Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL))
	ctx := i.Ctx
	if h.waitSpans >= 0 && i.Waited >= h.waitSpans {
		var span trace.Span
		ctx, span = h.start(ctx, tracer, "pool.wait", began, i.Number, i.Err, errorType)
		defer span.End(trace.WithTimestamp(now)) // after those within it
		for _, o := range h.failedSince(began, i.Err) {
			h.put(ctx, tracer, o)
		}
	}
	if o, ok := h.openOf(i); ok {
		h.put(ctx, tracer, o)
	}
}

// openOf returns the opening of the connection that a wait has got, if that was opened for it.
func (h *hooks) openOf(i pool.WaitInfo) (opening, bool) {
	if i.Err != nil || i.Reused {
		return opening{}, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	o := h.opens[i.Number%uint64(len(h.opens))]
	return o, o.number == i.Number
}

// failedSince returns the last attempts that have failed since then, and what a wait failed with: by the
// clock that may have been a moment earlier.
func (h *hooks) failedSince(began time.Time, err error) (since []opening) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.failed {
		if o.err != nil && (!o.end.Before(began) || errors.Is(err, o.err)) {
			since = append(since, o)
		}
	}
	return since
}

// put puts an opening into a trace.
func (h *hooks) put(ctx context.Context, tracer trace.Tracer, o opening) {
	_, span := h.start(ctx, tracer, "pool.open", o.began, o.number, o.err, semconv.ErrorType)
	span.End(trace.WithTimestamp(o.end))
}

// start starts a span about a connection, or about an error.
func (h *hooks) start(ctx context.Context, tracer trace.Tracer, name string, began time.Time, number uint64, err error, kind func(error) attribute.KeyValue) (context.Context, trace.Span) {
	ctx, span := tracer.Start(ctx, name, trace.WithTimestamp(began), trace.WithAttributes(h.name))
	if err == nil {
		span.SetAttributes(attribute.Int64("pool.connection.number", int64(number)))
	} else {
		span.SetAttributes(kind(err))
		span.SetStatus(codes.Error, err.Error())
	}
	return ctx, span
}

// The kinds of errors of a Get, as the attribute error.type.
var (
	errTimeout     = semconv.ErrorTypeKey.String("timeout")
	errCanceled    = semconv.ErrorTypeKey.String("canceled")
	errRejected    = semconv.ErrorTypeKey.String("rejected")
	errUnavailable = semconv.ErrorTypeKey.String("unavailable")
	errGone        = semconv.ErrorTypeKey.String("gone")
	errClosed      = semconv.ErrorTypeKey.String("closed")
)

// errorType returns the kind of an error that Get returned: of one of the factory's own, its type.
func errorType(err error) attribute.KeyValue {
	for _, e := range []struct {
		err  error
		kind attribute.KeyValue
	}{
		{pool.ErrUnavailable, errUnavailable},
		{pool.ErrExhausted, errTimeout},
		{pool.ErrRejected, errRejected},
		{pool.ErrGone, errGone},
		{pool.ErrClosed, errClosed},
	} {
		if errors.Is(err, e.err) {
			return e.kind
		}
	}
	if open := (*pool.OpenError)(nil); errors.As(err, &open) { // before the ends of a ctx: Open has one of its own
		return semconv.ErrorType(open.Err)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return errCanceled
	}
	return semconv.ErrorType(err)
}
