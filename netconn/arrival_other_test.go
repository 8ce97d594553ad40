//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package netconn

import (
	"net"
	"testing"
)

func arrived(t testing.TB, _ net.Conn, _ int) { t.Skip("there is no socket to look at here") }
