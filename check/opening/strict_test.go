package opening

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
)

// pgx#2425: capacity is freed before the server has seen the close, and the server's limit
// is exceeded.
func TestWithStrictMaxTheServerNeverSeesMoreThanMaxConnections(t *testing.T) {
	const most = 3
	for way, end := range map[string]func(t *testing.T, p *pool.Pool[*testkit.Wire], x *testkit.Exchange, broken func(int, error), l []pool.Lease[*testkit.Wire]){
		"Discard": func(t *testing.T, p *pool.Pool[*testkit.Wire], _ *testkit.Exchange, _ func(int, error), l []pool.Lease[*testkit.Wire]) {
			for _, l := range l {
				_ = p.Discard(l, testkit.ErrCause)
			}
		},
		"Reset": func(t *testing.T, p *pool.Pool[*testkit.Wire], _ *testkit.Exchange, _ func(int, error), l []pool.Lease[*testkit.Wire]) {
			testkit.GiveBack(t, p, l[0])
			p.Reset()
			testkit.GiveBack(t, p, l[1])
			testkit.GiveBack(t, p, l[2])
		},
		"Resize": func(t *testing.T, p *pool.Pool[*testkit.Wire], _ *testkit.Exchange, _ func(int, error), l []pool.Lease[*testkit.Wire]) {
			testkit.GiveBack(t, p, l[0])
			_ = p.Resize(1)
			testkit.GiveBack(t, p, l[1])
			_ = p.Resize(most)
			testkit.GiveBack(t, p, l[2])
		},
		"Watch": func(t *testing.T, p *pool.Pool[*testkit.Wire], x *testkit.Exchange, broken func(int, error), l []pool.Lease[*testkit.Wire]) {
			testkit.GiveBack(t, p, l[0])
			for i := range l {
				broken(i+1, testkit.ErrCause)
			}
			testkit.GiveBack(t, p, l[1])
			testkit.GiveBack(t, p, l[2])
		},
		"MaxIdleTime": func(t *testing.T, p *pool.Pool[*testkit.Wire], _ *testkit.Exchange, _ func(int, error), l []pool.Lease[*testkit.Wire]) {
			for _, l := range l {
				testkit.GiveBack(t, p, l)
			}
			for p.Stats().IdleConnections > 0 {
				testkit.Sleep(time.Second)
			}
		},
		"Watch objects": func(t *testing.T, p *pool.Pool[*testkit.Wire], x *testkit.Exchange, _ func(int, error), l []pool.Lease[*testkit.Wire]) {
			for _, l := range l {
				_ = p.Discard(l, testkit.ErrCause) // number 4 is refused by Watch itself
			}
		},
	} {
		testkit.Bubble(t, way, func(t *testing.T) {
			var x testkit.Exchange
			var seen, mostSeen int
			var mu sync.Mutex
			x.Open = func(context.Context, int) error {
				mu.Lock()
				defer mu.Unlock()
				seen++
				mostSeen = max(mostSeen, seen)
				return nil
			}
			x.Closing = func(*testkit.Wire, error) error {
				time.Sleep(3 * time.Second)
				mu.Lock()
				defer mu.Unlock()
				seen-- // not before
				return nil
			}
			f, broken := testkit.Watched(&x)
			watch := f.Watch
			f.Watch = func(w *testkit.Wire, b func(error)) {
				watch(w, b)
				if way == "Watch objects" && w.Number == 4 {
					b(testkit.ErrUnfit)
				}
			}
			p := testkit.Start(t, f, pool.Config{MaxConnections: most, MaxWaitTime: -1, MaxIdleTime: 10 * time.Second, StrictMax: true})
			var l []pool.Lease[*testkit.Wire]
			for range most {
				l = append(l, testkit.Borrow(t, p))
			}
			end(t, p, &x, broken, l)
			began := time.Now()
			var asked []*testkit.Request[*testkit.Wire]
			for range most + 1 {
				asked = append(asked, testkit.Ask(t.Context(), p))
			}
			testkit.Sleep(7 * time.Second)
			served := 0
			for _, r := range asked {
				if r.Returned() && r.Err == nil {
					served++
					testkit.GiveBack(t, p, r.Lease)
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
			testkit.AtRest(t, p, 0)
			p.Close()
			testkit.Sleep(3 * time.Second)
			x.AllClosedOnce(t)
		})
	}
}

// pgxpool on a real PostgreSQL: 76 connections were open at once with MaxConnections 4 and a
// Close of 20 ms.
func TestNoMoreAreBeingClosedThanMaxConnections(t *testing.T) {
	const most = 4
	for _, watched := range []bool{false, true} {
		testkit.Bubble(t, fmt.Sprintf("refused by Watch: %v", watched), func(t *testing.T) {
			var mu sync.Mutex
			atPeer, atMost := 0, 0
			x := testkit.Exchange{
				Open: func(context.Context, int) error {
					mu.Lock()
					defer mu.Unlock()
					atPeer++
					atMost = max(atMost, atPeer)
					return nil
				},
				Closing: func(*testkit.Wire, error) error {
					time.Sleep(20 * time.Millisecond)
					mu.Lock()
					defer mu.Unlock()
					atPeer--
					return nil
				},
			}
			f := x.Factory()
			if watched {
				f.Watch = func(w *testkit.Wire, broken func(error)) {
					if w.Number%2 == 0 {
						broken(testkit.ErrUnfit)
					}
				}
			}
			p := testkit.Start(t, f, pool.Config{MaxConnections: most, MaxWaitTime: -1})
			var callers sync.WaitGroup
			for range 64 {
				callers.Go(func() {
					for range 20 {
						l, err := p.Get(t.Context())
						if err != nil {
							if !watched || !errors.Is(err, testkit.ErrUnfit) {
								t.Errorf("Get: %v", err)
							}
							continue
						}
						time.Sleep(time.Millisecond)
						_ = p.Discard(l, nil)
					}
				})
			}
			callers.Wait()
			if atMost > 2*most || atMost < 2*most-1 {
				t.Errorf("the peer has seen %d connections at a time, want %d open and as many being closed", atMost, most)
			}
			p.Close()
			synctest.Wait()
			if atPeer != 0 {
				t.Errorf("%d are left at the peer", atPeer)
			}
			x.AllClosedOnce(t)
		})
	}
}
