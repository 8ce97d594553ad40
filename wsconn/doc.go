// Package wsconn makes WebSocket connections for a [pool.Pool]: it dials them,
// sets them up, and closes them. They are connections of
// [github.com/coder/websocket], and everything that takes one of those takes
// these.
//
// The shortest use:
//
//	factory, err := wsconn.NewFactory("ws://localhost:8080/ws", nil)
//	p, err := pool.New(factory, pool.Config{MaxConnections: 100})
//	lease, err := p.Get(ctx)
//	conn := lease.Value() // *wsconn.Conn
//	err = conn.Write(ctx, websocket.MessageText, msg)
//	_, reply, err := conn.Read(ctx)
//	err = p.Put(lease)
//
// # Guarantees
//
// A dial, and the time for leaving the peer politely, are bounded. The options
// given to [NewFactory] are copied and never changed. A connection whose set-up
// fails is closed. A handshake that the server refused is told with what the
// server said: see [HandshakeError].
//
// # Memory model
//
// What [Options.OnConnect] writes to a connection's memory is seen by the first
// lease, and what one lease writes is seen by the next: the pool's Put
// synchronizes before the Get that lends the connection again.
//
// # Limits
//
// A context that ends while a Read or a Write of a connection is in progress
// closes the connection: this is how the underlying package works. The pool
// notices when the connection is put back, and opens another.
//
// A connection is for one request after another. Where many goroutines shall
// share one WebSocket, and replies are told apart by an id, no pool is wanted
// but a multiplexer.
package wsconn
