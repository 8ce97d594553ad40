package core

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
)

// A Factory is the Factory of the root package, with boxes for connections. All but Open and
// Close may be nil.
type Factory struct {
	// Open returns ErrNilConn if the connection is nil.
	Open           func(ctx context.Context) (box any, err error)
	Close          func(box any, cause error) error
	Check          func(box any) error
	Probe          func(ctx context.Context, box any) error
	Clean          func(box any) error
	CleanOnlyLooks bool
	Expires        func(box any) time.Time
	Watch          func(box any, broken func(cause error))

	PeerClosed func(cause error) bool
}

// A panicError stands for a panic in a factory function.
type panicError struct {
	function string
	value    any
	stack    []byte
}

func (e *panicError) Error() string {
	return fmt.Sprintf("%s panicked: %v", e.function, e.value)
}

// Unwrap returns the value of the panic if it is an error, for errors.Is and errors.As.
func (e *panicError) Unwrap() error {
	err, _ := e.value.(error)
	return err
}

// guard makes one call of a user's function and returns its panic as an error. It cannot
// stop a runtime.Goexit. So a goroutine that holds a slot across a call into the factory
// gives the slot back in a deferred function.
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
