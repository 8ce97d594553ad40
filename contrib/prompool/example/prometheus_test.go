package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/S4AK4N/pool/contrib/prompool"
	"github.com/prometheus/client_golang/prometheus"
)

// program returns the path of a program of Debian's package prometheus.
func program(t *testing.T, name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed: it is in Debian's package prometheus", name)
	}
	return path
}

// A server is a Prometheus that scrapes the demo once a second.
type server struct {
	url     string
	scrapes chan struct{} // gets one after each scrape, unless one is in it
	ended   chan struct{}
	output  bytes.Buffer // complete when it has ended
}

// enough is how many scrapes a test waits for what it looks for.
const enough = 60

func scraped(t *testing.T, flags ...string) *server {
	path := program(t, "prometheus")
	d, err := start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	s := &server{scrapes: make(chan struct{}, 1)}
	metrics := d.metrics()
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		metrics.ServeHTTP(w, r)
		select {
		case s.scrapes <- struct{}{}:
		default:
		}
	}))
	t.Cleanup(target.Close)
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	yaml := fmt.Sprintf("scrape_configs:\n- job_name: example\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  static_configs:\n  - targets: [%q]\n", target.Listener.Addr())
	if err := os.WriteFile(config, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 { // somebody else may take the port
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := l.Addr().String()
		l.Close()
		s.url, s.ended = "http://"+address, make(chan struct{})
		s.output.Reset()
		cmd := exec.Command(path, append([]string{"--config.file=" + config, "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + address}, flags...)...)
		cmd.Stdout, cmd.Stderr = &s.output, &s.output
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := s.ended
		go func() {
			_ = cmd.Wait()
			close(ended)
		}()
		t.Cleanup(func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			<-ended
		})
		select {
		case <-s.scrapes:
			return s
		case <-ended:
		}
	}
	t.Fatalf("prometheus has ended:\n%s", &s.output)
	return nil
}

// until calls f after each scrape, until it returns true.
func (s *server) until(t *testing.T, f func() bool) {
	t.Helper()
	for range enough {
		select {
		case <-s.scrapes:
			if f() {
				return
			}
		case <-s.ended:
			t.Fatalf("prometheus has ended:\n%s", &s.output)
		}
	}
}

// get asks the API of Prometheus. It returns false if that does not know, or is not ready yet.
func (s *server) get(t *testing.T, path string, values url.Values, result any) bool {
	t.Helper()
	reply, err := http.Get(s.url + path + "?" + values.Encode())
	if err != nil {
		return false
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		return false
	}
	if reply.StatusCode == http.StatusBadRequest || reply.StatusCode == http.StatusUnprocessableEntity {
		t.Fatalf("%v: %s", values, body)
	}
	all := struct{ Data any }{result}
	return reply.StatusCode == http.StatusOK && json.Unmarshal(body, &all) == nil
}

// query returns the numbers that an expression has now: of a native histogram, its count.
func (s *server) query(t *testing.T, expr string) (numbers []float64) {
	t.Helper()
	var data struct {
		Result []struct {
			Value     [2]any
			Histogram [2]any
		}
	}
	if !s.get(t, "/api/v1/query", url.Values{"query": {expr}}, &data) {
		return nil
	}
	for _, r := range data.Result {
		text, _ := r.Value[1].(string)
		if h, ok := r.Histogram[1].(map[string]any); ok {
			text, _ = h["count"].(string)
		}
		if n, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(n) && !math.IsInf(n, 0) {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// A dashboard is what the tests read of dashboard.json.
type dashboard struct {
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
	Panels []struct {
		Title   string
		Type    string
		GridPos struct{ X, Y, W, H int }
		Targets []struct{ RefID, Expr string }
	}
}

func readDashboard(t *testing.T) (d dashboard, text string) {
	file, err := os.ReadFile("../dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(file, &d); err != nil {
		t.Fatal(err)
	}
	return d, string(file)
}

func TestEveryExpressionOfTheDashboardReturnsDataFromAPrometheusThatScrapesTheExample(t *testing.T) {
	t.Parallel()
	hasDataFor(t, scraped(t))
}

// hasDataFor fails unless all that the dashboard shows is in a Prometheus, by and by.
func hasDataFor(t *testing.T, s *server) {
	t.Helper()
	d, _ := readDashboard(t)
	variables := strings.NewReplacer("$pool", ".*", "$__rate_interval", "1m")
	left := map[string]string{}
	for _, p := range d.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("«%s» shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			left[target.Expr] = p.Title
		}
	}
	if len(left) < 20 {
		t.Fatalf("%d expressions have been found", len(left))
	}
	s.until(t, func() bool {
		maps.DeleteFunc(left, func(expr, _ string) bool { return len(s.query(t, variables.Replace(expr))) > 0 })
		return len(left) == 0
	})
	for expr, title := range left {
		t.Errorf("«%s» has no data: %s", title, expr)
	}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Definition)
		if m == nil {
			t.Fatalf("the variable %s is defined by %q", v.Name, v.Definition)
		}
		var values []string
		s.get(t, "/api/v1/label/"+m[2]+"/values", url.Values{"match[]": {m[1]}}, &values)
		for _, want := range []string{"orders", "down", "others", "sockets ws://"} {
			if !slices.ContainsFunc(values, func(v string) bool { return v == want || strings.HasPrefix(v, want+"127.0.0.1:") }) {
				t.Errorf("the variable %s has the values %v, want %s as well", v.Name, values, want)
			}
		}
	}
}

func TestAPrometheusThatAsksForNativeHistogramsGetsThem(t *testing.T) {
	t.Parallel()
	s := scraped(t, "--enable-feature=native-histograms")
	hasDataFor(t, s) // it has no classic buckets
	for _, h := range []string{"wait", "open", "use"} {
		count := fmt.Sprintf(`histogram_count(pool_%s_seconds{pool="orders"})`, h)
		s.until(t, func() bool { n := s.query(t, count); return len(n) == 1 && n[0] > 0 })
		if n := s.query(t, count); len(n) != 1 || n[0] <= 0 {
			t.Fatalf("%s is %v", count, n)
		}
	}
	// A user of orders holds a connection for 8 ms at least, and the bucket of that begins at 7.4 ms.
	quantile := `histogram_quantile(0.01, pool_use_seconds{pool="orders"})`
	if n := s.query(t, quantile); len(n) != 1 || n[0] < 0.0074 {
		t.Errorf("%s is %v, want 0.0074 or more", quantile, n)
	}
	sum := `histogram_sum(pool_use_seconds{pool="orders"}) / histogram_count(pool_use_seconds{pool="orders"})`
	if n := s.query(t, sum); len(n) != 1 || n[0] < 0.0079 {
		t.Errorf("%s is %v, want 0.008 or more", sum, n)
	}
}

func TestPromtoolHasNothingToSay(t *testing.T) {
	promtool := program(t, "promtool")
	d, err := start()
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	w := httptest.NewRecorder()
	d.metrics().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, promtool, "check", "metrics")
	cmd.Stdin = w.Body
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

func TestTheDashboardShowsEveryMetric(t *testing.T) {
	_, text := readDashboard(t)
	ch := make(chan *prometheus.Desc, 100)
	prompool.NewCollector().Describe(ch)
	close(ch)
	n := 0
	for desc := range ch {
		name := regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch(desc.String())[1]
		if n++; !regexp.MustCompile(`\b` + name + `\{`).MatchString(text) {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
	if n == 0 {
		t.Error("there are no metrics")
	}
}

func TestNoTwoPanelsOfTheDashboardOverlap(t *testing.T) {
	d, _ := readDashboard(t)
	at := map[[2]int]string{}
	for _, p := range d.Panels {
		g := p.GridPos
		if g.W == 0 || g.H == 0 || g.X+g.W > 24 {
			t.Errorf("«%s» is at %v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := at[[2]int{x, y}]; other != "" {
					t.Fatalf("«%s» lies on «%s»", p.Title, other)
				}
				at[[2]int{x, y}] = p.Title
			}
		}
	}
}
