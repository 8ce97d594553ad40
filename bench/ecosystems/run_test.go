package ecosystems

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/S4AK4N/pool/bench/behaviour"
	"github.com/S4AK4N/pool/bench/harness"
)

// seen is what a runner prints whose callers are served once each millisecond, but for an outage of
// four seconds and 300 ms more, in which an attempt is made and a caller fails every 100 ms.
func seen(gone time.Time) string {
	var attempts, failed, served []string
	for ms := -2000; ms < 8000; ms++ {
		at := fmt.Sprint(gone.Add(time.Duration(ms) * time.Millisecond).UnixMilli())
		if ms < 0 || ms >= 4300 {
			served = append(served, at)
		} else if ms%100 == 0 {
			attempts = append(attempts, at)
			failed = append(failed, at)
		}
	}
	return fmt.Sprintf(`{"attempts":[%s],"failed":[%s],"served":[%s]}`,
		strings.Join(attempts, ","), strings.Join(failed, ","), strings.Join(served, ","))
}

func TestAnOutageIsJudgedByWhatWasInItAndAfterIt(t *testing.T) {
	gone := time.UnixMilli(1e12)
	got, err := judge([]byte(seen(gone)), gone, gone.Add(4*time.Second), 8*time.Second, 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{"attempts": 40, "failed": 40, "first": 300, "full": 300}
	if !maps.Equal(got, want) {
		t.Errorf("it is judged as %v, want %v", got, want)
	}
	if _, err := judge([]byte(`{"served":[1]}`), gone, gone, time.Second, time.Second); err == nil || err.Error() != "nobody was served before the outage" {
		t.Errorf("nobody was served before it, and it is judged: %v", err)
	}
}

func TestTheTablesStandBetweenTheMarkersAndTheRestIsKept(t *testing.T) {
	runners := []Runner{{Name: "pool", Version: "v1", System: "go1"}, {Name: "other", Version: "v2", System: "Java", Command: []string{"java"}}}
	var all []Values
	for i := range runners {
		v := Values{numbers: map[string][]float64{}, texts: map[string]string{"cancel": "no | more", "close": "told", "second": "refused"}}
		for scenario, names := range metrics {
			for name := range names {
				v.numbers[scenario+" "+name] = []float64{float64(3000 + i), float64(1000 + i), float64(2000 + i)}
				if i == 1 && name == "failed" {
					v.numbers[scenario+" "+name] = []float64{999, 999, 999}
				}
			}
		}
		all = append(all, v)
	}
	before := "kept before\n" + Begin + "\nold\n" + End + "\nkept after\n"
	page, err := Page(before, "run", "here", runners, all)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(page, "kept before\n"+Begin) || !strings.HasSuffix(page, End+"\nkept after\n") || strings.Contains(page, "\nold\n") {
		t.Errorf("what is around the tables was not kept, or what was between them was: %q", page)
	}
	for _, want := range []string{"| **pool** | 2,000 (1,000 to 3,000) |", "| other | 2,001 (1,001 to 3,001) |", "| other | told | refused | `no \\| more` |", "better in all repetitions:\n\n| | the pool | better |\n|---|---|---|\n| outage: callers failed | 2,000 (1,000 to 3,000) | other (999) |\n\n", "| other | v2 | Java |"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	again, err := Page(page, "run", "here", runners, all)
	if err != nil || again != page {
		t.Errorf("the same values make another page (%v)", err)
	}
	if _, err := Page("no markers", "run", "here", runners, all); err == nil {
		t.Error("a page without markers is written")
	}
}

func TestThePoolOfThisRepositoryGoesThroughTheSameScenarios(t *testing.T) {
	for _, scenario := range scenarios {
		if q, ok := asked[scenario]; ok {
			if _, err := behaviour.Find(q.question); err != nil {
				t.Error(err)
			}
			continue
		}
		s, err := harness.Find(own[scenario])
		if err != nil {
			t.Error(err)
		}
		for _, metric := range metrics[scenario] {
			if !slices.Contains(s.Metrics, metric) {
				t.Errorf("%s measures no %s", s.Name, metric)
			}
		}
	}
}
