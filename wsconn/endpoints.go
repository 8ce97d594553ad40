package wsconn

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic" // whose 64-bit words are aligned wherever they are, on 32-bit processors too
	"time"
)

// A Policy says which of several servers a connection is opened to. See
// [Options].Endpoints.
type Policy int

const (
	// LeastConnections opens to the server that has the fewest connections of this factory.
	LeastConnections Policy = iota
	// RoundRobin opens to one server after the other.
	RoundRobin
	// Failover opens to the first server that can be reached, in the order of the list.
	Failover
)

func (p Policy) String() string {
	switch p {
	case LeastConnections:
		return "LeastConnections"
	case RoundRobin:
		return "RoundRobin"
	case Failover:
		return "Failover"
	}
	return fmt.Sprintf("Policy(%d)", int(p))
}

const (
	defaultDiscoverInterval = 30 * time.Second

	// headStart is how long a server has to answer before the next one is dialed as well, and
	// after which it is set aside, unless dials are known to take longer.
	// It is less than the second after which the pool takes an attempt for one that
	// hangs, so that the next one can answer before that.
	headStart = 750 * time.Millisecond

	// knownStart is the same for a server that is set aside, of which nothing is expected.
	knownStart = 100 * time.Millisecond

	// A server that fails is set aside for leastAside, and twice as long each time it
	// fails again, up to mostAside.
	leastAside = 500 * time.Millisecond
	mostAside  = 10 * time.Second

	// mostPause is the longest pause that a server may ask for, the default of
	// pool.Config.MaxRetryAfter.
	mostPause = 5 * time.Minute

	// steady is how long a server must have been in service for its next failure to count as
	// the first.
	steady = 5 * time.Second

	// trial is how long a connection must last to say that its server serves. It is longer
	// than it takes until a check notices the end of an idle one.
	trial = 2 * time.Second

	defaultMoveInterval = time.Second

	longSince = time.Duration(math.MinInt64 / 2)
	never     = time.Duration(math.MaxInt64)
)

// servers are the servers of one factory: which of them are in service, how many
// connections each has, and which is dialed next.
//
// A server is in service or set aside. It is set aside when a dial fails, or does not
// answer within headStart, when it ends a new connection at once, and when it says that it
// goes away. It comes back by a success: of a probe while others are in service, or of an
// Open while none is.
//
// No goroutine belongs to it. Open, Check and Clean look whether a probe or Discover is due,
// and start a goroutine for that alone. Its context ends when the last connection has gone and
// no Open is under way, as after the end of the pool.
type servers struct {
	d        *dialer
	policy   Policy
	discover func(ctx context.Context) ([]string, error)
	interval time.Duration // of Discover
	moving   time.Duration // between two connections that are retired for the spread

	// Both are written while mu is held. Check and Clean read them without it, and seldom need it.
	duty atomic.Int64 // when a probe or Discover is due
	move atomic.Int64 // when Clean may retire the next one for the spread; never: there is nothing to move

	mu     sync.Mutex // guards what follows, and most of each server
	all    []*server  // the set, in its order
	former []*server  // that have left it, and still have connections
	turn   int
	opens  int           // Opens under way
	open   int           // connections
	usual  time.Duration // how long a dial takes that succeeds
	quit   context.CancelFunc
	behind context.Context // of probes and Discover; nil: there are none

	asking     *asking       // Discover is under way
	askedAt    time.Duration // when it began last
	discovered error         // what it failed with, or nil
}

// A server is one of them. servers.mu guards what follows left, which is written while it is
// held.
type server struct {
	of    *servers
	key   string
	shown string // scheme and host
	d     *dialer

	left atomic.Bool // it is not in the set any more

	streams  map[*stream]time.Duration // connections that are open, and since when
	leaving  map[*stream]bool          // those of them that were retired for the spread
	dialing  int
	aside    bool
	asked    bool          // it has asked for the pause
	until    time.Duration // when it may be probed, if it is set aside
	since    time.Duration // when it was set aside, or came back
	failures int           // in a row
	probing  bool
	fell     chan struct{} // closed when it is set aside; nil: nobody waits for that
	opened   uint64
	failed   uint64
	err      error // of the last failure; nil after a success
}

// newServers returns the servers of a factory, or nil if it has but the one at url.
func newServers(d *dialer, given string) (*servers, error) {
	o := &d.options
	if len(o.Endpoints) == 0 && o.Discover == nil && o.Distribution == nil {
		return nil, nil
	}
	var list []string
	if given != "" {
		list = append(list, given)
	}
	s := &servers{d: d, policy: o.Policy, discover: o.Discover, interval: o.DiscoverInterval, moving: o.moveInterval, askedAt: longSince}
	if s.moving == 0 {
		s.moving = defaultMoveInterval
	}
	s.move.Store(int64(never))
	s.duty.Store(math.MinInt64)
	list = append(list, o.Endpoints...)
	if len(list) == 0 && o.Discover == nil {
		return nil, errors.New("wsconn: URL is empty, and Options.Endpoints too")
	}
	if err := s.set(list); err != nil {
		return nil, within("Options.Endpoints", err)
	}
	// Not the same one first in each process.
	s.turn = rand.IntN(max(len(s.all), 1))
	if o.Distribution != nil {
		o.Distribution.add(s)
	}
	return s, nil
}

// within says where an error of checkURL has its URL from.
func within(where string, err error) error {
	return fmt.Errorf("wsconn: %s: %s", where, strings.TrimPrefix(err.Error(), "wsconn: "))
}

// set makes list the set. mu is held, but for the first time.
func (s *servers) set(list []string) error {
	for _, u := range list {
		if err := checkURL(u); err != nil {
			return err
		}
	}
	var all []*server
	for _, u := range list {
		key := endpointKey(u)
		same := func(e *server) bool { return e.key == key }
		if slices.ContainsFunc(all, same) {
			continue
		}
		known := append(slices.Clone(s.all), s.former...)
		if i := slices.IndexFunc(known, same); i >= 0 {
			all = append(all, known[i])
			continue
		}
		all = append(all, s.newServer(u, key))
	}
	was := s.all
	s.all = all
	for _, e := range was {
		if !slices.Contains(all, e) {
			e.left.Store(true)
			s.former = append(s.former, e)
		}
	}
	for _, e := range all {
		e.left.Store(false)
	}
	s.former = slices.DeleteFunc(s.former, func(e *server) bool { return !e.left.Load() || e.forgotten() })
	if len(was) > 0 && !slices.Equal(was, all) {
		s.spread()
	}
	return nil
}

func (s *servers) newServer(u, key string) *server {
	e := &server{of: s, key: key, shown: redact(u), streams: map[*stream]time.Duration{}, leaving: map[*stream]bool{}, since: longSince}
	d := *s.d
	d.url, d.rules.server, d.servers = u, e, nil
	e.d = &d
	return e
}

// endpointKey returns what two URLs of the same endpoint have in common.
func endpointKey(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	switch u.Scheme {
	case "ws":
		u.Scheme = "http"
	case "wss":
		u.Scheme = "https"
	}
	u.Host = strings.ToLower(u.Host)
	if u.Port() == "" {
		u.Host += ":" + port(u)
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u.String()
}

// forgotten reports whether nothing of a server that has left is there any more.
func (e *server) forgotten() bool { return len(e.streams) == 0 && e.dialing == 0 && !e.probing }

// load is how many connections it has, or is about to have. Those that are about to close do not
// count: others may be dialed in their place already, and the spread would look even too early.
func (e *server) load() int { return len(e.streams) - len(e.leaving) + e.dialing }

// next returns the server to dial, of those that have not been tried, and counts the dial.
// fell is closed if somebody else finds that it does not answer. It returns nil if there is
// none.
func (s *servers) next(tried map[*server]bool) (e *server, known bool, fell <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := since()
	if e = s.choose(tried); e == nil {
		if e = s.lastResort(tried, now); e == nil {
			return nil, false, nil
		}
		e.dialing++
		return e, true, nil
	}
	e.dialing++
	if e.fell == nil {
		e.fell = make(chan struct{})
	}
	return e, false, e.fell
}

// choose returns one of those in service.
func (s *servers) choose(tried map[*server]bool) (best *server) {
	n := len(s.all)
	if n == 0 {
		return nil
	}
	first := 0
	if s.policy != Failover {
		first = s.turn % n
	}
	for i := range n {
		e := s.all[(first+i)%n]
		if e.aside || tried[e] {
			continue
		}
		if best == nil {
			best = e
		}
		// While the spread is uneven, taking turns would not even it.
		if s.policy == Failover || s.policy == RoundRobin && s.move.Load() == int64(never) {
			break
		}
		if e.load() < best.load() {
			best = e
		}
	}
	if best != nil {
		s.turn = (slices.Index(s.all, best) + 1) % n
	}
	return best
}

// lastResort returns the one of those set aside that is due first. One that has asked for a
// pause has it, unless all have: then it is the pool that waits, and Reset ends that.
func (s *servers) lastResort(tried map[*server]bool, now time.Duration) (best *server) {
	all := s.allAsked(now)
	if all && len(tried) > 0 {
		return nil
	}
	for _, e := range s.all {
		if tried[e] || !e.aside || !all && e.asked && now < e.until {
			continue
		}
		if best == nil || e.until < best.until {
			best = e
		}
	}
	return best
}

// allAsked reports whether each server has asked for a pause that is not over.
func (s *servers) allAsked(now time.Duration) bool {
	for _, e := range s.all {
		if !e.aside || !e.asked || now >= e.until {
			return false
		}
	}
	return len(s.all) > 0
}

// dialed notes what has come of a dial that began at the given time. over says that nobody
// waited for it any more.
func (s *servers) dialed(e *server, began time.Duration, conn *Conn, err error, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.dialing--
	var ours *optionsError
	switch {
	case err == nil && over: // it is being closed, and says nothing of how long others would wait
		e.opened++
		s.count(e, conn.stream)
	case err == nil:
		e.opened++
		s.learn(since() - began)
		s.count(e, conn.stream)
		s.succeeded(e)
	case over, errors.As(err, &ours):
	default:
		e.failed++
		s.fail(e, began, err)
	}
}

// learn notes how long a dial has taken that has succeeded.
func (s *servers) learn(took time.Duration) {
	if s.usual == 0 {
		s.usual = took
	}
	s.usual += (took - s.usual) / 4
}

// limit returns after how long a server that has not answered is set aside. Where all are
// slow, because they are far away or OnConnect takes its time, none would come back otherwise.
func (s *servers) limit() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(headStart, 2*s.usual)
}

// count counts a connection. Its other side is gone: Close says that the stream is closed,
// then calls gone; here it is counted, then looked at. So no closed one stays.
func (s *servers) count(e *server, c *stream) {
	e.streams[c] = since()
	s.open++
	if c.closed.Load() {
		s.uncount(e, c)
	}
}

func (s *servers) uncount(e *server, c *stream) (openedAt time.Duration, counted bool) {
	openedAt, counted = e.streams[c]
	if !counted {
		return 0, false
	}
	delete(e.streams, c)
	delete(e.leaving, c)
	s.open--
	s.rest()
	return openedAt, true
}

// gone is called when a stream is closed. It may be called more than once, and for one that
// was never counted.
func (e *server) gone(c *stream) {
	s := e.of
	s.mu.Lock()
	defer s.mu.Unlock()
	openedAt, counted := s.uncount(e, c)
	if !counted {
		return
	}
	why := c.failed.Load()
	if why == nil || e.left.Load() {
		return
	}
	switch now := since(); {
	case goesAway(*why):
		if !e.aside { // all its connections may end so, at the same time
			s.fail(e, now, *why)
		}
	case now-openedAt < trial && endedByPeer(*why):
		e.failed++
		s.fail(e, openedAt, *why)
	}
}

// begin and end enclose an Open.
func (s *servers) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opens++
}

func (s *servers) end(canceled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opens--
	if canceled { // one that has failed will come again, and may then need what Discover finds
		s.rest()
	}
}
