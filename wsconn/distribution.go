package wsconn

import (
	"slices"
	"sync"
	"time"
	"weak"
)

// A Distribution tells how the connections of a factory are spread over its servers. The
// zero Distribution is ready: set it in [Options].Distribution. Several factories, such as
// those of a [pool.Group], may have the same one, which adds up what they have. It keeps no
// factory alive. All methods are safe for concurrent use.
type Distribution struct {
	mu  sync.Mutex // guards all
	all []weak.Pointer[servers]
}

// EndpointStats are what is known of one server of [Options].Endpoints.
type EndpointStats struct {
	// URL is its address, of which scheme and host only: the rest may hold a key.
	URL string
	// Open is the number of connections that are open, those of leases and those that were
	// detached included. A connection counts until its stream has been closed.
	Open int
	// Dialing is the number of dials under way.
	Dialing int
	// Opened and Failed count dials since the factory was made: those that have opened a
	// connection; and those that have failed, with probes that have failed, and connections
	// that the server has ended within two seconds.
	Opened, Failed uint64
	// AsideUntil is when the server is tried again, if it is set aside. It is zero if the
	// server is in service.
	AsideUntil time.Time
	// Left says that the server is not in the set any more, but still has connections.
	Left bool
	// LastError is why a dial has failed last, or the server was set aside. It is nil if a
	// dial has succeeded since.
	LastError error
}

func (d *Distribution) add(s *servers) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.prune()
	d.all = append(d.all, weak.Make(s))
}

// prune forgets factories that are gone.
func (d *Distribution) prune() {
	d.all = slices.DeleteFunc(d.all, func(p weak.Pointer[servers]) bool { return p.Value() == nil })
}

// Endpoints returns the servers in their order, then those that have left the set and still
// have connections. It does not block. If several factories have the same endpoint, their
// numbers are added, AsideUntil is the latest, and Left is true only if it has left all. The
// counters of a factory end with it.
func (d *Distribution) Endpoints() []EndpointStats {
	d.mu.Lock()
	d.prune()
	var all []*servers
	for _, p := range d.all {
		if s := p.Value(); s != nil {
			all = append(all, s)
		}
	}
	d.mu.Unlock()
	var keys []string
	var sum []EndpointStats
	for _, s := range all {
		s.each(func(key string, e EndpointStats) {
			i := slices.Index(keys, key)
			if i < 0 {
				keys, sum = append(keys, key), append(sum, e)
				return
			}
			t := &sum[i]
			t.Open += e.Open
			t.Dialing += e.Dialing
			t.Opened += e.Opened
			t.Failed += e.Failed
			t.Left = t.Left && e.Left
			if e.AsideUntil.After(t.AsideUntil) {
				t.AsideUntil = e.AsideUntil
			}
			if t.LastError == nil {
				t.LastError = e.LastError
			}
		})
	}
	return sum
}

// each calls f for each server, while mu is held.
func (s *servers) each(f func(key string, e EndpointStats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.former = slices.DeleteFunc(s.former, (*server).forgotten)
	now, wall := since(), time.Now()
	for _, e := range slices.Concat(s.all, s.former) {
		stats := EndpointStats{
			URL: e.shown, Open: len(e.streams), Dialing: e.dialing, Opened: e.opened, Failed: e.failed,
			Left: e.left.Load(), LastError: e.err,
		}
		if e.probing {
			stats.Dialing++
		}
		if e.aside {
			stats.AsideUntil = wall.Add(e.until - now)
		}
		f(e.key, stats)
	}
}

// Endpoint returns scheme and host of the URL that was dialed. It is empty for a connection
// of a [Dialer].
func (c *Conn) Endpoint() string {
	if e := c.stream.rules.server; e != nil {
		return e.shown
	}
	if u := c.stream.rules.url; u != "" {
		return redact(u)
	}
	return ""
}
