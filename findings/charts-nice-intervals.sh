#!/usr/bin/env bash
# github.com/go-analyze/charts v0.6.4
#
# Expected: PreferNiceIntervals «allows the label count to flex slightly to produce rounder
# axis intervals»: of an axis up to 970 with LabelCount 6 it makes 0, 200, 400 … 1,000, six
# labels as it happens.
# It does: 0, 210, 420, 630, 840, 1.05k, with the option and without it. A LabelCount of
# one's own switches the option off; it works for the count that the library chooses.
#
# Seen on 2026-11-29 (values 0 to 970, the axis begins at 0):
#   LabelCount 6, nice:     1.05k 840 630 420 210 0
#   LabelCount 6, not nice: 1.05k 840 630 420 210 0
#   no LabelCount, nice:    1.1k 1k 900 800 700 600 500 400 300 200 100 0
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get github.com/go-analyze/charts@v0.6.4 2>log || { cat log >&2; exit 1; }
cat >main.go <<'EOF'
package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/go-analyze/charts"
)

func main() {
	label := regexp.MustCompile(`>([0-9.]+k?)</text>`)
	axis := func(name string, count int, nice bool) string {
		p, err := charts.LineRender([][]float64{{0, 485, 970}}, charts.SVGOutputOptionFunc(),
			charts.XAxisLabelsOptionFunc([]string{"x", "y", "z"}), func(o *charts.ChartOption) {
				o.YAxis = []charts.YAxisOption{{LabelCount: count, PreferNiceIntervals: charts.Ptr(nice), Min: charts.Ptr(0.0)}}
			})
		if err != nil {
			panic(err)
		}
		svg, err := p.Bytes()
		if err != nil {
			panic(err)
		}
		var labels []string
		for _, m := range label.FindAllStringSubmatch(string(svg), -1) {
			labels = append(labels, m[1])
		}
		fmt.Printf("%-23s %s\n", name, strings.Join(labels, " "))
		return strings.Join(labels, " ")
	}
	nice := axis("LabelCount 6, nice:", 6, true)
	not := axis("LabelCount 6, not nice:", 6, false)
	own := axis("no LabelCount, nice:", 0, true)
	if nice != not || !strings.Contains(nice, "210") || strings.Contains(own, "210") {
		fmt.Println("CHANGED: nice intervals and a LabelCount go together")
		os.Exit(1)
	}
}
EOF
go build -o finding .
timeout 60 ./finding
