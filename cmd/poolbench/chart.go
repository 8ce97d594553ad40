package main

import (
	"fmt"
	"html/template"
	"math"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/go-analyze/charts"
)

// A pageChart is one chart of the page, for a wide and for a narrow window.
type pageChart struct {
	Title, Text  string
	Legend       []pageLegend
	Wide, Narrow template.HTML
}

type pageLegend struct{ Color, Name string }

// The library writes colors as numbers. The charts get numbers that stand for a CSS
// variable each, and colored puts those in their place, so that one chart serves light and
// dark.
var colors = []struct {
	color    charts.Color
	variable string
}{
	{charts.ColorRGB(1, 0, 1), "--axis"},
	{charts.ColorRGB(1, 0, 2), "--grid"},
	{charts.ColorRGB(1, 0, 3), "--faint"},
	{charts.ColorRGB(2, 0, 1), "--dialing"},
	{charts.ColorRGB(2, 0, 2), "--shared"},
	{charts.ColorRGB(2, 0, 3), "--pooled"},
}

// colorOf returns the color that stands for a variable.
func colorOf(variable string) charts.Color {
	for _, c := range colors {
		if c.variable == variable {
			return c.color
		}
	}
	panic("poolbench: no color " + variable)
}

// colored makes svg a part of the page: with variables for colors, the font of the page,
// and without the names of its XML namespaces, which HTML does not need.
func colored(svg []byte, label string) template.HTML {
	var pairs []string
	for _, c := range colors {
		r, g, b := c.color.R, c.color.G, c.color.B
		pairs = append(pairs, fmt.Sprintf("rgb(%d,%d,%d)", r, g, b), "var("+c.variable+")")
	}
	pairs = append(pairs,
		";font-family:'Roboto Medium',sans-serif", "",
		` xmlns="http://www.w3.org/2000/svg"`, ` role="img" aria-label="`+template.HTMLEscapeString(label)+`"`,
		` xmlns:xlink="http://www.w3.org/1999/xlink"`, "")
	return template.HTML(strings.NewReplacer(pairs...).Replace(string(svg)))
}

// A curveOf is one line of a chart.
type curveOf struct {
	name, variable string
	values         []float64 // NaN: none
}

// A plot is a chart to be drawn.
type plot struct {
	title, text string
	curves      []curveOf
	labels      []string // below the values
	logarithmic bool     // of nanoseconds
	marks       bool     // each value is marked
}

// charts returns the charts of the page. Those of which nothing is known are left out.
func (r *report) charts() (all []pageChart, err error) {
	for _, p := range []plot{
		r.percentilePlot("Latency by percentile", "From when a request was due, or was made, to its whole reply. Each line of the grid is ten times the one below.", latencies),
		r.seriesPlot("Requests per second over time", "Right replies.", func(s sample, seconds float64) float64 { return float64(s.answered) / seconds }),
		r.seriesPlot("Connections in use over time", r.occupancyText(), func(s sample, _ float64) float64 { return s.inUse }),
		r.seriesPlot("Requests that wait, over time", "For their turn at the one connection, or for the pool.", func(s sample, _ float64) float64 { return s.waiting }).without("--dialing"),
		r.percentilePlot("Wait by percentile", "Until a request had its connection, without its own dial.", waits),
		r.percentilePlot("Round trip by percentile", "From the write to the whole reply.", trips),
		r.seriesPlot("Dials per second over time", r.dialsText(), func(s sample, seconds float64) float64 { return float64(s.dials) / seconds }),
		r.percentilePlot("Dial by percentile", "Until a new connection could be used.", dials),
	} {
		if len(p.curves) == 0 {
			continue
		}
		c := pageChart{Title: p.title, Text: p.text}
		for _, line := range p.curves {
			c.Legend = append(c.Legend, pageLegend{strings.TrimPrefix(line.variable, "--"), line.name})
		}
		if c.Wide, err = p.draw(600, 300, 10); err != nil {
			return nil, err
		}
		if c.Narrow, err = p.draw(360, 240, 9); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

func (r *report) occupancyText() string {
	text := "That carry a request."
	if r.pooled != nil {
		text += fmt.Sprintf(" The pool has room for %s.", grouped(uint64(r.options.max)))
	}
	return text
}

func (r *report) dialsText() string {
	var parts []string
	for _, c := range r.columns() {
		if c.phaseReport != nil {
			parts = append(parts, fmt.Sprintf("%s: %s", c.name, grouped(uint64(max(0, c.phaseReport.dials)))))
		}
	}
	return "In all: " + strings.Join(parts, ", ") + "."
}

// percentilePlot draws one histogram of each way.
func (r *report) percentilePlot(title, text string, of func(*phaseReport) *histogram) plot {
	p := plot{title: title, text: text, logarithmic: true, marks: true}
	var most *histogram // the labels end where the longest curve does
	for _, c := range r.columns() {
		if c.phaseReport != nil && (most == nil || of(c.phaseReport).count > most.count) {
			most = of(c.phaseReport)
		}
	}
	if most == nil || most.count == 0 {
		return p
	}
	var percents []float64
	for _, percent := range curve {
		if most.tells(percent) {
			percents = append(percents, percent)
			label := fmt.Sprintf("%v", percent)
			if percent == 100 {
				label = "max"
			}
			p.labels = append(p.labels, label)
		}
	}
	for _, c := range r.columns() {
		if c.phaseReport == nil || of(c.phaseReport).count == 0 {
			continue
		}
		h := of(c.phaseReport)
		line := curveOf{name: c.name, variable: "--" + c.key}
		for _, percent := range percents {
			line.values = append(line.values, math.Log10(max(1, float64(h.percentile(percent)))))
		}
		p.curves = append(p.curves, line)
	}
	return p
}

// seriesPoints is how many points a line over time has.
const seriesPoints = 60

// seriesPlot draws one value of each part of the phases. Ways for which it is always zero
// are left out, unless they all are. The parts of two phases may differ in length: a busy
// machine looks late. So the lines have points at the same times.
func (r *report) seriesPlot(title, text string, value func(s sample, seconds float64) float64) plot {
	p := plot{title: title, text: text}
	var end time.Duration
	for _, c := range r.columns() {
		if c.phaseReport != nil && len(c.series) > 1 {
			end = max(end, c.series[len(c.series)-1].end)
		}
	}
	if end == 0 {
		return p
	}
	if d := r.options.duration; end > d*9/10 {
		end = d // which it is but for a tick
	}
	for i := range seriesPoints + 1 {
		p.labels = append(p.labels, fmt.Sprintf("%.3g s", end.Seconds()*float64(i)/seriesPoints))
	}
	var zero []curveOf
	for _, c := range r.columns() {
		if c.phaseReport == nil || len(c.series) < 2 {
			continue
		}
		line := curveOf{name: c.name, variable: "--" + c.key}
		some := false
		var before time.Duration
		parts := c.series
		for i := range seriesPoints + 1 {
			at := end * time.Duration(i) / seriesPoints
			for len(parts) > 1 && parts[0].end < at {
				before, parts = parts[0].end, parts[1:]
			}
			if parts[0].end < at-end/20 {
				line.values = append(line.values, math.NaN()) // it ended early
				continue
			}
			v := value(parts[0], max(1e-3, (parts[0].end-before).Seconds()))
			some = some || v != 0
			line.values = append(line.values, v)
		}
		if some {
			p.curves = append(p.curves, line)
		} else {
			zero = append(zero, line)
		}
	}
	if len(p.curves) == 0 {
		p.curves = zero
	}
	return p
}

// without returns p without the line of the given color.
func (p plot) without(variable string) plot {
	p.curves = slices.DeleteFunc(p.curves, func(c curveOf) bool { return c.variable == variable })
	return p
}

// draw returns p as SVG of the given size, with text of the given size in points.
func (p plot) draw(width, height int, points float64) (template.HTML, error) {
	var values [][]float64
	theme := charts.ThemeOption{
		AxisStrokeColor:    colorOf("--axis"),
		AxisSplitLineColor: colorOf("--grid"),
		TextColor:          colorOf("--faint"),
		BackgroundColor:    charts.ColorTransparent,
	}
	low, high := math.Inf(1), math.Inf(-1)
	for _, line := range p.curves {
		known := make([]float64, len(line.values))
		for i, v := range line.values {
			if known[i] = v; math.IsNaN(v) {
				known[i] = charts.GetNullValue()
				continue
			}
			low, high = min(low, v), max(high, v)
		}
		values = append(values, known)
		theme.SeriesColors = append(theme.SeriesColors, colorOf(line.variable))
	}
	o := charts.NewLineChartOptionWithData(values)
	o.Theme = charts.MakeTheme(theme)
	o.Padding = charts.NewBox(4, 8, 12, 4)
	o.Legend.Show = charts.Ptr(false) // the page has it
	o.XAxis.Labels = p.labels
	o.XAxis.LabelFontStyle.FontSize = points
	o.XAxis.BoundaryGap = charts.Ptr(false)
	o.LineStrokeWidth = 2
	o.Symbol.Shape = charts.SymbolNone
	if p.marks {
		o.Symbol.Shape = charts.SymbolDot
	} else {
		o.XAxis.LabelCount = 1 + min(5, width/90)
	}
	y := &o.YAxis[0]
	y.LabelFontStyle.FontSize = points
	if p.logarithmic {
		low, high = math.Floor(low), math.Ceil(high)
		if high == low {
			high++
		}
		y.Min, y.Max = &low, &high
		y.LabelCount = int(high-low) + 1
		y.RangeValuePaddingScale = charts.Ptr(0.0)
		y.ValueFormatter = func(v float64) string { return roundDuration(math.Round(v)) }
	} else {
		step := roundStep(high / 5)
		steps := max(1, math.Ceil(high/step))
		y.Min, y.Max, y.LabelCount = charts.Ptr(0.0), charts.Ptr(step*steps), int(steps)+1
		y.RangeValuePaddingScale = charts.Ptr(0.0)
		y.ValueFormatter = func(v float64) string { return count(max(0, v)) }
	}
	painter := charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputSVG, Width: width, Height: height})
	if err := painter.LineChart(o); err != nil {
		return "", fmt.Errorf("chart %q: %w", p.title, err)
	}
	svg, err := painter.Bytes()
	if err != nil {
		return "", fmt.Errorf("chart %q: %w", p.title, err)
	}
	return colored(svg, p.title), nil
}

// roundStep returns the least whole number of 1, 2 or 5 and zeros that is not below v.
func roundStep(v float64) float64 {
	for scale := 1.0; ; scale *= 10 {
		for _, digit := range []float64{1, 2, 5} {
			if digit*scale >= v {
				return digit * scale
			}
		}
	}
}

// roundDuration writes a power of ten of nanoseconds.
func roundDuration(exponent float64) string {
	units := []string{"ns", "µs", "ms", "s"}
	unit := min(len(units)-1, int(max(0, exponent))/3)
	return grouped(uint64(math.Pow(10, exponent-float64(3*unit)))) + " " + units[unit]
}

func machineText() string {
	return fmt.Sprintf("%s, %s/%s, %d CPUs", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
}
