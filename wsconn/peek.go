//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package wsconn

import (
	"io"
	"net"
	"syscall"
)

// A peeker asks a socket whether bytes have arrived, or it has ended, without
// waiting and without taking anything. The zero peeker can not.
type peeker struct {
	raw  syscall.RawConn
	look func(fd uintptr) // made once, so that a look allocates nothing
	n    int
	err  error
	one  [1]byte
}

// init leaves p the zero peeker if conn has no socket to look at.
func (p *peeker) init(conn net.Conn) {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	p.raw = raw
	p.look = func(fd uintptr) {
		for {
			p.n, _, p.err = syscall.Recvfrom(int(fd), p.one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			if p.err != syscall.EINTR {
				return
			}
		}
	}
}

func (p *peeker) able() bool { return p.raw != nil }

// peek reports whether bytes are there to be read. The error says that the
// connection has ended, and nothing is there any more; it is io.EOF if it ended
// in an orderly way.
//
// It uses Control, not Read, of the RawConn: that one waits for a Read in
// progress, and fails when a deadline has passed.
func (p *peeker) peek() (bool, error) {
	if err := p.raw.Control(p.look); err != nil {
		return false, err
	}
	switch {
	case p.err == syscall.EAGAIN || p.err == syscall.EWOULDBLOCK:
		return false, nil
	case p.err != nil:
		return false, p.err
	case p.n == 0:
		return false, io.EOF
	}
	return true, nil
}
