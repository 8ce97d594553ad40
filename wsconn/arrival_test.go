//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package wsconn

import (
	"syscall"
	"time"
)

// canPeek says that there are sockets to look at here.
const canPeek = true

// awaitArrival waits until at least n bytes lie in the socket, or it has ended.
// The runtime's poller wakes it.
func (d *dialed) awaitArrival(n int) {
	d.t.Helper()
	buf := make([]byte, n)
	d.NetConn().SetReadDeadline(time.Now().Add(patience))
	defer d.NetConn().SetReadDeadline(time.Time{})
	err := d.stream.peeker.Raw().Read(func(fd uintptr) bool {
		got, _, err := syscall.Recvfrom(int(fd), buf, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return err != syscall.EAGAIN && (err != nil || got == 0 || got >= n)
	})
	if err != nil {
		d.t.Fatalf("nothing arrived: %v", err)
	}
}
