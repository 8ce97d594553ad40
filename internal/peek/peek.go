//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package peek

import (
	"io"
	"net"
	"syscall"
)

// A Peeker asks a socket whether bytes have arrived, or it has ended, without
// waiting and without taking anything. The zero Peeker can not. It must not be copied once
// Init has been called.
type Peeker struct {
	raw  syscall.RawConn
	look func(fd uintptr) // made once, so that a look allocates nothing

	// What the last look has found. There is one Peeker for each idle connection, so it
	// is small.
	errno int32
	n     int8
	one   [1]byte
}

// Init leaves p the zero Peeker if conn has no socket to look at.
func (p *Peeker) Init(conn net.Conn) {
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
			n, errno := recv(fd, &p.one)
			if errno == syscall.EINTR {
				continue
			}
			p.n, p.errno = int8(n), int32(errno)
			return
		}
	}
}

// Able reports whether there is a socket to look at.
func (p *Peeker) Able() bool { return p.raw != nil }

// Raw returns the socket, or nil.
func (p *Peeker) Raw() syscall.RawConn { return p.raw }

// Peek reports whether bytes are there to be read. The error says that the
// connection has ended, and nothing is there any more; it is io.EOF if it ended
// in an orderly way.
//
// It uses Control, not Read, of the RawConn: that one waits for a Read in
// progress, and fails when a deadline has passed.
func (p *Peeker) Peek() (bool, error) {
	if err := p.raw.Control(p.look); err != nil {
		return false, err
	}
	switch errno := syscall.Errno(p.errno); {
	case errno == syscall.EAGAIN || errno == syscall.EWOULDBLOCK:
		return false, nil
	case errno != 0:
		return false, errno
	case p.n == 0:
		return false, io.EOF
	}
	return true, nil
}
