package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// tableWidth is the width of the text below a table. No line is longer than a terminal of
// 80 columns.
const tableWidth = 78

// newTable returns an empty table: the first column is of labels, then come numbers, and
// words at the end. Its first column is of the given width at least.
func newTable(labels, numbers int, words bool) table.Writer {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Box.PaddingLeft, style.Box.PaddingRight = "", ""
	style.Options = table.Options{SeparateHeader: true}
	style.Format.Header, style.Format.HeaderAlign = text.FormatDefault, text.AlignRight
	t.SetStyle(style)
	columns := []table.ColumnConfig{{Number: 1, WidthMin: labels, AlignHeader: text.AlignLeft}}
	for n := range numbers {
		columns = append(columns, table.ColumnConfig{Number: n + 2, WidthMin: 13, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	if words {
		columns = append(columns, table.ColumnConfig{Number: numbers + 2, WidthMin: 12, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	t.SuppressTrailingSpaces()
	return t
}

// writeTable writes r for people.
func (r *report) writeTable(w io.Writer) error {
	var b bytes.Buffer
	for _, line := range r.settings() {
		fmt.Fprintln(&b, wrap(line, tableWidth))
	}
	fmt.Fprintln(&b)
	columns := r.columns()
	t := newTable(28, len(columns), r.compared())
	header := table.Row{""}
	for _, c := range columns {
		header = append(header, c.name)
	}
	if r.compared() {
		header = append(header, "pool / dial")
	}
	t.AppendHeader(header)
	for _, f := range r.shownFigures() {
		row := table.Row{f.label}
		for _, c := range columns {
			row = append(row, f.show(f.in(c.phaseReport)))
		}
		if r.compared() {
			row = append(row, compare(f.in(r.dialing), f.in(r.pooled)))
		}
		t.AppendRow(row)
	}
	fmt.Fprintln(&b, t.Render())
	fmt.Fprintln(&b)
	r.writeSpread(&b)
	r.writeRemarks(&b)
	_, err := w.Write(b.Bytes())
	return err
}

// settings says what was measured, in lines.
func (r *report) settings() []string {
	o := r.options
	line := fmt.Sprintf("%s clients, messages of %s bytes, %v for each phase", grouped(uint64(o.clients)), grouped(uint64(o.size)), o.duration)
	if o.warmup > 0 {
		line += fmt.Sprintf(" after %v of warm-up", o.warmup)
	}
	lines := []string{line}
	if o.rate > 0 {
		lines = append(lines, "open loop: "+rateText(o.rate)+" requests are due in a second; latency runs from then")
	}
	switch {
	case len(o.urls) > 1:
		lines = append(lines, "servers: "+r.server())
	case !r.embedded:
		lines = append(lines, "server: "+r.server())
	case o.rtt > 0:
		lines = append(lines, fmt.Sprintf("server: embedded, round trip %v", o.rtt))
	default:
		lines = append(lines, "server: embedded, on the loopback interface (no delay: see -rtt)")
	}
	return lines
}

// compared reports whether the last column compares the pool with dialing.
func (r *report) compared() bool {
	keys := map[string]bool{}
	for _, c := range r.columns() {
		keys[c.key] = true
	}
	return keys[keyDialing] && keys[keyPooled]
}

// shownFigures returns the lines of the table: the figures, without those that
// tell nothing: at the end of a closed loop all but one wait for the one connection.
func (r *report) shownFigures() (figures []figure) {
	for _, f := range r.figures() {
		if f.name == "unserved" && r.options.rate == 0 {
			continue
		}
		if f.name == "peak_connections" && r.closingSeen() {
			f.label += "\n with those being closed" // see remarks
		}
		figures = append(figures, f)
	}
	return figures
}

// writeRemarks writes what stands below the table.
func (r *report) writeRemarks(w io.Writer) {
	if text := r.poolText(); text != "" {
		fmt.Fprintln(w, wrap("pool: "+text, tableWidth))
	}
	for _, c := range r.columns() {
		if c.phaseReport == nil {
			continue
		}
		name := c.name
		if c.key == keyPooled {
			name = "pool"
		}
		for _, text := range c.phaseReport.first {
			fmt.Fprintln(w, wrap(fmt.Sprintf("error (%s): %s", name, text), tableWidth))
		}
	}
	if a := r.advise(); a != nil {
		fmt.Fprintln(w, a)
		fmt.Fprintln(w, "  "+wrap(a.reason, tableWidth-2))
	}
	for _, note := range r.remarks() {
		fmt.Fprintln(w, wrap("note: "+note, tableWidth))
	}
	for _, v := range r.verdicts {
		fmt.Fprintln(w, wrap("assert: "+v.String(), tableWidth))
	}
}

// poolText says what the pool has done, or nothing if there was none.
func (r *report) poolText() string {
	if r.pooled == nil || r.pooled.stats == nil {
		return ""
	}
	s, o := r.pooled.stats, r.options
	parts := []string{
		grouped(s.Gets) + " gets",
		grouped(s.Opened) + " opened",
		grouped(s.OpenErrors) + " failed to open",
		grouped(s.Timeouts) + " timed out",
	}
	text := strings.Join(parts, ", ") + fmt.Sprintf("; %s gets found no idle connection and waited for one", grouped(s.Waits))
	if o.clients > o.max && s.Waits > s.Gets/2 {
		text += fmt.Sprintf(", as is to be expected of %s clients that share %s", grouped(uint64(o.clients)), grouped(uint64(o.max)))
	}
	return text + "."
}

// rateText writes a rate with all its digits.
func rateText(rate float64) string {
	if rate == math.Trunc(rate) {
		return grouped(uint64(rate))
	}
	return strconv.FormatFloat(rate, 'f', -1, 64)
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
	case factor >= 9999.5:
		return ">9999x " + word
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
		n := utf8.RuneCountInString(word)
		switch {
		case column == 0:
		case column+1+n > width:
			b.WriteString("\n  ")
			column = 2
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String()
}
