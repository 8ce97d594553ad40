package fleet

import (
	"context"
	"sync"
	"time"
)

// poll is how long a process waits for a notice before it asks, while it waits for a right. Notices are
// hints: they may be lost.
const poll = 200 * time.Millisecond

// The pause after a call that has failed.
const (
	firstPause = 10 * time.Millisecond
	lastPause  = 250 * time.Millisecond
)

type answered struct {
	request request
	reply   reply
	err     error
}

// run talks to the server until quit is closed.
func (s *store) run() {
	defer close(s.ended)
	answers := make(chan answered, 1)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		s.mu.Lock()
		now := s.clock()
		s.expire(now)
		sends := !s.flying && s.due(now) <= 0
		var r request
		if sends {
			r = s.request()
		}
		answer := sends && s.answer
		s.answer = s.answer && !sends
		wait := s.due(now)
		if s.flying {
			wait = s.options.Lease // its answer comes, or its end
		}
		if loses := s.losesAt() - now.since(s.sent); s.out > 0 && loses > 0 {
			wait = min(wait, loses)
		}
		s.mu.Unlock()
		if answer {
			if n, since := s.rights.Idle(); n > 0 {
				r.idle, r.idleMs = n, max(0, time.Since(since).Milliseconds())
			} else {
				r.idle = 0
			}
		}
		if sends {
			go s.call(r, answers)
		}
		timer.Reset(max(wait, time.Millisecond))
		select {
		case a := <-answers:
			s.apply(a.request, a.reply, a.err)
		case <-s.wake:
		case <-timer.C:
		case <-s.quit:
			s.mu.Lock()
			flying := s.flying
			s.mu.Unlock()
			if flying { // what close says must come after it: else it could count until the lease is over
				<-answers
			}
			return
		}
	}
}

// call carries out a request. It comes back in time, also if the client does not.
func (s *store) call(r request, answers chan<- answered) {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout())
	done := make(chan answered, 1)
	go func() {
		defer cancel()
		a, err := s.operate(ctx, r)
		done <- answered{r, a, err}
	}()
	late := time.NewTimer(s.timeout() + s.timeout()/8)
	defer late.Stop()
	select {
	case a := <-done:
		answers <- a
	case <-late.C:
		answers <- answered{request: r, err: s.explain(context.DeadlineExceeded)}
	}
}

// due returns how long the next request has time.
func (s *store) due(now instant) time.Duration {
	if s.failures > 0 {
		pause := lastPause
		if s.failures < 6 {
			pause = min(pause, firstPause<<(s.failures-1))
		}
		return pause - now.since(s.failedAt)
	}
	if s.need {
		return 0
	}
	wait := s.renewal() - now.since(s.sent)
	if s.waiting > s.granting {
		wait = min(wait, poll-now.since(s.tried))
		if s.grace > 0 {
			wait = min(wait, s.grace+time.Millisecond-now.since(s.tried))
		}
	}
	return wait
}

// expire gives up what the process has when its lease must be taken for over. A process that was stopped asks once
// before it does: it may have everything still. One that runs has a call that has failed by then, made in the last half of a lease, whenever the
// server has fallen silent: the first call is made after a third, ends after 3/16 more, and then comes another one.
func (s *store) expire(now instant) {
	if s.out == 0 || now.since(s.sent) < s.losesAt() {
		return
	}
	if s.failures == 0 || now.since(s.failed) > s.opensFor() {
		s.need = true
		return
	}
	if !s.lapsed {
		s.lapsed = true
		s.term++
	}
	s.options.Logger.Warn("fleet: the server cannot be reached", "budget", s.name, "for", now.since(s.sent), "error", s.cause)
	s.silent = true
	s.spare = 0
	s.lose(s.out)
}

// end ends all goroutines.
func (s *store) end() {
	s.listens.end()
	close(s.quit)
	<-s.ended
	s.orders.end()
	s.mu.Lock()
	asking := s.asking
	s.asking = nil
	s.mu.Unlock()
	for _, c := range asking {
		c <- ErrClosed
	}
}

// orders are calls to the pools, in their order, made by a goroutine that is there while there are any.
type orders struct {
	mu   sync.Mutex
	list []func()
	busy chan struct{} // closed when all have been made; nil: there are none
}

func (o *orders) add(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, f)
	if o.busy == nil {
		o.busy = make(chan struct{})
		go o.run()
	}
}

func (o *orders) run() {
	for {
		o.mu.Lock()
		list := o.list
		o.list = nil
		if len(list) == 0 {
			close(o.busy)
			o.busy = nil
			o.mu.Unlock()
			return
		}
		o.mu.Unlock()
		for _, f := range list {
			f()
		}
	}
}

// end waits until all calls have been made.
func (o *orders) end() {
	o.mu.Lock()
	busy := o.busy
	o.mu.Unlock()
	if busy != nil {
		<-busy
	}
}
