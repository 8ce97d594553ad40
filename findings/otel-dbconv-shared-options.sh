#!/usr/bin/env bash
# go.opentelemetry.io/otel v1.47.0 (semconv/v1.43.0/dbconv), sdk/metric v1.47.0
#
# Expected: dbconv.NewClientConnectionWaitTime(meter, options[:1]...) reads the options
# that it is given, and leaves the slice alone. So a program can keep one list, give its
# beginning to the instruments of the conventions and all of it to one of its own.
# It does: it appends the conventions' description and unit to the caller's slice. Where
# that has room, they land in the caller's array, on top of what was there. The
# instrument that is made of the list afterwards has the description and the unit of
# another one. Two goroutines that make instruments of one list race.
#
# Seen on 2026-11-29 (the list: bounds, a description, the unit By):
#   made before: message.size, unit "By", "Bytes of a message."
#   made after:  reply.size, unit "s", "The time it took to obtain an open connection from the pool."
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

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func main() {
	reader := sdk.NewManualReader()
	meter := sdk.NewMeterProvider(sdk.WithReader(reader)).Meter("finding")
	options := []metric.Float64HistogramOption{
		metric.WithExplicitBucketBoundaries(100, 1000, 10000),
		metric.WithDescription("Bytes of a message."),
		metric.WithUnit("By"),
	}
	ctx := context.Background()
	must(meter.Float64Histogram("message.size", options...)).Record(ctx, 1)
	must(dbconv.NewClientConnectionWaitTime(meter, options[:1]...))
	must(meter.Float64Histogram("reply.size", options...)).Record(ctx, 1)

	var all metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &all); err != nil {
		panic(err)
	}
	made := map[string]metricdata.Metrics{}
	for _, m := range all.ScopeMetrics[0].Metrics {
		made[m.Name] = m
	}
	before, after := made["message.size"], made["reply.size"]
	fmt.Printf("made before: %s, unit %q, %q\n", before.Name, before.Unit, before.Description)
	fmt.Printf("made after:  %s, unit %q, %q\n", after.Name, after.Unit, after.Description)
	if after.Unit == "By" && after.Description == "Bytes of a message." {
		fmt.Println("CHANGED: the caller's options are left alone")
		os.Exit(1)
	}
}
EOF
go build -o finding .
timeout 60 ./finding
