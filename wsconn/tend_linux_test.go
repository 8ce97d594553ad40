package wsconn

import (
	"errors"
	"syscall"
	"testing"
	"time"
)

// cutPath has the peer's kernel drop what arrives for it, as a dead path does.
func (p *peer) cutPath() {
	p.t.Helper()
	raw, err := p.tcp.SyscallConn()
	if err != nil {
		p.t.Fatal(err)
	}
	drop := []syscall.SockFilter{{Code: syscall.BPF_RET | syscall.BPF_K}}
	//lint:ignore SA1019 golang.org/x/net is not needed for anything else
	attach := func(fd uintptr) { err = syscall.AttachLsf(int(fd), drop) }
	if e := raw.Control(attach); e != nil || err != nil {
		p.t.Skipf("no filter: %v, %v", e, err)
	}
}

// needsLag skips the test where the kernel does not tell what is on its way.
func needsLag(t *testing.T, conn *Conn) {
	t.Helper()
	if _, known := conn.stream.peeker.lag(); !known {
		t.Skip("the kernel does not tell what is on its way")
	}
}

// nothingOnItsWay reports whether all that has been sent is acknowledged.
func (d *dialed) nothingOnItsWay() bool {
	var info *syscall.ICMPv6Filter
	var err error
	d.stream.peeker.Raw().Control(func(fd uintptr) {
		info, err = syscall.GetsockoptICMPv6Filter(int(fd), syscall.IPPROTO_TCP, syscall.TCP_INFO)
	})
	return err == nil && info.Data[tcpUnacked/4] == 0
}

// TestDeadPathIsNoticedWhenThePeerHadNoRoom: nothing is on its way then but the question
// whether there is room again.
func TestDeadPathIsNoticedWhenThePeerHadNoRoom(t *testing.T) {
	n := newNetwork(t, modes[0])
	conn, p := n.dial(&Options{PongTimeout: 500 * time.Millisecond})
	needsLag(t, conn.Conn)
	// All that has been sent is acknowledged, and there is no room for the rest.
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		if conn.stream.outbox == nil {
			conn.fill()
		}
		conn.tend()
		if conn.nothingOnItsWay() && conn.stream.outbox != nil {
			break
		}
		if time.Since(start) > patience {
			t.Skip("the window does not close")
		}
	}
	if err := conn.Err(); err != nil {
		t.Fatalf("before the path was cut Err returned %v", err)
	}
	p.cutPath()
	for start := time.Now(); conn.Err() == nil && time.Since(start) < patience; {
		conn.tend()
		time.Sleep(10 * time.Millisecond) // nothing tells
	}
	if err := conn.Err(); !errors.Is(err, errLifeless) {
		t.Errorf("Err returned %v", err)
	}
}

// TestDeadPathEndsARead, and a lease that computes is told by Err. The server could
// not answer a ping if it wanted to.
func TestDeadPathEndsARead(t *testing.T) {
	for _, m := range modes[:3] {
		for _, reading := range []bool{false, true} {
			t.Run(m.name+map[bool]string{false: "/computing", true: "/reading"}[reading], func(t *testing.T) {
				n := newNetwork(t, m)
				opts := n.options(&Options{PingInterval: 50 * time.Millisecond, PongTimeout: 500 * time.Millisecond})
				opts.noTend = false
				factory := newFactory(t, n.url, opts)
				conn := open(t, factory)
				needsLag(t, conn)
				p := receive(t, n.peers, "peer")
				start := time.Now()
				p.cutPath()
				if reading {
					if _, _, err := conn.Read(soon(t)); !errors.Is(err, errLifeless) {
						t.Errorf("Read returned %v", err)
					}
				}
				for conn.Err() == nil && time.Since(start) < patience {
					time.Sleep(10 * time.Millisecond) // nothing tells
				}
				if err := conn.Err(); !errors.Is(err, errLifeless) {
					t.Errorf("Err returned %v", err)
				}
				if took := time.Since(start); took < 500*time.Millisecond {
					t.Errorf("after %v already", took)
				}
				if factory.Clean(conn) == nil {
					t.Error("Clean returned nil")
				}
			})
		}
	}
}
