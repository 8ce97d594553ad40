#!/usr/bin/env bash
# go.opentelemetry.io/otel v1.47.0 (semconv/v1.43.0/dbconv), sdk/metric v1.47.0
#
# Expected: dbconv.NewClientConnectionWaitTime(meter, metric.WithUnit("ms"),
# metric.WithDescription("…"), bounds) makes the instrument of the conventions with what
# the caller says: the last word is the caller's, as with every list of options.
# It does: the package's own unit and description come behind the caller's, and win.
# Both of the caller's are ignored without an error, while the bounds are taken: a
# program that asks for milliseconds, and gives bounds and records in milliseconds,
# exports them as seconds.
#
# Seen on 2026-11-29 (20 recorded, meant as milliseconds):
#   db.client.connection.wait_time: unit "s", description "The time it took to obtain an open connection from the pool.", bounds [1 10 100], sum 20
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get go.opentelemetry.io/otel@v1.47.0 go.opentelemetry.io/otel/metric@v1.47.0 go.opentelemetry.io/otel/sdk/metric@v1.47.0 2>log || { cat log >&2; exit 1; }
cat >main.go <<'EOF'
package main

import (
	"context"
	"fmt"
	"os"

	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/semconv/v1.43.0/dbconv"
)

func main() {
	reader := sdk.NewManualReader()
	meter := sdk.NewMeterProvider(sdk.WithReader(reader)).Meter("finding")
	wait, err := dbconv.NewClientConnectionWaitTime(meter, metric.WithUnit("ms"),
		metric.WithDescription("How long callers waited."), metric.WithExplicitBucketBoundaries(1, 10, 100))
	if err != nil {
		panic(err)
	}
	wait.Record(context.Background(), 20, "pool")
	var all metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &all); err != nil {
		panic(err)
	}
	m := all.ScopeMetrics[0].Metrics[0]
	h := m.Data.(metricdata.Histogram[float64]).DataPoints[0]
	fmt.Printf("%s: unit %q, description %q, bounds %v, sum %v\n", m.Name, m.Unit, m.Description, h.Bounds, h.Sum)
	if m.Unit != "s" || m.Description == "How long callers waited." {
		fmt.Println("CHANGED: the caller's unit or description is taken")
		os.Exit(1)
	}
}
EOF
go build -o finding .
timeout 60 ./finding
