package behaviour

import (
	"slices"
	"strings"
	"testing"

	"github.com/S4AK4N/pool/bench/harness"
)

// guessed are answers as they were guessed.
func guessed() (infos []harness.Info, all []Said) {
	for i, name := range Asked {
		infos = append(infos, harness.Info{Name: name, Module: "example.org/" + name})
		for _, q := range Questions {
			s := Said{Peer: name, Question: q.Name, Answer: guesses[q.Name][i]}
			if s.Answer == "-" {
				s.Answer, s.Lacks = "", "it cannot"
			}
			all = append(all, s)
		}
	}
	return infos, all
}

func TestThereIsAGuessForEachPoolAndQuestion(t *testing.T) {
	for _, q := range Questions {
		if got, want := len(guesses[q.Name]), len(Asked); got != want {
			t.Errorf("%s: %d guesses, want %d", q.Name, got, want)
		}
		for _, g := range guesses[q.Name] {
			if g != "-" && q.words(g) == "" {
				t.Errorf("%s: the guess %q is no answer", q.Name, g)
			}
		}
	}
	for name := range guesses {
		if _, err := Find(name); err != nil {
			t.Errorf("guesses: %v", err)
		}
	}
}

func TestAnAnswerThatWasGuessedWrongIsMarkedAndCounted(t *testing.T) {
	infos, all := guessed()
	page, err := Page(infos, all)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(page, "Guessed otherwise") || !strings.Contains(page, "of the other pools 0 of ") {
		t.Error("something is marked though all was guessed right")
	}
	if want := "\n- A second Close: does nothing.\n"; !strings.Contains(page, want) || strings.Contains(page, "## A second Close") {
		t.Errorf("what all do alike is not told in one line %q", want)
	}
	i := slices.IndexFunc(all, func(s Said) bool { return s.Peer == "puddle" && s.Question == "close-returns" })
	all[i].Answer = "returns"
	if page, err = Page(infos, all); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{", puddle\\*,", "Guessed otherwise. puddle: waits until it is back", "of the other pools 1 of "} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

func TestAPageIsMadeOfAllAnswersOrNotAtAll(t *testing.T) {
	for _, c := range []struct {
		name string
		with func([]Said) []Said
		want string
	}{
		{"one missing", func(all []Said) []Said { return all[1:] }, "pool was not asked"},
		{"one failed", func(all []Said) []Said { all[3].Failed = "because"; return all }, "has not answered"},
		{"one that is none", func(all []Said) []Said { all[3].Answer = "perhaps"; return all }, "which is no answer to it"},
	} {
		infos, all := guessed()
		if _, err := Page(infos, c.with(all)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestTheDifferenceOfTwoPagesIsTold(t *testing.T) {
	if err := Same("a\nb\n", "a\nb\n"); err != nil {
		t.Error(err)
	}
	if err := Same("a | "+standard+"go1.26 |\nb\n", "a | "+standard+"go1.27 |\nb\n"); err != nil {
		t.Errorf("another release of Go is another answer: %v", err)
	}
	if err := Same("a\nb\n", "a\nc\n"); err == nil || !strings.HasSuffix(err.Error(), "\n- b\n+ c") {
		t.Errorf("the difference is told as %v", err)
	}
}
