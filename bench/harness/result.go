package harness

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// A Header says what a file of results was measured with. It is its first line.
type Header struct {
	Machine string    `json:"machine"` // processor, cores, system
	Go      string    `json:"go"`
	Commit  string    `json:"commit"`
	Command string    `json:"command"`
	Date    time.Time `json:"date"`
	Reps    int       `json:"reps"`
	Short   bool      `json:"short,omitempty"` // too short for its numbers to mean anything
	Load    float64   `json:"load"`            // of the machine, before it began
	Peers   []Info    `json:"peers"`
}

// Info is what is known of a peer without running it.
type Info struct {
	Name   string           `json:"name"`
	Module string           `json:"module,omitempty"`
	How    string           `json:"how"`
	Lacks  map[Trait]string `json:"lacks,omitempty"`
}

// A Result is what one process has measured: one peer in one scenario, once.
type Result struct {
	Rep      int                `json:"rep"`
	CPU      int                `json:"cpu"`
	Peer     string             `json:"peer"`
	Scenario string             `json:"scenario"`
	Metrics  map[string]float64 `json:"metrics,omitempty"`
	Wrong    []string           `json:"wrong,omitempty"`  // what it did wrong, in plain words
	Lacks    string             `json:"lacks,omitempty"`  // why it was not run
	Failed   string             `json:"failed,omitempty"` // why there is nothing, or not all
}

// Write writes v as one line.
func Write(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// Read reads a file of results. Each error names the line.
func Read(r io.Reader) (Header, []Result, error) {
	var h Header
	var all []Result
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	n := 0
	decode := func(v any) error {
		n++
		if err := json.Unmarshal(lines.Bytes(), v); err != nil {
			return fmt.Errorf("line %d of the results: %w", n, err)
		}
		return nil
	}
	if !lines.Scan() {
		if lines.Err() != nil {
			return h, nil, lines.Err()
		}
		return h, nil, errors.New("the file of results is empty")
	}
	if err := decode(&h); err != nil {
		return h, nil, err
	}
	if len(h.Peers) == 0 || h.Go == "" || h.Date.IsZero() {
		return h, nil, errors.New("line 1 of the results is no header: it needs at least peers, go and date")
	}
	for lines.Scan() {
		var res Result
		if err := decode(&res); err != nil {
			return h, nil, err
		}
		if err := res.check(h); err != nil {
			return h, nil, fmt.Errorf("line %d of the results: %w", n, err)
		}
		all = append(all, res)
	}
	if lines.Err() != nil {
		return h, nil, lines.Err()
	}
	if len(all) == 0 {
		return h, nil, errors.New("the file of results has none")
	}
	return h, all, nil
}

func (r Result) check(h Header) error {
	if !slices.ContainsFunc(h.Peers, func(p Info) bool { return p.Name == r.Peer }) {
		return fmt.Errorf("the header has no peer %q", r.Peer)
	}
	s, err := Find(r.Scenario)
	if err != nil {
		return err
	}
	if r.CPU < 1 || r.Rep < 1 {
		return fmt.Errorf("repetition %d on %d processors", r.Rep, r.CPU)
	}
	if r.Lacks != "" || r.Failed != "" {
		return nil
	}
	for _, m := range s.Metrics {
		if _, ok := r.Metrics[m]; !ok {
			return fmt.Errorf("%s has measured no %q in %q, and says not why", r.Peer, m, r.Scenario)
		}
	}
	return nil
}
