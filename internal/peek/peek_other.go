//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package peek

import (
	"net"
	"syscall"
)

// A Peeker asks a socket whether bytes have arrived. Here none can.
type Peeker struct{}

func (*Peeker) Init(net.Conn)        {}
func (*Peeker) Able() bool           { return false }
func (*Peeker) Raw() syscall.RawConn { return nil }
func (*Peeker) Peek() (bool, error)  { return false, nil }
