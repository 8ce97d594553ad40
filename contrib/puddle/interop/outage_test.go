package interop

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/puddle/v2"
)

// open makes a pool of connections to a server, and counts its attempts to connect.
func open(t *testing.T, conn string, max int32) (p *pgxpool.Pool, dials *atomic.Int64) {
	t.Helper()
	config, err := pgxpool.ParseConfig(conn)
	if err != nil {
		t.Fatal(err)
	}
	dials = new(atomic.Int64)
	config.MaxConns = max
	config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		dials.Add(1)
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	p, err = pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, dials
}

// 64 callers on 4 connections, while the server is away. How many attempts there may be follows from the time that
// it took, on a slow machine too: those until there is a pause, those while the pauses grow, and then one at least every 250 ms.
func TestPgxpoolMakesFewAttemptsWhileTheServerIsAway(t *testing.T) {
	s := server(t)
	p, dials := open(t, s.Conn("test"), 4)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var mu sync.Mutex
	progress := sync.NewCond(&mu)
	served, unavailable := 0, 0
	stop := context.AfterFunc(ctx, progress.Broadcast)
	defer stop()
	var callers sync.WaitGroup
	for range 64 {
		callers.Go(func() {
			for ctx.Err() == nil {
				var one int
				err := p.QueryRow(ctx, "select 1").Scan(&one)
				mu.Lock()
				if err == nil {
					served++
				} else if refused := (*pgconn.ConnectError)(nil); errors.As(err, &refused) && errors.Is(err, pool.ErrUnavailable) {
					unavailable++ // with the cause
				}
				progress.Broadcast()
				mu.Unlock()
				if err != nil {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	await := func(what string, enough func() bool) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		for !enough() && ctx.Err() == nil {
			progress.Wait()
		}
		if !enough() {
			t.Fatalf("%s: %d served, %d told that the server is unavailable", what, served, unavailable)
		}
	}
	await("before", func() bool { return served >= 1000 })
	before, began := dials.Load(), time.Now()
	s.Stop()
	await("during the outage", func() bool { return unavailable >= 1000 })
	took := time.Since(began)
	attempts := dials.Load() - before
	if most := int64(4+4+12) + int64(took/(250*time.Millisecond)); attempts > most {
		t.Errorf("%d attempts in an outage of %v, want at most %d", attempts, took, most)
	}
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	until := served + 1000
	mu.Unlock()
	await("after", func() bool { return served >= until })
	cancel()
	callers.Wait()
	t.Logf("%d attempts in %v of outage; %d callers told", attempts, took.Round(time.Millisecond), unavailable)
}

// A handler that is not told of the pool: all that its program does is the replace line.
func TestALeakOfAUserOfPgxpoolIsLoggedWithItsPlace(t *testing.T) {
	s := server(t)
	t.Setenv("PUDDLE_LEAK_AFTER", "50ms")
	told := make(chan string, 10)
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(tells{told}, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	p, _ := open(t, s.Conn("test"), 2)
	rows := forgotten(t, p)
	defer rows.Close()
	select {
	case line := <-told:
		if !strings.Contains(line, "interop.forgotten") {
			t.Errorf("logged %q, want the function that has forgotten its rows", line)
		}
	case <-time.After(time.Minute):
		t.Error("nothing was logged")
	}
	leases := 0
	for n := range puddle.Pools() {
		leases += len(n.Leases())
	}
	if leases != 1 {
		t.Errorf("%d leases in all pools, want that of the rows", leases)
	}
}

// forgotten returns rows that nobody closes.
func forgotten(t *testing.T, p *pgxpool.Pool) pgx.Rows {
	rows, err := p.Query(context.Background(), "select 1")
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// tells sends the lines of a log that are about a lease.
type tells struct{ lines chan string }

func (w tells) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("a lease is in force")) {
		select {
		case w.lines <- string(line):
		default:
		}
	}
	return len(line), nil
}
