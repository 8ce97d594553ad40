package wsconn

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/S4AK4N/pool"
)

// A race is one Open. It dials one server, and the next one when that has failed or has
// had its head start. The first connection wins; the others are closed, by their own
// goroutines.
type race struct {
	*servers
	ctx   context.Context
	ended chan finish
	over  chan struct{} // closed when the race is decided
	began map[*server]time.Duration
	errs  []error
}

// A finish is the end of one dial.
type finish struct {
	server *server
	conn   *Conn
	err    error
}

// dialAny is dial for several servers.
func (s *servers) dialAny(ctx context.Context) (*Conn, error) {
	s.begin()
	defer func() { s.end(ctx.Err() != nil) }()
	s.tend(since())
	if err := s.refresh(ctx); err != nil {
		return nil, err
	}
	racing, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &race{servers: s, ctx: racing, ended: make(chan finish), over: make(chan struct{}), began: map[*server]time.Duration{}}
	defer close(r.over)
	return r.run()
}

func (r *race) run() (*Conn, error) {
	tried := map[*server]bool{}
	start := time.NewTimer(never)
	defer start.Stop()
	var newest *server       // whose head start it is
	var fell <-chan struct{} // somebody else has found that newest does not answer
	begin, asked := true, false
	for {
		if begin || len(r.began) == 0 {
			e, known, hasFallen := r.next(tried)
			switch {
			case e != nil:
				tried[e] = true
				newest, fell = e, hasFallen
				r.dial(e)
				if known {
					start.Reset(knownStart)
				} else {
					start.Reset(headStart)
				}
			case len(r.began) == 0 && !asked && r.rediscover(r.ctx):
				asked = true
				continue
			case len(r.began) == 0:
				return nil, r.failed()
			}
		}
		begin = false
		select {
		case f := <-r.ended:
			delete(r.began, f.server)
			if f.err == nil {
				return f.conn, nil
			}
			r.errs = append(r.errs, f.err)
			var ours *optionsError
			if errors.As(f.err, &ours) {
				return nil, f.err // no other server would do better
			}
			begin = f.server == newest
		case <-start.C:
			now := since()
			for e, began := range r.began {
				if now-began >= headStart {
					r.stalled(e, began)
				}
			}
			begin = true
		case <-fell:
			begin, fell = true, nil
		case <-r.ctx.Done():
			return nil, r.interrupted()
		}
	}
}

// dial dials one server in a goroutine of its own.
func (r *race) dial(e *server) {
	began := since()
	r.began[e] = began
	go func() {
		var conn *Conn
		err := errEnded
		defer func() {
			r.dialed(e, began, conn, err, r.ctx.Err() != nil)
			select {
			case r.ended <- finish{e, conn, err}:
			case <-r.over:
				if conn != nil {
					e.d.closeConn(conn, nil)
				}
			}
		}()
		defer caught("a function in Options", &err)
		conn, err = e.d.dial(r.ctx)
	}()
}

// errEnded stays the error if a function calls runtime.Goexit.
var errEnded = errors.New("wsconn: a function in Options has ended its goroutine")

// caught makes a panic an error. It is for goroutines that are not the pool's, which would
// have done that.
func caught(what string, err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("wsconn: panic in %s: %v\n%s", what, p, debug.Stack())
	}
}

// An optionsError is an error of Options.Endpoint: no server is to blame.
type optionsError struct{ error }

func (e *optionsError) Unwrap() error { return e.error }

// failed returns the error of an Open that has reached no server.
func (r *race) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := since()
	if len(r.all) == 1 && len(r.errs) == 1 && r.discovered == nil {
		return r.errs[0] // with its mark
	}
	errs := slices.Clone(r.errs)
	pause := never
	for _, e := range r.all {
		if !e.aside || !e.asked || now >= e.until {
			pause = 0
		} else {
			pause = min(pause, e.until-now)
			if len(r.all) > 1 {
				errs = append(errs, fmt.Errorf("wsconn: %s is not dialed for %v, as it has asked", e.shown, (e.until-now).Round(time.Millisecond)))
			}
		}
	}
	if r.discovered != nil {
		errs = append(errs, r.discovered)
	}
	what := fmt.Sprintf("none of %d endpoints could be opened", len(r.all))
	if len(r.all) == 1 {
		what = "the only endpoint could not be opened"
	}
	// The outermost mark counts: the pause of one server is none of the pool.
	return pool.RetryAfter(&endpointsError{what, errs}, pause)
}

// interrupted returns the error of an Open whose ctx has ended.
func (r *race) interrupted() error {
	errs := []error{context.Cause(r.ctx)}
	now := since()
	for e, began := range r.began {
		errs = append(errs, fmt.Errorf("wsconn: dial %s: no answer in %v", e.shown, (now-began).Round(time.Millisecond)))
	}
	return pool.RetryAfter(&endpointsError{"dial", append(errs, r.errs...)}, 0)
}

// An endpointsError tells why none of several servers could be reached.
type endpointsError struct {
	what string
	errs []error
}

func (e *endpointsError) Error() string {
	var b strings.Builder
	b.WriteString("wsconn: " + e.what)
	for i, err := range e.errs {
		if i == 0 {
			b.WriteString(": ")
		} else {
			b.WriteString("; ")
		}
		b.WriteString(strings.TrimPrefix(err.Error(), "wsconn: "))
	}
	return b.String()
}

func (e *endpointsError) Unwrap() []error { return e.errs }
