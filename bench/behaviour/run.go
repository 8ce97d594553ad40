package behaviour

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/S4AK4N/pool/bench/harness"
)

// Said is what one process has found out.
type Said struct {
	Peer     string
	Question string
	Answer   string `json:",omitempty"`
	Detail   string `json:",omitempty"` // an error, as it reads
	Lacks    string `json:",omitempty"` // why it was not asked
	Failed   string `json:",omitempty"` // why there is no answer
}

// Inner runs the command «answer», which a program with peers has to have for Ask, beside those of
// [harness.Inner]. It reports whether args were of it.
func Inner(args []string, peers []harness.Peer, out io.Writer) (bool, error) {
	if len(args) == 0 || args[0] != "answer" {
		return false, nil
	}
	flags := flag.NewFlagSet("answer", flag.ContinueOnError)
	peer := flags.String("peer", "", "`name` of the peer")
	question := flags.String("question", "", "`name` of the question")
	if err := flags.Parse(args[1:]); err != nil {
		return true, err
	}
	q, err := Find(*question)
	if err != nil {
		return true, err
	}
	for _, p := range peers {
		if p.Name == *peer {
			return true, json.NewEncoder(out).Encode(ask(p, q))
		}
	}
	return true, fmt.Errorf("there is no peer %q", *peer)
}

// Ask asks all questions of all pools in programs, several at a time: nothing is measured.
func Ask(ctx context.Context, programs []string) ([]harness.Info, []Said, error) {
	in := map[string]string{}
	known := map[string]harness.Info{}
	for _, program := range programs {
		b, err := exec.CommandContext(ctx, program, "peers").Output()
		if err != nil {
			return nil, nil, fmt.Errorf("%s peers: %w", program, err)
		}
		var infos []harness.Info
		if err := json.Unmarshal(b, &infos); err != nil {
			return nil, nil, fmt.Errorf("%s peers: %w", program, err)
		}
		for _, i := range infos {
			in[i.Name], known[i.Name] = program, i
		}
	}
	var infos []harness.Info
	for _, name := range Asked {
		if in[name] == "" {
			return nil, nil, fmt.Errorf("no program has %q", name)
		}
		infos = append(infos, known[name])
	}
	all := make([]Said, len(Questions)*len(Asked))
	var wg sync.WaitGroup
	turns := make(chan struct{}, 12)
	for i, q := range Questions {
		for j, name := range Asked {
			wg.Go(func() {
				turns <- struct{}{}
				defer func() { <-turns }()
				all[i*len(Asked)+j] = one(ctx, in[name], name, q)
			})
		}
	}
	wg.Wait()
	return infos, all, ctx.Err()
}

// one asks in a process of its own. One that ends with the panic of Open has answered, too.
func one(ctx context.Context, program, peer string, q Question) Said {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, program, "answer", "-peer", peer, "-question", q.Name)
	var stderr strings.Builder
	c.Stderr = &stderr
	b, err := c.Output()
	s := Said{Peer: peer, Question: q.Name}
	var ended *exec.ExitError
	switch {
	case ctx.Err() != nil:
		s.Failed = "it did not end within two minutes"
	case errors.As(err, &ended) && strings.Contains(stderr.String(), errPanics.Error()) &&
		slices.ContainsFunc(q.Answers, func(a Answer) bool { return a.Key == "ends" }):
		s.Answer = "ends"
	case err != nil:
		said, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		s.Failed = fmt.Sprintf("the process ended with %v: %s", err, said)
	default:
		if err := json.Unmarshal(b, &s); err != nil {
			s.Failed = fmt.Sprintf("the process printed no answer: %v", err)
		}
	}
	return s
}
