//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package netconn

import (
	"io"
	"syscall"

	"github.com/S4AK4N/pool/internal/peek"
)

// A socket is what the pool can do with a socket without waiting, whatever deadlines are in
// force: look at it, read what is there, and write what there is room for.
type socket struct{ peek.Peeker }

// take reads what is there. It returns errDry if nothing is.
func (s *socket) take(p []byte) (int, error) {
	var n int
	var err error
	control := s.Raw().Control(func(fd uintptr) {
		for {
			n, _, err = syscall.Recvfrom(int(fd), p, syscall.MSG_DONTWAIT)
			if err != syscall.EINTR {
				return
			}
		}
	})
	switch {
	case control != nil:
		return 0, control
	case err == syscall.EAGAIN || err == syscall.EWOULDBLOCK:
		return 0, errDry
	case err != nil:
		return 0, err
	case n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	return n, nil
}

// give writes all of p, or fails.
func (s *socket) give(p []byte) (int, error) {
	var n int
	var err error
	control := s.Raw().Control(func(fd uintptr) {
		for {
			n, err = syscall.SendmsgN(int(fd), p, nil, nil, syscall.MSG_DONTWAIT)
			if err != syscall.EINTR {
				return
			}
		}
	})
	switch {
	case control != nil:
		return 0, control
	case err == syscall.EAGAIN || err == syscall.EWOULDBLOCK || err == nil && n < len(p):
		return max(n, 0), errNoRoom
	case err != nil:
		return 0, err
	}
	return n, nil
}
