package wsconn

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"

	"go.uber.org/atomic"
)

// A probe is a network connection that tells when it is being read, and that can
// be made to misbehave. It hides that a TCP connection is below it.
type probe struct {
	net.Conn
	reading chan struct{} // holds a token once Read has been called
	deaf    chan struct{} // if not nil: a Read that fails waits for it, as if Close had not ended the Read
	stuck   atomic.Bool   // Write blocks until Close, whatever the deadline
	closed  chan struct{}
	once    sync.Once
}

func (p *probe) Read(b []byte) (int, error) {
	select {
	case p.reading <- struct{}{}:
	default:
	}
	n, err := p.Conn.Read(b)
	if err != nil && p.deaf != nil {
		<-p.deaf
	}
	return n, err
}

func (p *probe) Write(b []byte) (int, error) {
	if p.stuck.Load() {
		<-p.closed
		return 0, net.ErrClosed
	}
	return p.Conn.Write(b)
}

func (p *probe) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.Conn.Close()
}

// probed returns a client that dials probes, with base's TLS configuration if
// base is not nil, and the channel that it sends each probe to.
func probed(base *http.Client, deaf chan struct{}) (*http.Client, <-chan *probe) {
	probes := make(chan *probe, 64)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		p := &probe{Conn: conn, reading: make(chan struct{}, 1), deaf: deaf, closed: make(chan struct{})}
		probes <- p
		return p, nil
	}}
	if base != nil {
		transport.TLSClientConfig = base.Transport.(*http.Transport).TLSClientConfig
	}
	return &http.Client{Transport: transport}, probes
}

// startReading calls conn.Read in a goroutine of its own, and returns when that
// call waits for the network. The channel gets the error of the Read.
func startReading(t testing.TB, conn *Conn, p *probe) <-chan error {
	select {
	case <-p.reading: // of the handshake
	default:
	}
	ends := make(chan error, 1)
	go func() {
		_, _, err := conn.Read(context.Background())
		ends <- err
	}()
	receive(t, p.reading, "Read")
	return ends
}
