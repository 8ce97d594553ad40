// Package wsconn makes WebSocket connections for a [pool.Pool], and looks after
// them while nobody uses them: none that is lent is dead, none is dirty, and idle
// ones stay alive. They are connections of [github.com/coder/websocket], and
// everything that takes one of those takes these.
//
// The shortest use:
//
//	factory, err := wsconn.NewFactory(url, nil)
//	if err != nil {
//		return err
//	}
//	p, err := pool.New(factory, pool.Config{MaxConnections: 100})
//	if err != nil {
//		return err
//	}
//	defer p.Close()
//
//	// conn is an idle connection, a new one, or the next one that is returned.
//	return p.Do(ctx, func(ctx context.Context, conn *wsconn.Conn) error {
//		_, reply, err := conn.Exchange(ctx, websocket.MessageText, []byte("hello"))
//		if err != nil {
//			return err // the pool closes conn: the reply may still arrive
//		}
//		fmt.Printf("%s\n", reply)
//		return nil
//	})
//
// # Guarantees
//
// Alive: the pool checks idle connections every CheckInterval. A check answers
// the server's pings, and sends one where nothing was received for
// [Options.PingInterval]. No goroutine is needed for that.
//
// Never dead: a connection that the peer has closed, cut, or left without an
// answer for [Options.PongTimeout], or on which it has broken the protocol, fails
// the next check, and one that was idle is checked when it is lent. The peer's
// code and reason reach [Options.OnClose] and the pool's log.
//
// Never dirty: when a lease ends the connection goes back only if it is between
// two messages both ways. Discarded are: an unread rest of a message, anything
// received behind the last one, a message written in part, a Read or Write in
// progress, a close frame either way, CloseRead, a context that ended in
// mid-call, the read limit hit, and a reply owed, if the package is told of
// requests: by [Conn.Exchange], by [Conn.Begin] and [Conn.End], or by
// [Options.OneReplyPerRequest]. So is a connection that data arrives on while it
// is idle, unless [Options.Unsolicited] says otherwise.
//
// A message that is cut off by the end of the connection is an error. (The
// WebSocket package by itself may return its first part as if it were all.)
//
// Dials, checks and closing are bounded in time, and what is kept in memory for
// nobody is bounded in size. The options given to [NewFactory] are copied and
// never changed.
//
// # Memory model
//
// What [Options.OnConnect] writes is seen by the first lease, and what one lease
// writes is seen by the next: the pool's Put synchronizes before the Get that
// lends the connection again.
//
// # Limits
//
// Nothing on this side of the network can see these; a caller that may be hit
// by one of the first four discards the connection, by [pool.Pool.Discard]:
//   - a compressed message of which a part was read: read messages to their end;
//   - a message begun with Writer of which nothing has been sent yet;
//   - a reply that is owed, has not arrived, and that nobody has told of;
//   - a context that ends at the very moment at which a call through the embedded
//     connection, as by wsjson, returns without an error: the connection is
//     closed a little later. Read, Write and Exchange of [Conn] see that;
//   - a server that closes between the check and the first write. A request that
//     can be repeated is worth another try if Lease.Reused.
//
// Where there is no socket to look at, on Windows or below transports of the
// application's own, a goroutine reads on each idle connection instead. It may
// take until the next check to see there what a look at the socket sees at once.
//
// A connection is for one request after another. Where many goroutines shall
// share one WebSocket, and replies are told apart by an id, no pool is wanted
// but a multiplexer.
package wsconn
