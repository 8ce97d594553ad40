package fleet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/redis/go-redis/v9"
)

// A store is the side of one process: what it has, what its pools lack, and one goroutine (run) that
// talks to the server. One request is under way at a time. It says all that the process has, so that an answer that
// is lost costs nothing: the next request says it again.
//
// A right is in one place: with the pools (out), or here (spare). What is given back is not counted from the
// moment on at which the request is made that says so, whatever becomes of it.
//
// Pools are told in a goroutine of its own (deliver): they may call hooks and loggers, and renewals must not
// wait for those.
type store struct {
	name    string
	max     int
	options Options
	keys    []string
	client  redis.UniversalClient
	closes  bool // client is ours
	rights  *pool.Rights
	clock   func() instant

	wake    chan struct{} // there is something to do
	quit    chan struct{} // closed: run ends
	ended   chan struct{} // closed: run has ended
	gave    chan struct{} // Give was called
	listens *listener
	orders  orders

	mu       sync.Mutex // guards what follows. Neither the server nor a pool is called under it
	id       string
	seq      uint64
	closing  bool
	waiting  int // what Want has said last
	hoping   int
	granting int // rights that are on their way to the pools
	out      int // rights that the pools have
	spare    int // rights that nobody needs at the moment
	spareAt  instant
	given    int   // of what others asked for: given back since the last request was made
	told     int   // how many the pools know that others want
	askRev   int64 // of what is known of that
	asked    bool  // others would have something from this process
	others   bool  // others wait
	queued   bool  // the server counts this process as one that waits
	answer   bool  // the server would know what is idle
	need     bool  // something is to be said at once
	fenced   string

	sent     instant // when the last request was made that was carried out
	heard    bool    // there was one
	tried    instant // when the last request was made
	failed   instant // when the last one was made that has failed, if failures > 0
	failures int
	failedAt instant // when that was known
	cause    error   // why
	flying   bool    // a request is under way
	void     bool    // rights have been lost since it was made
	asking   []chan error
	lapsed   bool   // rights may be over, until a request is carried out
	term     uint64 // how often that was so
	fetched  uint64 // rights that the server has granted, ever
	missing  int    // rights that were lost, ever
	losing   int    // times that the pools have yet to be told of that
	full     bool   // the budget is near its end
	grace    time.Duration
	silent   bool // it has been logged that the server cannot be reached
}

func newStore(client redis.UniversalClient, closes bool, name string, max int, o Options) *store {
	s := &store{name: name, max: max, options: o, keys: keys(name), client: client, closes: closes, clock: clockFrom(time.Now()),
		wake: make(chan struct{}, 1), gave: make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{}), id: rand.Text()}
	if o.clock != nil {
		s.clock = o.clock
	}
	s.rights = pool.NewRights(s)
	s.listens = newListener(s)
	return s
}

// The parts of a lease. The server's clock may jump by a third of it, so a process must be done after two thirds.
func (s *store) renewal() time.Duration  { return s.options.Lease / 3 }
func (s *store) timeout() time.Duration  { return s.options.timeout }
func (s *store) opensFor() time.Duration { return s.options.Lease / 2 }
func (s *store) losesAt() time.Duration  { return s.options.Lease * 3 / 5 }

// ahead is how many rights a process has in store, at most, while the budget is far from its end.
const ahead = 9

func (s *store) ident() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// kick has run look at what is to be done.
func (s *store) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Want is called by the rights of this process: it lacks so many.
func (s *store) Want(waiting, hoping int) {
	s.mu.Lock()
	s.waiting, s.hoping = waiting, hoping
	if s.closing && waiting+hoping > 0 {
		s.waiting, s.hoping = 0, 0
		s.orders.add(func() { s.rights.Fail(ErrClosed) })
	}
	n := s.take()
	s.need = s.need || s.waiting > s.granting || s.hoping > 0 || s.queued && s.waiting == 0
	s.mu.Unlock()
	s.grant(n)
	s.kick()
}

// take takes what is in store for those who wait. Not if others wait: they may have come first.
func (s *store) take() int {
	if s.spare == 0 || s.others || s.asked || s.closing || s.lapse() {
		return 0
	}
	n := max(0, min(s.spare, s.waiting-s.granting))
	s.spare -= n
	s.out += n
	s.granting += n
	return n
}

// grant gives n rights to the pools, which are counted in granting.
func (s *store) grant(n int) {
	if n <= 0 {
		return
	}
	s.orders.add(func() {
		s.rights.Grant(n) // Want is called afterwards, here or by who is calling it now, with what is still wanted
		s.mu.Lock()
		s.granting -= n
		s.mu.Unlock()
		s.kick()
	})
}

// Give is called by the rights of this process: nobody there needs n of them.
func (s *store) Give(n int) {
	s.mu.Lock()
	if s.out -= n; s.out < 0 {
		// They are lost, and the pools, who have yet to be told so, would make up for them once more.
		over := -s.out
		s.out = 0
		n -= over
		s.orders.add(func() { s.rights.Grant(over) })
	}
	if s.spare == 0 {
		s.spareAt = s.clock()
	}
	s.spare += n
	if s.told > 0 {
		s.told = max(0, s.told-n)
		s.given += n
	}
	s.need = s.need || s.keeps() < s.spare
	s.mu.Unlock()
	s.kick()
	select {
	case s.gave <- struct{}{}:
	default:
	}
}

// keeps returns how many of the rights in store are kept.
func (s *store) keeps() int {
	if s.others || s.asked || s.full || s.closing || s.lapsed || s.clock().since(s.spareAt) >= s.renewal() {
		return 0
	}
	return min(s.spare, ahead)
}

// Term is called before and after an open.
func (s *store) Term() (uint64, error) {
	s.mu.Lock()
	if s.losing > 0 && !s.closing { // the pools have yet to hear of it
		s.mu.Unlock()
		s.orders.end()
		s.mu.Lock()
	}
	// The other side is in close: it sets closing, then end answers all who ask. So this is read in the
	// section in which we ask.
	if s.closing {
		s.mu.Unlock()
		return 0, ErrClosed
	}
	if !s.lapse() {
		defer s.mu.Unlock()
		return s.term, nil
	}
	done := make(chan error, 1)
	s.asking = append(s.asking, done)
	s.need = true
	s.mu.Unlock()
	s.kick()
	err := <-done
	s.mu.Lock()
	losing, term := s.losing, s.term
	s.mu.Unlock()
	if losing > 0 {
		s.orders.end()
	}
	return term, err
}

// lapse reports whether the rights may be over, and notes it. What was in store is given back: it was good for half a lease.
func (s *store) lapse() bool {
	if s.lapsed {
		return true
	}
	if !s.heard || s.clock().since(s.sent) >= s.opensFor() {
		s.lapsed = true
		s.term++
	}
	return s.lapsed
}

// begin asks the server for the first time, and starts what goes on.
func (s *store) begin() error {
	s.mu.Lock()
	s.lapse()
	r := s.request()
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout())
	a, err := s.operate(ctx, r)
	cancel()
	s.apply(r, a, err)
	var format *FormatError
	if errors.As(err, &format) {
		return err
	}
	go s.listens.run()
	go s.run()
	return nil
}

// request makes the next request. It is called under the mutex.
func (s *store) request() request {
	s.seq++
	s.need, s.flying, s.void, s.given = false, true, false, 0
	s.tried = s.clock()
	s.spare = s.keeps() // the rest is not ours any more
	r := request{id: s.id, seq: s.seq, rev: s.askRev, idle: -1, fenced: s.fenced, leaves: s.closing, founds: s.options.Found && !s.heard}
	if !s.closing {
		r.want = max(0, s.waiting-s.granting-s.spare)
		if r.want > 0 && !s.others {
			r.ahead = max(0, ahead-s.spare)
		}
		if s.hoping > 0 {
			r.hope = ahead
		}
	}
	r.held = s.out + s.spare
	r.late = r.held > 0 && s.tried.since(s.sent) >= s.losesAt()
	s.queued = r.want > 0
	return r
}

// apply takes the answer to a request, or the error.
func (s *store) apply(r request, a reply, err error) {
	now := s.clock()
	s.mu.Lock()
	s.flying = false
	made := s.tried
	defer func() {
		var asking []chan error
		switch {
		case err != nil || s.sent == made && now.since(made) < s.opensFor():
			s.lapsed = s.lapsed && err != nil
			asking, s.asking = s.asking, nil
		case s.lapsed || len(s.asking) > 0:
			s.need = true // carried out late, or stopped meanwhile: ask again
		}
		n := s.take()
		s.mu.Unlock()
		for _, c := range asking {
			c <- err
		}
		s.grant(n)
		s.kick()
	}()
	if err != nil {
		s.failures++
		s.failed, s.failedAt, s.cause = made, now, err
		if s.waiting > 0 || s.hoping > 0 {
			s.waiting, s.hoping = 0, 0
			s.orders.add(func() { s.rights.Fail(err) })
		}
		s.listens.renew() // it may be as silent as the server
		return
	}
	if s.failures > 0 {
		s.listens.renew()
	}
	s.failures, s.cause = 0, nil
	if s.silent {
		s.silent = false
		s.options.Logger.Info("fleet: the server is reached again", "budget", s.name)
	}
	if a.status == statusFenced {
		s.options.Logger.Warn("fleet: the lease of this process was over, and its connections are being fenced", "budget", s.name, "id", s.id)
		s.id = rand.Text()
		s.lapsed = true
		s.term++
		s.lose(s.out)
		s.spare = 0
		s.need = true
		s.listens.renew()
		s.heard, s.sent = true, made
		return
	}
	if a.status == statusLate || s.void {
		s.need = true // say it again
		if a.status == statusDone {
			s.heard, s.sent = true, made
		}
		return
	}
	s.heard, s.sent = true, made
	if r.fenced == s.fenced {
		s.fenced = ""
	}
	s.others = a.others > 0
	s.full = 4*a.used > 3*a.max
	if a.grace > s.grace { // it has begun; nothing else tells those who wait for a right why there is none
		s.options.Logger.Warn("fleet: nothing is granted yet: the server knows nothing of this budget, or has been restarted", "budget", s.name, "for", a.grace)
	}
	s.grace = a.grace
	if a.lost > 0 {
		lost := a.lost
		k := min(s.spare, lost)
		s.spare -= k
		if lost -= k; lost > 0 {
			s.lapsed = true // what is being opened may be among them
			s.term++
			s.lose(min(lost, s.out))
		}
	}
	s.queued = r.want > max(0, a.mine-r.held)
	if got := a.mine - r.held; got > 0 {
		s.fetched += uint64(got)
		n := min(got, max(0, s.waiting-s.granting))
		if s.hoping > 0 {
			n = got
		}
		s.out += n
		s.granting += n
		if got > n {
			if s.spare == 0 {
				s.spareAt = made
			}
			s.spare += got - n
		}
		s.grant(n)
	}
	if a.rev <= r.rev {
		s.askRev = 0
	}
	s.heed(a.ask, a.rev)
	s.need = s.need || s.keeps() < s.spare
	if a.toFence != "" {
		go s.fence(a.toFence, a.label)
	}
}

// lose takes n rights from the pools, which are lost.
func (s *store) lose(n int) {
	if n <= 0 {
		return
	}
	s.out -= n
	s.missing += n
	s.losing++
	s.void = s.void || s.flying
	strict := s.options.Strict
	s.options.Logger.Warn("fleet: rights are lost", "budget", s.name, "rights", n)
	s.orders.add(func() {
		if strict {
			s.rights.Cut(n)
		} else {
			s.rights.Lose(n)
		}
		s.mu.Lock()
		s.losing--
		s.mu.Unlock()
	})
}

// heed takes what others would have from this process. Notices and answers come on different ways: older ones
// are ignored. Their numbers begin anew when the server has lost its data, and go back when it has old ones. Then an answer has none that
// is higher than what was known when its request was made. A notice of before may still come after it, and counts until the next answer.
func (s *store) heed(ask int, rev int64) {
	if rev < s.askRev {
		return
	}
	s.askRev = rev
	s.asked = ask > 0
	leaving := s.spare - s.keeps() // with the next request, for them
	s.need = s.need || leaving > 0
	if n := max(0, ask-s.given-leaving); n != s.told {
		s.told = n
		s.orders.add(func() { s.rights.Reclaim(n) })
	}
}

// close ends the budget.
func (s *store) close() error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		<-s.ended
		return nil
	}
	s.closing = true
	out := s.out
	if s.waiting+s.hoping > 0 { // those who come now are told by Want
		s.waiting, s.hoping = 0, 0
		s.orders.add(func() { s.rights.Fail(ErrClosed) })
	}
	s.mu.Unlock()
	s.orders.add(func() { s.rights.Reclaim(out) }) // what is idle
	s.kick()
	patience := time.NewTimer(time.Second) // connections that are being closed
	defer patience.Stop()
	for {
		s.mu.Lock()
		out := s.out
		s.mu.Unlock()
		if out == 0 {
			break
		}
		select {
		case <-s.gave:
			continue
		case <-patience.C:
		}
		break
	}
	s.end()
	s.mu.Lock()
	r := s.request()
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout())
	defer cancel()
	_, err := s.operate(ctx, r)
	if s.closes {
		err = errors.Join(err, s.client.Close())
	}
	if r.held > 0 {
		err = errors.Join(err, fmt.Errorf("fleet: %d connections are still open, whose rights go back when the lease is over: close the pools before the budget", r.held))
	}
	return err
}
