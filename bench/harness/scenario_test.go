package harness

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/atomic"
)

// try runs a fake in a scenario, briefly.
func try(t *testing.T, f faults, scenario string) Result {
	t.Helper()
	s, err := Find(scenario)
	if err != nil {
		t.Fatal(err)
	}
	return One(f.peer(nil), s, true)
}

func TestAPoolThatIsRightIsBlamedForNothing(t *testing.T) {
	// Not an outage: on a machine that is busy enough a caller comes to its own deadline first.
	for _, s := range []string{"order", "cancel", "restart", "storm", "cold", "cycle/goroutines=8/size=2/hold=yield"} {
		t.Run(s, func(t *testing.T) {
			t.Parallel()
			res := try(t, faults{}, s)
			if res.Failed != "" {
				t.Fatal(res.Failed)
			}
			if len(res.Wrong) > 0 {
				t.Errorf("blamed for %q", res.Wrong)
			}
		})
	}
}

func TestEachFaultOfAPoolIsFound(t *testing.T) {
	const cycle = "cycle/goroutines=8/size=2/hold=yield"
	for _, c := range []struct {
		name     string
		faults   faults
		scenario string
		want     string
	}{
		{"no limit", faults{noLimit: true}, cycle, "more connections than its limit were lent at once"},
		{"no limit, order", faults{noLimit: true}, "order", "a Get did not wait though everything was leased"},
		{"one more than the limit", faults{overLimit: true}, cycle, "more connections than its limit were lent at once"},
		{"last come, first served", faults{lifo: true}, "order", "a waiter was overtaken by others who came later"},
		{"a heap", faults{barges: true}, "order", "a waiter was overtaken by the one who put the connection back, who took it again"},
		{"lent twice", faults{twice: true}, cycle, "a connection was lent to two callers at once"},
		{"lent dead", faults{lendsDead: true}, "restart", "a connection was lent whose peer had closed it while it was idle"},
		{"lost", faults{loses: true}, "cancel", "connections could not be had any more after waits were cancelled"},
		{"foreign error", faults{foreign: true}, "cancel", "the error of a cancelled wait was not context.Canceled"},
		{"ended ctx", faults{lendsEnded: true}, "cancel", "a Get whose ctx had ended was given a connection"},
		{"hidden cause", faults{hides: true}, "outage", "errors in an outage did not name its cause ("},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			res := try(t, c.faults, c.scenario)
			if !slices.ContainsFunc(res.Wrong, func(w string) bool { return strings.HasPrefix(w, c.want) }) {
				t.Errorf("found %q (failed: %q), want %q", res.Wrong, res.Failed, c.want)
			}
		})
	}
}

func TestAPeerThatLacksATraitIsNotRunAndSaysWhy(t *testing.T) {
	s, err := Find("storm")
	if err != nil {
		t.Fatal(err)
	}
	p := faults{}.peer(map[Trait]string{Ctx: "because"})
	p.New = func(Settings) (Pool, error) {
		t.Error("it was made")
		return nil, errFake
	}
	if got, want := One(p, s, true).Lacks, "because"; got != want {
		t.Errorf("lacks %q, want %q", got, want)
	}
}

func TestAHoldThatIsTooShortIsNotBelieved(t *testing.T) {
	old := Holds["10us"]
	Holds["10us"] = nil
	defer func() { Holds["10us"] = old }()
	res := try(t, faults{}, "cycle/goroutines=1/size=16/hold=10us")
	if !strings.Contains(res.Failed, "a hold of 10µs lasted for") {
		t.Errorf("failed: %q", res.Failed)
	}
}

func TestHoldsLastAsLongAsTheySay(t *testing.T) {
	for name, least := range HoldTimes {
		began := time.Now()
		Holds[name]()
		if took := time.Since(began); took < least {
			t.Errorf("%s lasts for %v", name, took)
		}
	}
}

func TestAGoroutineThatIsBusyOrAsleepIsNotTakenForOneThatWaits(t *testing.T) {
	id, stop := make(chan int), make(chan struct{})
	go func() {
		id <- goroutine()
		<-stop
	}()
	waits := <-id
	if err := awaitBlocked(waits, func() bool { return false }); err != nil {
		t.Errorf("a goroutine that waits: %v", err)
	}
	close(stop)
	if blocked(goroutine()) {
		t.Error("the one that asks waits")
	}
	go func() {
		id <- goroutine()
		time.Sleep(time.Hour)
	}()
	if asleep := <-id; blocked(asleep) {
		t.Error("one that is asleep for a time waits for somebody")
	}
	if blocked(1 << 30) {
		t.Error("one that there is not waits")
	}
}

func TestTogetherGivesEachCallerACtxOfItsOwn(t *testing.T) {
	seen := make([]context.Context, 4)
	if _, err := together(len(seen), 0, func(ctx context.Context, _ *atomic.Bool, i int) error {
		seen[i] = ctx
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for i, a := range seen {
		if a.Done() == nil {
			t.Errorf("the ctx of caller %d cannot end", i)
		}
		for _, b := range seen[:i] {
			if a == b {
				t.Error("two callers have one ctx")
			}
		}
	}
}

func TestFullServiceBeginsWhereTheRateIsReachedAndStays(t *testing.T) {
	begin := time.Unix(0, 0)
	var served []time.Time
	for i := range 10 { // one in 50 ms, for half a second
		served = append(served, begin.Add(time.Duration(i)*50*time.Millisecond))
	}
	for i := range 200 { // then one each millisecond
		served = append(served, begin.Add(500*time.Millisecond+time.Duration(i)*time.Millisecond))
	}
	at, ok := FullService(served, 1000, 100*time.Millisecond)
	if got := at.Sub(begin); !ok || got < 450*time.Millisecond || got > 500*time.Millisecond {
		t.Errorf("full service from %v on (%v)", got, ok)
	}
	if _, ok := FullService(served[:10], 1000, 100*time.Millisecond); ok {
		t.Error("full service though it never came")
	}
}

func TestReadRefusesWhatIsNoResult(t *testing.T) {
	const head = `{"go":"go1","date":"2026-11-29T00:00:00Z","peers":[{"name":"pool","how":""}]}` + "\n"
	for _, c := range []struct{ name, file, want string }{
		{"nothing", "", "the file of results is empty"},
		{"no header", `{"rep":1}`, "line 1 of the results is no header"},
		{"no results", head, "the file of results has none"},
		{"not JSON", head + "{", "line 2 of the results: unexpected end of JSON input"},
		{"unknown peer", head + `{"rep":1,"cpu":1,"peer":"x","scenario":"order"}`, `line 2 of the results: the header has no peer "x"`},
		{"unknown scenario", head + `{"rep":1,"cpu":1,"peer":"pool","scenario":"x"}`, `line 2 of the results: there is no scenario "x"`},
		{"no repetition", head + `{"cpu":1,"peer":"pool","scenario":"order","lacks":"x"}`, "repetition 0 on 1 processors"},
		{"a metric missing", head + `{"rep":1,"cpu":1,"peer":"pool","scenario":"order","metrics":{"waited":1}}`, `pool has measured no "overtaken" in "order", and says not why`},
	} {
		_, _, err := Read(strings.NewReader(c.file))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	var file bytes.Buffer
	h := Header{Go: "go1", Date: time.Unix(0, 0).UTC(), Peers: []Info{{Name: "pool"}}}
	want := Result{Rep: 1, CPU: 2, Peer: "pool", Scenario: "order", Wrong: []string{"x"},
		Metrics: map[string]float64{Waited: 16, Overtaken: 0, Barged: 3}}
	if err := Write(&file, h); err != nil {
		t.Fatal(err)
	}
	if err := Write(&file, want); err != nil {
		t.Fatal(err)
	}
	_, got, err := Read(&file)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Metrics[Barged] != 3 || got[0].CPU != 2 || got[0].Wrong[0] != "x" {
		t.Errorf("read %+v, want %+v", got, want)
	}
}
