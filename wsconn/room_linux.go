package wsconn

import "syscall"

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
//
// GetsockoptICMPv6Filter is a getsockopt of 32 bytes, whatever the option, and the
// only one in package syscall. SO_MEMINFO gives as many numbers as fit.
func (p *peeker) room() (n int, known bool) {
	if !p.able() {
		return 0, false
	}
	var mem *syscall.ICMPv6Filter
	var err error
	if e := p.raw.Control(func(fd uintptr) {
		mem, err = syscall.GetsockoptICMPv6Filter(int(fd), syscall.SOL_SOCKET, soMemInfo)
	}); e != nil {
		return 1 << 20, true // closed: the write will say so
	}
	if err != nil || mem.Data[memSndBuf] == 0 {
		return 0, false
	}
	used := max(mem.Data[memSent], mem.Data[memQueued])
	return int(mem.Data[memSndBuf]) - int(used) - roomSlack, true
}
