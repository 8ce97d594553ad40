package group

import (
	"errors"

	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/step"
)

// An opening is one call of Config.Open, and those who wait for it.
type opening[K comparable, M any] struct {
	key    K
	askers int           // under the lock
	done   chan struct{} // closed when member or err is set
	member *Member[K, M]
	err    error // errAgain: look again
}

var (
	errAgain  = errors.New("pool: internal error: the pool was removed while it was being made")
	errKey    = errors.New("pool: the key of a Group is not equal to itself")
	errGoexit = errors.New(openName + " called runtime.Goexit")
)

const openName = "pool: the function given to NewGroup"

// open is the goroutine of an opening.
func (g *Group[K, M]) open(o *opening[K, M]) {
	var made Make[M]
	err := errGoexit
	defer func() { g.opened(o, made, err) }() // deferred, in case of runtime.Goexit
	err = core.Guard(openName, func() (err error) {
		made, err = g.config.Open(o.key)
		return err
	})
}

// opened ends an opening.
func (g *Group[K, M]) opened(o *opening[K, M], made Make[M], err error) {
	step.At("opened: open has returned")
	var evicted *Member[K, M]
	g.mu.Lock()
	g.openers--
	g.noteOpeners()
	if o.err == nil { // nobody has removed it
		delete(g.opening, o.key)
		if n := g.config.MaxPools; err == nil && n > 0 && g.Len() >= n {
			if n := g.oldest(); n != nil {
				evicted = n.member.(*Member[K, M])
				g.take(evicted)
			} else {
				err = core.ErrRejected
				g.past.Rejected += uint64(o.askers)
			}
		}
		if o.err = err; err == nil {
			o.member = g.add(o, made)
			if g.Len() == g.config.MaxPools {
				g.collect() // from now on it matters who is used after whom
			}
		}
		close(o.done)
	}
	g.mu.Unlock()
	if evicted != nil {
		evicted.core.Retire()
	}
}

// add makes the pool of an opening, for those who wait for it.
func (g *Group[K, M]) add(o *opening[K, M], made Make[M]) *Member[K, M] {
	m := &Member[K, M]{Key: o.key}
	m.core = made(&m.Pool, &g.Owner, func() { g.left(m) })
	m.member, m.pins = m, o.askers
	g.Put(m)
	g.Tender.add(&m.Node)
	n := g.names[m.core.Name()]
	if n == nil {
		n = new(name)
		g.names[m.core.Name()] = n
	}
	n.pools++
	return m
}

// cancel ends an opening before Config.Open has returned.
func (g *Group[K, M]) cancel(o *opening[K, M], err error) {
	delete(g.opening, o.key)
	o.err = err
	close(o.done)
}

// noteOpeners closes noOpeners once the group is closed and no opening is under way.
func (g *Group[K, M]) noteOpeners() {
	if g.closed && g.openers == 0 {
		close(g.noOpeners)
	}
}
