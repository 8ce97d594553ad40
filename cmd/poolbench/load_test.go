package main

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// testLoad returns a load of a few clients at url, and its network.
func testLoad(t *testing.T, url string, pool bool, limit int64) (*load, *network) {
	t.Helper()
	o := options{url: url, clients: 8, max: 2, size: 32}
	n := newNetwork(nil, limit)
	t.Cleanup(n.close)
	l := &load{
		source:   newDialing(o, n),
		clients:  o.clients,
		size:     o.size,
		duration: 200 * time.Millisecond,
		grace:    10 * time.Second,
		cut:      n.close,
	}
	if pool {
		p, err := newPooled(o, n, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.close)
		l.source = p
	}
	return l, n
}

func both(t *testing.T, test func(t *testing.T, pool bool)) {
	t.Parallel()
	t.Run("dialing", func(t *testing.T) { test(t, false) })
	t.Run("pooled", func(t *testing.T) { test(t, true) })
}

func TestLoadCountsReplies(t *testing.T) {
	both(t, func(t *testing.T, pool bool) {
		s, url := startServer(t, 0)
		l, n := testLoad(t, url, pool, 0)
		out := l.run(testContext(t))
		if out.errors != 0 || out.wrong != 0 || len(out.first) != 0 {
			t.Errorf("%d errors, %d wrong replies: %v", out.errors, out.wrong, out.first)
		}
		late := out.latency.count - out.answered
		if out.answered == 0 || late > uint64(l.clients) {
			t.Errorf("%d replies in time and %d in all, by %d clients", out.answered, out.latency.count, l.clients)
		}
		if out.elapsed < l.duration || out.elapsed > l.duration+5*time.Second {
			t.Errorf("lasted %v", out.elapsed)
		}
		if pool {
			if got := l.source.stats().Gets; got != out.latency.count {
				t.Errorf("%d gets for %d replies", got, out.latency.count)
			}
			if peak := s.counts().Peak; peak > 2 || n.dials.Load() > 2 {
				t.Errorf("a pool of 2 has dialed %d and had %d at once", n.dials.Load(), peak)
			}
		} else if got := n.dials.Load(); got != int64(out.latency.count) {
			t.Errorf("%d dials for %d replies", got, out.latency.count)
		}
		if !pool && n.opened() != 0 {
			t.Errorf("%d connections left open", n.opened())
		}
	})
}

func TestMessagesMayBeLongerThanTheDefaultReadLimit(t *testing.T) {
	both(t, func(t *testing.T, pool bool) {
		_, url := startServer(t, 0)
		n := newNetwork(nil, 0)
		defer n.close()
		o := options{url: url, max: 2, size: 100_000}
		l := load{source: newDialing(o, n), clients: 2, size: o.size, duration: 50 * time.Millisecond, grace: 10 * time.Second, cut: n.close}
		if pool {
			p, err := newPooled(o, n, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			defer p.close()
			l.source = p
		}
		if out := l.run(testContext(t)); out.latency.count == 0 || out.errors+out.wrong != 0 {
			t.Errorf("%d replies, %d errors, %d wrong replies: %q", out.latency.count, out.errors, out.wrong, out.first)
		}
	})
}

func TestLateRepliesCountForTheLatencyOnly(t *testing.T) {
	both(t, func(t *testing.T, pool bool) {
		_, url := startServer(t, 300*time.Millisecond)
		l, _ := testLoad(t, url, pool, 0)
		out := l.run(testContext(t))
		if out.answered != 0 || out.latency.count != uint64(l.clients) || out.errors != 0 {
			t.Errorf("%d replies in time and %d in all, %d errors; want 0, %d, 0", out.answered, out.latency.count, out.errors, l.clients)
		}
	})
}

func TestLoadCountsWrongRepliesApart(t *testing.T) {
	both(t, func(t *testing.T, pool bool) {
		var turn atomic.Uint64
		url := startReplier(t, func(b []byte) []byte {
			switch turn.Add(1) % 4 {
			case 0:
				b[20] ^= 1
			case 1:
				return nil // and drops the connection
			}
			return b
		})
		l, _ := testLoad(t, url, pool, 0)
		out := l.run(testContext(t))
		if out.answered == 0 || out.wrong == 0 || out.errors == 0 {
			t.Errorf("%d answered, %d wrong, %d errors", out.answered, out.wrong, out.errors)
		}
		// Each message was counted once; a dropped one in the pool may fail a
		// second request, which finds the connection closed.
		if got, sent := out.latency.count+out.wrong+out.errors, turn.Load(); got < sent {
			t.Errorf("%d outcomes of %d messages", got, sent)
		}
		if out.wrong > turn.Load()/4 {
			t.Errorf("%d wrong replies, the server has sent %d", out.wrong, turn.Load()/4)
		}
		if pool {
			// A connection that was read out of step is not lent again.
			if s := l.source.stats(); s.ClosedDiscard != out.wrong+out.errors {
				t.Errorf("%d connections discarded after %d wrong replies and %d errors", s.ClosedDiscard, out.wrong, out.errors)
			}
		}
		if len(out.first) == 0 || !strings.Contains(strings.Join(out.first, "\n"), "wrong reply: sent") {
			t.Errorf("errors shown: %q", out.first)
		}
	})
}

func TestLoadPausesAfterErrors(t *testing.T) {
	both(t, func(t *testing.T, pool bool) {
		l, err := listenLoopback()
		if err != nil {
			t.Fatal(err)
		}
		l.Close() // refuses connections from now on
		load, _ := testLoad(t, "ws://"+l.Addr().String(), pool, 0)
		out := load.run(testContext(t))
		most := uint64(load.clients) * uint64(out.elapsed/errorPause+1)
		if out.errors == 0 || out.errors > most || out.latency.count != 0 {
			t.Errorf("%d errors and %d replies; want errors only, at most %d", out.errors, out.latency.count, most)
		}
		if len(out.first) != 1 || !strings.HasPrefix(out.first[0], "dial tcp ") {
			t.Errorf("errors shown: %q", out.first)
		}
	})
}

func TestLoadEndsEarly(t *testing.T) {
	both(t, func(t *testing.T, pool bool) {
		_, url := startServer(t, 0)
		l, n := testLoad(t, url, pool, 1)
		l.duration = time.Minute
		l.early = n.spent
		if pool {
			early := make(chan struct{})
			time.AfterFunc(100*time.Millisecond, func() { close(early) })
			l, _ = testLoad(t, url, pool, 0)
			l.duration, l.early = time.Minute, early
		}
		out := l.run(testContext(t))
		if out.errors != 0 || out.answered+uint64(l.clients) < out.latency.count || out.latency.count == 0 {
			t.Errorf("%d answered, %d in all, %d errors: %v", out.answered, out.latency.count, out.errors, out.first)
		}
		if out.elapsed > 10*time.Second {
			t.Errorf("lasted %v", out.elapsed)
		}
	})
}

// startSilent starts a server that never replies.
func startSilent(t *testing.T) string {
	end := make(chan struct{})
	url := startReplier(t, func([]byte) []byte { <-end; return nil })
	t.Cleanup(func() { close(end) })
	return url
}

func TestARequestWithoutReplyIsAnErrorAfterTheGrace(t *testing.T) {
	both(t, func(t *testing.T, pool bool) {
		l, _ := testLoad(t, startSilent(t), pool, 0)
		l.grace = 100 * time.Millisecond
		out := l.run(testContext(t))
		if out.errors != uint64(l.clients) || out.latency.count != 0 {
			t.Errorf("%d errors, %d replies by %d clients", out.errors, out.latency.count, l.clients)
		}
		if len(out.first) != 1 || !strings.Contains(out.first[0], "no reply within") {
			t.Errorf("errors shown: %q", out.first)
		}
	})
}

func TestAnInterruptedRequestCountsAsNothing(t *testing.T) {
	both(t, func(t *testing.T, pool bool) {
		l, _ := testLoad(t, startSilent(t), pool, 0)
		l.duration = time.Minute
		ctx, cancel := context.WithCancel(testContext(t))
		time.AfterFunc(50*time.Millisecond, cancel)
		start := time.Now()
		out := l.run(ctx)
		if out.errors != 0 || out.wrong != 0 || out.latency.count != 0 || len(out.first) != 0 {
			t.Errorf("%d errors, %d wrong, %d replies: %q", out.errors, out.wrong, out.latency.count, out.first)
		}
		if got := time.Since(start); got > hasty+10*time.Second {
			t.Errorf("ended after %v", got)
		}
	})
}

func TestLoadShowsHowFarItIs(t *testing.T) {
	t.Parallel()
	_, url := startServer(t, 0)
	l, _ := testLoad(t, url, true, 0)
	var shown []soFar
	l.showPeriod = 20 * time.Millisecond
	l.show = func(s soFar) { shown = append(shown, s) }
	out := l.run(testContext(t))
	if len(shown) < 2 {
		t.Fatalf("shown %d times", len(shown))
	}
	for i, s := range shown {
		if i > 0 && (s.elapsed <= shown[i-1].elapsed || s.answered < shown[i-1].answered) {
			t.Errorf("shown %+v after %+v", s, shown[i-1])
		}
	}
	if last := shown[len(shown)-1]; last.answered == 0 || last.answered > out.latency.count {
		t.Errorf("last shown %+v, of %d in all", last, out.latency.count)
	}
}

func TestFailuresKeepTheFirstFewDifferentTexts(t *testing.T) {
	var f failures
	for _, text := range []string{
		"read tcp 127.0.0.1:1111->127.0.0.1:80: reset",
		"read tcp 127.0.0.1:2222->127.0.0.1:80: reset",
		"read tcp [::1]:2222->[::1]:80: reset",
		"two\nlines",
		strings.Repeat("long ", 100),
	} {
		f.note(errors.New(text))
	}
	want := []string{"read tcp 127.0.0.1:80: reset", "read tcp [::1]:80: reset", "two lines"}
	if strings.Join(f.texts, "|") != strings.Join(want, "|") {
		t.Errorf("got %q, want %q", f.texts, want)
	}
	if got := describe(errors.New(strings.Repeat("long ", 100))); len(got) > failureLength+3 {
		t.Errorf("text of %d bytes", len(got))
	}
}
