package main

import (
	"math/rand/v2"
	"time"

	"go.uber.org/atomic"
)

// A place is where something may go wrong.
type place int

const (
	atOpen place = iota
	atWatch
	atCheck
	atClean
	atClose
	atPeer
	atExpires
	atProbe
	places
)

// A fault is what goes wrong. Not all of them can happen at each place.
type fault int

const (
	none fault = iota
	fails
	panics
	exits    // runtime.Goexit
	slow     // some milliseconds
	hangs    // until the end of its ctx, if it has one, or that of the rough times
	deaf     // hangs, and ctx does not help; then it succeeds, too late
	nilConn  // Open returns neither a connection nor an error
	both     // Open returns a connection and an error
	early    // broken is called by Watch itself
	late     // broken is called when the connection is closed
	twice    // broken is called twice, at any time
	bursting // the peer closes the connection
	faults
)

var faultNames = [faults]string{"none", "fails", "panics", "exits", "slow", "hangs", "deaf", "nil", "both", "early", "late", "twice", "bursts"}

var placeNames = [places]string{"Open", "Watch", "Check", "Clean", "Close", "peer", "Expires", "Probe"}

// A risk is how likely a fault is, in ten thousand.
type risk struct {
	fault fault
	odds  int
}

// A sky is how likely each fault is at each place, for a while.
type sky [places][]risk

var skies = []sky{
	{ // fair, with a cloud here and there
		atOpen:  {{fails, 100}, {slow, 500}, {panics, 20}},
		atWatch: {{twice, 50}},
		atCheck: {{fails, 50}},
		atClean: {{fails, 50}},
		atClose: {{slow, 200}, {fails, 100}},
		atPeer:  {{bursting, 20}},
		atProbe: {{fails, 50}, {slow, 500}},
	}, { // everything at once
		atOpen: {{fails, 500}, {panics, 300}, {exits, 200}, {slow, 1000}, {hangs, 300}, {deaf, 60},
			{nilConn, 200}, {both, 200}},
		atWatch: {{early, 200}, {late, 500}, {twice, 800}, {panics, 100}, {exits, 100}},
		atCheck: {{fails, 300}, {panics, 100}, {exits, 60}, {slow, 60}, {hangs, 2}},
		atClean: {{fails, 300}, {panics, 100}, {exits, 60}, {slow, 60}, {hangs, 2}},
		atClose: {{fails, 500}, {panics, 300}, {exits, 200}, {slow, 1000}, {hangs, 100}},
		atPeer:  {{bursting, 300}},

		atExpires: {{fails, 300}, {panics, 100}, {exits, 100}, {slow, 200}},
		atProbe:   {{fails, 300}, {panics, 100}, {exits, 60}, {slow, 1000}, {hangs, 2}},
	}, { // the peer is away
		atOpen: {{fails, 8000}, {hangs, 1500}, {deaf, 100}},
		atPeer: {{bursting, 2000}},
	}, { // the peer takes its time
		atOpen:  {{slow, 9000}, {hangs, 300}, {fails, 100}},
		atClose: {{slow, 8000}, {hangs, 50}},
	}, { // connections die like flies
		atWatch: {{twice, 6000}, {late, 1000}},
		atPeer:  {{bursting, 3000}},
		atCheck: {{fails, 1000}},
		atProbe: {{fails, 5000}},
	},
}

// A weather decides what goes wrong.
type weather struct {
	sky   atomic.Int64
	calls [places]atomic.Uint64
	seed  uint64
	life  uint64
	calm  atomic.Bool
	clear atomic.Pointer[chan struct{}] // closed when the calm comes
	met   *[places][faults]atomic.Int64 // counted over all lives
}

func newWeather(seed, life uint64, met *[places][faults]atomic.Int64) *weather {
	w := &weather{seed: seed, life: life, met: met}
	w.rough()
	return w
}

// rand returns the random numbers of the n-th of whatever kind says.
func (w *weather) rand(kind, n uint64) *rand.Rand {
	return rand.New(rand.NewPCG(w.seed^kind<<56, w.life<<40^n))
}

// rough lets things go wrong from here on.
func (w *weather) rough() {
	c := make(chan struct{})
	w.clear.Store(&c)
	w.calm.Store(false)
}

// ease lets nothing go wrong from here on, and ends what hangs.
func (w *weather) ease() {
	w.calm.Store(true)
	close(*w.clear.Load())
}

// over is closed when what hangs now must end.
func (w *weather) over() <-chan struct{} { return *w.clear.Load() }

// next decides about one call. The random numbers are for what goes with it.
func (w *weather) next(at place) (fault, *rand.Rand) {
	rnd := w.rand(uint64(at)+1, w.calls[at].Inc())
	if w.calm.Load() {
		return none, rnd
	}
	n := rnd.IntN(10_000)
	for _, r := range skies[w.sky.Load()][at] {
		if n -= r.odds; n < 0 {
			w.met[at][r.fault].Inc()
			return r.fault, rnd
		}
	}
	return none, rnd
}

// change gives the times another character every now and then, until end.
func (w *weather) change(end <-chan struct{}) {
	for n := uint64(0); ; n++ {
		rnd := w.rand(100, n)
		w.sky.Store(int64(rnd.IntN(len(skies))))
		if !pause(end, time.Duration(50+rnd.IntN(400))*time.Millisecond) {
			return
		}
	}
}

// pause waits for d, and reports false if end comes before.
func pause(end <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-end:
		return false
	}
}
