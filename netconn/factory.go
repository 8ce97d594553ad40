package netconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/S4AK4N/pool"
)

// NewFactory returns a factory for a [pool.Pool] of connections to address, which is as for
// [net.Dial]. network is tcp, tcp4, tcp6 or unix. opts may be nil. NewFactory opens no
// connection. It returns an error if an argument is invalid.
//
// A connection that is lent is a *[tls.Conn] if Options.TLS is set. Otherwise it has, besides
// the methods of [net.Conn], CloseWrite, ReadFrom and WriteTo as a *[net.TCPConn] has them,
// SyscallConn, and NetConn() net.Conn, which returns what was dialed. (NetConn of the tls.Conn
// returns such a connection.)
//
// The factory's functions keep the contract of [pool.Factory]:
//   - Open dials, does the handshake of TLS, and calls the functions of Options. Its errors
//     begin with network and address.
//   - Check is [Check].
//   - Clean clears deadlines, fails if a [Bind] has not been released, and is Check otherwise.
//   - Close without a cause says goodbye; with one it closes at once, without a word.
//
// If T is a type of yours around the connection, call these functions from those of your own
// Factory.
func NewFactory(network, address string, opts *Options) (pool.Factory[net.Conn], error) {
	var none pool.Factory[net.Conn]
	host, err := hostOf(network, address)
	if err != nil {
		return none, err
	}
	options, err := opts.normalize(host)
	if err != nil {
		return none, err
	}
	d := &dialer{network: network, address: address, name: network + " " + address, options: options}
	return pool.Factory[net.Conn]{Open: d.open, Close: d.close, Check: Check, Clean: d.clean}, nil
}

// hostOf returns the host of an address, which is empty for a Unix socket.
func hostOf(network, address string) (host string, err error) {
	if address == "" {
		return "", errors.New("netconn: address is empty")
	}
	switch network {
	case "unix":
		return "", nil
	case "tcp", "tcp4", "tcp6":
	default:
		return "", fmt.Errorf("netconn: network is %q; want tcp, tcp4, tcp6 or unix", network)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("netconn: %w", err)
	}
	if port == "" {
		return "", fmt.Errorf("netconn: address %q has no port", address)
	}
	return host, nil
}

// A dialer opens the connections of one factory.
type dialer struct {
	network, address, name string
	options                Options
}

// open is Factory.Open.
func (d *dialer) open(ctx context.Context) (net.Conn, error) {
	inner, err := d.options.DialContext(ctx, d.network, d.address)
	if err != nil {
		return nil, withEnd(ctx, fmt.Errorf("netconn: %s: %w", d.name, err))
	}
	if inner == nil {
		return nil, fmt.Errorf("netconn: %s: DialContext has returned neither a connection nor an error", d.name)
	}
	c := newConn(inner, d.name)
	ready := false
	defer func() { // also after a panic
		if !ready {
			inner.Close()
		}
	}()
	if err := d.setUp(ctx, c); err != nil {
		return nil, withEnd(ctx, err)
	}
	ready = true
	return c.lent(), nil
}

// withEnd has an error say that ctx has ended. A net.Dialer may come to the deadline of ctx
// before ctx does, and says no more than "i/o timeout".
func withEnd(ctx context.Context, err error) error {
	end := ctx.Err()
	if deadline, ok := ctx.Deadline(); ok && end == nil && !time.Now().Before(deadline) {
		end = context.DeadlineExceeded
	}
	if end == nil || errors.Is(err, end) {
		return err
	}
	return fmt.Errorf("%w (%w)", err, end)
}

// setUp makes a connection that was dialed ready to be lent.
func (d *dialer) setUp(ctx context.Context, c *conn) error {
	if d.options.StartTLS != nil {
		if err := d.run(ctx, c, "StartTLS", d.options.StartTLS); err != nil {
			return err
		}
		// What lies there now was not encrypted, and must not pass for the server's word.
		if err := c.clean(); err != nil {
			return fmt.Errorf("%w (after StartTLS)", err)
		}
	}
	if d.options.TLS != nil {
		c.tls = tls.Client(c, d.options.TLS)
		if err := c.tls.HandshakeContext(ctx); err != nil {
			return fmt.Errorf("netconn: %s: TLS handshake: %w", d.name, err)
		}
	}
	if d.options.OnConnect == nil {
		return nil
	}
	if err := d.run(ctx, c, "OnConnect", d.options.OnConnect); err != nil {
		return err
	}
	if err := c.clean(); err != nil {
		return fmt.Errorf("%w (after OnConnect)", err)
	}
	return nil
}

// run calls a function of the options, bound to ctx.
func (d *dialer) run(ctx context.Context, c *conn, name string, f func(context.Context, net.Conn) error) error {
	defer Bind(ctx, c)()
	if err := f(ctx, c.lent()); err != nil {
		return fmt.Errorf("netconn: %s: %s: %w", d.name, name, err)
	}
	return nil
}

// clean is Factory.Clean. The application's Clean gets only what is fit for it, and must
// leave it so.
func (d *dialer) clean(lent net.Conn) error {
	c := of(lent)
	if c == nil {
		return Check(lent)
	}
	if err := c.clean(); err != nil || d.options.Clean == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), d.options.CleanTimeout)
	defer cancel()
	if err := d.run(ctx, c, "Clean", d.options.Clean); err != nil {
		return err
	}
	return c.clean()
}

// close is Factory.Close.
func (d *dialer) close(lent net.Conn, cause error) error {
	c := of(lent)
	if c == nil || cause != nil || c.failure() != nil {
		return closeNow(lent)
	}
	defer c.inner.Close() // whatever has panicked; a second Close does nothing
	ctx, cancel := context.WithTimeout(context.Background(), d.options.CloseTimeout)
	defer cancel()
	var goodbye error
	if d.options.Goodbye != nil {
		goodbye = d.run(ctx, c, "Goodbye", d.options.Goodbye)
	}
	defer Bind(ctx, c)()
	return errors.Join(goodbye, lent.Close())
}
