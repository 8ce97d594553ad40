package harness

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
)

// A Server sends back each byte. It listens on the loopback interface only.
type Server struct {
	mu       sync.Mutex
	address  string
	listener net.Listener
	conns    map[net.Conn]bool
	accepted int64
	wg       sync.WaitGroup
}

// Start makes s accept connections, at the same address each time.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.listen()
	if err != nil {
		return err
	}
	s.address, s.listener = l.Addr().String(), l
	s.wg.Go(func() { s.accept(l) })
	return nil
}

// listen takes a port below those that the kernel gives to clients: while s is stopped, one of
// many attempts to connect would get the port of s as its own, and connect to itself.
func (s *Server) listen() (l net.Listener, err error) {
	if s.address != "" {
		return net.Listen("tcp", s.address)
	}
	for range 100 {
		l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(10000)))
		if err == nil {
			return l, nil
		}
	}
	return nil, err
}

// Address returns where s listens.
func (s *Server) Address() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.address
}

// Accepted returns how many connections s has accepted.
func (s *Server) Accepted() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// Stop closes all connections, and the kernel refuses new ones.
func (s *Server) Stop() error {
	s.mu.Lock()
	l := s.listener
	s.listener = nil // what has been accepted meanwhile is closed by who has accepted it
	s.mu.Unlock()
	if l == nil {
		return nil
	}
	err := l.Close()
	s.Cut()
	return err
}

// Cut closes all connections, as a server that restarts does, and goes on accepting.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
	clear(s.conns)
}

// Close stops s and waits until its goroutines have ended.
func (s *Server) Close() error {
	err := s.Stop()
	s.wg.Wait()
	return err
}

func (s *Server) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.listener != l {
			s.mu.Unlock()
			c.Close()
			return
		}
		if s.conns == nil {
			s.conns = map[net.Conn]bool{}
		}
		s.accepted++
		s.conns[c] = true
		s.mu.Unlock()
		s.wg.Go(func() {
			_, _ = io.Copy(c, c)
			c.Close()
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.conns, c)
		})
	}
}
