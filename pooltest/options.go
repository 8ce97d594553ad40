package pooltest

import (
	"context"
	"time"
)

// Options tell [TestFactory] what it cannot know of a connection. All are optional.
type Options[T any] struct {
	// Wire, if not nil, is what the Factory connects to: see [NewWire]. Without it TestFactory cannot
	// silence the server. To end it, it then has, on Linux, the sockets that the process has opened during Open read the end of
	// their streams; elsewhere it does not test what happens when the server has gone.
	Wire *Wire

	// Use makes a request and reads the reply, and leaves conn as a caller should who returns it.
	// An error is a failure of the test.
	// If nil, connections are lent and nothing is sent.
	Use func(ctx context.Context, conn T) error

	// Read waits for something that the server does not send unasked, and returns the error with
	// which that ends. TestFactory calls it to close conn, or to end the server, under it.
	// If nil, conn's method Read is called, if it is that of an [io.Reader], or takes a
	// [context.Context] and returns an error last, as that of a WebSocket does.
	Read func(conn T) error

	// RoundTrips says that Check or Clean ask the server on purpose, and wait for the answer. Then it
	// is no failure that they wait, nor that they return an error while the server is silent, but they must return
	// within Patience.
	// If false, either is a failure.
	RoundTrips bool

	// Connections is how many connections are open at the same time.
	// If zero, 8. Negative is one.
	Connections int

	// Patience is how long TestFactory waits for what must happen before it says that it has not.
	// A slow machine needs no more: what goes well is not waited for.
	// If zero or negative, 10 s, after which a pool abandons a function.
	Patience time.Duration

	// Release, if not nil, ends what connections share and what stays open for the next one. It is called before
	// TestFactory looks for what was left behind. Of a Factory that dials through an [net/http.Transport], as that of
	// package wsconn does, it is CloseIdleConnections: a connection whose Open was given up while it was dialed
	// stays there, for the next.
	Release func()

	// Ignore, if not nil, reports whether a goroutine, by its stack as [runtime.Stack] writes it, is
	// none of the Factory's. Goroutines of a server in the same process need not be ignored if they
	// end with their connections.
	Ignore func(stack string) bool
}

// normalize returns o, which may be nil, with its defaults.
func (o *Options[T]) normalize() Options[T] {
	var c Options[T]
	if o != nil {
		c = *o
	}
	if c.Connections == 0 {
		c.Connections = 8
	}
	c.Connections = max(c.Connections, 1)
	if c.Patience <= 0 {
		c.Patience = 10 * time.Second
	}
	return c
}
