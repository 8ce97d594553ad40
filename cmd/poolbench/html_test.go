package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// page returns the page of r, parsed.
func pageOf(t *testing.T, r *report) (text string, root *html.Node) {
	t.Helper()
	var b strings.Builder
	if err := r.writeHTML(&b); err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), root
}

// attribute returns the attribute of an element, or "".
func attribute(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// words returns the text below n.
func words(n *html.Node) string {
	var all []string
	for d := range n.Descendants() {
		if d.Type == html.TextNode && d.Parent.Data != "style" {
			all = append(all, d.Data)
		}
	}
	return strings.Join(strings.Fields(strings.Join(all, " ")), " ")
}

// elements returns those of the given name.
func elements(root *html.Node, name string) (found []*html.Node) {
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && n.Data == name {
			found = append(found, n)
		}
	}
	return found
}

func TestThePageNeedsNothingFromOutside(t *testing.T) {
	for name, r := range reports() {
		text, root := pageOf(t, r)
		for n := range root.Descendants() {
			if n.Type != html.ElementNode {
				continue
			}
			switch n.Data {
			case "script", "link", "img", "iframe", "object", "embed", "image", "use", "base", "form", "video", "audio", "source":
				t.Errorf("%s: an element %s", name, n.Data)
			}
			for _, a := range n.Attr {
				if key := strings.ToLower(a.Key); key == "src" || key == "href" || key == "srcset" || key == "action" || strings.HasPrefix(key, "on") {
					t.Errorf("%s: %s has %s=%q", name, n.Data, a.Key, a.Val)
				}
			}
		}
		for _, part := range []string{"http://", "https://", "url(", "@import", "@font-face", "//cdn"} {
			if strings.Contains(text, part) {
				t.Errorf("%s: has %s", name, part)
			}
		}
		policy := ""
		for _, meta := range elements(root, "meta") {
			if attribute(meta, "http-equiv") == "Content-Security-Policy" {
				policy = attribute(meta, "content")
			}
		}
		if policy != "default-src 'none'; style-src 'unsafe-inline'" {
			t.Errorf("%s: its policy is %q", name, policy)
		}
	}
}

func TestThePageShowsNoSecret(t *testing.T) {
	for name, r := range reports() {
		if text, _ := pageOf(t, r); strings.Contains(text, "secret") {
			t.Errorf("%s: shows a secret", name)
		}
	}
	_, root := pageOf(t, reports()["foreign"])
	if got := words(root); !strings.Contains(got, "server: wss://example.com/echo") {
		t.Errorf("does not name the server: %s", got)
	}
}

func TestThePageHasTheFiguresAndTheReasons(t *testing.T) {
	r := reports()["asserting"]
	_, root := pageOf(t, r)
	got := words(root)
	for _, want := range []string{
		"poolbench: 1,000 clients, pool of 100", "56,204 requests per second", "half within 872 µs , 99 % within 1.74 ms",
		"Recommended MaxConnections at least 226", "(Little's law)",
		"✓ p99<50ms holds: 1.74 ms", "✗ shared:wait.p50<1us does not hold: 28.8 ms",
		"connections at once (server) with those being closed 1,191 1 100 12x less",
		"Pool: 281,120 gets", "as is to be expected of 1,000 clients that share 100",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	for _, f := range r.shownFigures() {
		label, _, _ := strings.Cut(f.label, "\n")
		if !strings.Contains(got, label) {
			t.Errorf("no %q", f.label)
		}
	}
}

func TestThePageHasAChartForWideAndNarrowWindows(t *testing.T) {
	_, root := pageOf(t, testReport())
	var titles []string
	for _, h := range elements(root, "figure") {
		titles = append(titles, words(elements(h, "h3")[0]))
		svgs := elements(h, "svg")
		if len(svgs) != 2 || attribute(svgs[0].Parent, "class") != "wide" || attribute(svgs[1].Parent, "class") != "narrow" {
			t.Fatalf("%s: %d charts", titles, len(svgs))
		}
		for _, svg := range svgs {
			if attribute(svg, "role") != "img" || attribute(svg, "aria-label") == "" || attribute(svg, "viewBox") == "" {
				t.Errorf("%s: attributes %v", titles, svg.Attr)
			}
			if len(elements(svg, "path")) < 5 || len(elements(svg, "text")) < 4 {
				t.Errorf("%s: %d paths, %d texts", titles, len(elements(svg, "path")), len(elements(svg, "text")))
			}
		}
	}
	want := "Latency by percentile|Requests per second over time|Connections in use over time|Requests that wait, over time|" +
		"Wait by percentile|Round trip by percentile|Dials per second over time|Dial by percentile"
	if got := strings.Join(titles, "|"); got != want {
		t.Errorf("charts:\n%s\nwant:\n%s", got, want)
	}
}

// Each color of a chart is a variable of the page, which has a value in light and in dark.
func TestAllColorsOfTheChartsAreThoseOfThePage(t *testing.T) {
	text, root := pageOf(t, testReport())
	used := map[string]bool{}
	for _, svg := range elements(root, "svg") {
		for n := range svg.Descendants() {
			for _, m := range regexp.MustCompile(`(?:fill|stroke):([^;]+)`).FindAllStringSubmatch(attribute(n, "style"), -1) {
				if used[m[1]] = true; m[1] != "none" && !strings.HasPrefix(m[1], "var(--") {
					t.Errorf("%s has the color %s", n.Data, m[1])
				}
			}
			if strings.Contains(attribute(n, "style"), "font-family") {
				t.Errorf("%s has a font of its own: %s", n.Data, attribute(n, "style"))
			}
		}
	}
	light, dark, _ := strings.Cut(text, "@media (prefers-color-scheme: dark)")
	dark, _, _ = strings.Cut(dark, "* {")
	for _, variable := range []string{"--axis", "--grid", "--faint", "--dialing", "--shared", "--pooled"} {
		if !used["var("+variable+")"] {
			t.Errorf("no chart uses %s", variable)
		}
		if !strings.Contains(light, variable+": #") || !strings.Contains(dark, variable+": #") {
			t.Errorf("%s has no value in light, or in dark", variable)
		}
	}
}

// Text that comes from a server is text on the page.
func TestThePageEscapesWhatAServerSays(t *testing.T) {
	r := testReport()
	r.pooled.first = []string{`wrong reply: got "<script>alert(1)</script>"`}
	text, root := pageOf(t, r)
	if len(elements(root, "script")) > 0 || strings.Contains(text, "<script") {
		t.Error("has a script")
	}
	if !strings.Contains(words(root), `pool of 100: wrong reply: got "<script>alert(1)</script>"`) {
		t.Errorf("does not show it: %s", words(root))
	}
}

func TestAPhaseThatEndedEarlyHasAShorterLine(t *testing.T) {
	r := testReport()
	r.dialing.series = r.dialing.series[:3]
	p := r.seriesPlot("title", "", func(s sample, _ float64) float64 { return s.inUse })
	known := func(values []float64) (n int) {
		for _, v := range values {
			if v == v {
				n++
			}
		}
		return n
	}
	if len(p.curves) != 3 || len(p.labels) != seriesPoints+1 {
		t.Fatalf("%d lines, %d labels", len(p.curves), len(p.labels))
	}
	if got, whole := known(p.curves[0].values), known(p.curves[2].values); got > whole/2 || got < whole/4 || whole != seriesPoints+1 {
		t.Errorf("%d points, and %d of a whole phase", got, whole)
	}
	if _, err := p.draw(600, 300, 10); err != nil {
		t.Error(err)
	}
}

func TestAxesHaveRoundNumbers(t *testing.T) {
	for _, c := range []struct{ v, want float64 }{{0, 1}, {0.3, 1}, {1, 1}, {1.1, 2}, {2.5, 5}, {5.1, 10}, {130, 200}, {11_000, 20_000}} {
		if got := roundStep(c.v); got != c.want {
			t.Errorf("%v: got %v, want %v", c.v, got, c.want)
		}
	}
	for exponent, want := range map[float64]string{0: "1 ns", 2: "100 ns", 4: "10 µs", 6: "1 ms", 9: "1 s", 10: "10 s", 12: "1,000 s"} {
		if got := roundDuration(exponent); got != want {
			t.Errorf("10^%v: got %q, want %q", exponent, got, want)
		}
	}
}

func TestAFileForThePageIsTriedBeforeTheLoad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "report.html")
	if err := checkWritable(file); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if err := checkWritable(dir); err == nil {
		t.Error("a folder is no file")
	}
	if err := testReport().writeHTMLFile(file); err != nil {
		t.Error(err)
	}
	if err := checkWritable(file); err != nil {
		t.Errorf("a file that is there: %v", err)
	}
}
