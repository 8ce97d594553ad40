package netconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
)

// Half of the requests are cancelled at random, and their callers say that the connection is
// as good as before: the next caller must not get the reply, nor the end of their ctx.
func TestRepliesAreNotMixedUpWhateverIsCancelled(t *testing.T) {
	requests := 100
	if testing.Short() {
		requests = 30
	}
	transports(t, func(t *testing.T, s *server) {
		var serving sync.WaitGroup
		defer serving.Wait()
		over := make(chan struct{})
		defer close(over)
		serving.Go(func() {
			for {
				select {
				case <-over:
					return
				case raw := <-s.accepted:
					serving.Go(func() { echoLate(raw, s.secure) })
				}
			}
		})
		p := s.pool(t, nil, pool.Config{MaxConnections: 3, MaxWaitTime: patience, MinIdle: 1})
		defer p.Close()
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		var callers sync.WaitGroup
		for i := range uint64(6) {
			random := rand.New(rand.NewPCG(seed, i))
			callers.Go(func() {
				for n := range requests {
					request := fmt.Sprintf("%02d-%05d", i, n)
					limit := patience
					if random.IntN(2) == 0 {
						limit = time.Duration(random.IntN(1000)) * time.Microsecond
					}
					cancelled := false
					err := p.Do(t.Context(), func(ctx context.Context, conn net.Conn) error {
						ctx, cancel := context.WithTimeout(ctx, limit)
						defer cancel()
						defer Bind(ctx, conn)()
						reply := make([]byte, len(request))
						_, err := io.WriteString(conn, request)
						if err == nil {
							_, err = io.ReadFull(conn, reply)
						}
						if errors.Is(err, context.DeadlineExceeded) {
							cancelled = true
							return pool.Keep(err)
						}
						if err == nil && string(reply) != request {
							t.Errorf("asked for %s, got %s", request, reply)
						}
						return err
					})
					if err != nil && (!cancelled || limit == patience) {
						t.Errorf("a request that nobody has cancelled: %v", err)
					}
				}
			})
		}
		callers.Wait()
		st := p.Stats()
		if st.ClosedClean == 0 {
			t.Error("no request was cancelled in time, so this shows nothing")
		}
		if st.ClosedDiscard != 0 || st.ClosedCheck != 0 {
			t.Errorf("%d connections were discarded, %d closed by Check; want none", st.ClosedDiscard, st.ClosedCheck)
		}
	})
}

// echoLate sends back each request of eight bytes, a little later.
func echoLate(raw net.Conn, secure bool) {
	defer raw.Close()
	conn := raw
	if secure {
		cert, _ := certificate()
		conn = tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{cert}})
	}
	for b := make([]byte, 8); ; {
		if _, err := io.ReadFull(conn, b); err != nil {
			return
		}
		<-time.After(time.Duration(rand.IntN(500)) * time.Microsecond)
		if _, err := conn.Write(b); err != nil {
			return
		}
	}
}
