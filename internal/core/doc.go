// Package core lends values of any type: it is the protocol of the pool, without types.
// The root package is a typed shell over it and has the documentation that users read.
//
// A value is in a box, an any that only the shell opens. So everything here is ordinary
// code, compiled once, and not once more in each program for each type.
//
// It changes all words of a pool: its slots (by way of ring), the gate, the census and the
// outage (whose meaning is in internal/words), and it decides the waiters of
// internal/queue. Nothing else does. It imports neither the root package nor wsconn.
package core
