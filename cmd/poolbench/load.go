package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// A load drives clients at a source for a time.
type load struct {
	source   source
	clients  int
	size     int
	duration time.Duration

	// early ends the load before its time when it is closed. Nil never is.
	early <-chan struct{}
	// ended, if not nil, is called when no more requests are begun.
	ended func()
	// grace is how long, after the end, a reply may take that is under way.
	grace time.Duration
	// cut closes the connections under the clients that do not end even when
	// their context does.
	cut func()
	// show, if not nil, is told every showPeriod how far the load is.
	show       func(soFar)
	showPeriod time.Duration
}

// soFar is what is shown while a load runs.
type soFar struct {
	elapsed          time.Duration
	answered, failed uint64
}

// An outcome is what a load has measured.
type outcome struct {
	elapsed  time.Duration // from the first request until no more were begun
	answered uint64        // right replies within elapsed
	latency  histogram     // of all right replies
	errors   uint64
	wrong    uint64   // wrong replies
	first    []string // the first few different errors
}

const (
	// graceful is the grace of a load that has run its time. A request that
	// gets no reply within it is an error.
	graceful = 5 * time.Second
	// hasty is the grace of a load that is interrupted. Its requests without a
	// reply count as nothing.
	hasty = time.Second
	// errorPause is how long a client waits after a failure, so that a server
	// that refuses connections is not asked thousands of times a second.
	errorPause = 10 * time.Millisecond
	// cutAfter is how long a client may take to notice that its context ended.
	cutAfter = time.Second
)

// A client sends one request after the other.
type client struct {
	message *message
	latency histogram
	wrong   uint64

	late uint64 // of those answered, after the end

	// Read while the client runs, to show how far it is.
	answered, failed atomic.Uint64
}

// run drives the clients until the time is up, l.early is closed or ctx ends,
// and waits for the replies that are under way then.
func (l *load) run(ctx context.Context) outcome {
	// The requests do not end with ctx, but after the grace.
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var failures failures
	var stopped atomic.Bool
	stop := make(chan struct{})
	var running sync.WaitGroup
	clients := make([]*client, l.clients)
	for i := range clients {
		clients[i] = &client{message: newMessage(i, l.size)}
	}

	start := time.Now()
	for _, c := range clients {
		running.Go(func() {
			for !stopped.Load() {
				err := c.request(requests, l.source, &stopped)
				if err == nil {
					continue
				}
				if c.blame(ctx, requests, err) {
					failures.note(explain(requests, err))
				}
				select {
				case <-time.After(errorPause):
				case <-stop:
				}
			}
		})
	}
	l.wait(ctx, start, clients)
	stopped.Store(true)
	elapsed := time.Since(start)
	close(stop)
	if l.ended != nil {
		l.ended()
	}

	done := make(chan struct{})
	go func() {
		defer close(done)
		running.Wait()
	}()
	l.finish(ctx, done, cancel)

	out := outcome{elapsed: elapsed, first: failures.texts}
	for _, c := range clients {
		out.answered += c.answered.Load() - c.late
		out.errors += c.failed.Load() - c.wrong
		out.wrong += c.wrong
		out.latency.add(&c.latency)
	}
	return out
}

// wait returns at the end of the load, and shows how far it is until then.
func (l *load) wait(ctx context.Context, start time.Time, clients []*client) {
	end := time.NewTimer(l.duration)
	defer end.Stop()
	var tick <-chan time.Time
	if l.show != nil {
		ticker := time.NewTicker(l.showPeriod)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case <-tick:
			s := soFar{elapsed: time.Since(start)}
			for _, c := range clients {
				s.answered += c.answered.Load()
				s.failed += c.failed.Load()
			}
			l.show(s)
		case <-end.C:
			return
		case <-l.early:
			return
		case <-ctx.Done():
			return
		}
	}
}

// finish waits for the clients to be done: in peace for the grace, then with
// their requests canceled, then with their connections cut.
func (l *load) finish(ctx context.Context, done <-chan struct{}, cancel func()) {
	grace := time.NewTimer(l.grace)
	defer grace.Stop()
	select {
	case <-done:
		return
	case <-grace.C:
	case <-ctx.Done():
		select {
		case <-done:
			return
		case <-grace.C:
		case <-time.After(hasty):
		}
	}
	cancel()
	select {
	case <-done:
	case <-time.After(cutAfter):
		l.cut()
		<-done
	}
}

// request sends the next message and waits for its reply.
func (c *client) request(ctx context.Context, s source, stopped *atomic.Bool) error {
	c.message.next()
	start := time.Now()
	h, err := s.get(ctx)
	if err != nil {
		return err
	}
	err = c.message.exchange(ctx, h.Conn)
	if err == nil {
		c.latency.record(time.Since(start))
		c.answered.Add(1)
		if stopped.Load() {
			c.late++
		}
	}
	s.put(h, err)
	return err
}

// blame counts err, unless it is none of the server's doing, and reports whether
// it did.
func (c *client) blame(ctx, requests context.Context, err error) bool {
	if errors.Is(err, errDialLimit) || requests.Err() != nil && ctx.Err() != nil {
		return false
	}
	if errors.Is(err, errWrongReply) {
		c.wrong++
	}
	c.failed.Add(1)
	return true
}

// explain returns err, or what it means if it is we who ended the request.
func explain(requests context.Context, err error) error {
	if requests.Err() != nil {
		return fmt.Errorf("no reply within %v of the end of the phase", graceful)
	}
	return err
}
