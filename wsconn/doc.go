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
//		// For a server that sends nothing but replies. Others need Options.IsReply.
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
// # Which message is the reply
//
// A server that sends anything but replies needs [Options.IsReply]: events, notifications,
// progress, a heartbeat that is a message, or a greeting after the handshake. Most servers
// for JSON-RPC, DevTools, GraphQL subscriptions, chat and realtime APIs, engine.io and NATS
// do. Without IsReply, [Conn.Exchange] and [ExchangeJSON] return the first message that
// arrives. If that is not the reply, the reply itself may go to the next lease.
//
//	factory, err := wsconn.NewFactory(url, &wsconn.Options{
//		IsReply: func(request, message wsconn.Message) bool { // of JSON-RPC: it has the same id
//			var call, answer struct{ ID, Method json.RawMessage }
//			return json.Unmarshal(request.Data, &call) == nil && json.Unmarshal(message.Data, &answer) == nil &&
//				answer.Method == nil && string(answer.ID) == string(call.ID)
//		},
//	})
//
// Other messages are passed to [Options.OnUnsolicited], which may answer them, or are
// dropped. For a reply of several messages call [Conn.Begin], Write, Read as often as
// needed, and [Conn.End] when the last message has been read.
//
// # When to take a Dialer
//
// Take a [Dialer] for a program that exists, and dials for each request: one line of it changes.
// Take it also where URLs and headers are many, for it has a pool for each. It keeps what a
// program tells the server in-band, such as a login, on the connection, for whoever gets it
// next: it is for programs to which that does no harm, or that undo it ([Options.Clean]). It must
// know when a request is over: from [Options.OneReplyPerRequest] or [Options.Finished].
//
// Take a [pool.Pool] of [NewFactory] where callers should wait rather than open more
// connections, and for its lower cost: a Get takes less than a tenth of the time of such a
// Dial. Take a [pool.Group] for one pool for each account. Both leave Put and Discard to the program.
//
// The program makes one Dialer:
//
//	dialer := wsconn.Dialer{Options: &wsconn.Options{OneReplyPerRequest: true}} // one for the whole program
//	defer dialer.Close()
//
// and calls its Dial, which returns a *[websocket.Conn]:
//
//	conn, _, err := dialer.Dial(ctx, url, nil) // in place of websocket.Dial
//	if err != nil {
//		return err
//	}
//	defer conn.CloseNow()
//	if err := wsjson.Write(ctx, conn, text); err != nil {
//		return err
//	}
//	var reply string
//	if err := wsjson.Read(ctx, conn, &reply); err != nil {
//		return err
//	}
//	fmt.Println(reply)
//	return conn.Close(websocket.StatusNormalClosure, "") // the next Dial gets the connection
//
// Each WebSocket that it returns is one of its own: after Close, whatever a program has kept
// of it fails, and disturbs nobody.
//
// # Several servers
//
// With [Options.Endpoints] one pool has connections to several servers, and with
// [Options.Discover] to those that there are at the time:
//
//	var servers wsconn.Distribution // where the connections are
//	factory, err := wsconn.NewFactory("", &wsconn.Options{Endpoints: urls, Distribution: &servers})
//
// [Options.Policy] says which one is dialed next. If it fails, or does not answer for 750 ms,
// another one is dialed as well, so Open fails only if all do. A server that fails, or says that
// it goes away, is set aside: nobody waits for it any more, until a dial beside the others
// finds that it is back. Then, and when a server joins, Put moves connections to it, one each
// second, so a pool of 90 over three servers is even again within a minute. A server that asks
// for a pause by Retry-After has it, and the pool goes on with the others.
//
// What a server has promised for a connection ends with it. A request that its server drops in the
// middle fails; pool.Retry repeats one that may be sent twice, on a new connection, to a
// server that can be reached. A connection that pool.PutFor has reserved may be closed as one
// that others have too many of: GetSame then returns pool.ErrGone.
//
// [Conn.Endpoint] tells the server of a connection, and [Distribution] how many connections
// each server has, for exporters and logs.
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
// goroutine does this for all connections of a factory. It looks at each once a second, or
// four times in the shortest of PingInterval, PongTimeout and PongTimeoutInUse, and every
// tenth of a second at one on which something has just come: so it answers the pings of
// a server that sends one every 300 ms before the next one. It reads at most 64 KiB
// ahead, and nothing behind a message that the holder has read in part. It takes out pings
// and the pongs to its own; everything else stays for the holder to read, a close frame
// too, of which [Conn.Err] tells. A call or a Put that meets it waits for a moment, and
// never fails because of it. A connection without a check between three of its looks
// counts as leased, so with a negative CheckInterval it answers the pings on idle
// connections as well, and a connection after Detach is tended until it is closed. Nothing
// is sent within a frame: while Write or Exchange sends a large message, which is one frame,
// pings wait. For a server that does not wait so long, write it in parts, by the Writer of
// the connection.
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
//   - an Exchange failed: its reply may still arrive;
//   - the server owes a reply. The package knows that from [Conn.Exchange], from
//     [Conn.Begin] and [Conn.End], or from [Options.OneReplyPerRequest].
//
// If a connection ends in the middle of a message, reading that message is an error.
// (The WebSocket package alone may return the first part as a whole message.)
//
// Leftovers: Put restores the read limit. The connection keeps nothing of a ctx given to
// Read, Write or an exchange of [Conn] when the call has returned.
//
// Secrets: errors and logs show only scheme and host of a URL. (Errors of functions in
// [Options] are passed on as they are.)
//
// Redirects: a dial makes at most ten requests. It follows no redirect from wss to ws. It
// follows none to another host or port if [Options.DialOptions] or Endpoint set headers or
// subprotocols. If the HTTP client has a CheckRedirect, only that decides.
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
//     does without [Options.IsReply]: the reply itself, which comes later, may go to the
//     next lease;
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
//
// # What one would not guess
//
// The following is true of github.com/coder/websocket in the version that this module
// requires. A test pins each point.
//   - A json.Decoder on a Reader stops when the value is complete. The connection is then
//     clean if the message was one frame. If the server ended the message with an empty
//     frame, Put closes the connection: "a message was not read to its end". Read on to
//     io.EOF, as Read and [ExchangeJSON] do.
//   - [websocket.NetConn] around a leased connection: a deadline that passes during a Read
//     closes the connection, and the error is no timeout. A deadline that passes between
//     two calls is a timeout, and can be lifted. NetConn also removes the read limit, until
//     Put.
//   - The Read that receives a close frame returns the peer's code. Later calls return
//     net.ErrClosed, and so does Close. [Conn.Err] has the code at any time.
//   - If a message arrives after CloseRead, its context ends only 15 s later. Goroutines of
//     that package stay as long.
//   - If the connection ends in the middle of a message, the part may be returned as a whole
//     message. Connections of this package return an error.
//   - Close returns nil after 5 s if the peer does not read. The pool closes a connection
//     within [Options.CloseTimeout].
//   - Ping fails at servers that answer with an empty pong. The keepalive of this package
//     accepts any byte as a sign of life.
//   - A received message over the read limit: the peer gets the code 1009, and the error here
//     is [websocket.ErrMessageTooBig] without a code.
//   - A sent message over the peer's limit: the error of Write has no code. Often it is
//     "broken pipe".
//   - MaxConnsPerHost of an [http.Transport] in HTTPClient does not bound WebSockets. It
//     counts a connection until the end of its handshake. Use [pool.Config.MaxConnections], and a
//     [pool.Budget] for several pools.
//   - A dial whose ctx ends is not over for net/http: it goes on for as long as its Dialer
//     allows, 30 s by default, for other requests to the same host. If it succeeds, an idle
//     connection without a WebSocket is kept until IdleConnTimeout. So a server that has
//     swallowed a few dials may have connections for a while that the Distribution does not count.
//   - The connection keeps the last ctx of each direction, with all its values, until the
//     next call. This concerns calls through the embedded connection, such as those of
//     wsjson.
//
// The following is true of servers and proxies, in the version given. Tests in
// wsconn/interop pin each point, but for the last of mosquitto and of caddy, and those of
// pen, Tornado, Tomcat and Fastify's proxy: see findings.
//   - Chromium's DevTools (156): a request whose page closes or crashes is never answered.
//     Return an error from [Options.OnUnsolicited] for Target.detachedFromTarget and
//     Inspector.targetCrashed. It ends the exchange, or the idle connection. A binary
//     message ends the connection, without a close code.
//   - socket.io (4.8.4): after a disconnect, the message "41", the connection stays open and
//     goes on with its heartbeat, but the next request closes it. Return an error from
//     OnUnsolicited for "41". Its heartbeat is a message, "2", and pings do not count. In a
//     lease OnUnsolicited answers it only while an exchange runs.
//   - mosquitto (2.0.11): without the subprotocol mqtt the handshake succeeds, and nothing is
//     answered. A client identifier used twice ends the first connection, without a close
//     code: choose one for each connection, in [Options.OnConnect]. Pings do not count as
//     activity: set [Options.Keepalive] to PINGREQ. A message over 4 KiB comes at 40 kB/s.
//   - caddy (2.6.2): a reload with another configuration closes all WebSockets with the code
//     1001. Pool.Retry repeats what was under way. But a message that lacks its last four
//     bytes, or fewer, at that moment arrives as a whole one, with a wrong end.
//   - uvicorn (0.17.6): at SIGTERM it ends what is under way, at once. With the package wsproto
//     the connections are closed with the code 1012. With the package websockets they are cut
//     without a close frame.
//   - haproxy (2.6.12): a reload leaves open connections in the old process, with the old
//     configuration, for as long as they live. Set [pool.Config.MaxLifetime], or its
//     hard-stop-after.
//   - pen (0.34.1) with -r has no failover: it accepts a connection whose turn falls on a
//     stopped server, and closes it. Of three servers with one stopped, every third open
//     fails. Without -r it passes the stopped server over.
//   - Tornado (6.2.0): with a websocket_ping_timeout below its websocket_ping_interval it closes
//     each connection one interval after it was opened, without a code, whatever it answers.
//   - Tomcat (9.0.70): an idle timeout is looked at each 10 s, and all connections that are due
//     are closed in one moment, with the code 1001. Pings count as activity.
//   - Fastify's proxy (@fastify/http-proxy 11.6.3): a server that is lost reaches the client as
//     the code 4006, one that closes without a code as 4005. The proxy answers a ping itself,
//     and so does the server: a pong says no more than that the proxy is there.
package wsconn
