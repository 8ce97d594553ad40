package wsconn

import "runtime"

// A poller takes the place of the peeker where no socket can be looked at. While
// the connection is idle a goroutine of its own waits in Read, and what it gets
// goes to the backlog, for Check or for whoever reads next. It is armed by the
// Put, so that what came before is there when the connection is lent again, as
// far as the scheduler had time for it.
type poller struct {
	armed  bool        // a result is owed
	result chan polled // capacity 1, so that the goroutine ends in any case

	wake chan struct{} // ends a wait for the result; nil: nobody interrupts
}

type polled struct {
	chunk *chunk
	n     int
	err   error
}

// armed reports whether the poller owes a result.
func (s *stream) armed() bool { return s.extra != nil && s.extra.poller.armed }

// arm sees to it that a goroutine reads.
func (s *stream) arm() {
	if s.armed() || s.readErr() != nil {
		return
	}
	if s.extra.poller.result == nil {
		s.extra.poller.result = make(chan polled, 1)
	}
	s.extra.poller.armed = true
	go func(body interface{ Read([]byte) (int, error) }, result chan<- polled) {
		chunk := getChunk()
		n, err := body.Read(chunk.array[:])
		result <- polled{chunk, n, err}
	}(s.body, s.extra.poller.result)
}

// inherit waits for the goroutine's result, and takes it over. It returns false if the
// wait was interrupted.
func (s *stream) inherit() bool {
	select {
	case r := <-s.extra.poller.result:
		s.take(r)
		return true
	case <-s.extra.poller.wake:
		return false
	}
}

func (s *stream) take(r polled) {
	s.extra.poller.armed = false
	if r.n > 0 {
		s.noteHeard()
		s.backlog.add(r.chunk.array[:r.n])
	}
	r.chunk.free()
	if r.err != nil {
		s.endReading(r.err)
	}
}

// poll takes over what the goroutine has got by now, and lets it read on. It
// returns the number of bytes.
func (s *stream) poll() int {
	if !s.armed() {
		s.arm()
		runtime.Gosched() // to let it run
	}
	select {
	case r := <-s.extra.poller.result:
		s.take(r)
		s.arm()
		runtime.Gosched() // it may have more at hand
		return r.n
	default:
		return 0
	}
}
