// Package wsconn opens WebSocket connections for a [pool.Pool] and maintains them
// while they are idle. Idle connections stay alive, a connection known to be dead is
// not lent, and no lease reads what was sent to another. The connections are those of
// [github.com/coder/websocket].
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
// Functions that want a *[websocket.Conn], such as those of wsjson, get conn.Conn.
//
// # Guarantees
//
// Keepalive: the pool checks idle connections once every [pool.Config.CheckInterval],
// unless that is negative. A check answers the server's pings. It sends a ping if
// nothing was received, or nothing sent, for [Options.PingInterval]. This needs no
// goroutine for a connection that has a socket (see Limits).
//
// Keepalive during a lease: the server's pings are answered, and pings are sent, while the
// holder of the lease computes, waits in Read, or has written a part of a message. One
// goroutine does this for all connections of a factory, once a second, or four times in
// the shortest of PingInterval, PongTimeout and PongTimeoutInUse. It reads at most 64 KiB
// ahead, and nothing behind a message that the holder has read in part. It takes out pings
// and the pongs to its own; everything else stays for the holder to read, a close frame
// too, of which [Conn.Err] tells. A call or a Put that meets it waits for a moment, and
// never fails because of it. A connection that no check has looked at for two of its
// rounds counts as leased, so with a negative CheckInterval it answers the pings on idle
// connections as well, and a connection after Detach is tended until it is closed.
//
// Dead connections: an idle connection is checked before it is lent. The check fails
// if the peer has closed the connection or reset it, has violated the protocol, has
// sent nothing for [Options.PongTimeout] after a ping, or has not read for so long. A
// check never waits for the peer: what finds no room in the socket is sent later, before
// anything else. The peer's close code and reason
// are passed to [Options.OnClose] and to the pool's log. After the machine has slept, the pool
// has idle connections probed by a ping, and lends none of them before something has come back.
//
// During a lease a connection is cut, and the call in progress fails, if the operating
// system reports for PongTimeout that what was sent is not acknowledged: the path to the
// server is dead. A server that is too busy to answer, or to read, is not cut, unless
// [Options.PongTimeoutInUse] says so. Bytes that have arrived are looked for before. Only
// Linux reports it, and only for TCP; elsewhere a dead path is noticed when the operating
// system gives up, or by PongTimeoutInUse.
//
// Unread data: when a lease ends, its connection returns to the pool only if it is
// between two messages in both directions. It is closed in each of these cases:
//   - part of a message, or anything behind the last message read, is unread, or
//     data arrives while the connection is idle (but see [Options.Unsolicited]);
//   - a message was written in part;
//   - a Read or Write is in progress;
//   - a close frame was sent or received, or CloseRead was called;
//   - a context ended during a call;
//   - a message exceeded the read limit;
//   - the server owes a reply. The package knows that from [Conn.Exchange], from
//     [Conn.Begin] and [Conn.End], or from [Options.OneReplyPerRequest].
//
// If a connection ends in the middle of a message, reading that message is an error.
// (The WebSocket package alone may return the first part as a whole message.)
//
// Dials, checks and closing handshakes have time limits. Data buffered for idle
// connections has a size limit. [NewFactory] copies its options and never changes them.
//
// # Memory model
//
// [Options.OnConnect] synchronizes before the first Get that lends its connection. A
// Put synchronizes before the next Get that lends the same connection.
//
// # Limits
//
// No client can detect the following. In the first five cases the caller must call
// [pool.Pool.Discard]:
//   - part of a compressed message is unread: always read messages to their end;
//   - a message was begun with Writer, and none of it has been sent yet;
//   - the server owes a reply, and the package was not told of the request;
//   - a message that the server sent of its own was taken for the reply, as [Conn.Exchange]
//     does: the reply itself, which comes later, may go to the next lease;
//   - a context ends at the moment at which a call through the embedded connection,
//     such as one by wsjson, returns without an error: the connection is then closed a
//     little later. Read, Write and Exchange of [Conn] detect this;
//   - the server closes between the check and the first write. Pool.Retry repeats a
//     request that may be repeated, on a new connection.
//
// On Windows, and over a transport without a socket, a goroutine reads on each idle
// connection instead, and on each leased one whose holder does not. There, a check may miss
// what has just arrived; the next one sees it. There, and on macOS and BSD, and with a
// kernel that does not tell whether there is room for it, a goroutine writes what a check
// sends.
//
// A connection serves one request after the other. If goroutines share one WebSocket,
// and replies carry the id of their request, use a multiplexer instead of a pool.
package wsconn
