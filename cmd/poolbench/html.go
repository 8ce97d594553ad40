package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// The page is one file: styles and charts are in it, it has no script, and its policy lets
// it load nothing. What differs between light and dark are the values of CSS variables.
//
//go:embed page.html
var pageSource string

var pageTemplate = template.Must(template.New("page").Parse(pageSource))

// A page is what the template gets.
type page struct {
	Title       string
	Started     string
	Settings    []string
	Tiles       []pageTile
	Advice      *advice
	Verdicts    []verdict
	Charts      []pageChart
	Columns     []string
	Compared    bool
	Rows        []pageRow
	Spread      []pageSpread
	Pool        string
	Errors      []string
	Notes       []string
	Interrupted bool
	Machine     string
}

type (
	pageTile struct {
		Key, Name, Rate, P50, P99 string
		Run                       bool
	}
	pageRow struct {
		Label, Note string
		Cells       []string
		Change      string
	}
	pageSpread struct {
		Server string
		Cells  []string
	}
)

// Text returns the advice without its label.
func (a *advice) Text() string {
	if a.atLeast {
		return "at least " + grouped(uint64(a.size))
	}
	return grouped(uint64(a.size))
}

func (a *advice) Reason() string { return a.reason }
func (v verdict) Holds() bool    { return v.holds }

// writeHTML writes the page.
func (r *report) writeHTML(w io.Writer) error {
	o := r.options
	p := page{
		Title:       fmt.Sprintf("poolbench: %s clients, pool of %s", grouped(uint64(o.clients)), grouped(uint64(o.max))),
		Settings:    r.settings(),
		Advice:      r.advise(),
		Verdicts:    r.verdicts,
		Compared:    r.compared(),
		Pool:        r.poolText(),
		Notes:       r.remarks(),
		Interrupted: r.interrupted,
		Machine:     machineText(),
	}
	if !r.started.IsZero() {
		p.Started = r.started.UTC().Format("2006-01-02 15:04 MST")
	}
	columns := r.columns()
	for _, c := range columns {
		tile := pageTile{Key: c.key, Name: c.name, Rate: "-"}
		if c.phaseReport != nil {
			tile.Run, tile.Rate = true, count(c.requestsPerSecond())
			if c.latency.count > 0 {
				tile.P50, tile.P99 = duration(float64(c.latency.percentile(50))), duration(float64(c.latency.percentile(99)))
			}
			for _, text := range c.first {
				p.Errors = append(p.Errors, c.name+": "+text)
			}
		}
		p.Tiles = append(p.Tiles, tile)
		p.Columns = append(p.Columns, c.name)
	}
	for _, f := range r.shownFigures() {
		var row pageRow
		row.Label, row.Note, _ = strings.Cut(f.label, "\n")
		for _, c := range columns {
			row.Cells = append(row.Cells, f.show(f.in(c.phaseReport)))
		}
		if p.Compared {
			row.Change = compare(f.in(r.dialing), f.in(r.pooled))
		}
		p.Rows = append(p.Rows, row)
	}
	for _, t := range newTallies(o.urls) {
		s := pageSpread{Server: t.server}
		for _, c := range columns {
			got := c.phaseReport.at(t.server)
			s.Cells = append(s.Cells, shown(got, got.replies), shown(got, got.opened))
		}
		p.Spread = append(p.Spread, s)
	}
	var err error
	if p.Charts, err = r.charts(); err != nil {
		return err
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, p); err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

// checkWritable says whether a file of that name can be written, before it takes minutes
// to have something to write.
func checkWritable(name string) error {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a folder", name)
	} else if err == nil {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return f.Close()
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".poolbench-*")
	if err != nil {
		return fmt.Errorf("%s cannot be written: %w", name, err)
	}
	f.Close()
	return os.Remove(f.Name())
}

// writeHTMLFile writes the page to a file.
func (r *report) writeHTMLFile(name string) error {
	var b bytes.Buffer
	if err := r.writeHTML(&b); err != nil {
		return err
	}
	return os.WriteFile(name, b.Bytes(), 0o644)
}
