package harness

import (
	"context"
	"runtime"
	"time"

	"go.uber.org/atomic"
)

// A Trait is something that a scenario needs of a peer.
type Trait string

const (
	Waits   Trait = "waits"   // a Get waits when everything is leased, and no more than Size are open
	Ctx     Trait = "ctx"     // a wait ends with the ctx of its Get
	Opens   Trait = "opens"   // connections are opened when they are wanted
	Cycle   Trait = "cycle"   // the time of a Get and a Put is that of the pool
	Bare    Trait = "bare"    // what is idle in it is a Conn and what the pool keeps of it
	Keeps   Trait = "keeps"   // what comes back is lent again
	Discard Trait = "discard" // the caller can end a lease so that another connection takes its place
	Ages    Trait = "ages"    // it has a limit on the age of a connection
	Idles   Trait = "idles"   // it has a limit on how long a connection is idle
)

// Traits are all there are.
var Traits = []Trait{Waits, Ctx, Opens, Cycle, Bare, Keeps, Discard, Ages, Idles}

// Sweep is how often a peer looks for what is too old or idle for too long, if it can be told.
const Sweep = 200 * time.Millisecond

// Settings are the same for all peers.
type Settings struct {
	Size int // connections at most, idle ones too
	Open func(context.Context) (*Conn, error)

	// MaxWait is the limit on a wait, for peers that have one beside the ctx. If zero, it is as
	// by default.
	MaxWait time.Duration

	// Check is what a peer uses that has a place for it. If nil, it is used without.
	Check func(*Conn) error

	// MaxLifetime and MaxIdleTime are for peers that have such limits. If zero, they are as by
	// default. What a peer does for them now and then it does every Sweep.
	MaxLifetime, MaxIdleTime time.Duration
}

// A Peer is a pool that is compared.
type Peer struct {
	Name   string // in tables and results
	Module string // module and version, for those that have one
	How    string // how it is used, for the list of peers

	// Lacks has the traits that the peer does not have, with the reason, which stands in the
	// tables.
	Lacks map[Trait]string

	New func(Settings) (Pool, error)
}

// A Pool is one of a Peer's. Only Of implements it.
type Pool interface {
	// Get lends a connection. It is for the scenarios in which the time of a Get is not what
	// is measured.
	Get(ctx context.Context) (Lease, error)
	Close()

	cycles(ctx context.Context, stop *atomic.Bool, hold func()) (n int64, err error)
	watched(ctx context.Context, stop *atomic.Bool, hold func(), w *watch) error
}

// A Lease is a connection that is lent.
type Lease struct {
	Conn *Conn
	Put  func()
	Drop func() // instead of Put, for a connection that is dead

	// Again is Put with what it returns, for a caller who does it once more. It is nil for peers
	// whose Put returns nothing.
	Again func() error
}

// Of makes a Pool of functions that work with H, whatever a peer lends. The loops are here, so
// that an H is not boxed, and what is measured differs between two peers in nothing but these
// functions.
type Of[H any] struct {
	Take func(context.Context) (H, error)
	Give func(H)
	Drop func(H)       // nil without the trait Discard
	Back func(H) error // Give with the error that it returns; nil if it returns none
	Conn func(H) *Conn // not called while time is measured
	End  func()
}

func (p *Of[H]) Get(ctx context.Context) (Lease, error) {
	h, err := p.Take(ctx)
	if err != nil {
		return Lease{}, err
	}
	l := Lease{Conn: p.Conn(h), Put: func() { p.Give(h) }}
	if p.Drop != nil {
		l.Drop = func() { p.Drop(h) }
	}
	if p.Back != nil {
		l.Again = func() error { return p.Back(h) }
	}
	return l, nil
}

func (p *Of[H]) Close() { p.End() }

// cycles gets, holds and puts until stop. It returns how often, not counting what ended later.
func (p *Of[H]) cycles(ctx context.Context, stop *atomic.Bool, hold func()) (n int64, err error) {
	for {
		h, err := p.Take(ctx)
		if err != nil {
			return n, err
		}
		if hold != nil {
			hold()
		}
		p.Give(h)
		if stop.Load() {
			return n, nil
		}
		n++
	}
}

// watched is cycles with clock readings, and with an eye on every connection.
func (p *Of[H]) watched(ctx context.Context, stop *atomic.Bool, hold func(), w *watch) error {
	for {
		began := time.Now()
		h, err := p.Take(ctx)
		if err != nil {
			return err
		}
		got := time.Now()
		w.waited(got.Sub(began))
		conn := p.Conn(h)
		w.all.begin(conn)
		if hold != nil {
			hold()
		}
		w.all.end(conn)
		w.held(time.Since(got))
		p.Give(h)
		if stop.Load() {
			return nil
		}
		w.turns++
	}
}

// Holds are the ways to hold a connection, by name.
var Holds = map[string]func(){
	"0":     nil,
	"yield": runtime.Gosched,
	"10us":  func() { work(10 * time.Microsecond) },
	"1ms":   func() { time.Sleep(time.Millisecond) },
}

// HoldTimes are the least times that a hold has to last, for the results to be believed.
var HoldTimes = map[string]time.Duration{"10us": 10 * time.Microsecond, "1ms": time.Millisecond}

// work computes for d, as a caller does that encodes a request. Timers of the runtime are not
// precise enough to sleep for so short a time.
func work(d time.Duration) {
	for began := time.Now(); time.Since(began) < d; {
	}
}

// A watcher sees what all callers of a pool do.
type watcher struct {
	inUse, mostInUse atomic.Int64
	twice            atomic.Int64 // lent while somebody else had it
	closed           atomic.Int64 // lent though it was closed
}

func (w *watcher) begin(c *Conn) {
	if c.holders.Inc() != 1 {
		w.twice.Inc()
	}
	if c.closed.Load() {
		w.closed.Inc()
	}
	raise(&w.mostInUse, w.inUse.Inc())
}

func (w *watcher) end(c *Conn) {
	w.inUse.Dec()
	c.holders.Dec()
}

// fill opens n connections of p, and puts them back.
func fill(ctx context.Context, p Pool, n int) error {
	leases := make([]Lease, n)
	for i := range leases {
		var err error
		if leases[i], err = p.Get(ctx); err != nil {
			return err
		}
	}
	for _, l := range leases {
		l.Put()
	}
	return nil
}
