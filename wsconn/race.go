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
	over  chan struct{}             // closed when the race is decided
	began map[*server]time.Duration // those under way
	errs  []error

	tried, silent map[*server]bool // silent ones have been set aside
	newest        *server          // nil: there is no other to begin after it
	start         time.Duration    // when the head start of newest ends
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
	r := &race{servers: s, ctx: racing, ended: make(chan finish), over: make(chan struct{}),
		began: map[*server]time.Duration{}, tried: map[*server]bool{}, silent: map[*server]bool{}}
	defer close(r.over)
	return r.run()
}

func (r *race) run() (*Conn, error) {
	timer := time.NewTimer(never)
	defer timer.Stop()
	var fell <-chan struct{} // somebody else has found that newest does not answer
	begin, asked := true, false
	for {
		if begin || len(r.began) == 0 {
			e, known, hasFallen := r.next(r.tried)
			switch {
			case e != nil:
				fell = hasFallen
				r.dial(e, known)
			case len(r.began) == 0 && !asked && r.rediscover(r.ctx):
				asked = true
				continue
			case len(r.began) == 0:
				return nil, r.failed()
			default:
				r.newest = nil // there is no other to begin
			}
		}
		begin = false
		timer.Reset(r.wait())
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
			begin = f.server == r.newest
		case <-timer.C:
			begin = r.expire()
		case <-fell:
			begin, fell = true, nil
		case <-r.ctx.Done():
			return nil, r.interrupted()
		}
	}
}

// wait returns how long it is until expire has something to do.
func (r *race) wait() time.Duration {
	now, limit := since(), r.limit()
	d := never
	if r.newest != nil {
		d = r.start - now
	}
	for e, began := range r.began {
		if !r.silent[e] {
			d = min(d, began+limit-now)
		}
	}
	return max(d, 0)
}

// expire sets those aside that have not answered for too long. It reports whether another
// server is to be dialed.
func (r *race) expire() (begin bool) {
	now, limit := since(), r.limit()
	for e, began := range r.began {
		if !r.silent[e] && now-began >= limit {
			r.silent[e] = true
			r.stalled(e, began)
		}
	}
	return r.newest != nil && now >= r.start
}

// dial dials one server in a goroutine of its own. Of a known one nothing is expected.
func (r *race) dial(e *server, known bool) {
	began := since()
	r.tried[e], r.began[e] = true, began
	r.newest, r.start = e, began+headStart
	if known {
		r.start = began + knownStart
	}
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
