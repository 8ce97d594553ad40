//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package netconn

import "github.com/S4AK4N/pool/internal/peek"

// A socket is what the pool can do with a socket without waiting: here nothing.
type socket struct{ peek.Peeker }

func (*socket) take([]byte) (int, error) { return 0, errDry }
func (*socket) give([]byte) (int, error) { return 0, errNoRoom }
