package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/S4AK4N/pool/bench/harness"
)

type unit int

const (
	count unit = iota
	nanoseconds
	milliseconds
	bytesUnit
	part
	number
)

var units = map[string]unit{
	harness.NsOp: nanoseconds, harness.WaitP50: nanoseconds, harness.WaitP99: nanoseconds, harness.WaitMax: nanoseconds,
	harness.HoldNs: nanoseconds, harness.CancelNs: nanoseconds, harness.BaseNs: nanoseconds,
	harness.FirstMs: milliseconds, harness.AllMs: milliseconds, harness.FullMs: milliseconds,
	harness.PoolBytes: bytesUnit, harness.UsedBytes: bytesUnit, harness.IdleBytes: bytesUnit, harness.BytesOp: bytesUnit,
	harness.Foreign: part, harness.Ended: part, harness.StormLoss: part,
	harness.AllocsOp: number, harness.Served: number, harness.Goroutines: number,
}

// show formats v with three digits that count.
func (u unit) show(v float64) string {
	switch u {
	case nanoseconds:
		switch {
		case math.Abs(v) < 999.5:
			return digits(v) + " ns"
		case math.Abs(v) < 999.5e3:
			return digits(v/1e3) + " µs"
		}
		return digits(v/1e6) + " ms"
	case milliseconds:
		return digits(v) + " ms"
	case bytesUnit:
		if v < 9999.5 {
			return thousands(strconv.FormatFloat(v, 'f', 0, 64)) + " B"
		}
		return digits(v/1e3) + " kB"
	case part:
		return strconv.FormatFloat(v*100, 'f', 0, 64) + " %"
	case number:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return thousands(strconv.FormatFloat(v, 'f', 0, 64))
}

func digits(v float64) string {
	switch a := math.Abs(v); {
	case a < 9.995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case a < 99.95:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return thousands(strconv.FormatFloat(v, 'f', 0, 64))
}

// thousands puts a comma before each three digits of an integer.
func thousands(s string) string {
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if s == "0" {
		sign = ""
	}
	return sign + s
}

// times says how much better a is than b, both of one metric.
func times(metric string, a, b float64) string {
	switch units[metric] {
	case part:
		return fmt.Sprintf("%s instead of %s", part.show(a), part.show(b))
	}
	if a == 0 || b == 0 {
		u := units[metric]
		return fmt.Sprintf("%s instead of %s", u.show(a), u.show(b))
	}
	return fmt.Sprintf("%.2f times", math.Max(a/b, b/a))
}
