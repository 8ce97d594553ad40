#!/usr/bin/env bash
# go.opentelemetry.io/otel v1.47.0 (semconv/v1.43.0/dbconv), sdk/metric v1.47.0
#
# Expected: the observable instrument that dbconv returns is a metric.Int64Observable,
# so a callback can be registered for it and can observe it, or neither compiles or works.
# It does: RegisterCallback refuses it, for it is a struct around the SDK's instrument.
# Registered by its Inst() and observed as it is (which compiles) it has no value:
# Collect returns nil and the metric is not there. What is told of it goes to the log of
# the process alone, not to the error of Collect, nor to the ErrorHandler.
#
# Seen on 2026-11-29:
#   RegisterCallback with the struct: invalid observable: from different implementation
#   observed as the struct: Collect <nil>, metrics [db.client.connection.max], errors handled 0, lines in the log 1
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get go.opentelemetry.io/otel@v1.47.0 go.opentelemetry.io/otel/metric@v1.47.0 go.opentelemetry.io/otel/sdk/metric@v1.47.0 github.com/go-logr/logr@v1.4.4 2>log || { cat log >&2; exit 1; }
cat >main.go <<'EOF'
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/go-logr/logr/funcr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/semconv/v1.43.0/dbconv"
)

func main() {
	var lines, handled int
	otel.SetLogger(funcr.New(func(prefix, args string) { lines++ }, funcr.Options{}))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { handled++ }))

	ctx := context.Background()
	reader := sdk.NewManualReader()
	meter := sdk.NewMeterProvider(sdk.WithReader(reader)).Meter("finding")
	count, err := dbconv.NewClientConnectionCountObservable(meter)
	if err != nil {
		panic(err)
	}
	most, err := dbconv.NewClientConnectionMaxObservable(meter)
	if err != nil {
		panic(err)
	}
	nothing := func(context.Context, metric.Observer) error { return nil }
	_, refused := meter.RegisterCallback(nothing, count)
	fmt.Println("RegisterCallback with the struct:", refused)

	_, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(count, 5)
		o.ObserveInt64(most.Inst(), 10)
		return nil
	}, count.Inst(), most.Inst())
	if err != nil {
		panic(err)
	}
	var all metricdata.ResourceMetrics
	failed := reader.Collect(ctx, &all)
	var names []string
	for _, m := range all.ScopeMetrics[0].Metrics {
		names = append(names, m.Name)
	}
	fmt.Printf("observed as the struct: Collect %v, metrics %v, errors handled %d, lines in the log %d\n", failed, names, handled, lines)
	if refused == nil || failed != nil || handled > 0 || len(names) != 1 {
		fmt.Println("CHANGED: the struct can be registered, or observed, or Collect says why not")
		os.Exit(1)
	}
}
EOF
go build -o finding .
timeout 60 ./finding
