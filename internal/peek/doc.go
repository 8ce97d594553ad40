// Package peek looks at a socket without waiting and without taking anything. A pool asks so
// whether the peer of an idle connection has said something, or has gone.
package peek
