package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/S4AK4N/pool/internal/core"
)

// A Factory tells a [Pool] how to open and close connections of type T, and
// what else to do with them on the way. Only Open is required, and Close where
// T is not an [io.Closer].
//
// The pool calls each function from whatever goroutine is at hand, for
// different connections at the same time, and holds nothing while it does: a
// slow function delays its own caller only, and a slow Check the checks of other
// idle connections. A function that panics counts as one that returned an error.
//
// One that does not return is given up: Open and Watch a second after
// [Config.OpenTimeout], Check, Clean and Close after ten seconds. Its slot is free for
// others then, and its connection is closed. But a Get that is in Check, or a Put that is
// in Clean, returns when that does and not before, whatever its ctx says; and what such a
// Get is given meanwhile, nobody else has until then.
type Factory[T any] struct {
	// Open makes a new connection. It runs in a goroutine of its own, so that
	// a caller may be served by a returned connection before Open is done. Its
	// ctx carries the values of the ctx of the [Pool.Get] that asked, but not
	// its cancellation: it ends after [Config.OpenTimeout], and when the pool
	// is closed. It carries no values if no Get in particular asked, as when a
	// connection that was closed is replaced for those who wait, so Open must do
	// without. The connection goes to the caller that has waited longest, and is
	// idle if nobody waits. One that Open returns beside an error is not used.
	Open func(ctx context.Context) (T, error)

	// Close closes conn. cause is nil if conn is healthy, and Close may then
	// take its leave of the peer; otherwise cause is why conn is not wanted any
	// more. The pool calls Close once for each connection, in a goroutine of
	// its own, and does not wait for it before it fills the slot again.
	// [Pool.Close] calls it even while a caller uses conn, and Close must bear
	// that, as network connections do.
	//
	// If nil, T's own Close method is called.
	Close func(conn T, cause error) error

	// Check, if not nil, says whether a connection is fit to be lent. It is
	// called with nobody else using conn: before an idle conn is lent, before a
	// conn that comes back goes straight to a caller who waits, and every
	// [Config.CheckInterval] while conn is idle. It must not block. A connection
	// for which it returns an error is closed.
	Check func(conn T) error

	// Clean, if not nil, makes conn fit for its next lease. It is called in
	// [Pool.Put], unless conn will be closed anyway. A connection for which it
	// returns an error is closed.
	Clean func(conn T) error

	// Watch, if not nil, is called once after Open, before conn is lent. The
	// application may keep broken and call it when it learns that conn is of no
	// use any more: an idle conn is closed at once, a leased one when it comes
	// back, and neither is lent again. broken may be called at any time, from
	// any goroutine, and more than once; the first cause counts.
	Watch func(conn T, broken func(cause error))
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
	if f.Clean != nil {
		b.Clean = func(b any) error { return f.Clean(unbox[T](b)) }
	}
	if f.Watch != nil {
		b.Watch = func(b any, broken func(cause error)) { f.Watch(unbox[T](b), broken) }
	}
	return b
}

// box puts a connection into a box. In it lies conn itself or, if T is an interface, a
// pointer to it: to have any of a T is a comparison of two words then, where an interface
// in an any would be looked up in a table (2 ns beside 13).
func box[T any](conn T) any {
	if reflect.TypeFor[T]().Kind() == reflect.Interface {
		return &conn
	}
	return conn
}

// unbox returns what lies in a box. That of nil is the zero T.
func unbox[T any](box any) T {
	if p, ok := box.(*T); ok {
		return *p
	}
	conn, _ := box.(T)
	return conn
}

// unboxed is unbox for those who take any connection.
func unboxed[T any](box any) any { return unbox[T](box) }

// isNil reports whether v is a nil interface or pointer: Open may lie.
func isNil[T any](v T) bool {
	r := reflect.ValueOf(&v).Elem()
	for r.Kind() == reflect.Interface && !r.IsNil() {
		r = r.Elem()
	}
	return (r.Kind() == reflect.Interface || r.Kind() == reflect.Pointer) && r.IsNil()
}
