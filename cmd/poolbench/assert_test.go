package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAssertionsAreChecked(t *testing.T) {
	r := testReport()
	r.pooled.errors, r.pooled.wrong = 3, 1 // of 1,004
	for _, c := range []struct {
		text, want string
		holds      bool
	}{
		{"p50<1ms", "p50<1ms holds: 872 µs", true},
		{"p50 < 870us", "p50 < 870us does not hold: 872 µs", false},
		{"p99<=1.8ms", "p99<=1.8ms holds: 1.74 ms", true},
		{"p99.9<8ms", "p99.9<8ms does not hold: 8.70 ms", false},
		{"p99_9<9ms", "p99_9<9ms holds: 8.70 ms", true},
		{"p100=8.7ms", "p100=8.7ms holds: 8.70 ms", true},
		{"max==8.7ms", "max==8.7ms holds: 8.70 ms", true},
		{"mean>1ms", "mean>1ms does not hold: 992 µs", false},
		{"wait.p99<1ms", "wait.p99<1ms does not hold: 1.57 ms", false},
		{"dial.max<=3ms", "dial.max<=3ms holds: 3.00 ms", true},
		{"round_trip.p99.9<1 ms", "round_trip.p99.9<1 ms holds: 870 µs", true},
		{"errors<5", "errors<5 holds: 4", true},
		{"errors<0.1%", "errors<0.1% does not hold: 0.398 %", false},
		{"errors<=0.4%", "errors<=0.4% holds: 0.398 %", true},
		{"wrong=0", "wrong=0 does not hold: 1", false},
		{"unserved=0%", "unserved=0% holds: 0 %", true},
		{"requests>=281020", "requests>=281020 holds: 281020", true},
		{"rps>5e4", "rps>5e4 holds: 56204", true},
		{"dials<=100", "dials<=100 holds: 100", true},
		{"connections<100", "connections<100 does not hold: 100", false},
		{"dialing:p50<1ms", "dialing:p50<1ms does not hold: 153 ms", false},
		{"dialing:wait.p50<1ms", "dialing:wait.p50<1ms does not hold: not known: nothing was measured", false},
		{"shared:rps>30000", "shared:rps>30000 holds: 30042", true},
	} {
		a, err := parseAsserts(c.text)
		if err != nil || len(a) != 1 {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if v := a[0].check(r); v.holds != c.holds || v.String() != c.want {
			t.Errorf("%s: %v, %q, want %v, %q", c.text, v.holds, v, c.holds, c.want)
		}
	}
}

func TestNothingHoldsOfWhatWasNotMeasured(t *testing.T) {
	interrupted := testReport()
	interrupted.interrupted = true
	notRun := testReport()
	notRun.pooled = nil
	nothing := testReport()
	nothing.pooled = &phaseReport{outcome: outcome{elapsed: time.Second}}
	for name, r := range map[string]*report{"interrupted": interrupted, "not run": notRun, "not known": nothing} {
		for _, text := range []string{"p99<1h", "errors<100%"} {
			v := must(parseAsserts(text))[0].check(r)
			if v.holds || !strings.Contains(v.String(), text+" does not hold: "+name) {
				t.Errorf("%s: %q", name, v)
			}
		}
	}
}

func TestBadAssertionsAreRefused(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "an assertion is empty"},
		{"p99<50ms,", "an assertion is empty"},
		{"p99", `"p99": want a metric, one of`},
		{"p99!50ms", `"p99!50ms": want a metric`},
		{"p99<<50ms", `"p99<<50ms": want a metric`},
		{"p99<50ms<1s", "want a metric"},
		{"p99<50", `"p99<50": "50" is no time: want a number and its unit, such as 50ms`},
		{"p99<50 parsecs", `"50 parsecs" is no time`},
		{"p99<-1ms", `"-1ms" is no time`},
		{"p99<", "there is no limit behind <"},
		{"<50ms", `there is no metric ""`},
		{"p999<50ms", `there is no metric "p999"`},
		{"p<50ms", `there is no metric "p"`},
		{"latency<50ms", `there is no metric "latency"`},
		{"wait.errors<1", `there is no metric "wait.errors"`},
		{"sleep.p99<1ms", `there is no metric "sleep.p99"`},
		{"pool:p99<50ms", `there is no way "pool": want one of dialing, shared, pooled`},
		{"errors<1ms", `"1ms" is no number`},
		{"errors<NaN", `"NaN" is no number`},
		{"errors<-1%", `"-1%" is no number`},
		{"errors<101%", "more than 100 %"},
		{"rps>10%", "rps has no share"},
		{"p99<1ms, errors", `"errors": want a metric`},
	} {
		_, err := parseAsserts(c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: got %v, want %q", c.text, err, c.want)
		}
	}
}

// The load would take an hour.
func TestABadAssertionIsRefusedBeforeTheLoad(t *testing.T) {
	var stdout, stderr strings.Builder
	status := run([]string{"-duration", "1h", "-assert", "p99<50"}, &stdout, &stderr)
	want := `poolbench: invalid value "p99<50" for flag -assert: "p99<50": "50" is no time: want a number and its unit, such as 50ms (-h shows the flags)` + "\n"
	if status != exitUsage || stderr.String() != want || stdout.Len() > 0 {
		t.Errorf("status %d, %q, %q; want %d, %q", status, stdout.String(), stderr.String(), exitUsage, want)
	}
	file := filepath.Join(t.TempDir(), "no", "such", "folder.html")
	stderr.Reset()
	if status := run([]string{"-duration", "1h", "-html", file}, &stdout, &stderr); status != exitUsage || !strings.HasPrefix(stderr.String(), "poolbench: -html: ") {
		t.Errorf("status %d, %q", status, stderr.String())
	}
}

func TestProgramEndsWithAStatusOfItsOwnWhenAnAssertionDoesNotHold(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		assert string
		status int
		want   string
	}{
		{"p99<1h,errors<=100%", exitDone, ""},
		{"errors<=100%,p99<1ns", exitAssert, "poolbench: assert: p99<1ns does not hold: "},
	} {
		file := filepath.Join(t.TempDir(), "report.html")
		for duration := 200 * time.Millisecond; ; duration *= 3 {
			stdout, stderr, status := runProgram(t, "-json", "-ways", "pooled", "-clients", "4", "-max", "2",
				"-duration", duration.String(), "-assert", c.assert, "-html", file)
			if status != exitFailed { // a busy machine may be too slow for one reply
				r := result(t, stdout)
				if status != c.status || !strings.Contains(stderr, c.want) || r.Dialing != nil || r.Shared != nil {
					t.Errorf("%s: status %d, %s", c.assert, status, stderr)
				}
				if len(r.Assertions) != 2 || r.Assertions[1].Holds != (c.status == exitDone) || r.Assertions[0].Value == nil {
					t.Errorf("%s: %+v", c.assert, r.Assertions)
				}
				break
			}
			if duration > 10*time.Second {
				t.Fatalf("%s: status %d, %s", c.assert, status, stderr)
			}
		}
		if page, err := os.ReadFile(file); err != nil || !strings.Contains(string(page), "</html>") {
			t.Errorf("page: %d bytes, %v", len(page), err)
		}
	}
}
