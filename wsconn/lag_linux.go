package wsconn

import (
	"encoding/binary"
	"syscall"
	"time"
)

// A lag is what the kernel knows of what was sent and not acknowledged.
type lag struct {
	pending bool          // there may be such bytes
	tries   uint8         // how often they were repeated since anything was acknowledged
	atLeast time.Duration // nothing was acknowledged for so long, and perhaps longer
}

// Where things are in struct tcp_info, which only grows at its end. See linux/tcp.h.
const (
	tcpRetransmits = 2  // timeouts since an acknowledgment; one byte, as the next two
	tcpProbes      = 3  // unanswered questions whether there is room again
	tcpBackoff     = 4  // how often the timeout has been doubled
	tcpRTO         = 8  // the timeout in force, in microseconds
	tcpUnacked     = 24 // segments sent and not acknowledged
)

// lag is not known of what is not TCP.
//
// A peer without room acknowledges what it is asked, so a process that is too busy to
// read is none that is gone. It may leave segments unacknowledged for as long as it likes,
// if its window has shrunk: the kernel sends them again, and counts no retransmits. So
// tcpUnacked alone, as that the queue is not empty, says nothing.
func (p *peeker) lag() (l lag, known bool) {
	if !p.able() {
		return l, false
	}
	var info *syscall.ICMPv6Filter // 32 bytes: see memory
	var err error
	if e := p.Raw().Control(func(fd uintptr) {
		info, err = syscall.GetsockoptICMPv6Filter(int(fd), syscall.IPPROTO_TCP, syscall.TCP_INFO)
	}); e != nil || err != nil {
		return l, false
	}
	var b [32]byte
	for i, word := range info.Data {
		binary.NativeEndian.PutUint32(b[4*i:], word)
	}
	if info.Data[tcpRTO/4] == 0 {
		return l, false // an emulator of other processors may pass on four bytes alone
	}
	unacked := info.Data[tcpUnacked/4] > 0
	retransmits, probes := b[tcpRetransmits], b[tcpProbes]
	l.pending = unacked || probes > 0
	if !l.pending {
		// Without room for it, nothing may be on its way at the moment.
		mem, err := p.memory()
		l.pending = err != nil || mem[memQueued] > 0
	}
	switch {
	case unacked && retransmits > 0:
		l.tries = retransmits
		rto := time.Duration(info.Data[tcpRTO/4]) * time.Microsecond
		l.atLeast = rto - rto>>min(b[tcpBackoff], 30)
	case probes > 1: // one may be on its way
		l.tries = probes
	}
	return l, true
}
