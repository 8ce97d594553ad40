package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"

	"github.com/S4AK4N/pool/internal/core"
)

// A Factory tells a [Pool] how to open and close connections of type T, and how to check
// and clean them. Only Open is required, and Close where T is not an [io.Closer]. Package
// netconn has one for TCP and TLS, package wsconn one for WebSockets.
//
// The pool calls these functions from any goroutine, and for different connections at the
// same time. It holds nothing while it does: a slow function delays its own caller, and a
// slow Check also delays the checks of other idle connections. A panic counts as an error.
//
// A function that does not return is abandoned: Open, Expires and Watch one second after
// [Config.OpenTimeout], Check, Probe, Clean and Close after ten seconds. Then the slot is free
// for another connection, and the old one is closed. A Put that is in Clean or Check, and a
// TryGet that is in Check, return only when that function returns.
//
// A Get whose connection is in Check returns when ctx ends or the pool is closed, and looks
// for another connection when Check has been abandoned. So Check is called in a goroutine
// of its own, but only until it is known to be quick, because that costs more than the rest
// of the Get. After eight calls that took less than 10 µs each, Get calls Check itself.
// After a slower one, it takes 64 quick ones. Once a second the pool asks for eight
// again. What remains: when a Check that is known to be quick blocks all of a sudden, the
// Gets that call it within that second return only when it returns, and what those of
// them that wait are handed meanwhile stays with them.
type Factory[T any] struct {
	// Open opens a connection. It runs in a goroutine of its own, so that a caller may be
	// served by a returned connection while Open is still running. ctx ends after
	// [Config.OpenTimeout], and when the pool is closed or reset; not with the ctx of a
	// caller, because the connection is used if that caller gives up. ctx carries no values,
	// unless [Config.OpenContext] gives it some. The connection goes to the caller that has
	// waited longest, and is idle if nobody waits. A connection that Open returns beside an
	// error is ignored: Open itself closes what it has opened before it fails.
	Open func(ctx context.Context) (T, error)

	// Close closes conn. If cause is nil, conn is healthy, and Close may do a closing
	// handshake with the peer: it has been idle for too long, is too old by MaxLifetime or
	// Expires, is more than a Resize allows, gives its right to another pool with the same
	// Budget, or was idle when the pool was closed. Otherwise cause says why conn is
	// closed. The pool calls
	// Close once for each connection, in a goroutine of its own, and opens the next
	// connection in its slot without waiting for it (unless [Config.StrictMax] is set).
	// [Pool.Close], Shutdown and [Pool.Revoke] may have it called while a caller uses conn, or
	// Check or Clean looks at it; Close must allow that, as network connections do.
	//
	// If nil, T's own Close method is called.
	Close func(conn T, cause error) error

	// Check, if not nil, validates a connection. It is called while nobody else uses
	// conn: before an idle conn is lent, before a returned conn is handed to a waiting
	// caller, and every [Config.CheckInterval] while conn is idle. It should not block: it may
	// look at a flag that a reader sets, or read with a deadline that has passed. One that
	// does, for example to ping the server, delays each Get by that time and costs it a
	// goroutine. A connection for which it returns an error is closed.
	Check func(conn T) error

	// Probe, if not nil, finds out whether the peer still answers on conn, by a round trip: a
	// ping, or the cheapest request there is. It is called in the background for connections
	// that were idle while the machine slept: to the pool they have been idle for a moment,
	// but the peer may be gone. Until Probe returns, nobody gets conn: a Get takes or opens
	// another one, or waits. ctx ends after nine seconds, and when the pool is closed or reset.
	// A connection for which Probe returns an error is closed, and counts as closed by
	// Check. Leased connections go on; their holders learn what there is to learn. At most 128
	// calls run at the same time.
	//
	// The pool knows a sleep by the wall clock, which is then more than three seconds ahead of
	// the process's clock. It closes nothing for that alone, so a wall clock that was set costs
	// each idle connection one probe, and no more. It compares the clocks once a second while a
	// connection is open. So a Get in the first second after the sleep may get a connection
	// that has not been probed. A clock that goes on during a sleep, as that of Windows does,
	// shows no sleep; there it counts for MaxIdleTime.
	//
	// If nil, Check is asked instead, when the pool looks at its connections next, unless
	// [Config.CheckInterval] is negative. If Check is nil as well, a sleep is not noticed.
	Probe func(ctx context.Context, conn T) error

	// Clean, if not nil, prepares conn for its next lease. It is called in [Pool.Put],
	// unless conn is going to be closed. A connection for which it returns an error is
	// closed.
	Clean func(conn T) error

	// CleanOnlyLooks says that Clean only looks at conn, and changes nothing that the server keeps
	// for it. Otherwise no lease follows another ([Lease.Follows]) if there is a Clean.
	CleanOnlyLooks bool

	// Expires, if not nil, says until when conn may be used: until its token expires, or the
	// server ends it. It is called once after Open, before Watch. Unlike
	// [Config.MaxLifetime], the time has no jitter, and many connections may end at once; of
	// the two, the earlier counts. From that time on conn is not lent: if it is idle, it is
	// closed then, also below MinIdle, and if it is leased, when it comes back. No lease is
	// broken; to have time left for one, return an earlier time. Such a connection counts
	// as closed for its lifetime.
	//
	// The zero Time means never. A time that has passed, or will within a millisecond, makes the
	// call of Open a failure, with an [*OpenError] that says so, and conn is closed. The time is converted once, when conn
	// is opened: if the wall clock is set later, conn ends when it would have ended without
	// that, and on most systems the time during which the machine sleeps does not count (but
	// see Probe).
	//
	// With Expires, a Get and a Put read the clock, which costs some 50 ns each, and the pool
	// looks at its connections once a second while any is open.
	Expires func(conn T) time.Time

	// Watch, if not nil, is called once after Open, before conn is lent. The application
	// may keep broken and call it when it learns that conn is broken: an idle conn is
	// closed at once, a leased one when it comes back, and neither is lent again. broken
	// may be called at any time, from any goroutine, and more than once; the first cause
	// counts.
	Watch func(conn T, broken func(cause error))

	// PeerClosed, if not nil, reports whether cause, an error with which a lease of a new
	// connection has ended, says that the peer has closed the connection. The pool knows so
	// of io.EOF, of a reset and a broken pipe, and of what is marked with the function
	// [PeerClosed]; this is for what a protocol says in its own words, such as a close frame.
	// A server that accepts connections only to close them is then not dialed without a
	// pause (see [ErrUnavailable]). It must not block.
	PeerClosed func(cause error) bool
}

// normalize checks f and fills in its defaults.
func (f Factory[T]) normalize() (Factory[T], error) {
	if f.Open == nil {
		return f, errors.New("pool: Factory.Open is nil")
	}
	if f.Close == nil {
		t := reflect.TypeFor[T]()
		if !t.Implements(reflect.TypeFor[io.Closer]()) {
			return f, fmt.Errorf("pool: Factory.Close is nil and %v is not an io.Closer", t)
		}
		f.Close = func(conn T, _ error) error { return any(conn).(io.Closer).Close() }
	}
	return f, nil
}

// boxed returns f for the core, which knows no types. f is normalized.
func (f Factory[T]) boxed() core.Factory {
	b := core.Factory{
		Open: func(ctx context.Context) (any, error) {
			conn, err := f.Open(ctx)
			if err != nil {
				return nil, err
			}
			if isNil(conn) {
				return nil, core.ErrNilConn
			}
			return box(conn), nil
		},
		Close: func(b any, cause error) error { return f.Close(unbox[T](b), cause) },
	}
	if f.Check != nil {
		b.Check = func(b any) error { return f.Check(unbox[T](b)) }
	}
	if f.Probe != nil {
		b.Probe = func(ctx context.Context, b any) error { return f.Probe(ctx, unbox[T](b)) }
	}
	if f.Expires != nil {
		b.Expires = func(b any) time.Time { return f.Expires(unbox[T](b)) }
	}
	if f.Clean != nil {
		b.Clean = func(b any) error { return f.Clean(unbox[T](b)) }
	}
	if f.Watch != nil {
		b.Watch = func(b any, broken func(cause error)) { f.Watch(unbox[T](b), broken) }
	}
	b.PeerClosed, b.CleanOnlyLooks = f.PeerClosed, f.CleanOnlyLooks
	return b
}

// box puts a connection into a box: conn itself or, if T is an interface, a pointer to it.
// To unbox it is then a comparison of two words; an interface in an any would have to be
// looked up in a table (13 ns where this takes 2).
func box[T any](conn T) any {
	if reflect.TypeFor[T]().Kind() == reflect.Interface {
		return &conn
	}
	return conn
}

// unbox returns the connection in a box, and the zero T for a nil box.
func unbox[T any](box any) T {
	if p, ok := box.(*T); ok {
		return *p
	}
	conn, _ := box.(T)
	return conn
}

// unboxed is unbox for a caller that knows no T.
func unboxed[T any](box any) any { return unbox[T](box) }

// isNil reports whether v is nil, or an interface with a nil pointer in it.
func isNil[T any](v T) bool {
	r := reflect.ValueOf(&v).Elem()
	for r.Kind() == reflect.Interface && !r.IsNil() {
		r = r.Elem()
	}
	return (r.Kind() == reflect.Interface || r.Kind() == reflect.Pointer) && r.IsNil()
}
