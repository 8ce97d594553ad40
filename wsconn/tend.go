package wsconn

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A tender keeps the connections of a factory alive while they are leased: it answers
// the server's pings, sends pings, and finds out when the path to the server is dead.
// One goroutine does that for all of them. It runs while there are connections.
//
// Nobody tells it when a lease begins. It takes a connection for leased if there was no
// Check between three of its looks. If it is wrong, and the connection is idle, it
// does what Check would do, or less.
type tender struct {
	every time.Duration // between two looks at a connection at rest
	quick time.Duration // between two rounds, and two looks at one on which something has just come

	mu      sync.Mutex      // guards what follows, and stream.place
	streams []*stream       // stream.place tells where each is
	due     []time.Duration // when each of them is looked at, on the clock of since
	stop    chan struct{}   // closed when the last has gone; nil: there is none
	news    chan struct{}   // tells the goroutine that one has been added; made with stop

	turn  sync.Mutex    // held in a round
	round []*stream     // those of the round
	last  time.Duration // when the one before began
}

const (
	slowestTending = time.Second
	fastestTending = 10 * time.Millisecond

	// quickTending is for servers whose heartbeat is quick. Nobody knows that of a server
	// before its second ping is due, so the looks are close together at first, and
	// then further apart: see nextLook.
	quickTending = 100 * time.Millisecond

	// leasedAfter is after how many looks without a Check a connection is
	// taken for leased.
	leasedAfter = 2

	// maxAhead is how many bytes are read ahead of the holder of a lease.
	maxAhead = 64 << 10
)

func newTender(o *Options) *tender {
	every := o.PongTimeout
	if o.PingInterval > 0 {
		every = min(every, o.PingInterval)
	}
	if o.PongTimeoutInUse > 0 {
		every = min(every, o.PongTimeoutInUse)
	}
	every = min(max(every/4, fastestTending), slowestTending)
	return &tender{every: every, quick: min(every, quickTending)}
}

// add begins to tend s. Its other side is remove: Close says that the stream is
// closed, then calls remove; add puts it in its place, then looks whether it is
// closed. So no closed one stays.
func (t *tender) add(s *stream) {
	if t == nil {
		return
	}
	now := since()
	s.watch.heard, s.watch.said = now, now // OnConnect may have taken long
	t.mu.Lock()
	t.streams, t.due = append(t.streams, s), append(t.due, now+t.quick)
	s.place = int32(len(t.streams))
	if t.stop == nil {
		t.stop, t.news = make(chan struct{}), make(chan struct{}, 1)
		go t.run(t.stop, t.news)
	} else {
		select {
		case t.news <- struct{}{}:
		default: // it has not taken the one before yet, and looks at due when it has
		}
	}
	t.mu.Unlock()
	if s.closed.Load() {
		t.remove(s)
	}
}

// remove ends that. It may be called more than once, and for a stream that was never
// added.
func (t *tender) remove(s *stream) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.place == 0 {
		return
	}
	last := len(t.streams) - 1
	t.streams[s.place-1], t.due[s.place-1] = t.streams[last], t.due[last]
	t.streams[s.place-1].place = s.place
	t.streams[last] = nil
	t.streams, t.due, s.place = t.streams[:last], t.due[:last], 0
	if last == 0 {
		close(t.stop)
		t.streams, t.due, t.stop, t.news = nil, nil, nil, nil
	}
}

func (t *tender) run(stop, news <-chan struct{}) {
	ended := false
	defer func() {
		if !ended { // a callback has called Goexit
			go t.run(stop, news)
		}
	}()
	last := since() // when the last round began
	timer := time.NewTimer(t.quick)
	defer timer.Stop()
	for {
		select {
		case <-stop:
			ended = true
			return
		case <-news:
		case <-timer.C:
			last = since()
			t.goRound(last)
		}
		timer.Reset(max(t.earliest(), last+t.quick) - since())
	}
}

// earliest returns when the first connection is due.
func (t *tender) earliest() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.due) == 0 { // the goroutine is told to stop
		return since() + t.every
	}
	return slices.Min(t.due)
}

// goRound tends every connection that is due. A goroutine that was told to stop may still
// be in its last round when the next one begins its first.
func (t *tender) goRound(now time.Duration) {
	t.turn.Lock()
	defer t.turn.Unlock()
	full := t.period(now) != t.period(t.last) // every connection is due
	t.last = now
	t.mu.Lock()
	t.round = t.round[:0]
	for i, due := range t.due {
		if due <= now {
			t.round = append(t.round, t.streams[i])
		}
	}
	t.mu.Unlock()
	for _, s := range t.round {
		// A Read in progress answers the pings itself.
		if s.needsTending() && (full || s.busy.Load()&readCalls == 0) {
			s.tend()
		}
	}
	t.mu.Lock()
	for i, s := range t.round {
		t.round[i] = nil // keeps nothing alive until the next round
		if s.place != 0 {
			t.due[s.place-1] = t.nextLook(now, now-s.watch.heard)
		}
	}
	if cap(t.round) > 4*len(t.streams)+64 {
		t.round = nil
	}
	t.mu.Unlock()
}

// nextLook returns when a connection is looked at again on which nothing has come for
// quiet. A ping that comes so long after what came before is answered half of that
// time later at most, and a round: before the next one, if the server has a heartbeat.
// All are looked at whenever every has passed, at the same time: so there are few rounds
// if they are at rest.
func (t *tender) nextLook(now, quiet time.Duration) time.Duration {
	return min(now+max(quiet/2, t.quick), (t.period(now)+1)*t.every)
}

// period returns how often every has passed. In a bubble of testing/synctest now is negative.
func (t *tender) period(now time.Duration) time.Duration {
	n := now / t.every
	if now%t.every < 0 {
		n--
	}
	return n
}

// A watch is what the tender knows of one connection. Times are on the clock of since.
// What is atomic the others tell the tender.
type watch struct {
	heard   time.Duration // a byte was received at this time, or some time before
	said    time.Duration // a byte was sent at this time, or some time before
	worries *worries      // nil: there was no need for any yet

	hears     atomic.Bool // something has been received since the tender last looked
	speaks    atomic.Bool // something has been sent since the tender last looked
	unchecked atomic.Bool // there was no Check since the tender last looked

	quiet      int8 // looks without a Check
	unanswered bool // bytes may be on their way that the peer has not acknowledged
	over       bool // a close frame has been seen, or a fault
}

// Worries are the part of a watch that a connection needs which was sent a ping during a
// lease, or whose peer acknowledges nothing. They stay with it.
type worries struct {
	pinged time.Duration // the last ping was sent by then
	asked  time.Duration // the oldest ping without a byte since was sent by then; 0: there is none
	stuck  time.Duration // nothing has been acknowledged since; 0: not known
	tries  uint8         // how often the kernel has repeated what is not acknowledged
	late   bool          // the last round found the answer to a ping missing
	doubt  lifelessness  // why the connection is to be ended, if a Read does not know better
}

// worry returns the worries, and makes them if there are none.
func (w *watch) worry() *worries {
	if w.worries == nil {
		w.worries = new(worries)
	}
	return w.worries
}

// needsTending brings the watch up to date, and reports whether the connection seems to
// be leased.
func (s *stream) needsTending() bool {
	w := &s.watch
	if s.closed.Load() || w.over {
		return false
	}
	if w.unchecked.Swap(true) {
		w.quiet = min(w.quiet+1, leasedAfter)
	} else {
		w.quiet = 0
	}
	now := since()
	if s.busy.Load()&doubted != 0 {
		// Whoever is to decide must see that something was heard.
	} else if w.hears.Load() && w.hears.Swap(false) {
		w.heard = now
		if w.worries != nil {
			w.worries.asked, w.worries.late, w.worries.stuck = 0, false, 0
		}
	}
	if w.speaks.Load() && w.speaks.Swap(false) {
		w.said, w.unanswered = now, true
	}
	return w.quiet >= leasedAfter
}

// tend looks after a connection that somebody else may be using at the same time.
func (s *stream) tend() {
	now := since() // before anything is looked for: see beat
	took := s.seize()
	if took == 0 {
		return
	}
	tended := false
	defer func() {
		if r := recover(); r != nil || !tended {
			s.watch.over = true
			s.fail(fmt.Errorf("wsconn: a ping callback panicked, or ended its goroutine: %v", r))
			s.abort()
		}
		s.yield(took)
	}()
	if took&(tendsRead|tendsWrite) == tendsRead|tendsWrite {
		s.readAhead()
	}
	if took&tendsWrite != 0 {
		s.keepUp(now)
	}
	if why := s.lifeless(now); why != alive && !s.signOfLife() {
		s.end(why, took&tendsRead == 0)
	}
	tended = true
}

// What the tender adds to busy: that it is there, which keeps the pool out, and the
// sides that it has taken, which keeps calls out. It takes a side that no call uses.
//
// Whoever meets it waits for tending, which the tender holds from before it changes
// busy until after it has changed it back. That is a moment: it does not wait for
// the peer. A call has been counted before it waits, so that the tender cannot take
// that side again, nor the pool the stream.
const (
	oneRead    = 1
	readCalls  = 1<<13 - 1
	oneWrite   = 1 << 13
	writeCalls = readCalls << 13
	doubted    = 1 << 26 // see end
	tends      = 1 << 27
	tendsRead  = 1 << 28
	tendsWrite = 1 << 29
)

// seize takes the sides of the stream that nobody uses. It returns what it has added to
// busy: nothing if the pool holds the stream. Its other sides are enter and hold.
func (s *stream) seize() int32 {
	s.tending.Lock()
	for {
		b := s.busy.Load()
		if b >= poolHolds {
			s.tending.Unlock()
			return 0
		}
		took := int32(tends)
		if b&readCalls == 0 {
			took += tendsRead
		}
		if b&writeCalls == 0 {
			took += tendsWrite
		}
		if !s.busy.CompareAndSwap(b, b+took) {
			continue
		}
		if b&doubted != 0 && took&tendsRead != 0 {
			s.busy.Add(-doubted)
			s.dropDoubt()
		}
		return took
	}
}

func (s *stream) yield(took int32) {
	s.busy.Add(-took)
	s.tending.Unlock()
}

// awaitTender waits until the tender, which was seen in busy, has gone.
func (s *stream) awaitTender() {
	s.tending.Lock()
	defer s.tending.Unlock()
}

// readAhead takes in what has arrived, up to maxAhead bytes, and picks out of it what
// the holder of the lease need not see. Behind a message that has been read in part
// nothing is taken. The caller owns both sides.
func (s *stream) readAhead() {
	if s.held || !s.in.between() || s.out.closing() {
		return
	}
	for taken := 0; taken < maxAhead && s.backlog.len() < maxAhead && s.readErr() == nil; {
		n := s.glance(maxAhead - s.backlog.len())
		if n == 0 {
			break
		}
		taken += n
	}
	if s.backlog.len() > 0 {
		s.pick()
	}
	if s.readErr() != nil && !s.watch.over {
		s.watch.over = true
		s.lost()
	}
}

// glance takes in what has arrived, at most limit bytes, without waiting for more. Part
// of a record of TLS is left for the next round.
func (s *stream) glance(limit int) int {
	if !s.peeker.able() {
		return s.poll()
	}
	arrived, err := s.peeker.peek()
	switch {
	case !arrived && s.hidden:
		if n := s.readNow(longAgo, limit); n > 0 {
			return n
		}
		fallthrough
	case !arrived:
		if s.readErr() == nil {
			s.endReading(err) // the socket tells it once
		}
		return 0
	case s.secure:
		return s.readNow(time.Now().Add(partWait), limit)
	}
	return s.readNow(time.Time{}, limit)
}

// pick deals with pings, and with pongs to pings of this package. All else stays where
// it is, for whoever reads next. Data does not concern it. Behind a close frame
// nothing can come, and it is known now that the connection is of no use any more.
func (s *stream) pick() {
	for at := 0; at < s.backlog.len(); {
		f, err := parseFrame(s.backlog.bytes()[at:], s.compressed)
		if err != nil {
			s.watch.over = true
			s.fail(fmt.Errorf("wsconn: protocol violation by the peer: %w", err))
			return
		}
		switch {
		case !f.whole:
			return
		case f.opcode == opClose:
			s.watch.over = true
			s.fail(closedByPeer(f.payload))
			return
		case f.opcode == opPing && s.answers(), f.opcode == opPong && string(f.payload) == string(pingPayload) && s.mayCall(s.rules.onPong != nil):
			err := s.control(f)
			s.backlog.cut(at, f.length)
			if err != nil {
				s.watch.over = true
				s.fail(err)
				return
			}
		default:
			at += f.length
		}
	}
}

// answers reports whether a ping can be answered now.
func (s *stream) answers() bool { return s.out.have == 0 && s.mayCall(s.rules.onPing != nil) }

// mayCall reports whether a callback, if there is one, may be called. It is not if the
// last frame that was read was a control frame: a call of the holder that waits for a
// message is still at work then, though at this moment it reads nothing, and perhaps it
// is in the callback itself.
func (s *stream) mayCall(callback bool) bool {
	return !callback || s.in.opcode() < opClose
}

// keepUp sends what waits, and a ping if either side has been silent for PingInterval:
// there are servers that close a connection on which one side alone talks. The caller
// owns the writing side.
func (s *stream) keepUp(now time.Duration) {
	w, r := &s.watch, s.rules
	if s.out.have > 0 || s.out.closing() || w.over {
		return
	}
	if s.outbox != nil {
		s.post()
		return
	}
	if r.pingInterval < 0 || now-w.heard < r.pingInterval && now-w.said < r.pingInterval {
		return
	}
	q := w.worry()
	if now-q.pinged < r.pingInterval {
		return
	}
	s.send(finBit|opPing, pingPayload)
	q.pinged = since() // the write may have been held up
	if q.asked == 0 {
		q.asked = q.pinged
	}
}
