//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package netconn

import (
	"net"
	"syscall"
	"testing"
	"time"
)

// arrived waits until at least n bytes lie in the socket of a connection, or it has ended.
// The runtime's poller wakes it.
func arrived(t testing.TB, client net.Conn, n int) {
	t.Helper()
	for {
		c, ok := client.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		client = c.NetConn()
	}
	raw, err := client.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	client.SetReadDeadline(time.Now().Add(patience))
	defer client.SetReadDeadline(time.Time{})
	buf := make([]byte, n)
	err = raw.Read(func(fd uintptr) bool {
		got, _, err := syscall.Recvfrom(int(fd), buf, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return err != syscall.EAGAIN && (err != nil || got == 0 || got >= n)
	})
	if err != nil {
		t.Fatalf("nothing has arrived: %v", err)
	}
}
