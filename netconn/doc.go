// Package netconn opens TCP, TLS and Unix connections for a [pool.Pool] and checks them. A
// connection that the peer has closed is not lent, no lease reads what was sent to another,
// and the end of a ctx ends the call that waits for the peer.
//
//	factory, err := netconn.NewFactory("tcp", address, nil)
//	if err != nil {
//		return err
//	}
//	p, err := pool.New(factory, pool.Config{MaxConnections: 20})
//	if err != nil {
//		return err
//	}
//	defer p.Close()
//
//	reply := make([]byte, 6)
//	err = p.Do(ctx, func(ctx context.Context, conn net.Conn) error {
//		defer netconn.Bind(ctx, conn)() // the end of ctx ends a call in progress
//		if _, err := io.WriteString(conn, "hello\n"); err != nil {
//			return err // the pool closes conn
//		}
//		_, err := io.ReadFull(conn, reply)
//		return err
//	})
//
// It is for protocols in which one request follows the other on a connection: SMTP, Redis,
// memcached, PostgreSQL, a protocol of your own. With TLS, what is lent is a *[tls.Conn].
//
// # Guarantees
//
// Dead connections: an idle connection is checked before it is lent. The check fails if the
// peer has closed or reset it, and, by the TCP keepalives of the default Dialer, half a minute
// after the peer has gone without a word. A peer that closes after the check causes an error
// in the first call; if Lease.Reused, a retry is worthwhile.
//
// Unread data: Put closes a connection on which bytes have arrived that nobody has read, and
// so does the next check if they arrive later. What TLS has received and not handed out
// counts, and so does part of a record. Session tickets and key updates of TLS do not: the
// check takes them in. A reply that is still on its way at Put, and arrives after the next
// Get, cannot be told from the next reply: return an error from Do, or Discard, if a reply is
// owed.
//
// Cancellation: a call under [Bind] ends with its ctx, and the connection is closed when it is
// put back, whatever its user thinks of it. The same holds after any error of Write, after
// CloseWrite, while a Read or Write is in progress, and while a Bind has not been released.
//
// Deadlines that a lease has set do not stay: Put clears them. One that passes during a Read
// does not by itself make the connection unfit, because there may have been nothing to read.
//
// # Cost
//
// A check is one system call, a look at the socket without waiting and without taking
// anything: some 0.4 µs, 1.08 times the bare call (BenchmarkCheck). Put makes one as well. They
// do not allocate, and need no goroutine. A Bind allocates twice or so, and costs nothing if
// ctx never ends.
//
// # Memory model
//
// [Options.OnConnect] synchronizes before the first Get that lends its connection. A Put
// synchronizes before the next Get that lends the same connection.
//
// # What one would not guess
//
//   - A server that speaks first, as those of SMTP, FTP and MySQL do, needs an OnConnect that
//     reads the greeting. Without one the greeting is unread data, and each new connection
//     that is idle for a moment is closed.
//   - A bufio.Reader reads ahead. Keep it as long as the connection: let T be a pointer to a
//     struct of both, with a Factory of your own that calls this one's functions (see the
//     example). Its Clean checks that Buffered is zero: those bytes are unread, too.
//   - A server that sends something of its own accord on an idle connection ends it for the
//     pool: Redis to a subscriber, PostgreSQL to one that listens or when a parameter changes.
//   - [Check] and [Bind] take the connection itself. Of a struct that embeds it they see
//     neither the socket nor what is remembered of it: a Check of one finds nothing wrong.
//   - A server that announces the end, as SMTP's does with 421 and PostgreSQL's with FATAL, has
//     not closed the connection yet when you read that. Mark the error with [pool.Broken]:
//     Check, asked right afterwards, may find nothing wrong.
//   - A client that reads in a goroutine of its own, such as that of golang.org/x/crypto/ssh,
//     must not be asked by [Check]: it always has a Read in progress. It knows by itself when
//     the connection ends, which is for Factory.Watch.
//   - TLS over a connection that was lent, made by yourself, reads ahead as a bufio.Reader
//     does. Use [Options.TLS], with [Options.StartTLS] if the protocol begins without it.
//   - An idle connection that a firewall has forgotten looks healthy until something is sent.
//     The keepalives of the default Dialer keep it in mind, if those of a Dialer of yours do.
//   - A write succeeds as soon as the kernel has it. Only a reply says that the peer has.
//   - A server that is restarted on the same address has closed all connections at once. The
//     checks find that, in each connection of its own. It needs no [pool.Pool.Reset].
//   - To read from an idle connection through [net.Conn] of NetConn, or a file descriptor of
//     it, goes past everything that this package remembers.
//
// # Limits
//
// The BSDs, Linux and macOS let a program look at a socket. On other systems, Windows
// included, and over connections of [Options.DialContext] that have no socket, a check knows
// only what the calls on the connection have shown, and what TLS holds already. There, set
// [pool.Config.MaxIdleTime] below the server's idle timeout, and retry if Lease.Reused.
//
// For WebSockets use package wsconn. Protocols that carry many requests at once on a
// connection need a multiplexer, not a pool.
package netconn
