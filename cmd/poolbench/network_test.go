package main

import (
	"errors"
	"io"
	"net"
	"slices"
	"testing"
)

// startSink accepts TCP connections and leaves them open to the end of the test.
func startSink(t *testing.T) string {
	t.Helper()
	l, err := listenLoopback()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(io.Discard, conn) // until the client closes
				conn.Close()
			}()
		}
	}()
	return l.Addr().String()
}

func TestNetworkDialsItsAddressesInTurn(t *testing.T) {
	ctx := testContext(t)
	addresses := []string{startSink(t), startSink(t), startSink(t)}
	n := newNetwork(addresses, 0)
	defer n.close()
	var got []string
	for range 6 {
		conn, err := n.dial(ctx, "tcp", "nowhere.invalid:80")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, conn.RemoteAddr().String())
	}
	slices.Sort(got)
	want := append(slices.Clone(addresses), addresses...)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("dialed %v, want %v", got, want)
	}
}

func TestNetworkCountsItsConnections(t *testing.T) {
	ctx := testContext(t)
	n := newNetwork(nil, 0)
	defer n.close()
	sink := startSink(t)
	var conns []net.Conn
	for range 3 {
		conn, err := n.dial(ctx, "tcp", sink)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	conns[0].Close()
	conns[0].Close()
	if _, err := n.dial(ctx, "tcp", sink); err != nil {
		t.Fatal(err)
	}
	if dials, peak, open := n.dials.Load(), n.peak.Load(), n.opened(); dials != 4 || peak != 3 || open != 3 {
		t.Errorf("%d dials, peak %d, %d open; want 4, 3, 3", dials, peak, open)
	}
}

func TestNetworkStopsAtItsLimitOfDials(t *testing.T) {
	ctx := testContext(t)
	n := newNetwork(nil, 2)
	defer n.close()
	sink := startSink(t)
	for range 2 {
		if _, err := n.dial(ctx, "tcp", sink); err != nil {
			t.Fatal(err)
		}
	}
	if n.limitReached() {
		t.Error("limit reached before a dial was refused")
	}
	for range 2 {
		if _, err := n.dial(ctx, "tcp", sink); !errors.Is(err, errDialLimit) {
			t.Errorf("got %v", err)
		}
	}
	if !n.limitReached() || n.dials.Load() != 2 {
		t.Errorf("limit reached: %v, dials: %d", n.limitReached(), n.dials.Load())
	}
}

func TestNetworkCutsItsConnections(t *testing.T) {
	ctx := testContext(t)
	n := newNetwork(nil, 0)
	sink := startSink(t)
	conn, err := n.dial(ctx, "tcp", sink)
	if err != nil {
		t.Fatal(err)
	}
	n.close()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read: %v", err)
	}
	if _, err := n.dial(ctx, "tcp", sink); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dial: %v", err)
	}
	if n.opened() != 0 {
		t.Errorf("%d open", n.opened())
	}
}
