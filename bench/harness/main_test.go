package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestMain makes the test a program with peers of its own, for Measure.
func TestMain(m *testing.M) {
	if done, err := Inner(os.Args[1:], inner(), os.Stdout); done {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// inner are peers that are right until they are in the scenario «spike», whose pools are of 50.
func inner() []Peer {
	right, hangs, dies := faults{}.peer(nil), faults{}.peer(nil), faults{}.peer(nil)
	right.Name, hangs.Name, dies.Name = "right", "hangs", "dies"
	hangs.New = func(s Settings) (Pool, error) {
		if s.Size == 50 {
			select {}
		}
		return right.New(s)
	}
	dies.New = func(s Settings) (Pool, error) {
		if s.Size == 50 {
			return nil, errors.New("it has no more")
		}
		return right.New(s)
	}
	return []Peer{right, hangs, dies}
}

func plan(t *testing.T, scenarios, peers string) Plan {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Plan{Programs: []string{self}, Reps: 2, SlowReps: 2, CPUs: []int{1, 2}, Short: true,
		Scenarios: regexp.MustCompile(scenarios), Peers: regexp.MustCompile(peers)}
}

func measured(t *testing.T, p Plan) (Header, []Result) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var file bytes.Buffer
	if err := p.Measure(ctx, &file, "c0ffee", "so"); err != nil {
		t.Fatal(err)
	}
	h, results, err := Read(&file)
	if err != nil {
		t.Fatal(err)
	}
	return h, results
}

func TestPeersTakeTurnsWithinARepetition(t *testing.T) {
	h, results := measured(t, plan(t, "^cycle/goroutines=1/size=16/hold=0$", ""))
	if h.Commit != "c0ffee" || h.Command != "so" || h.Reps != 2 || !h.Short || len(h.Peers) != 3 || h.Machine == "" {
		t.Errorf("the header is %+v", h)
	}
	var got []string
	for _, r := range results {
		if r.Failed != "" {
			t.Errorf("%s: %s", r.Peer, r.Failed)
		}
		got = append(got, fmt.Sprintf("%d/%d/%s", r.Rep, r.CPU, r.Peer))
	}
	want := "1/1/right 1/1/hangs 1/1/dies 1/2/right 1/2/hangs 1/2/dies 2/1/hangs 2/1/dies 2/1/right 2/2/hangs 2/2/dies 2/2/right"
	if got := strings.Join(got, " "); got != want {
		t.Errorf("measured %s,\nwant %s", got, want)
	}
}

func TestAPeerThatHangsIsEndedAndTold(t *testing.T) {
	p := plan(t, "^spike/hold=2ms$", "hangs")
	p.Limit = 100 * time.Millisecond
	_, results := measured(t, p)
	if len(results) != 2 { // two repetitions, on two processors only
		t.Fatalf("%d results", len(results))
	}
	for _, r := range results {
		if r.Failed != "it did not end within 100ms" {
			t.Errorf("failed: %q", r.Failed)
		}
	}
}

func TestAPeerThatFailsIsTold(t *testing.T) {
	_, results := measured(t, plan(t, "^spike/hold=2ms$", "dies"))
	for _, r := range results {
		if r.Failed != "it has no more" {
			t.Errorf("failed: %q", r.Failed)
		}
	}
}

func TestNothingIsMeasuredOfAPeerThatIsNotWhatItSays(t *testing.T) {
	for name, p := range map[string]Peer{
		"does not wait":         faults{noLimit: true}.peer(nil),
		"waits":                 faults{}.peer(map[Trait]string{Waits: "it says"}),
		"one over its limit":    faults{overLimit: true}.peer(nil),
		"one for all":           faults{twice: true}.peer(nil),
		"ends with its ctx":     faults{}.peer(map[Trait]string{Ctx: "it says"}),
		"opens when it is used": faults{}.peer(map[Trait]string{Opens: "it says"}),
	} {
		if err := Verify(p); err == nil {
			t.Errorf("%s: nothing was noticed", name)
		}
	}
	if err := Verify(faults{}.peer(nil)); err != nil {
		t.Errorf("one that is what it says: %v", err)
	}
}

func TestAPlanWithoutPeersOrScenariosIsAnError(t *testing.T) {
	for _, p := range []Plan{plan(t, "^x$", ""), plan(t, "order", "^x$")} {
		if err := p.Measure(t.Context(), new(bytes.Buffer), "", ""); err == nil {
			t.Error("nothing is measured, and nobody is told")
		}
	}
}
