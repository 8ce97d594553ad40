package netconn

import (
	"net"
	"syscall"
	"testing"
	"time"
)

func TestAPeerThatHasGoneIsFoundWithinHalfAMinute(t *testing.T) {
	s := serve(t, false)
	for name, c := range map[string]struct {
		dialer                *net.Dialer
		idle, interval, count int
	}{
		"default":     {nil, 15, 5, 3},
		"of a dialer": {&net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 7 * time.Second, Interval: 2 * time.Second, Count: 4}}, 7, 2, 4},
	} {
		client, _ := s.open(t, &Options{Dialer: c.dialer})
		raw, err := of(client).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			for option, want := range map[int]int{
				syscall.TCP_KEEPIDLE: c.idle, syscall.TCP_KEEPINTVL: c.interval, syscall.TCP_KEEPCNT: c.count,
			} {
				if got, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, option); got != want || err != nil {
					t.Errorf("%s: option %d is %d, %v; want %d", name, option, got, err, want)
				}
			}
		})
	}
}
