package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/coder/websocket"
)

const (
	// probeTimeout is how long the server may take for the first request.
	probeTimeout = 10 * time.Second
	// settleTimeout is how long the connections of one phase may take to be
	// gone before the next begins.
	settleTimeout = 5 * time.Second
	settlePeriod  = 20 * time.Millisecond
	// settlePause is what a server that we cannot ask gets for it.
	settlePause = time.Second
	// foreignDials is the limit of dials at a foreign server, for each phase. A
	// port that was used for one connection may not be fit for another for a
	// minute; macOS has 16,384 of them, Linux 28,232. The embedded server sees
	// to it that they are: see lastConn.
	foreignDials = 12_000
)

var errInterrupted = errors.New("interrupted before anything was measured")

// A benchmark is one run of the program.
type benchmark struct {
	options
	server    *embedded // nil for a foreign one
	addresses []string  // of the embedded server
	limit     int64     // of dials in a phase; 0: none
	progress  *display
	page      *live // nil: none
	report    *report
}

// bench runs the phases and returns what has come of them when they are done or
// ctx ends. An error means that there is nothing to show.
func bench(ctx context.Context, o options, p *display, page *live) (*report, error) {
	defer p.clear()
	b := &benchmark{options: o, progress: p, page: page, limit: dialLimit(o)}
	if o.url == "" {
		server, err := startEmbedded(o.rtt)
		if err != nil {
			return nil, fmt.Errorf("cannot start the embedded server: %w", err)
		}
		defer server.close()
		b.server, b.addresses, b.limit = server, server.addresses, 0
		b.url = "ws://" + server.addresses[0]
	}
	b.report = &report{options: b.options, embedded: b.server != nil, started: time.Now()}
	for _, u := range b.servers() {
		if err := b.probe(ctx, u); err != nil {
			return nil, err
		}
	}
	if err := b.phases(ctx); err != nil {
		return nil, err
	}
	b.report.interrupted = ctx.Err() != nil
	return b.report, nil
}

// servers returns the URLs of all servers.
func (b *benchmark) servers() []string {
	if len(b.urls) > 0 {
		return b.urls
	}
	return []string{b.url}
}

// A way to give each request a connection is measured in a phase of its own.
type way struct {
	key  string // its name in flags and in JSON
	name string // its column
	open func(*network) (source, error)
}

// Keys of the ways.
const (
	keyDialing = "dialing"
	keyShared  = "shared"
	keyPooled  = "pooled"
)

var allWays = []string{keyDialing, keyShared, keyPooled}

// poolName names a pool of the given size, in 12 characters at most.
func poolName(size int) string {
	if size < 1000 {
		return fmt.Sprintf("pool of %d", size)
	}
	return fmt.Sprintf("pool (%d)", size)
}

// ways returns those that o asks for, in the order in which they are measured.
func (o options) ways() (ways []way) {
	for _, w := range []way{
		{keyDialing, "dial each time", func(n *network) (source, error) { return newDialing(o, n), nil }},
		{keyShared, "one, shared", func(n *network) (source, error) { return newShared(o, n), nil }},
		{keyPooled, poolName(o.max), func(n *network) (source, error) {
			return newPooled(o, n, o.warmup+o.duration+graceful)
		}},
	} {
		if len(o.only) == 0 || slices.Contains(o.only, w.key) {
			ways = append(ways, w)
		}
	}
	return ways
}

// phases runs one phase after the other, until ctx ends.
func (b *benchmark) phases(ctx context.Context) error {
	for i, w := range b.ways() {
		if i > 0 || b.server != nil { // a foreign one need not forget the connection of the probe
			if err := b.settle(ctx); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			break
		}
		p, err := b.phase(ctx, w)
		if err != nil {
			return err
		}
		*b.report.phase(w.key) = p
	}
	if b.report.first() == nil {
		return errInterrupted
	}
	return nil
}

// phase drives the clients at one way. It returns nil if it was interrupted before
// anything counted.
func (b *benchmark) phase(ctx context.Context, w way) (*phaseReport, error) {
	n := newNetwork(b.addresses, b.limit)
	defer n.close()
	s, err := w.open(n)
	if err != nil {
		return nil, err
	}
	defer s.close()
	b.page.shows(s)

	early := make(chan struct{})
	over := make(chan struct{})
	defer close(over)
	go func() {
		defer close(early)
		select {
		case <-n.spent:
		case <-b.serverGone():
		case <-over:
		}
	}()
	var last soFar
	var base baseline
	var lost error // the server did not answer when the phase began
	stop := func() peaks { return peaks{} }
	l := load{
		source:   s,
		clients:  b.clients,
		size:     b.size,
		rate:     b.rate,
		warmup:   b.warmup,
		duration: b.duration,
		early:    early,
		begin: func() {
			if b.server != nil {
				_, lost = b.server.reset()
			}
			base = baseline{n.forget(), s.stats(), s.spread()}
			stop = watchPeaks()
		},
		grace:        graceful,
		cut:          n.close,
		samplePeriod: samplePeriod,
		showPeriod:   b.progress.period(),
		show: func(now soFar) {
			b.progress.phase(w.name, b.warmup, b.duration, now, last)
			last = now
		},
	}
	b.progress.ready(w.name, b.warmup, b.duration)
	debug.FreeOSMemory() // collects first: the phases start alike
	out := l.run(ctx)
	r := &phaseReport{outcome: out, peaks: stop(), stats: s.stats(), spread: s.spread(), dials: n.dials.Load(), dialTimes: n.handshakes.all(), clientPeak: n.peak.Load()}
	base.subtract(r)
	if w.key == keyDialing && b.rate == 0 {
		r.waits = histogram{} // there is nothing to wait for
	}
	if lost != nil {
		return nil, lost
	}
	if b.server != nil {
		counts, err := b.server.counts()
		if err != nil {
			return nil, err
		}
		r.serverPeak = counts.Peak
	}
	if out.elapsed == 0 {
		return nil, nil
	}
	if n.limitReached() {
		b.note("%q ended after %.1f s: %s dials, no more at a server that is not ours, so as not to run out of local ports.",
			w.name, out.elapsed.Seconds(), grouped(uint64(n.limit)))
	}
	return r, nil
}

// A baseline is what was counted before the phase counted.
type baseline struct {
	dials  int64
	stats  *pool.Stats
	spread []serverCount
}

// subtract takes off r what was counted before.
func (b baseline) subtract(r *phaseReport) {
	r.dials -= b.dials
	if now, before := r.stats, b.stats; now != nil && before != nil {
		now.Gets -= before.Gets
		now.Waits -= before.Waits
		now.Timeouts -= before.Timeouts
		now.Canceled -= before.Canceled
		now.Rejected -= before.Rejected
		now.Opened -= before.Opened
		now.OpenErrors -= before.OpenErrors
	}
	for i, before := range b.spread {
		r.spread[i].replies -= before.replies
		r.spread[i].opened -= before.opened
	}
}

func (b *benchmark) note(format string, args ...any) {
	b.report.notes = append(b.report.notes, fmt.Sprintf(format, args...))
}

// dialLimit returns how many dials a phase at a foreign server may make.
func dialLimit(o options) int64 { return int64(max(foreignDials, 2*o.max)) }

// serverGone returns a channel that is closed when the embedded server has
// ended.
func (b *benchmark) serverGone() <-chan struct{} {
	if b.server == nil {
		return nil
	}
	return b.server.gone
}

// probe makes one request, to say in clear words why a thousand of them could
// not succeed.
func (b *benchmark) probe(ctx context.Context, url string) error {
	server := b.report.serverAt(url)
	b.progress.note("connecting to " + server)
	probing, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	n := newNetwork(b.addresses, 0)
	defer n.close()
	conn, response, err := websocket.Dial(probing, url, n.dialOptions(b.options))
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case err != nil && response != nil && response.StatusCode != http.StatusSwitchingProtocols:
		return fmt.Errorf("%s answers the WebSocket handshake with status %s", server, response.Status)
	case err != nil && probing.Err() != nil:
		return fmt.Errorf("%s cannot be reached within %v", server, probeTimeout)
	case err != nil:
		return fmt.Errorf("%s cannot be reached: %s", server, describe(err))
	}
	defer conn.CloseNow()
	conn.SetReadLimit(readLimit(b.size))
	m := newMessage(b.clients, b.size) // the number after those of the clients
	m.next()
	err = m.exchange(probing, conn)
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case err != nil && probing.Err() != nil:
		return fmt.Errorf("%s does not echo: no reply within %v", server, probeTimeout)
	case err != nil:
		return fmt.Errorf("%s does not echo: %s", server, describe(err))
	}
	return nil
}

// settle waits for the connections of the phase before to be gone, or for ctx.
func (b *benchmark) settle(ctx context.Context) error {
	b.progress.note("waiting for connections to close")
	if b.server == nil {
		select {
		case <-time.After(settlePause):
		case <-ctx.Done():
		}
		return nil
	}
	timeout := time.NewTimer(settleTimeout)
	defer timeout.Stop()
	again := time.NewTicker(settlePeriod)
	defer again.Stop()
	for {
		counts, err := b.server.counts()
		if err != nil || counts.Open == 0 {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil
		case <-timeout.C:
			b.note("%d connections of the phase before were still open when the next began.", counts.Open)
			return nil
		}
	}
}

// shownURL returns raw without what may be a secret: user, password and query.
func shownURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "the server"
	}
	u.User, u.RawQuery = nil, ""
	return u.String()
}
