package core

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// A Factory is that of the root package, with its connections in their boxes. Check,
// Clean and Watch may be nil.
type Factory struct {
	// Open returns ErrNilConn if what was opened is nil.
	Open  func(ctx context.Context) (box any, err error)
	Close func(box any, cause error) error
	Check func(box any) error
	Clean func(box any) error
	Watch func(box any, broken func(cause error))
}

// A panicError is what a panic in a factory function becomes.
type panicError struct {
	function string
	value    any
	stack    []byte
}

func (e *panicError) Error() string {
	return fmt.Sprintf("%s panicked: %v", e.function, e.value)
}

// Unwrap gives errors.Is and errors.As the value of the panic, if it is an error.
func (e *panicError) Unwrap() error {
	err, _ := e.value.(error)
	return err
}

// guard runs one call of a user's function and returns its panic as an error. (A
// runtime.Goexit cannot be stopped: whoever holds a slot across a call into the
// factory gives it back in a deferred function.)
func guard(function string, call func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{function, v, debug.Stack()}
		}
	}()
	return call()
}

// stackOf returns the stack of a panic in a user's function, for the log.
func stackOf(err error) slog.Attr {
	if p, ok := err.(*panicError); ok {
		return slog.String("stack", string(p.stack))
	}
	return slog.Attr{}
}
