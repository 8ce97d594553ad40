//go:build linux

package fleet

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// What a line of a record is.
const (
	lineCall      = "call"      // an operation begins
	lineReturn    = "return"    // it has ended, well or not
	lineRestart   = "restart"   // the server is about to be killed
	lineRestarted = "restarted" // it answers again
	lineKilled    = "killed"    // a process is no more
)

// A line is one event. Each is written by one write to the end of a file that all processes have open: so their order in the
// file is an order of time, and what a process has written is there when it is killed.
type line struct {
	Kind string
	At   int64 // the wall clock, in ns
	Lost bool  `json:",omitempty"` // of a restart: its data are gone

	ID                      string `json:",omitempty"`
	Seq                     uint64 `json:",omitempty"`
	Held, Want, Ahead, Hope int    `json:",omitempty"`
	Leaves, Founds, Late    bool   `json:",omitempty"`

	Failed, Unsent             bool  `json:",omitempty"` // Unsent: not carried out, for sure
	Status, Mine, Missing, Max int   `json:",omitempty"`
	Used, Others               int   `json:",omitempty"`
	Rev                        int64 `json:",omitempty"`
}

// A recorder writes lines.
type recorder struct {
	mu   sync.Mutex // guards file
	file *os.File
}

func newRecorder(path string) (*recorder, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return &recorder{file: f}, err
}

func (r *recorder) write(l line) {
	l.At = time.Now().UnixNano()
	text, err := json.Marshal(l)
	if err != nil {
		panic(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.file.Write(append(text, '\n')); err != nil {
		panic(err)
	}
}

// observe is Options.observe.
func (r *recorder) observe(q request) func(reply, error) {
	l := line{ID: q.id, Seq: q.seq, Held: q.held, Want: q.want, Ahead: q.ahead, Hope: q.hope, Leaves: q.leaves, Founds: q.founds, Late: q.late}
	l.Kind = lineCall
	r.write(l)
	return func(a reply, err error) {
		var dial *net.OpError
		l := line{Kind: lineReturn, ID: q.id, Seq: q.seq, Failed: err != nil, Unsent: errors.As(err, &dial) && dial.Op == "dial"}
		if err == nil {
			l.Status, l.Mine, l.Missing, l.Max, l.Used, l.Others, l.Rev = a.status, a.mine, a.lost, a.max, a.used, a.others, a.rev
		}
		r.write(l)
	}
}

// readRecord returns the lines of a file.
func readRecord(t *testing.T, path string) (lines []line) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	for in.Scan() {
		var l line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	return lines
}
