package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/S4AK4N/pool/contrib/prompool"
	"github.com/prometheus/client_golang/prometheus"
)

// exported returns the names of all metrics.
func exported() map[string]bool {
	ch := make(chan *prometheus.Desc, 100)
	prompool.NewCollector().Describe(ch)
	close(ch)
	names := map[string]bool{}
	for desc := range ch {
		names[regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch(desc.String())[1]] = true
	}
	return names
}

func TestTheAlertsAskForMetricsThatThereAre(t *testing.T) {
	text, err := os.ReadFile("../alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	names, n := exported(), 0
	for _, name := range regexp.MustCompile(`\bpool_\w+`).FindAllString(string(text), -1) {
		if n++; !names[name] {
			t.Errorf("there is no metric %s", name)
		}
	}
	if n < 6 {
		t.Errorf("%d metrics are in the alerts", n)
	}
}

// Twenty minutes of some pools, one value each 30 seconds, and what has been told by then.
func TestEachAlertIsForWhatItSays(t *testing.T) {
	promtool := program(t, "promtool")
	alerts, err := filepath.Abs("../alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	series := map[string]string{
		// In order: opening has failed for a minute, somebody has waited long for as much, and one call in a hundred fails.
		`pool_open_failing{pool="good"}`:                      "0x17 1 1 0x24",
		`pool_oldest_wait_seconds{pool="good"}`:               "0x17 9 9 0x24",
		`pool_leases_total{pool="good"}`:                      "0+1000x40",
		`pool_failures_total{pool="good",reason="timeout"}`:   "0+10x40",
		`pool_failures_total{pool="good",reason="canceled"}`:  "0+900x40",
		`pool_leaks_total{pool="good"}`:                       "3x40",
		`pool_open_failing{pool="down"}`:                      "1x40",
		`pool_failures_total{pool="down",reason="gone"}`:      "0+900x40",
		`pool_oldest_wait_seconds{pool="slow"}`:               "1.5x40",
		`pool_leases_total{pool="small"}`:                     "0+900x40",
		`pool_failures_total{pool="small",reason="timeout"}`:  "0+50x40",
		`pool_failures_total{pool="small",reason="rejected"}`: "0+50x40",
		`pool_leases_total{pool="stuck"}`:                     "7x40",
		`pool_failures_total{pool="stuck",reason="timeout"}`:  "0+1x40",
		`pool_leaks_total{pool="leaky"}`:                      "0x30 1x10",
	}
	told := map[string][]string{"PoolOpeningFails": {"down"}, "PoolWaitsLong": {"slow"}, "PoolExhausted": {"small", "stuck"}, "PoolLeaks": {"leaky"}}
	var y strings.Builder
	fmt.Fprintf(&y, "rule_files: [%q]\nevaluation_interval: 30s\ntests:\n- interval: 30s\n  input_series:\n", alerts)
	for name, values := range series {
		fmt.Fprintf(&y, "  - {series: '%s', values: '%s'}\n", strings.Replace(name, "{", `{job="j",`, 1), values)
	}
	y.WriteString("  promql_expr_test:\n")
	for alert, pools := range told {
		fmt.Fprintf(&y, "  - expr: 'count by (pool) (ALERTS{alertname=\"%s\",alertstate=\"firing\"})'\n    eval_time: 20m\n    exp_samples:\n", alert)
		for _, pool := range pools {
			fmt.Fprintf(&y, "    - {labels: '{pool=\"%s\"}', value: 1}\n", pool)
		}
	}
	// Nothing is told before its time, nor when that is over.
	for at, wait := range map[string]string{"1m": "down", "9m30s": "good"} {
		fmt.Fprintf(&y, "  - expr: 'count(ALERTS{pool=\"%s\",alertstate=\"firing\"})'\n    eval_time: %s\n", wait, at)
	}
	file := filepath.Join(t.TempDir(), "test.yml")
	if err := os.WriteFile(file, []byte(y.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, promtool, "test", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s\n%s", err, out, &y)
	}
}
