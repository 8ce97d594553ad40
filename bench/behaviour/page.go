package behaviour

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/S4AK4N/pool/bench/harness"
)

// own is the pool of this repository.
const own = "pool"

// Page makes the page of all answers. It fails when one is missing.
func Page(infos []harness.Info, all []Said) (string, error) {
	var body strings.Builder
	asked, wrong := 0, 0
	var alike []string
	for _, q := range Questions {
		by := map[string][]string{}
		var notes, whys []string
		lacking := map[string][]string{}
		for i, name := range Asked {
			j := slices.IndexFunc(all, func(s Said) bool { return s.Peer == name && s.Question == q.Name })
			if j < 0 {
				return "", fmt.Errorf("%s was not asked «%s»", name, q.Title)
			}
			s := all[j]
			guess := guesses[q.Name][i]
			switch {
			case s.Failed != "":
				return "", fmt.Errorf("%s has not answered «%s»: %s", name, q.Title, s.Failed)
			case s.Lacks != "":
				if lacking[s.Lacks] == nil {
					whys = append(whys, s.Lacks)
				}
				lacking[s.Lacks] = append(lacking[s.Lacks], name)
				continue
			case q.words(s.Answer) == "":
				return "", fmt.Errorf("%s has answered «%s» with %q, which is no answer to it", name, q.Title, s.Answer)
			case q.words(guess) == "":
				return "", fmt.Errorf("there is no guess of what %s answers to «%s»: %q", name, q.Title, guess)
			}
			shown := name
			if name == own {
				shown = "**" + name + "**"
			}
			if name != own {
				asked++
			}
			if guess != s.Answer {
				shown += "\\*"
				notes = append(notes, fmt.Sprintf("%s: %s", name, q.words(guess)))
				if name != own {
					wrong++
				}
			}
			if s.Detail != "" && q.Details {
				shown += " (" + escape(s.Detail) + ")"
			}
			by[s.Answer] = append(by[s.Answer], shown)
		}
		if len(by) == 1 && len(notes) == 0 {
			for key := range by {
				alike = append(alike, fmt.Sprintf("- %s: %s.\n", q.Title, q.words(key)))
			}
			continue
		}
		fmt.Fprintf(&body, "## %s\n\n%s\n\n| | |\n|---|---|\n", q.Title, q.Text)
		for _, a := range q.Answers {
			if len(by[a.Key]) > 0 {
				fmt.Fprintf(&body, "| %s | %s |\n", a.Words, strings.Join(by[a.Key], ", "))
			}
		}
		for _, why := range whys {
			fmt.Fprintf(&body, "| not asked: %s | %s |\n", why, strings.Join(lacking[why], ", "))
		}
		body.WriteString("\n")
		if len(notes) > 0 {
			fmt.Fprintf(&body, "\\* Guessed otherwise. %s.\n\n", strings.Join(notes, ". "))
		}
	}
	if len(alike) > 0 {
		body.WriteString("## What all that were asked do alike\n\n" + strings.Join(alike, ""))
	}
	var b strings.Builder
	fmt.Fprintf(&b, `# What pools do where one would not guess

%s makes this page of what it sees: it asks each pool each question, in a process of its own. CI does so again, and fails if an answer has changed.
Before a question was asked for the first time, a guess was written down for each pool, in bench/behaviour/guesses.go. A star (\*) marks an answer that was
guessed wrong: of the other pools %d of %d, some of which had been seen before. How each pool is used stands in [benchmarks.md](benchmarks.md#peers).

| | module |
|---|---|
`, "`bench/behaviour/run`", wrong, asked)
	for _, i := range infos {
		module := i.Module
		switch {
		case i.Name == own:
			module = "this repository"
		case module == "":
			minor := strings.Join(strings.Split(runtime.Version(), ".")[:2], ".")
			module = standard + minor
		}
		fmt.Fprintf(&b, "| %s | %s |\n", i.Name, module)
	}
	b.WriteString("\n")
	b.WriteString(strings.TrimRight(body.String(), "\n") + "\n")
	return b.String(), nil
}

// escape makes s fit for a cell.
func escape(s string) string {
	return "`" + strings.NewReplacer("\n", " ", "|", "\\|", "`", "'").Replace(s) + "`"
}

// Same tells in which lines two pages differ, but for the release of Go: that is no answer.
func Same(old, now string) error {
	var b strings.Builder
	was, is := lines(old), lines(now)
	if slices.Equal(was, is) {
		return nil
	}
	for _, line := range was {
		if !slices.Contains(is, line) {
			fmt.Fprintf(&b, "\n- %s", line)
		}
	}
	for _, line := range is {
		if !slices.Contains(was, line) {
			fmt.Fprintf(&b, "\n+ %s", line)
		}
	}
	return fmt.Errorf("the page says otherwise; bench/behaviour/run writes it:%s", b.String())
}

const standard = "the standard library of "

func lines(page string) []string {
	all := strings.Split(page, "\n")
	for i, line := range all {
		if before, _, ok := strings.Cut(line, standard); ok {
			all[i] = before
		}
	}
	return all
}
