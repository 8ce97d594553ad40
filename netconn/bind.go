package netconn

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
)

// Bind makes the end of ctx end the call in progress on conn, and every later one, until
// release is called. Such a call returns soon, and what it has done is not known: Bind marks
// conn as used up, so that [Check] fails and the pool does not lend it again. This is so
// whenever ctx ends before release is called, also between two calls.
//
//	defer netconn.Bind(ctx, conn)()
//
// release waits until a mark that is being made has been made. Afterwards the end of ctx has
// no effect on conn. It may be called more than once; it must be called before conn is
// returned to the pool. A ctx that never ends costs nothing.
//
// On a connection of [NewFactory], the error of a call that was ended wraps ctx.Err() and
// [context.Cause], and its Timeout method reports whether that was a deadline. Deadlines that
// you set with SetDeadline hold beside ctx, and none lifts its end. Several Binds may be in
// force; each holds until its own release.
//
// conn may be any other connection that has deadlines. Then the call returns
// [os.ErrDeadlineExceeded], a SetDeadline afterwards lifts the end, and release closes conn
// if ctx has ended: nothing else marks it for whoever gets it next.
func Bind(ctx context.Context, conn net.Conn) (release func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	b := &binding{ctx: ctx, conn: conn, ours: of(conn), done: make(chan struct{})}
	if b.ours != nil {
		b.ours.bound.Add(1)
	}
	if ctx.Err() != nil { // so that the very next call fails
		b.cut()
		b.stop = func() bool { return false }
	} else {
		b.stop = context.AfterFunc(ctx, b.cut)
	}
	return b.release
}

// A binding is one call of Bind.
type binding struct {
	ctx  context.Context
	conn net.Conn
	ours *conn // that conn is, or nil
	stop func() bool
	done chan struct{} // closed at the end of cut
	once sync.Once
}

// cut is called once at most, when ctx has ended.
func (b *binding) cut() {
	defer close(b.done)
	if b.ours != nil {
		b.ours.cut(&ctxError{b.ctx.Err(), context.Cause(b.ctx)})
		return
	}
	b.conn.SetDeadline(longAgo)
}

func (b *binding) release() { b.once.Do(b.end) }

func (b *binding) end() {
	cut := !b.stop()
	if cut {
		<-b.done
	}
	if b.ours != nil {
		b.ours.bound.Add(-1) // after the wait: clean takes zero to say that no cut will come
		return
	}
	if cut {
		closeNow(b.conn)
	}
}

// closeNow closes conn without a word to the peer, who may not be reading.
func closeNow(conn net.Conn) error {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	return conn.Close()
}

// A ctxError says that a call was ended by its ctx.
type ctxError struct{ err, cause error }

func (e *ctxError) Error() string {
	if e.cause == e.err {
		return e.err.Error()
	}
	return e.err.Error() + ": " + e.cause.Error()
}

// Unwrap returns the error and the cause of the ctx.
func (e *ctxError) Unwrap() []error { return []error{e.err, e.cause} }

// Timeout implements [net.Error], for whoever tells a deadline from a cancellation by it.
func (e *ctxError) Timeout() bool { return e.err == context.DeadlineExceeded }

// Temporary implements [net.Error]. TLS must not take the connection for one that goes on.
func (e *ctxError) Temporary() bool { return false }
