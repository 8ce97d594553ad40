package fleet

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed inspect.lua
var inspectSource string

var inspectScript = redis.NewScript(inspectSource)

// A State is what the server knows of a budget at one instant.
type State struct {
	Name  string
	Max   int           // the least that a living process gives; 0 if there is none
	Used  int           // rights that processes have, with those that are offered to them, and those that are to be fenced
	Grace time.Duration // how long nothing will be granted, because the server or its data are new
	// Processes are those whose leases are not over, the one with the most rights first.
	Processes []Process
	// Fencing are those whose leases are over, and whose connections have not been fenced yet.
	Fencing []Process
}

// A Process is one that has a Budget.
type Process struct {
	ID      string
	Label   string        // Options.Label
	Rights  int           // that it has
	Offered int           // of these: it was told that it may have them, and has not answered yet
	Waiting int           // for how many it waits
	Place   int           // its place among those who wait; 1 is the next. 0: it does not wait
	Asked   int           // how many others want from it
	Expires time.Duration // when its lease is over, if nothing is heard from it
}

// Inspect returns who has how many rights of the budget of that name, and who waits. It changes nothing
// and blocks as a call of client does. A budget that nobody has used yet is empty. If its keys are those of another release, the error
// is a [FormatError].
func Inspect(ctx context.Context, client redis.UniversalClient, name string) (State, error) {
	st := State{Name: name}
	values, err := inspectScript.Run(ctx, client, keys(name)).Slice()
	if err != nil {
		if e, ok := formatError(name, err); ok {
			return st, e
		}
		return st, fmt.Errorf("fleet: budget %q: %w", name, err)
	}
	if len(values) < 3 {
		return st, fmt.Errorf("fleet: budget %q: the script has returned %v", name, values)
	}
	number := func(v any) int { n, _ := v.(int64); return int(n) }
	st.Max, st.Used, st.Grace = number(values[0]), number(values[1]), time.Duration(number(values[2]))*time.Millisecond
	for _, v := range values[3:] {
		f, ok := v.([]any)
		if !ok || len(f) != 9 {
			return st, fmt.Errorf("fleet: budget %q: the script has returned %v", name, v)
		}
		p := Process{Rights: number(f[3]), Offered: number(f[4]), Waiting: number(f[5]), Place: number(f[6]), Asked: number(f[7]), Expires: time.Duration(number(f[8])) * time.Millisecond}
		p.ID, _ = f[1].(string)
		p.Label, _ = f[2].(string)
		if number(f[0]) == 0 {
			st.Processes = append(st.Processes, p)
		} else {
			st.Fencing = append(st.Fencing, p)
		}
	}
	slices.SortFunc(st.Processes, func(a, b Process) int {
		return cmp.Or(b.Rights-a.Rights, cmp.Compare(a.Label, b.Label), cmp.Compare(a.ID, b.ID))
	})
	return st, nil
}

// Names returns the names of all budgets on the server of client, sorted; on all masters of a cluster. It looks at all keys, with SCAN, which a user
// that is meant for a service need not be allowed. It blocks until it is done, a call fails, or ctx ends.
func Names(ctx context.Context, client redis.UniversalClient) ([]string, error) {
	var mu sync.Mutex // guards names: masters are asked at the same time
	var names []string
	scan := func(ctx context.Context, c *redis.Client) error { return scanNames(ctx, c, &mu, &names) }
	var err error
	switch c := client.(type) {
	case nil:
		return nil, errors.New("fleet: Names: the client is nil")
	case *redis.ClusterClient:
		err = c.ForEachMaster(ctx, scan)
	case *redis.Ring:
		err = c.ForEachShard(ctx, scan)
	default:
		err = scanNames(ctx, c, &mu, &names)
	}
	if err != nil {
		return nil, fmt.Errorf("fleet: Names: %w", err)
	}
	slices.Sort(names)
	return slices.Compact(names), nil // SCAN may return a key more than once
}

func scanNames(ctx context.Context, c redis.Cmdable, mu *sync.Mutex, names *[]string) error {
	const first, rest = "{", "}:fleet:state"
	found := c.ScanType(ctx, 0, first+"*"+rest, 1000, "hash").Iterator()
	for found.Next(ctx) {
		name := strings.TrimSuffix(strings.TrimPrefix(found.Val(), first), rest)
		if strings.ContainsAny(name, "{}") {
			continue // not one of ours
		}
		mu.Lock()
		*names = append(*names, name)
		mu.Unlock()
	}
	return found.Err()
}

// String returns a table.
func (s State) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "budget %s: %d of %d rights used, %d processes", s.Name, s.Used, s.Max, len(s.Processes))
	if s.Grace > 0 {
		fmt.Fprintf(&b, ", nothing is granted for %v more", s.Grace)
	}
	b.WriteByte('\n')
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	if len(s.Processes)+len(s.Fencing) > 0 {
		fmt.Fprintf(w, "process\trights\toffered\twaits for\tplace\tasked for\tlease ends in\n")
	}
	for _, p := range s.Processes {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%v\n", p.Label, p.Rights, p.Offered, p.Waiting, p.Place, p.Asked, p.Expires)
	}
	for _, p := range s.Fencing {
		fmt.Fprintf(w, "%s\t%d\t\t\t\t\tis being fenced\n", p.Label, p.Rights)
	}
	_ = w.Flush()
	return b.String()
}
