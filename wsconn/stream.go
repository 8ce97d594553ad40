package wsconn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A stream is what the WebSocket layer reads and writes in place of the body of
// the response with status 101. It changes nothing, and follows the frames both
// ways, so that it is known at any time whether the connection is between two
// messages.
//
// Read gives out no byte beyond the end of a frame, and gives the last byte of
// each frame in a call of its own. The WebSocket layer calls Read only when its
// own buffer is empty. So when it asks for the last byte of a frame, somebody
// has consumed all that came before, and wants this one too: what the layer
// holds of a message that nobody has read cannot be overlooked.
//
// All but the atomic fields belongs to whoever uses the connection: the lease
// or, in Check and Clean, the pool. Reads are one at a time, writes too, and
// use different fields. That of an idle connection is memory that is multiplied by
// thousands: what only some connections need, or only for some time, has a place of
// its own. busy keeps the two owners apart, whatever callers do, and the
// tender from both: see enter, hold and seize.
type stream struct {
	body io.ReadWriteCloser
	conn net.Conn // that body belongs to; nil if the transport did not tell

	// Reading.
	in      frames
	backlog backlog
	ending  *ending // of what is received; nil: it is not in sight

	// Writing.
	out     frames
	outbox  *outbox                       // nil: nothing waits
	goodbye atomic.Pointer[chan struct{}] // closed when a goroutine has written the close frame; nil: none does

	failed atomic.Pointer[error] // why the connection is of no use; the first reason stays
	peeker peeker                // looks for bytes without waiting
	extra  *extra                // what few connections need; nil: this one does not
	rules  *rules                // what is done while nobody uses the connection
	pulse  pulse

	watch   watch      // the tender's
	tending sync.Mutex // held while somebody is at work here beside a lease: see seize, interrupt and decide
	place   int32      // in the tender's list, counted from 1; 0: in none

	busy   atomic.Int32 // calls of Read and Write in progress, and who else is at work
	closed atomic.Bool  // Close or abort has been called

	held       bool // reading: the backlog begins with the last byte of the frame
	hidden     bool // reading: bytes may lie where the peeker does not see them: in TLS, in net/http
	secure     bool // there is TLS between body and socket
	compressed bool // permessage-deflate is in force
}

// An ending is what only a connection needs from which nothing, or not much, will be
// received any more.
type ending struct {
	err    error  // what the connection's Read has ended with
	reason []byte // payload of the close frame, unless masked, as far as it has come
}

// An extra is made with the stream, if at all. It belongs to whoever reads.
type extra struct {
	poller poller        // if the peeker cannot look
	said   time.Duration // if there is a Keepalive: a message was sent at this time, or some time before
	spoken uint32        // messages sent by then, modulo 1<<32

	interrupted atomic.Bool // see interrupt
}

func newStream(body io.ReadWriteCloser, conn net.Conn, rules *rules) *stream {
	s := &stream{body: body, conn: conn, rules: rules}
	inner := conn
	if t, ok := conn.(*tls.Conn); ok {
		s.secure = true
		inner = t.NetConn()
	}
	// Anything else may buffer, may take its time, and may not know deadlines.
	switch inner.(type) {
	case *net.TCPConn, *net.UnixConn:
		if !rules.fallback {
			s.peeker.init(inner)
		}
	}
	s.hidden = s.peeker.able() // what came in one segment with the response
	if !s.peeker.able() || rules.keepalive != nil || rules.views {
		s.extra = new(extra)
	}
	if !s.peeker.able() && rules.views {
		s.extra.poller.wake = make(chan struct{}, 1)
	}
	return s
}

// Read implements [io.Reader] for the WebSocket layer.
func (s *stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := s.enter(oneRead, tendsRead); err != nil {
		return 0, err
	}
	defer s.busy.Add(-oneRead)
	if s.pulse.owed && !s.held && s.in.between() {
		s.awaitReply()
		if s.pulse.owed && s.interrupted() {
			return 0, errInterrupted
		}
	}
	if s.backlog.len() == 0 && s.extra != nil {
		if s.extra.poller.wake != nil {
			s.arm()
		}
		if s.armed() && !s.inherit() {
			return 0, errInterrupted
		}
	}
	if s.backlog.len() > 0 {
		return s.readBacklog(p), nil
	}
	if s.readErr() != nil {
		return 0, s.endRead()
	}
	// Not more than one can keep, if the frame ends early in it.
	if limit := max(s.in.remaining(), chunkSize); uint64(len(p)) > limit {
		p = p[:limit]
	}
	n, err := s.body.Read(p)
	for n == 0 && err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		doubt, why := s.decide()
		if why != nil {
			err = why
			break
		}
		if !doubt {
			if s.interrupted() {
				return 0, errInterrupted
			}
			break
		}
		n, err = s.body.Read(p)
	}
	// With bytes, a deadline is that of TLS, which looked for more: the next Read asks why.
	if err != nil && (n == 0 || !errors.Is(err, os.ErrDeadlineExceeded)) {
		s.endReading(err)
	}
	if n == 0 {
		if err != nil {
			err = s.endRead()
		}
		return 0, err
	}
	s.noteHeard()
	used, end := s.feed(p[:n])
	if end {
		used = s.endFrame(used)
	}
	if used < n {
		s.backlog.add(p[used:n])
	}
	return used, nil
}

func (s *stream) readBacklog(p []byte) int {
	b := s.backlog.bytes()
	if s.held {
		s.held = false
		p[0] = b[0]
		s.backlog.drop(1)
		return 1
	}
	used, end := s.feed(b[:min(len(b), len(p))])
	if end {
		used = s.endFrame(used)
	}
	copy(p, b[:used])
	s.backlog.drop(used)
	return used
}

// feed is feed of frames, for the reading side.
func (s *stream) feed(p []byte) (n int, end bool) {
	n, end = s.in.feed(p)
	if s.in.closing() {
		s.noteReason(p[:n])
	}
	return n, end
}

// noteReason keeps what is in p of the close frame's payload, which has p's last bytes.
func (s *stream) noteReason(p []byte) {
	f := &s.in
	if f.opcode() != opClose || f.second&maskBit != 0 || f.second&lenBits > maxControl {
		return
	}
	n := int(f.second&lenBits) - int(f.payload) - len(s.reason())
	if n <= 0 || n > len(p) { // more than one close frame
		return
	}
	e := s.theEnding()
	e.reason = append(e.reason, p[len(p)-n:]...)
}

func (s *stream) theEnding() *ending {
	if s.ending == nil {
		s.ending = new(ending)
	}
	return s.ending
}

// reason returns the payload of the close frame that is read, as far as it has come.
func (s *stream) reason() []byte {
	if s.ending == nil {
		return nil
	}
	return s.ending.reason
}

// readErr returns what the connection's Read has ended with, or nil.
func (s *stream) readErr() error {
	if s.ending == nil {
		return nil
	}
	return s.ending.err
}

func (s *stream) endReading(err error) { s.theEnding().err = err }

// endFrame is called when a frame ends with the last of used bytes, which are
// about to be given out. It returns how many of them are: the last one is held
// back, unless there is no other.
func (s *stream) endFrame(used int) int {
	if s.in.closing() {
		s.fail(closedByPeer(s.reason()))
	}
	if used == 1 {
		return 1
	}
	s.held = true
	return used - 1
}

// endRead returns what Read returns when nothing more will be received. The
// WebSocket layer takes an end of the stream between two frames, or before the
// first byte of a payload, for the end of the message, and hands out a part of
// it as if it were all.
func (s *stream) endRead() error {
	s.lost()
	if errors.Is(s.readErr(), io.EOF) && !s.in.between() {
		return errTruncated
	}
	return s.whyCut(s.readErr())
}

// lost notes that nothing more will be received, because of what Read has ended with. It is
// called when all that came before has been taken: tls.Conn may return an error
// beside the last bytes, and they may hold a close frame, which tells more.
func (s *stream) lost() error { return s.failIO(s.readErr()) }

// failIO is fail for an error of reading or writing. On a connection that was
// closed here it is a consequence, and no reason.
func (s *stream) failIO(err error) error {
	if s.closed.Load() {
		return errClosed
	}
	return s.fail(fmt.Errorf("wsconn: %w: %w", errLost, err))
}

// Write implements [io.Writer] for the WebSocket layer.
func (s *stream) Write(p []byte) (int, error) {
	if err := s.enter(oneWrite, tendsWrite); err != nil {
		return 0, err
	}
	defer s.busy.Add(-oneWrite)
	if s.outbox != nil {
		if err := s.catchUp(); err != nil {
			return 0, err
		}
	}
	n, err := s.body.Write(p)
	s.out.pass(p[:n])
	if s.out.closing() {
		s.fail(errCloseSent)
	}
	s.noteSpoken()
	if err != nil {
		s.failIO(err)
		err = s.whyCut(err)
	}
	return n, err
}

// noteHeard notes that bytes have been received.
func (s *stream) noteHeard() {
	s.pulse.hears = true
	s.hidden = s.hidden || s.secure
	if !s.watch.hears.Load() {
		s.watch.hears.Store(true)
	}
}

// noteSpoken notes that bytes have been sent.
func (s *stream) noteSpoken() {
	s.pulse.speaks = true
	if !s.watch.speaks.Load() {
		s.watch.speaks.Store(true)
	}
}

// whyCut returns why the tender has cut the connection, or err if it has not.
func (s *stream) whyCut(err error) error {
	if why := s.failed.Load(); why != nil && errors.Is(*why, errLifeless) {
		return *why
	}
	return err
}

// poolHolds is added to busy while the pool looks at the stream. Whoever has
// kept a connection beyond the end of the lease, and reads or writes then,
// touches nothing, and ends the connection.
const poolHolds = 1 << 30

// enter is the start of a Read or Write, which one says; its end takes that off busy
// again. Its other sides are hold and seize: each changes busy, and looks at what it
// was; so not both go on.
func (s *stream) enter(one, side int32) error {
	if b := s.busy.Add(one); b >= doubted {
		return s.enterSlow(b, one, side)
	}
	return nil
}

func (s *stream) enterSlow(b, one, side int32) error {
	if b >= poolHolds {
		s.busy.Add(-one)
		return s.fail(errInUse)
	}
	if b&side != 0 {
		s.awaitTender()
	}
	if b&doubted != 0 && one == oneRead {
		_, err := s.decide()
		if err != nil {
			s.busy.Add(-one)
		}
		return err
	}
	return nil
}

// hold makes the stream the pool's, unless a Read or Write is in progress.
func (s *stream) hold() error {
	if s.busy.CompareAndSwap(0, poolHolds) {
		return nil
	}
	return s.holdSlow()
}

func (s *stream) holdSlow() error {
	for !s.busy.CompareAndSwap(0, poolHolds) {
		switch b := s.busy.Load(); {
		case b >= poolHolds, b&(readCalls|writeCalls) != 0:
			return s.fail(errInUse)
		case b >= tends:
			s.awaitTender()
		case b == doubted:
			// There is no tender, so the deadline has been set.
			if s.busy.CompareAndSwap(doubted, poolHolds) {
				s.dropDoubt()
				return nil
			}
		}
	}
	return nil
}

func (s *stream) release() { s.busy.Add(-poolHolds) }

// lend runs f, a call of the WebSocket layer, while the pool holds the stream.
func (s *stream) lend(f func() error) error {
	s.release()
	err := f()
	if held := s.hold(); err == nil {
		err = held
	}
	return err
}

// Close implements [io.Closer] for the WebSocket layer, which calls it when the
// connection is done for, whatever the reason.
func (s *stream) Close() error {
	s.over()
	return s.body.Close()
}

// abort cuts the connection so that every read and write of it fails. It does
// not block: it goes past TLS, whose Close would first tell the peer, and wait
// for a peer that does not read.
func (s *stream) abort() error {
	s.over()
	switch c := s.conn.(type) {
	case nil:
		return s.body.Close()
	case *tls.Conn:
		return c.NetConn().Close()
	default:
		return c.Close()
	}
}

// over says that the stream is closed, and then has it taken from the lists that it is in.
func (s *stream) over() {
	s.closed.Store(true)
	s.rules.tender.remove(s)
	if e := s.rules.server; e != nil {
		e.gone(s)
	}
}

// fail notes why the connection is of no use any more, and returns the reason
// that was noted first.
func (s *stream) fail(err error) error {
	if s.failed.CompareAndSwap(nil, &err) {
		return err
	}
	return *s.failed.Load()
}

// failure returns why the connection is of no use, or nil.
func (s *stream) failure() error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	if s.closed.Load() {
		return s.fail(errClosed)
	}
	return nil
}

// Reasons why a connection is of no use.
var (
	errClosed     = fmt.Errorf("wsconn: its user, or the end of a context in mid-call, closed the connection: %w", net.ErrClosed)
	errLost       = errors.New("connection lost")
	errInUse      = errors.New("wsconn: a Read or Write is still in progress")
	errUnread     = errors.New("wsconn: a message was not read to its end")
	errUnwritten  = errors.New("wsconn: a message was not written to its end")
	errCloseSent  = errors.New("wsconn: a close frame was sent")
	errBacklog    = errors.New("wsconn: data was received that nobody has read")
	errTruncated  = errors.New("wsconn: the connection ended within a message")
	errReplyOwed  = errors.New("wsconn: a reply is still owed")
	errCloseRead  = errors.New("wsconn: CloseRead was called")
	errReplyCount = errors.New("wsconn: the number of replies is not that of the requests")
)
