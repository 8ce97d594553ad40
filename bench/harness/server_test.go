package harness

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
)

func TestAServerThatStopsCutsAllItHasAndRefusesOthers(t *testing.T) {
	var s Server
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	for range 8 {
		c, err := net.Dial("tcp", s.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	// Some of them have not been accepted yet.
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, c := range conns {
		if _, err := io.ReadAll(c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a connection ends with %v", err)
		}
	}
	if c, err := net.Dial("tcp", s.Address()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a connection to a server that has stopped: %v, %v", c, err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", s.Address())
	if err != nil {
		t.Fatalf("a connection to a server that has started again: %v", err)
	}
	defer c.Close()
	if err := (&Conn{Conn: c}).RoundTrip(t.Context()); err != nil {
		t.Errorf("a round trip: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
