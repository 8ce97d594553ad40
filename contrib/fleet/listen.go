package fleet

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// A listener hears notices: that something has been offered to this process, that others would have something from
// it, that somebody looks for what is idle, that something is free. All are hints. A subscription does not notice that its server is silent, so it is
// made anew whenever a call has failed.
type listener struct {
	s     *store
	ended chan struct{}

	mu      sync.Mutex // guards what follows
	sub     *redis.PubSub
	quits   bool
	resting chan struct{} // closed by end
}

func newListener(s *store) *listener {
	return &listener{s: s, ended: make(chan struct{}), resting: make(chan struct{})}
}

func (l *listener) run() {
	defer close(l.ended)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-l.resting:
			return
		}
		l.mu.Lock()
		if l.quits {
			l.mu.Unlock()
			return
		}
		to := channel(l.s.name)
		sub := l.s.client.Subscribe(context.Background())
		l.sub = sub
		l.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), l.s.timeout())
		err := sub.Subscribe(ctx, to+l.s.ident(), to+"all")
		cancel()
		for err == nil {
			var m any
			if m, err = sub.Receive(context.Background()); err == nil {
				l.hear(m, to+"all")
			}
		}
		_ = sub.Close()
		pause.Reset(50 * time.Millisecond)
	}
}

func (l *listener) hear(m any, all string) {
	s := l.s
	switch m := m.(type) {
	case *redis.Subscription:
		s.mu.Lock()
		s.need = s.need || s.queued && !s.flying // something may have been missed
		s.mu.Unlock()
	case *redis.Message:
		var a, b int
		var rev int64
		if m.Channel == all {
			if n, _ := fmt.Sscan(m.Payload, &a, &b); n < 2 {
				return
			}
			idle := 0
			if a == 1 {
				idle, _ = s.rights.Idle()
			}
			s.mu.Lock()
			if a == 1 && s.waiting == 0 {
				s.others = true
			}
			if a == 2 && s.hoping == 0 { // a Warm elsewhere would have what is in store
				s.spareAt = s.clock().less(s.renewal())
			}
			s.answer = s.answer || idle > 0
			s.need = s.need || idle > 0 || s.keeps() < s.spare || b != 0 && s.hoping > 0
			s.mu.Unlock()
		} else {
			if n, _ := fmt.Sscan(m.Payload, &a, &b, &rev); n < 3 {
				return
			}
			s.mu.Lock()
			s.need = s.need || a > 0
			s.heed(b, rev)
			s.mu.Unlock()
		}
	}
	s.kick()
}

// renew makes the subscription anew.
func (l *listener) renew() {
	l.mu.Lock()
	sub := l.sub
	l.mu.Unlock()
	if sub != nil {
		go sub.Close() // it may wait for a dial
	}
}

func (l *listener) end() {
	l.mu.Lock()
	started, sub := !l.quits, l.sub
	l.quits = true
	l.mu.Unlock()
	if !started {
		return
	}
	close(l.resting)
	if sub != nil {
		_ = sub.Close()
	}
	<-l.ended
}
