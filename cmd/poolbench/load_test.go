package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// testLoad returns a load of a few clients at url, and its network. The load ends when
// enough has happened in its source. Its time is up long after the test has failed.
func testLoad(t *testing.T, url string, pool bool, limit int64, enough func(happened) bool) (*load, *network) {
	t.Helper()
	o := options{url: url, clients: 8, max: 2, size: 32}
	n := newNetwork(nil, limit)
	t.Cleanup(n.close)
	var s source = newDialing(o, n)
	if pool {
		p, err := newPooled(o, n, patience)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.close)
		s = p
	}
	w := &watched{source: s, enough: enough, early: make(chan struct{})}
	return &load{
		source:   w,
		clients:  o.clients,
		size:     o.size,
		duration: time.Hour,
		early:    w.early,
		grace:    patience,
		cut:      n.close,
	}, n
}

// happened counts what the clients of a load have done.
type happened struct{ begun, right, wrong, failed int }

// A watched source closes early when enough has happened.
type watched struct {
	source
	enough func(happened) bool
	early  chan struct{}

	mu   sync.Mutex
	so   happened
	over bool
}

func (w *watched) get(ctx context.Context) (held, error) {
	w.count(func(so *happened) { so.begun++ })
	h, err := w.source.get(ctx)
	if err != nil {
		w.count(func(so *happened) { so.failed++ })
	}
	return h, err
}

func (w *watched) put(h held, err error) {
	w.source.put(h, err)
	w.count(func(so *happened) {
		switch {
		case err == nil:
			so.right++
		case errors.Is(err, errWrongReply):
			so.wrong++
		default:
			so.failed++
		}
	})
}

func (w *watched) count(what func(*happened)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	what(&w.so)
	if !w.over && w.enough(w.so) {
		w.over = true
		close(w.early)
	}
}

func never(happened) bool            { return false }
func answered(so happened) bool      { return so.right > 0 }
func oftenAnswered(so happened) bool { return so.right >= 40 }

// allBegan holds when each client of a load whose requests are not answered has begun
// its first.
func allBegan(so happened) bool { return so.begun == 8 }

func both(t *testing.T, test func(t *testing.T, pool bool)) {
	t.Parallel()
	t.Run("dialing", func(t *testing.T) { test(t, false) })
	t.Run("pooled", func(t *testing.T) { test(t, true) })
}

func TestLoadCountsReplies(t *testing.T) {
	both(t, func(t *testing.T, pool bool) {
		s, url := startServer(t, 0)
		l, n := testLoad(t, url, pool, 0, oftenAnswered)
		out := l.run(testContext(t))
		if out.errors != 0 || out.wrong != 0 || len(out.first) != 0 {
			t.Errorf("%d errors, %d wrong replies: %v", out.errors, out.wrong, out.first)
		}
		late := out.latency.count - out.answered
		if out.answered < 40 || late > uint64(l.clients) {
			t.Errorf("%d replies in time and %d in all, by %d clients", out.answered, out.latency.count, l.clients)
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

func TestLoadEndsWhenItsTimeIsUp(t *testing.T) {
	both(t, func(t *testing.T, pool bool) {
		_, url := startServer(t, 0)
		l, _ := testLoad(t, url, pool, 0, never)
		l.duration = 20 * time.Millisecond
		ctx := testContext(t)
		out := l.run(ctx)
		if out.elapsed < l.duration || ctx.Err() != nil || out.errors+out.wrong != 0 {
			t.Errorf("ended after %v, context %v, %d errors, %d wrong replies: %q", out.elapsed, ctx.Err(), out.errors, out.wrong, out.first)
		}
	})
}

func TestMessagesMayBeLongerThanTheDefaultReadLimit(t *testing.T) {
	both(t, func(t *testing.T, pool bool) {
		_, url := startServer(t, 0)
		l, n := testLoad(t, url, pool, 0, answered)
		o := options{url: url, max: 2, size: 100_000}
		l.size = o.size
		var s source = newDialing(o, n)
		if pool {
			p, err := newPooled(o, n, patience)
			if err != nil {
				t.Fatal(err)
			}
			defer p.close()
			s = p
		}
		l.source.(*watched).source = s
		if out := l.run(testContext(t)); out.latency.count == 0 || out.errors+out.wrong != 0 {
			t.Errorf("%d replies, %d errors, %d wrong replies: %q", out.latency.count, out.errors, out.wrong, out.first)
		}
	})
}

// The server answers when the load has ended.
func TestLateRepliesCountForTheLatencyOnly(t *testing.T) {
	both(t, func(t *testing.T, pool bool) {
		ended := make(chan struct{})
		url := startReplier(t, func(b []byte) []byte { <-ended; return b })
		l, _ := testLoad(t, url, pool, 0, allBegan)
		l.ended = sync.OnceFunc(func() { close(ended) })
		t.Cleanup(l.ended)
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
		l, _ := testLoad(t, url, pool, 0, func(so happened) bool { return so.right > 0 && so.wrong > 0 && so.failed > 0 })
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

// nobody is an address that refuses connections. A free port might be somebody else's a
// moment later.
const nobody = "ws://127.0.0.1:1"

func TestLoadPausesAfterErrors(t *testing.T) {
	both(t, func(t *testing.T, pool bool) {
		load, _ := testLoad(t, nobody, pool, 0, func(so happened) bool { return so.failed == 40 })
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
		l, n := testLoad(t, url, pool, map[bool]int64{false: 1}[pool], answered)
		if !pool {
			l.early = n.spent
		}
		ctx := testContext(t)
		out := l.run(ctx)
		if out.errors != 0 || out.answered+uint64(l.clients) < out.latency.count || out.latency.count == 0 {
			t.Errorf("%d answered, %d in all, %d errors: %v", out.answered, out.latency.count, out.errors, out.first)
		}
		if ctx.Err() != nil {
			t.Errorf("it was the context that ended it, after %v", out.elapsed)
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
		l, _ := testLoad(t, startSilent(t), pool, 0, allBegan)
		l.grace = 10 * time.Millisecond
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
		ctx, cancel := context.WithCancel(testContext(t))
		l, _ := testLoad(t, startSilent(t), pool, 0, func(so happened) bool {
			if allBegan(so) {
				cancel()
			}
			return false
		})
		l.grace = time.Hour // an interrupt waits less
		out := l.run(ctx)
		if out.errors != 0 || out.wrong != 0 || out.latency.count != 0 || len(out.first) != 0 {
			t.Errorf("%d errors, %d wrong, %d replies: %q", out.errors, out.wrong, out.latency.count, out.first)
		}
	})
}

func TestLoadShowsHowFarItIs(t *testing.T) {
	t.Parallel()
	_, url := startServer(t, 0)
	l, _ := testLoad(t, url, true, 0, never)
	early := make(chan struct{})
	l.early = early
	var shown []soFar
	l.showPeriod = time.Millisecond
	l.show = func(s soFar) {
		if len(shown) >= 2 && shown[len(shown)-1].answered > 0 {
			return // it has been told to end
		}
		if shown = append(shown, s); len(shown) >= 2 && s.answered > 0 {
			close(early)
		}
	}
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
