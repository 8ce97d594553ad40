package pool

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pgx#2425: capacity is freed before the server has seen the close, and the server's limit
// is exceeded.
func TestWithStrictMaxTheServerNeverSeesMoreThanMaxConnections(t *testing.T) {
	const most = 3
	for way, end := range map[string]func(t *testing.T, p *Pool[*wire], x *exchange, broken func(int, error), l []Lease[*wire]){
		"Discard": func(t *testing.T, p *Pool[*wire], _ *exchange, _ func(int, error), l []Lease[*wire]) {
			for _, l := range l {
				_ = p.Discard(l, errCause)
			}
		},
		"Reset": func(t *testing.T, p *Pool[*wire], _ *exchange, _ func(int, error), l []Lease[*wire]) {
			giveBack(t, p, l[0])
			p.Reset()
			giveBack(t, p, l[1])
			giveBack(t, p, l[2])
		},
		"Resize": func(t *testing.T, p *Pool[*wire], _ *exchange, _ func(int, error), l []Lease[*wire]) {
			giveBack(t, p, l[0])
			_ = p.Resize(1)
			giveBack(t, p, l[1])
			_ = p.Resize(most)
			giveBack(t, p, l[2])
		},
		"Watch": func(t *testing.T, p *Pool[*wire], x *exchange, broken func(int, error), l []Lease[*wire]) {
			giveBack(t, p, l[0])
			for i := range l {
				broken(i+1, errCause)
			}
			giveBack(t, p, l[1])
			giveBack(t, p, l[2])
		},
		"MaxIdleTime": func(t *testing.T, p *Pool[*wire], _ *exchange, _ func(int, error), l []Lease[*wire]) {
			for _, l := range l {
				giveBack(t, p, l)
			}
			for p.Stats().IdleConnections > 0 {
				time.Sleep(time.Second)
			}
		},
		"Watch objects": func(t *testing.T, p *Pool[*wire], x *exchange, _ func(int, error), l []Lease[*wire]) {
			for _, l := range l {
				_ = p.Discard(l, errCause) // number 4 is refused by Watch itself
			}
		},
	} {
		bubble(t, way, func(t *testing.T) {
			var x exchange
			var seen, mostSeen int
			var mu sync.Mutex
			x.open = func(context.Context, int) error {
				mu.Lock()
				defer mu.Unlock()
				seen++
				mostSeen = max(mostSeen, seen)
				return nil
			}
			x.closing = func(*wire, error) error {
				time.Sleep(3 * time.Second)
				mu.Lock()
				defer mu.Unlock()
				seen-- // not before
				return nil
			}
			f, broken := watched(&x)
			watch := f.Watch
			f.Watch = func(w *wire, b func(error)) {
				watch(w, b)
				if way == "Watch objects" && w.number == 4 {
					b(errUnfit)
				}
			}
			p := start(t, f, Config{MaxConnections: most, MaxWaitTime: -1, MaxIdleTime: 10 * time.Second, StrictMax: true})
			var l []Lease[*wire]
			for range most {
				l = append(l, borrow(t, p))
			}
			end(t, p, &x, broken, l)
			began := time.Now()
			var asked []*request[*wire]
			for range most + 1 {
				asked = append(asked, ask(t.Context(), p))
			}
			time.Sleep(7 * time.Second)
			served := 0
			for _, r := range asked {
				if r.returned() && r.err == nil {
					served++
					giveBack(t, p, r.lease)
				}
			}
			synctest.Wait()
			mu.Lock()
			seenAtOnce := mostSeen
			mu.Unlock()
			if seenAtOnce > most || served < most {
				t.Errorf("the server has seen %d, and %d were served since %v; want %d", seenAtOnce, served, began, most)
			}
			if s := p.Stats(); s.Opened <= most {
				t.Errorf("%d were opened: the test has lost its point", s.Opened)
			}
			atRest(t, p, 0)
			p.Close()
			time.Sleep(3 * time.Second)
			x.allClosedOnce(t)
		})
	}
}
