package fleet

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// release is what this module writes beside its format, so that another release can name it.
const release = "github.com/S4AK4N/pool/contrib/fleet, format 1"

//go:embed budget.lua
var source string

var script = redis.NewScript(source)

// keys returns the names of all keys of a budget. They have one hash tag, so that a cluster keeps
// them together. The first one has the format, so no release may name it in another way.
func keys(name string) []string {
	prefix := "{" + name + "}:fleet:"
	return []string{prefix + "state", prefix + "processes", prefix + "deadlines", prefix + "queue", prefix + "offers", prefix + "fencing"}
}

// channel is the prefix of the channels on which processes are told that they should ask.
func channel(name string) string { return "{" + name + "}:fleet:to:" }

// patience is how long a right is kept for a process that does not confirm it. With the time until
// somebody notices (poll) it is less than a second.
const patience = 700 * time.Millisecond

// A request is one operation: what a process has, all of it, and what it lacks.
type request struct {
	id     string
	seq    uint64
	rev    int64 // of what is known of what others would have; not sent
	held   int
	want   int // for callers who wait
	ahead  int // to keep, if the end is far
	hope   int // for Warm and MinIdle
	idle   int // how many could be closed at once; -1: not asked
	idleMs int64
	leaves bool
	founds bool   // Options.Found, and nothing has been heard from the server yet
	late   bool   // the lease is over, by the clock of the process: it may claim nothing of what nobody knows
	fenced string // the process that has been fenced
}

func (r request) args(s *store) []any {
	leaves := "0"
	if r.leaves {
		leaves = "1"
	}
	founding, fence, late := "0", "0", "0"
	if r.late {
		late = "1"
	}
	if r.founds {
		founding = "1"
	}
	if s.options.Fence != nil {
		fence = "1"
	}
	return []any{r.id, r.seq, r.held, r.want, r.ahead, r.hope, r.idle, r.idleMs, s.options.Lease.Milliseconds(), s.max,
		founding, fence, s.options.Label, leaves, r.fenced, channel(s.name), patience.Milliseconds(), release, late}
}

// What became of a request.
const (
	statusDone   = iota
	statusLate   // a newer one has been carried out before
	statusFenced // the lease of this name is over, and what it had is being fenced
)

// A reply is the answer to a request.
type reply struct {
	status  int
	mine    int // rights that the process has now
	lost    int // rights that it has not, though it said so
	used    int
	max     int
	others  int // rights for which others wait
	grace   time.Duration
	ask     int // how many others would have from it
	rev     int64
	toFence string
	label   string
}

// operate carries out a request. The server may carry it out later, though an error is returned.
func (s *store) operate(ctx context.Context, r request) (a reply, err error) {
	if s.options.observe != nil {
		done := s.options.observe(r)
		defer func() { done(a, err) }()
	}
	values, err := script.Run(ctx, s.client, s.keys, r.args(s)...).Slice()
	if err != nil {
		return reply{}, s.explain(err)
	}
	var n [9]int64
	if len(values) != 11 {
		return reply{}, fmt.Errorf("fleet: the script has returned %d values", len(values))
	}
	for i := range n {
		var ok bool
		if n[i], ok = values[i].(int64); !ok {
			return reply{}, fmt.Errorf("fleet: the script has returned %v", values[i])
		}
	}
	toFence, _ := values[9].(string)
	label, _ := values[10].(string)
	return reply{int(n[0]), int(n[1]), int(n[2]), int(n[3]), int(n[4]), int(n[5]), time.Duration(n[6]) * time.Millisecond, int(n[7]), n[8], toFence, label}, nil
}

// explain turns an answer of the script into an error of ours.
func (s *store) explain(err error) error {
	if e, ok := formatError(s.name, err); ok {
		return e
	}
	return fmt.Errorf("fleet: budget %q: %w", s.name, err)
}

func formatError(name string, err error) (*FormatError, bool) {
	var answer redis.Error
	if !errors.As(err, &answer) {
		return nil, false
	}
	_, rest, ok := strings.Cut(answer.Error(), "FLEETFORMAT ")
	if !ok {
		return nil, false
	}
	number, by, _ := strings.Cut(rest, " ")
	n, _ := strconv.Atoi(number)
	return &FormatError{name, n, by}, true
}
