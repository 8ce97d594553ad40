// Package testkit is what the tests of the pool share: connections that remember what has
// been done to them, functions to borrow and to wait with, what must hold of a pool at
// rest, and a look inside. Tests alone import it.
package testkit
