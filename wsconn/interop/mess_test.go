package interop

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/wsconn"
	"github.com/coder/websocket"
	"go.uber.org/atomic"
)

// messDuration is how long the test makes a mess: POOL_MESS_DURATION, 3 s if
// that is not set. A minute is what a release is tested with.
func messDuration(t *testing.T) time.Duration {
	value := os.Getenv("POOL_MESS_DURATION")
	if value == "" {
		return 3 * time.Second
	}
	d, err := time.ParseDuration(value)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// tally counts what the callers of the mess saw.
type tally struct {
	requests, reused, fresh, cancelled, abandoned, closed atomic.Int64
}

// atLeast is how many requests a mess has: on a busy machine it takes longer for them.
const atLeast = 1000

// makeMess has 60 callers share the connections of p, for d. It returns what
// must not happen, at most one thing for each caller.
func makeMess(t *testing.T, p *pool.Pool[*wsconn.Conn], d time.Duration) (wrong []error, n *tally) {
	ask(t, p, "0 mess on")
	n = new(tally)
	end := time.Now().Add(d)
	seed := rand.Uint64()
	errs := make(chan error, 60)
	var callers sync.WaitGroup
	for i := range cap(errs) {
		callers.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for k := 0; time.Now().Before(end) || n.requests.Load() < atLeast; k++ {
				if err := oneRequest(t.Context(), p, r, fmt.Sprintf("%d-%d", i, k), n); err != nil {
					errs <- fmt.Errorf("seed %d: %w", seed, err)
					return
				}
				if r.IntN(20) == 0 { // now and then long enough to miss a heartbeat
					time.Sleep(time.Duration(r.IntN(700)) * time.Millisecond)
				}
			}
		})
	}
	callers.Wait()
	close(errs)
	for err := range errs {
		wrong = append(wrong, err)
	}
	t.Logf("%d requests: %d repeated after a reused connection, %d after a fresh one; %d cancelled, %d abandoned, %d closed on purpose; %+v",
		n.requests.Load(), n.reused.Load(), n.fresh.Load(), n.cancelled.Load(), n.abandoned.Load(), n.closed.Load(), p.Stats())
	return wrong, n
}

// TestNobodySeesTheMess: 60 callers share 50 connections to an npm ws server
// with a heartbeat of 1 s, which closes, drops, stalls and is late at random,
// also on connections that lie idle. Callers give up at random, with and without
// waiting for what they asked for. A request that the server means to answer is
// answered, at the latest on another connection if one fails before the reply; and no
// reply is somebody else's. Where there is a socket to look at, a check finds most
// connections that the server closes, and not a request. The others are closed between
// the two.
func TestNobodySeesTheMess(t *testing.T) {
	for name, opts := range map[string]*wsconn.Options{
		"path=peek":     {OneReplyPerRequest: true},
		"path=fallback": {OneReplyPerRequest: true, DialOptions: hideSocket()},
	} {
		t.Run(name, func(t *testing.T) {
			url := node(t, time.Second).url
			files := openFiles(t)
			p := newPool(t, url, opts, pool.Config{MaxConnections: 50, CheckInterval: checkInterval, MaxWaitTime: patience})
			wrong, n := makeMess(t, p, messDuration(t))
			for _, err := range wrong {
				t.Error(err)
			}
			again := n.reused.Load() + n.fresh.Load()
			reply, err := insist(soon(t), p, "0 closings", n)
			if err != nil {
				t.Fatal(err)
			}
			var closings int64
			fmt.Sscanf(reply, "0 %d", &closings)
			// In the fallback a close is seen when the scheduler has had time for it.
			if closings == 0 || opts.DialOptions == nil && again > closings/2+5 {
				t.Errorf("%d requests were repeated, with %d connections closed by the server", again, closings)
			}
			if err := p.Shutdown(soon(t)); err != nil {
				t.Fatal(err)
			}
			// A dial that was given up may still get its connection, which the HTTP
			// transport keeps for the next. Nothing tells when.
			for deadline := time.Now().Add(patience); openFiles(t) > files+2; time.Sleep(time.Millisecond) {
				http.DefaultClient.CloseIdleConnections()
				if opts.DialOptions != nil {
					opts.DialOptions.HTTPClient.CloseIdleConnections()
				}
				if time.Now().After(deadline) {
					t.Fatalf("%d descriptors are open, %d were before", openFiles(t), files)
				}
			}
		})
	}
}

// TestTheMessIsSeenWithoutSupervision shows that the test above can fail.
func TestTheMessIsSeenWithoutSupervision(t *testing.T) {
	factory, err := wsconn.NewFactory(node(t, time.Second).url, nil)
	if err != nil {
		t.Fatal(err)
	}
	factory.Check, factory.Clean = nil, nil
	p, err := pool.New(factory, pool.Config{MaxConnections: 50, MaxWaitTime: patience})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if wrong, _ := makeMess(t, p, time.Second); len(wrong) == 0 {
		t.Error("nobody saw anything wrong")
	}
}

// openFiles returns the number of descriptors of this process, or 0 where that
// cannot be told.
func openFiles(t *testing.T) int {
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(files)
}

// oneRequest does one of the things that callers do. It returns an error only
// for what must not happen.
func oneRequest(ctx context.Context, p *pool.Pool[*wsconn.Conn], r *rand.Rand, id string, n *tally) error {
	n.requests.Inc()
	switch k := r.IntN(100); {
	case k < 4: // the server closes, or drops
		verb := []string{"close", "drop"}[r.IntN(2)]
		_, err := exchange(ctx, p, id+" "+verb)
		n.closed.Inc()
		if err == nil {
			return fmt.Errorf("%s: a reply to %s", id, verb)
		}
		return nil
	case k < 10: // cancelled, while the server stalls or is late
		ctx, cancel := context.WithTimeout(ctx, time.Duration(r.IntN(30))*time.Millisecond)
		defer cancel()
		n.cancelled.Inc()
		reply, err := exchange(ctx, p, id+[]string{" stall", " late 20"}[r.IntN(2)])
		if err == nil && reply != id+" late 20" {
			return fmt.Errorf("%s: reply %q", id, reply)
		}
		return nil
	case k < 16: // written, and given up without a word; the reply comes late
		l, err := p.Get(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
		l.Value().Write(ctx, websocket.MessageText, []byte(id+" late 5"))
		n.abandoned.Inc()
		return p.Put(l)
	}
	request := id + " echo"
	reply, err := insist(ctx, p, request, n)
	if err == nil && reply != request {
		return fmt.Errorf("%s: the reply %q is somebody else's", id, reply)
	}
	return err
}

// insist repeats a request until there is a reply.
func insist(ctx context.Context, p *pool.Pool[*wsconn.Conn], request string, n *tally) (reply string, err error) {
	for range attempts {
		reply, err = exchange(ctx, p, request)
		var failed *failedError
		switch {
		case err == nil:
			return reply, nil
		case !errors.As(err, &failed):
			return "", fmt.Errorf("%s: %w", request, err)
		case failed.reused: // closed between the check and the request
			n.reused.Inc()
		default: // a dial for this request has fared no better
			n.fresh.Inc()
		}
	}
	return "", fmt.Errorf("%s: failed %d times", request, attempts)
}

// A failedError says that a request failed once it had a connection.
type failedError struct {
	reused bool
	err    error
}

func (e *failedError) Error() string { return e.err.Error() }
func (e *failedError) Unwrap() error { return e.err }

// exchange is a request and its reply over one connection of p.
func exchange(ctx context.Context, p *pool.Pool[*wsconn.Conn], request string) (string, error) {
	l, err := p.Get(ctx)
	if err != nil {
		return "", err
	}
	defer p.Put(l)
	_, reply, err := l.Value().Exchange(ctx, websocket.MessageText, []byte(request))
	if err != nil {
		return "", &failedError{l.Reused(), err}
	}
	return string(reply), nil
}
