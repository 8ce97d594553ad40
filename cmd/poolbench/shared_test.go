package main

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

// sharedLoad returns a load whose clients share one connection to url.
func sharedLoad(t *testing.T, url string, enough func(happened) bool) (*load, *shared, *network) {
	t.Helper()
	l, n := testLoad(t, url, false, 0, enough)
	s := newShared(options{url: url, size: l.size}, n)
	t.Cleanup(s.close)
	l.source.(*watched).source = s
	return l, s, n
}

func TestAllClientsShareOneConnection(t *testing.T) {
	t.Parallel()
	server, url := startServer(t, 0)
	l, _, n := sharedLoad(t, url, oftenAnswered)
	out := l.run(testContext(t))
	if out.errors+out.wrong != 0 || out.answered < 40 {
		t.Errorf("%d answered, %d errors, %d wrong: %q", out.answered, out.errors, out.wrong, out.first)
	}
	if n.dials.Load() != 1 || server.counts().Peak != 1 {
		t.Errorf("%d dials, %d connections at once", n.dials.Load(), server.counts().Peak)
	}
}

// The server answers nothing before the end, so one client has the connection and the
// others wait for it; or all wait, if the end comes first.
func TestThoseWhoWaitForTheirTurnWhenTheLoadEndsAreUnserved(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	url := startReplier(t, func(b []byte) []byte { <-release; return b })
	l, _, _ := sharedLoad(t, url, allBegan)
	l.ended = func() { close(release) }
	out := l.run(testContext(t))
	if out.unserved < uint64(l.clients-1) || out.unserved+out.latency.count != uint64(l.clients) || out.errors != 0 {
		t.Errorf("%d unserved, %d errors, %d replies by %d clients", out.unserved, out.errors, out.latency.count, l.clients)
	}
}

func TestTheSharedConnectionIsDialedAgainAfterAnError(t *testing.T) {
	t.Parallel()
	var turn atomic.Int64
	url := startReplier(t, func(b []byte) []byte {
		if turn.Add(1)%3 == 0 {
			return nil // and drops the connection
		}
		return b
	})
	l, _, n := sharedLoad(t, url, func(so happened) bool { return so.right >= 5 && so.failed >= 2 })
	out := l.run(testContext(t))
	if out.answered < 5 || out.errors < 2 || out.wrong != 0 {
		t.Errorf("%d answered, %d errors, %d wrong", out.answered, out.errors, out.wrong)
	}
	if got := n.dials.Load(); got < 2 || got > int64(out.errors)+1 {
		t.Errorf("%d dials after %d errors", got, out.errors)
	}
}

func TestOneWhoWaitsForItsTurnLeavesWithItsContext(t *testing.T) {
	_, url := startServer(t, 0)
	n := newNetwork(nil, 0)
	defer n.close()
	s := newShared(options{url: url, size: 32}, n)
	h, err := s.get(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.get(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got := s.usage(); got.inUse != 1 || got.waiting != 0 || got.open != 1 {
		t.Errorf("got %+v", got)
	}
	s.put(h, nil)
	s.ended()
	s.close()
	eventually(t, "the connection is closed", func() bool { return n.opened() == 0 })
}

// The pool dials in its own time. What a request waits for that is wait.
func TestTheDialsOfAPoolAreCountedApart(t *testing.T) {
	t.Parallel()
	const rtt = 40 * time.Millisecond
	_, url := startServer(t, rtt)
	l, n := testLoad(t, url, true, 0, answered)
	out := l.run(testContext(t))
	dialed := n.handshakes.all()
	if dialed.count == 0 || dialed.percentile(1) < 2*rtt {
		t.Errorf("%d dials, the quickest in %v", dialed.count, dialed.percentile(1))
	}
	if out.waits.percentile(1) < 2*rtt || out.trips.percentile(1) < rtt {
		t.Errorf("waits from %v on, round trips from %v on", out.waits.percentile(1), out.trips.percentile(1))
	}
	n.forget()
	if again := n.handshakes.all(); again.count != 0 {
		t.Errorf("%d dials after it has forgotten them", again.count)
	}
}
