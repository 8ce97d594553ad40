package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// tableWidth is the width of the widest line of the table.
const tableWidth = 76

// writeTable writes r for people.
func (r *report) writeTable(w io.Writer) error {
	var b bytes.Buffer
	o := r.options
	fmt.Fprintf(&b, "%s clients, messages of %s bytes, %v for each phase\n",
		grouped(uint64(o.clients)), grouped(uint64(o.size)), o.duration)
	switch {
	case len(o.urls) > 1:
		fmt.Fprintln(&b, wrap("servers: "+r.server(), tableWidth))
	case !r.embedded:
		fmt.Fprintf(&b, "server: %s\n", r.server())
	case o.rtt > 0:
		fmt.Fprintf(&b, "server: embedded, round trip %v\n", o.rtt)
	default:
		fmt.Fprintf(&b, "server: embedded, on the loopback interface (no delay: see -rtt)\n")
	}
	fmt.Fprintf(&b, "\n%-30s%16s%16s\n", "", "dial each time", fmt.Sprintf("pool of %s", grouped(uint64(o.max))))
	fmt.Fprintln(&b, strings.Repeat("-", tableWidth))
	for _, f := range r.figures() {
		dialing, pooled := f.in(r.dialing), f.in(r.pooled)
		line := fmt.Sprintf("%-30s%16s%16s   %s", f.label, f.show(dialing), f.show(pooled), compare(dialing, pooled))
		fmt.Fprintln(&b, strings.TrimRight(line, " "))
	}
	fmt.Fprintln(&b, strings.Repeat("-", tableWidth))
	r.writeSpread(&b)
	r.writeRemarks(&b)
	_, err := w.Write(b.Bytes())
	return err
}

// writeRemarks writes what stands below the table.
func (r *report) writeRemarks(w io.Writer) {
	if r.pooled != nil && r.pooled.stats != nil {
		s := r.pooled.stats
		fmt.Fprintf(w, "pool: %s\n", strings.Join([]string{
			grouped(s.Gets) + " gets",
			grouped(s.Waits) + " waited",
			grouped(s.Timeouts) + " timed out",
			grouped(s.Opened) + " opened",
			grouped(s.OpenErrors) + " failed to open",
		}, ", "))
	}
	for _, p := range []struct {
		name string
		*phaseReport
	}{{"dial each time", r.dialing}, {"pool", r.pooled}} {
		if p.phaseReport == nil {
			continue
		}
		for _, text := range p.first {
			fmt.Fprintln(w, wrap(fmt.Sprintf("error (%s): %s", p.name, text), tableWidth))
		}
	}
	for _, note := range r.remarks() {
		fmt.Fprintln(w, wrap("note: "+note, tableWidth))
	}
}

// compare says in words how the second column relates to the first.
func compare(dialing, pooled amount) string {
	a, b := dialing.float64, pooled.float64
	switch {
	case !dialing.known || !pooled.known || a == 0 && b == 0:
		return ""
	case a == 0:
		return "more"
	case b == 0:
		return "none"
	}
	factor, word := b/a, "more"
	if factor < 1 {
		factor, word = 1/factor, "less"
	}
	switch {
	case factor < 1.05:
		return "same"
	case factor < 10:
		return fmt.Sprintf("%.1fx %s", factor, word)
	default:
		return fmt.Sprintf("%sx %s", grouped(uint64(math.Round(factor))), word)
	}
}

// count writes a number with a comma after each three digits.
func count(v float64) string { return grouped(uint64(math.Round(v))) }

func grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// duration writes a number of nanoseconds with three digits.
func duration(v float64) string {
	switch {
	case v < 1e3:
		return fmt.Sprintf("%.0f ns", v)
	case v < 1e6:
		return digits(v/1e3) + " µs"
	case v < 1e9:
		return digits(v/1e6) + " ms"
	default:
		return digits(v/1e9) + " s"
	}
}

// size writes a number of bytes.
func size(v float64) string {
	switch {
	case v < 1<<20:
		return digits(v/(1<<10)) + " KiB"
	case v < 1<<30:
		return digits(v/(1<<20)) + " MiB"
	default:
		return digits(v/(1<<30)) + " GiB"
	}
}

// digits writes v with three digits, or with all that it has before the point.
func digits(v float64) string {
	switch {
	case v < 9.995:
		return fmt.Sprintf("%.2f", v)
	case v < 99.95:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.0f", v)
	}
}

// wrap breaks text at spaces into lines of width, the later ones indented.
func wrap(text string, width int) string {
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		switch {
		case column == 0:
		case column+1+len(word) > width:
			b.WriteString("\n  ")
			column = 2
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}
