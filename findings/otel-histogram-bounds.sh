#!/usr/bin/env bash
# go.opentelemetry.io/otel/sdk/metric v1.47.0
#
# Expected: two parts of a program make a histogram of one name, one with bounds in
# milliseconds and one with bounds in seconds (or, as a library does, with none). There
# are two streams, or an error, or a warning: for another unit, type or description the
# SDK warns of "duplicate metric stream definitions".
# It does: both record into one stream, with the bounds of whoever came first. There is
# no error and no line in the log, at any level. So it depends on the order in which packages are
# initialized whether the times of the second are in one bucket.
#
# Seen on 2026-11-29 (the first has recorded 30 s; the second, whose bounds are 0.001, 0.01, 0.1 and 1, 2, 20 and 200 ms):
#   streams: 1, bounds [5 10 25], counts [3 0 0 1], errors 0, lines in the log about it 0
#   with another description: streams 2, lines in the log about it 1
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
	"strings"

	"github.com/go-logr/logr/funcr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

var lines, failed int // about streams of one name

func main() {
	otel.SetLogger(funcr.New(func(prefix, args string) {
		if strings.Contains(args, "wait") && strings.Contains(args, "metric stream") {
			lines++
		}
	}, funcr.Options{Verbosity: 100}))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { failed++ }))

	streams := two(metric.WithExplicitBucketBoundaries(0.001, 0.01, 0.1, 1))
	h := streams[0].Data.(metricdata.Histogram[float64]).DataPoints[0]
	fmt.Printf("streams: %d, bounds %v, counts %v, errors %d, lines in the log about it %d\n", len(streams), h.Bounds, h.BucketCounts, failed, lines)
	silent := len(streams) == 1 && len(h.Bounds) == 3 && failed == 0 && lines == 0
	fmt.Printf("with another description: streams %d, ", len(two(metric.WithDescription("How long callers waited."))))
	fmt.Printf("lines in the log about it %d\n", lines)
	if !silent || lines != 1 {
		fmt.Println("CHANGED: other bounds make another stream, or are told of")
		os.Exit(1)
	}
}

// two makes two histograms of one name, records with both, and returns what has been collected.
func two(second metric.Float64HistogramOption) []metricdata.Metrics {
	ctx := context.Background()
	reader := sdk.NewManualReader()
	meter := sdk.NewMeterProvider(sdk.WithReader(reader)).Meter("finding")
	first, err := meter.Float64Histogram("wait", metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(5, 10, 25))
	if err != nil {
		panic(err)
	}
	h, err := meter.Float64Histogram("wait", metric.WithUnit("s"), second)
	if err != nil {
		panic(err)
	}
	first.Record(ctx, 30)
	for _, s := range []float64{0.002, 0.02, 0.2} {
		h.Record(ctx, s)
	}
	var all metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &all); err != nil {
		panic(err)
	}
	return all.ScopeMetrics[0].Metrics
}
EOF
go build -o finding .
timeout 60 ./finding
