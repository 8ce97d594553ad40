package otelpool_test

import (
	"context"
	"fmt"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/contrib/otelpool"
	"github.com/S4AK4N/pool/wsconn"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

func Example() {
	// The providers of a program that has nowhere to send to.
	reader, spans := sdk.NewManualReader(), tracetest.NewSpanRecorder()
	meter := sdk.NewMeterProvider(sdk.WithReader(reader)).Meter("orders")
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("orders")

	ctx, request := tracer.Start(context.Background(), "request")
	if err := order(ctx, meter); err != nil {
		fmt.Println(err)
	}
	request.End()
	for _, span := range spans.Ended() {
		fmt.Println("span", span.Name())
	}
	var metrics metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &metrics); err != nil {
		fmt.Println(err)
	}
	for _, m := range metrics.ScopeMetrics[0].Metrics {
		if waits, ok := m.Data.(metricdata.Histogram[float64]); ok {
			fmt.Println(m.Name, waits.DataPoints[0].Count)
		}
	}
	// Output:
	// span pool.open
	// span pool.wait
	// span request
	// db.client.connection.create_time 1
	// db.client.connection.wait_time 1
}

// order makes a pool, and uses it for a request.
func order(ctx context.Context, meter metric.Meter) error {
	factory := pool.Factory[*conn]{Open: func(context.Context) (*conn, error) {
		time.Sleep(20 * time.Millisecond) // long enough for the wait to be a span
		return new(conn), nil
	}}
	p, err := pool.New(factory, pool.Config{Name: "orders", Hooks: otelpool.Hooks(meter, "orders"), TimeUse: true})
	if err != nil {
		return err
	}
	registration, err := otelpool.Register(meter, p)
	if err != nil {
		return err
	}
	defer registration.Unregister()
	defer p.Close()
	return p.Do(ctx, func(context.Context, *conn) error { return nil })
}

// A Dialer has no hooks of this package.
func ExampleWithoutHooks() {
	meter := noop.NewMeterProvider().Meter("gateway")
	dialer := &wsconn.Dialer{Options: &wsconn.Options{OneReplyPerRequest: true}, Config: pool.Config{Name: "sockets", TimeUse: true}}
	defer dialer.Close()
	registration, err := otelpool.RegisterFunc(meter, dialer.Sources(), otelpool.WithoutHooks())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer registration.Unregister()
	fmt.Println("registered")
	// Output: registered
}

// With OpenContext, spans of the factory's own are in the trace of the request that the connection is
// opened for.
func Example_openContext() {
	factory := pool.Factory[*conn]{Open: func(ctx context.Context) (*conn, error) {
		fmt.Println("in a trace:", trace.SpanFromContext(ctx).IsRecording())
		return new(conn), nil
	}}
	spanOf := func(ctx context.Context) context.Context {
		return trace.ContextWithSpan(context.Background(), trace.SpanFromContext(ctx))
	}
	hooks := otelpool.Hooks(noop.NewMeterProvider().Meter("orders"), "orders")
	p, err := pool.New(factory, pool.Config{Name: "orders", Hooks: hooks, OpenContext: spanOf})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	ctx, request := sdktrace.NewTracerProvider().Tracer("orders").Start(context.Background(), "request")
	defer request.End()
	if err := p.Do(ctx, func(context.Context, *conn) error { return nil }); err != nil {
		fmt.Println(err)
	}
	// Output:
	// in a trace: true
}
