package netconn

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

// Times in force where [Options] name none.
const (
	defaultCleanTimeout = time.Second
	defaultCloseTimeout = time.Second
)

// Options configure how connections are opened, reset and closed. The zero Options are valid,
// and so is a nil pointer to them. [NewFactory] copies them, so later changes have no effect.
//
// What OnConnect, StartTLS, Clean and Goodbye read and write ends with their ctx, as if
// [Bind] had been called.
type Options struct {
	// TLS, if not nil, is the configuration of TLS. If it has no ServerName, the host of the
	// address is used. With a ClientSessionCache the handshakes after the first are shorter.
	// If nil, connections are not encrypted.
	TLS *tls.Config

	// StartTLS, if not nil, is called before the handshake of TLS, with the connection not
	// yet encrypted. It asks the server for TLS in the server's own protocol, as STARTTLS of
	// SMTP and SSLRequest of PostgreSQL do, and reads the answer, not a byte more. If it
	// returns an error, or bytes are there that it has not read, opening fails.
	// It is an error without TLS.
	StartTLS func(ctx context.Context, conn net.Conn) error

	// Dialer dials. A copy is used.
	// If nil, it is one that sends a TCP keepalive after 15 s of silence and gives up 15 s
	// later: a peer that has gone without a word is found within half a minute.
	Dialer *net.Dialer

	// DialContext, if not nil, dials instead of Dialer: through a proxy, a tunnel, or to an
	// address that is looked up for each dial. If what it returns is neither a *[net.TCPConn]
	// nor a *[net.UnixConn], Check knows of it what it knows of any other connection.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// OnConnect, if not nil, prepares a new connection before it is lent: it may log in, and
	// must read the greeting of a server that sends one. ctx ends with that of Open. If it
	// returns an error, or leaves bytes unread, opening fails.
	OnConnect func(ctx context.Context, conn net.Conn) error

	// Clean, if not nil, is called in Put. It resets what the lease may have changed in the
	// session, such as by RSET or DISCARD ALL. If it returns an error, or leaves bytes
	// unread, the connection is closed.
	Clean func(ctx context.Context, conn net.Conn) error

	// CleanTimeout is the time after which the ctx of Clean ends.
	// If zero, 1 s is used. Negative is an error.
	CleanTimeout time.Duration

	// Goodbye, if not nil, is called for a healthy connection that the pool is about to
	// close, such as to send QUIT. It runs in the background; its error is logged.
	Goodbye func(ctx context.Context, conn net.Conn) error

	// CloseTimeout limits Goodbye together with the closing of TLS.
	// If zero, 1 s is used. Negative is an error.
	CloseTimeout time.Duration
}

// keepAlive is what the Dialer has in force if Options name none.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// normalize returns a copy of o, which may be nil, with its defaults filled in. host is that
// of the address, or empty.
func (o *Options) normalize(host string) (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	if c.TLS != nil {
		c.TLS = c.TLS.Clone()
		if c.TLS.ServerName == "" {
			c.TLS.ServerName = host
		}
		if c.TLS.ServerName == "" && !c.TLS.InsecureSkipVerify {
			return c, fmt.Errorf("netconn: Options.TLS has no ServerName, and the address has no host")
		}
	} else if c.StartTLS != nil {
		return c, fmt.Errorf("netconn: Options.StartTLS is set without TLS")
	}
	if c.DialContext != nil && c.Dialer != nil {
		return c, fmt.Errorf("netconn: Options.Dialer and DialContext are both set")
	}
	if c.DialContext == nil {
		dialer := net.Dialer{KeepAliveConfig: keepAlive}
		if c.Dialer != nil {
			dialer = *c.Dialer
		}
		c.DialContext = dialer.DialContext
	}
	for _, field := range []struct {
		name  string
		value *time.Duration
		zero  time.Duration
	}{
		{"CleanTimeout", &c.CleanTimeout, defaultCleanTimeout},
		{"CloseTimeout", &c.CloseTimeout, defaultCloseTimeout},
	} {
		if *field.value < 0 {
			return c, fmt.Errorf("netconn: Options.%s is negative: %v", field.name, *field.value)
		}
		if *field.value == 0 {
			*field.value = field.zero
		}
	}
	return c, nil
}
