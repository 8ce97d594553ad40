package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/redis/go-redis/v9"
)

// Options are what [NewBudget] can do without. The zero Options, and nil, have all defaults.
type Options struct {
	// Lease is how long a process keeps its rights without a word from it. What a process had that has died is
	// free again after so long, and a process that cannot reach the server opens nothing after half of it
	// and has given up its rights after 3/5 of it. If zero, ten seconds is used. Less than 100 ms is refused.
	// Give all processes the same. Where they differ, each keeps its own. But a server that has lost its data waits for
	// the Lease of the process that asks first, and then grants: one with a longer Lease may say too late what it has, and max is exceeded.
	Lease time.Duration

	// Strict revokes leases, as [pool.Pool.Revoke] does, when the rights to their connections are lost: before Lease has
	// passed if the process cannot reach the server; at once if it was stopped for longer. Without Strict no lease is broken:
	// connections that are idle are closed, and those that are leased when they come back.
	Strict bool

	// Found says that this budget is new: if the server knows nothing of it, rights are granted at once. Without Found,
	// none is granted for one Lease then, because the server may have been restarted without its data, and
	// processes that have connections need the time to say so. Set it in the program that sets up a
	// system, and in tests, not in a service: it would give out what others still have. It counts until the server has
	// answered for the first time: data that are lost later are another matter.
	Found bool

	// Fence is called in one of the processes that have it when another one has not been heard of for a Lease and had rights.
	// It must see to it that the connections of that process are closed at the server that they lead to,
	// and gets the ID that this process had, as [Budget.ID] returned it when it opened them. The rights are given to others when Fence has returned nil.
	// If it returns an error, or ctx ends, which it does after a Lease and when this Budget is closed, it is called again, there or in another process.
	// If nil, the rights are free when the lease is over. Have it in all processes or in none.
	Fence func(ctx context.Context, id string) error

	// Label is what [Inspect] calls this process. If empty, host and process id are used.
	Label string

	// Logger gets warnings: the server cannot be reached and rights are lost, nothing is granted because the server or its
	// data are new, a process could not be fenced. At info level it gets that the server is reached again. If nil, nothing is logged.
	Logger *slog.Logger

	timeout time.Duration                    // of one call, for tests. If zero, Lease/6
	clock   func() instant                   // for tests
	observe func(request) func(reply, error) // is called before each operation, and what it returns afterwards; for tests
}

// A Budget is a [pool.Budget] that all processes have in common that name it. All methods are safe for
// concurrent use.
type Budget struct{ store *store }

// NewBudget returns the budget of that name on the server of client, for max connections. Other processes
// have the same one if they use the same server and name. Where they differ in max, the least counts as
// long as its process lives.
//
// NewBudget asks the server once, for at most a sixth of Options.Lease. If there is no answer it returns
// a Budget all the same: then nothing can be opened until there is one. A server whose keys of that name are those of another
// release is refused by a [FormatError].
//
// The Budget uses a client of its own, made from a copy of the options of client, with timeouts that suit a lease.
// It does not close client. A redis.Ring is refused: it moves keys to where the count would begin anew. Any other
// UniversalClient is used as it is: then its calls must end with the deadline of their ctx, and must not be repeated.
//
// Close the Budget when its pools are closed.
func NewBudget(client redis.UniversalClient, name string, max int, opts *Options) (*Budget, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	switch {
	case name == "" || strings.ContainsAny(name, "{}"):
		return nil, fmt.Errorf("fleet: NewBudget: a name must not be empty or contain braces: %q", name)
	case max <= 0:
		return nil, fmt.Errorf("fleet: NewBudget: max must be positive: %d", max)
	case o.Lease == 0:
		o.Lease = 10 * time.Second
	case o.Lease < 100*time.Millisecond:
		return nil, fmt.Errorf("fleet: NewBudget: Options.Lease must be at least 100ms: %v", o.Lease)
	}
	if o.timeout == 0 {
		o.timeout = o.Lease / 6
	}
	if o.Label == "" {
		host, _ := os.Hostname()
		o.Label = fmt.Sprintf("%s/%d", host, os.Getpid())
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	own, closes, err := ownClient(client, o.timeout)
	if err != nil {
		return nil, err
	}
	s := newStore(own, closes, name, max, o)
	if err := s.begin(); err != nil {
		if closes {
			_ = own.Close()
		}
		return nil, err
	}
	return &Budget{s}, nil
}

// Rights returns the rights of this process. It makes a Budget a [pool.Budget].
func (b *Budget) Rights() (*pool.Rights, error) { return b.store.rights, nil }

// ID returns how the server knows this process. It is of this Budget alone, and becomes another one when the lease of the process
// has been over and what it had is fenced. A Factory that is to be fenced tells the server that it connects to, for
// example as application_name, and asks for it in each call of Open.
func (b *Budget) ID() string { return b.store.ident() }

// Close gives back all rights. Close the pools first: rights of connections that are still open, and
// of those that are still being closed after a second, go back when the lease is over, and Close returns an error that says how many.
// Nothing can be opened any more, and callers who wait for a right get ErrClosed as the error of an open that failed. Close waits for a second
// at most for connections that are being closed, and for answers of the server for 3/8 of Options.Lease at most. A second Close waits for the goroutines
// of the first, does nothing else, and returns nil.
func (b *Budget) Close() error { return b.store.close() }
