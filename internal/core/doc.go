// Package core lends values of any type: it is the protocol of the pool, without types.
// The root package is a typed shell over it and has the documentation that users read.
//
// A value travels in a box, an any that only the shell opens. So everything here is
// ordinary code, compiled once, and not once for each type in each program.
//
// Only this package changes the words of a pool: its slots (through ring), the gate, the
// census and the outage (internal/words says what they mean). Only this package decides
// the waiters of internal/queue. It imports neither the root package nor wsconn.
package core
