//go:build linux

package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/redis/go-redis/v9"
)

// A mute is a server that grants all that is wanted, until it is silent. It has no notices. Its client ends no call until it is
// closed, whatever the deadline.
type mute struct {
	redis.UniversalClient
	silent atomic.Bool
	closed chan struct{}
	rev    atomic.Int64
}

func newMute() *mute {
	none := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no notices") }
	return &mute{closed: make(chan struct{}), UniversalClient: redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", Dialer: none, MaxRetries: -1, DialerRetries: 1})}
}

func (m *mute) EvalSha(_ context.Context, _ string, _ []string, args ...any) *redis.Cmd {
	if m.silent.Load() {
		<-m.closed
		return redis.NewCmdResult(nil, redis.ErrClosed)
	}
	mine := int64(args[2].(int) + args[3].(int)) // held, want
	return redis.NewCmdResult([]any{int64(statusDone), mine, int64(0), mine, int64(100), int64(0), int64(0), int64(0), m.rev.Add(1), "", ""}, nil)
}

// The server falls silent at any time after it has answered, with an operation under way from that time on.
func TestAProcessHasGivenUpItsRightsAfterTwoThirdsOfALease(t *testing.T) {
	const steps = 40
	for i := range 2 * steps {
		lease := 9 * time.Second
		if i >= steps {
			lease = 120 * time.Millisecond // the pause after a failed call counts, too
		}
		silentAfter := lease / 3 * time.Duration(i%steps) / steps
		t.Run(fmt.Sprint("lease=", lease, "/silent=", silentAfter), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMute()
				defer m.Close()
				b, err := NewBudget(m, "account", 100, &Options{Lease: lease, Strict: true})
				if err != nil {
					t.Fatal(err)
				}
				var open atomic.Int32
				p, err := pool.New(pool.Factory[*int]{
					Open:  func(context.Context) (*int, error) { open.Add(1); return new(int), nil },
					Close: func(*int, error) error { open.Add(-1); return nil },
				}, pool.Config{Budget: b})
				if err != nil {
					t.Fatal(err)
				}
				for range 3 {
					if _, err := p.Get(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				s := b.store
				says := func() {
					s.mu.Lock()
					s.need = true
					s.mu.Unlock()
					s.kick()
					synctest.Wait()
				}
				says()
				time.Sleep(silentAfter)
				m.silent.Store(true)
				says()
				s.mu.Lock()
				since := s.clock().since(s.sent)
				s.mu.Unlock()
				time.Sleep(lease*3/5 - since - time.Millisecond)
				synctest.Wait()
				if got := open.Load(); got != 3 {
					t.Errorf("%d are open before three fifths of a lease, want 3", got)
				}
				time.Sleep(lease*2/3 - lease*3/5 + time.Millisecond)
				synctest.Wait()
				if got := open.Load(); got != 0 {
					t.Errorf("%d are open after two thirds of a lease, want none", got)
				}
				p.Close()
				close(m.closed)
				b.Close()
			})
		})
	}
}
