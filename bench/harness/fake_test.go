package harness

import (
	"context"
	"errors"
	"sync"
)

// A fake is a pool whose faults are set one by one. Without any it is right: first come, first
// served.
type fake struct {
	faults
	s Settings

	mu      sync.Mutex
	cond    sync.Cond
	idle    []*Conn
	open    int
	waiters []chan *Conn
}

type faults struct {
	noLimit    bool // opens another instead of waiting
	overLimit  bool // lends one more than its limit
	lifo       bool // serves who came last
	barges     bool // puts into a heap from which whoever comes first takes
	twice      bool // lends the same connection to all
	lendsDead  bool // does not look at what is idle
	loses      bool // forgets a connection when a wait is cancelled
	foreign    bool // has an error of its own for a cancelled wait
	lendsEnded bool // does not look at a ctx that has ended
	hides      bool // hides why opening failed
}

var errFake = errors.New("fake: no")

// peer is a Peer whose pools have these faults.
func (f faults) peer(lacks map[Trait]string) Peer {
	return Peer{Name: "fake", Lacks: lacks, New: func(s Settings) (Pool, error) {
		p := &fake{faults: f, s: s}
		p.cond.L = &p.mu
		return &Of[*Conn]{
			Take: p.get, Give: p.put, Drop: p.drop, Conn: func(c *Conn) *Conn { return c },
			End: func() {},
		}, nil
	}}
}

func (f *fake) get(ctx context.Context) (*Conn, error) {
	if ctx.Err() != nil && !f.lendsEnded {
		return nil, ctx.Err()
	}
	f.mu.Lock()
	for {
		for len(f.idle) > 0 {
			c := f.idle[len(f.idle)-1]
			if !f.twice {
				f.idle = f.idle[:len(f.idle)-1]
			}
			if f.s.Check == nil || f.lendsDead || f.s.Check(c) == nil {
				f.mu.Unlock()
				return c, nil
			}
			c.Close()
			f.open--
		}
		limit := f.s.Size
		if f.overLimit {
			limit++
		}
		if f.noLimit || f.open < limit {
			f.open++
			f.mu.Unlock()
			c, err := f.s.Open(ctx)
			if err != nil {
				f.mu.Lock()
				f.open--
				f.mu.Unlock()
				if f.hides {
					return nil, errFake
				}
				return nil, err
			}
			if f.twice {
				f.put(c)
			}
			return c, nil
		}
		if !f.barges {
			break
		}
		f.cond.Wait()
	}
	w := make(chan *Conn, 1)
	f.waiters = append(f.waiters, w)
	f.mu.Unlock()
	select {
	case c := <-w:
		if c == nil { // one has been dropped
			return f.get(ctx)
		}
		return c, nil
	case <-ctx.Done():
	}
	f.mu.Lock()
	for i := range f.waiters {
		if f.waiters[i] == w {
			f.waiters = append(f.waiters[:i], f.waiters[i+1:]...)
			w = nil
			break
		}
	}
	if f.loses {
		f.s.Size = 1 // never more than one of two is lent again
	}
	f.mu.Unlock()
	if w != nil {
		if c := <-w; c != nil {
			f.put(c)
		}
	}
	if f.foreign {
		return nil, errFake
	}
	return nil, ctx.Err()
}

func (f *fake) put(c *Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.serve(c)
}

func (f *fake) serve(c *Conn) {
	switch n := len(f.waiters); {
	case n == 0 || f.barges:
		if c != nil && !(f.loses && len(f.idle) >= f.s.Size) {
			f.idle = append(f.idle, c)
		}
		f.cond.Signal()
	case f.lifo:
		w := f.waiters[n-1]
		f.waiters = f.waiters[:n-1]
		w <- c
	default:
		w := f.waiters[0]
		f.waiters = f.waiters[1:]
		w <- c
	}
}

func (f *fake) drop(c *Conn) {
	c.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open--
	f.serve(nil)
}
