package wsconn

import (
	"testing"
	"time"

	"github.com/S4AK4N/pool"
)

// TestLateReplyIsNotReadByAWaiter: a connection that goes straight from a Put to
// a caller who waits was never idle, and must be looked at all the same.
func TestLateReplyIsNotReadByAWaiter(t *testing.T) {
	n := newNetwork(t, modes[0])
	p := newPool(t, n.url, n.options(nil), pool.Config{MaxConnections: 1})
	lease, err := p.Get(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	server := receive(t, n.peers, "peer")
	defer server.Close()

	type result struct {
		lease pool.Lease[*Conn]
		err   error
	}
	waiter := make(chan result, 1)
	go func() {
		lease, err := p.Get(soon(t))
		waiter <- result{lease, err}
	}()
	for p.Stats().WaitingRequests == 0 {
		time.Sleep(time.Millisecond) // nothing tells when somebody has come to wait
	}
	server.send(text("late"))
	(&dialed{Conn: lease.Value(), t: t}).awaitArrival(1)
	if err := p.Put(lease); err != nil {
		t.Fatal(err)
	}
	got := receive(t, waiter, "lease")
	if got.err != nil {
		t.Fatal(got.err)
	}
	defer p.Discard(got.lease, nil)
	if got.lease.Reused() {
		t.Error("the waiter was given the connection on which a reply lies unread")
	}
}
