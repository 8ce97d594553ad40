#!/usr/bin/env bash
# go.opentelemetry.io/otel/sdk/metric v1.47.0
#
# Expected: a histogram of a pool's waits, with the unit «s» that the semantic
# conventions ask for (db.client.connection.wait_time), has bounds that suit seconds, as
# Prometheus' default has. The conventions give bounds too, from 1 ms to 10 s.
# It does: the bounds are those made for milliseconds, 0, 5, 10, 25 … 10000, whatever the
# unit. All waits from 0.1 ms to 5 s are in one bucket, and a percentile computed from it is 2.5 s
# or 4.95 s for any pool that works. (metric.WithExplicitBucketBoundaries on the instrument cures it.)
#
# Seen on 2026-11-28:
#   waits of 0.1ms, 5ms, 200ms and 4s; bucket (0, 5]: 4 of 4
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get go.opentelemetry.io/otel/sdk/metric@v1.47.0 2>/dev/null
cat >main.go <<'EOF'
package main

import (
	"context"
	"fmt"
	"os"

	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

func main() {
	ctx := context.Background()
	reader := sdk.NewManualReader()
	meter := sdk.NewMeterProvider(sdk.WithReader(reader)).Meter("pool")
	waits, err := meter.Float64Histogram("db.client.connection.wait_time", metric.WithUnit("s"))
	if err != nil {
		panic(err)
	}
	for _, seconds := range []float64{0.0001, 0.005, 0.2, 4} {
		waits.Record(ctx, seconds)
	}
	var data metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &data); err != nil {
		panic(err)
	}
	point := data.ScopeMetrics[0].Metrics[0].Data.(metricdata.Histogram[float64]).DataPoints[0]
	fmt.Println("bounds:", point.Bounds)
	fmt.Printf("waits of 0.1ms, 5ms, 200ms and 4s; bucket (%v, %v]: %d of %d\n", point.Bounds[0], point.Bounds[1], point.BucketCounts[1], point.Count)
	if point.Bounds[1] != 5 || point.BucketCounts[1] != 4 {
		fmt.Println("CHANGED: the bounds follow the unit")
		os.Exit(1)
	}
}
EOF
go build -o finding .
timeout 60 ./finding
