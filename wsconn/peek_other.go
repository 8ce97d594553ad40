//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package wsconn

import "net"

// A peeker asks a socket whether bytes have arrived. Here none can: the poller
// takes its place.
type peeker struct{}

func (*peeker) init(net.Conn)       {}
func (*peeker) able() bool          { return false }
func (*peeker) peek() (bool, error) { return false, nil }
