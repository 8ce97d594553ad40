package otelpool_test

import (
	"context"
	"fmt"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/contrib/otelpool"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

func Example() {
	// The providers of a program that has nowhere to send to.
	reader, spans := sdk.NewManualReader(), tracetest.NewSpanRecorder()
	meter := sdk.NewMeterProvider(sdk.WithReader(reader)).Meter("orders")
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("orders")

	hooks := otelpool.Hooks(meter, "orders", otelpool.WaitSpans(time.Millisecond))
	p, err := pool.New(pool.Factory[*conn]{Open: func(context.Context) (*conn, error) {
		time.Sleep(20 * time.Millisecond)
		return new(conn), nil
	}}, pool.Config{Name: "orders", Hooks: hooks, TimeUse: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	registration, err := otelpool.Register(meter, p)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer registration.Unregister()

	ctx, request := tracer.Start(context.Background(), "request")
	lease, err := p.Get(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Put(lease)
	request.End()

	for _, span := range spans.Ended() {
		fmt.Println(span.Name())
	}
	var metrics metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &metrics); err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range metrics.ScopeMetrics[0].Metrics {
		if count, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == "db.client.connection.max" {
			fmt.Println(m.Name, count.DataPoints[0].Value)
		}
	}
	// Output:
	// pool.open
	// pool.wait
	// request
	// db.client.connection.max 10
}
