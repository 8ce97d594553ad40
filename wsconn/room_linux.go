package wsconn

import (
	"errors"
	"net"
	"syscall"
)

const (
	soMemInfo = 55 // SO_MEMINFO; in all architectures that Go knows

	// What SO_MEMINFO tells, as indices of 32-bit numbers. See sock_diag.h.
	memSent   = 2 // handed to the network, and not freed yet
	memSndBuf = 3 // the limit of what is queued
	memQueued = 5 // queued, with what it costs to keep it

	// roomSlack is what the kernel counts for a short write beside its bytes.
	roomSlack = 2048
)

// room returns how many bytes can be written without waiting. It is not known of a
// kernel that does not tell.
func (p *peeker) room() (n int, known bool) {
	mem, err := p.memory()
	switch {
	case errors.Is(err, net.ErrClosed):
		return 1 << 20, true // the write will say so
	case err != nil, mem[memSndBuf] == 0:
		return 0, false
	}
	return int(mem[memSndBuf]) - int(max(mem[memSent], mem[memQueued])) - roomSlack, true
}

// memory returns what SO_MEMINFO tells.
//
// GetsockoptICMPv6Filter is a getsockopt of 32 bytes, whatever the option, and the
// only one in package syscall. SO_MEMINFO gives as many numbers as fit.
func (p *peeker) memory() ([8]uint32, error) {
	if !p.able() {
		return [8]uint32{}, errors.ErrUnsupported
	}
	var mem *syscall.ICMPv6Filter
	var err error
	if e := p.Raw().Control(func(fd uintptr) {
		mem, err = syscall.GetsockoptICMPv6Filter(int(fd), syscall.SOL_SOCKET, soMemInfo)
	}); e != nil {
		return [8]uint32{}, net.ErrClosed
	}
	if err != nil {
		return [8]uint32{}, err
	}
	return mem.Data, nil
}
