package report

import (
	"errors"
	"math"
	"strings"

	"github.com/go-analyze/charts"
)

// A chart shows columns of its table as bars, lying.
type chart struct {
	name   string
	title  string
	unit   unit
	series []int // columns
	log    bool
}

// draw returns the chart for light and for dark pages.
func (c *chart) draw(d *data, t table) (light, dark []byte, err error) {
	var names []string
	values := make([][]float64, len(c.series))
	var legend []string
	for _, i := range c.series {
		legend = append(legend, t.columns[i].head)
	}
	// The first peer is on top: bars are drawn from below.
	for k := len(d.header.Peers) - 1; k >= 0; k-- {
		p := d.header.Peers[k].Name
		row := make([]float64, len(c.series))
		any := false
		for j, i := range c.series {
			row[j] = charts.GetNullValue()
			if cell := d.cell(t.columns[i].scenario, t.columns[i].cpu, p, t.columns[i].metric); cell.sample != nil {
				row[j], any = cell.summary().Center, true
			}
		}
		if !any {
			continue // the table tells why
		}
		names = append(names, p)
		for j := range row {
			values[j] = append(values[j], row[j])
		}
	}
	if len(names) == 0 {
		return nil, nil, errors.New("no peer has a value")
	}
	if light, err = c.render(charts.ThemeLight, names, legend, values); err == nil {
		dark, err = c.render(charts.ThemeDark, names, legend, values)
	}
	return light, dark, err
}

func (c *chart) render(theme string, names, legend []string, values [][]float64) ([]byte, error) {
	shown := make([][]float64, len(values))
	most := 0.0
	for i, vs := range values {
		shown[i] = make([]float64, len(vs))
		for k, v := range vs {
			if c.log && v != charts.GetNullValue() {
				v = math.Log10(max(v, 1))
			}
			shown[i][k] = v
			if v != charts.GetNullValue() {
				most = max(most, v)
			}
		}
	}
	value := func(shown float64) float64 {
		if c.log {
			return math.Pow(10, shown)
		}
		return shown
	}
	// The library measures text in a font that the reader may not have. So there is room for a
	// wider one.
	labels := make([]string, len(names))
	for i, name := range names {
		labels[i] = name + strings.Repeat("\u00a0", 5)
	}
	palette := charts.GetTheme(theme)
	opt := charts.NewBarChartOptionWithData(shown)
	opt.Horizontal = true
	opt.Theme = palette
	opt.Title = charts.TitleOption{Text: c.title, FontStyle: charts.FontStyle{FontSize: 13}}
	opt.CategoryAxis.Labels = labels
	opt.CategoryAxis.LabelFontStyle = charts.FontStyle{FontSize: 10}
	opt.Padding = charts.Box{Top: 14, Left: 14, Right: 30, Bottom: 14, IsSet: true}
	zero, step := 0.0, nice(most*1.1/5)
	if c.log {
		step = 1
	}
	top := math.Ceil(max(most*1.1, step/2)/step) * step
	axis := charts.ValueAxisOption{Min: &zero, Max: &top, LabelCount: int(math.Round(top/step)) + 1, ValueFormatter: func(v float64) string {
		return strings.ReplaceAll(c.unit.show(value(v)), ".00", "")
	}}
	axis.LabelFontStyle = charts.FontStyle{FontSize: 8} // larger ones of a logarithmic axis meet
	opt.ValueAxis = []charts.ValueAxisOption{axis}
	for i := range opt.SeriesList {
		opt.SeriesList[i].Label = charts.SeriesLabel{Show: charts.Ptr(true), ValueFormatter: func(v float64) string {
			if v == charts.GetNullValue() {
				return ""
			}
			return c.unit.show(value(v))
		}}
	}
	if len(legend) > 1 {
		opt.Legend = charts.LegendOption{SeriesNames: legend, Offset: charts.OffsetStr{Left: charts.PositionRight}}
	} else {
		opt.Legend = charts.LegendOption{Show: charts.Ptr(false)}
	}
	p := charts.NewPainter(charts.PainterOptions{
		OutputFormat: charts.ChartOutputSVG, Width: 800, Height: 90 + len(names)*(12+18*len(values)), Theme: palette,
	})
	if err := p.BarChart(opt); err != nil {
		return nil, err
	}
	return p.Bytes()
}

// nice returns the step of an axis: 1, 2 or 5, times a power of ten, and at least v.
func nice(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, n := range []float64{1, 2, 5} {
		if v <= n*power {
			return n * power
		}
	}
	return 10 * power
}
