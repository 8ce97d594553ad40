package pool_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/S4AK4N/pool"
)

// dialEcho returns a connection to a server that answers each line with the same
// line in capitals, and hangs up when it is asked to quit.
func dialEcho(context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		for lines := bufio.NewScanner(server); lines.Scan() && lines.Text() != "quit"; {
			fmt.Fprintln(server, strings.ToUpper(lines.Text()))
		}
	}()
	return client, nil
}

// request sends a line and returns the answer.
func request(conn net.Conn, line string) (string, error) {
	if _, err := fmt.Fprintln(conn, line); err != nil {
		return "", err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(answer), err
}

func Example() {
	ctx := context.Background()
	p, err := pool.New(pool.Factory[net.Conn]{Open: dialEcho}, pool.Config{MaxConnections: 4})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()

	for _, line := range []string{"one", "two"} {
		lease, err := p.Get(ctx)
		if err != nil {
			log.Fatal(err)
		}
		answer, err := request(lease.Value(), line)
		if err != nil {
			p.Discard(lease, err) // it is of no use to anybody
			log.Fatal(err)
		}
		fmt.Println(answer, "reused:", lease.Reused())
		p.Put(lease)
	}
	// Output:
	// ONE reused: false
	// TWO reused: true
}

func ExamplePool_Do() {
	ctx := context.Background()
	p, err := pool.New(pool.Factory[net.Conn]{Open: dialEcho}, pool.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()

	for _, line := range []string{"hello", "quit"} {
		err = p.Do(ctx, func(_ context.Context, conn net.Conn) error {
			answer, err := request(conn, line)
			if err != nil {
				return err // the pool closes the connection
			}
			fmt.Println(answer)
			return nil
		})
		fmt.Println("error:", err)
	}
	fmt.Println("discarded:", p.Stats().ClosedDiscard)
	// Output:
	// HELLO
	// error: <nil>
	// error: EOF
	// discarded: 1
}

// A session is a connection that a server can end at any time, and that a caller can
// leave in the middle of a transaction.
type session struct {
	user  string
	inTx  bool
	ended context.Context
	end   func()
}

func (s *session) Close() error { s.end(); return nil }

func ExampleFactory() {
	users := []string{"ann", "ben", "cem"}
	p, err := pool.New(pool.Factory[*session]{
		Open: func(context.Context) (*session, error) {
			if len(users) == 0 {
				return nil, errors.New("no more users")
			}
			s := &session{user: users[0]}
			s.ended, s.end = context.WithCancel(context.Background())
			users = users[1:]
			return s, nil
		},
		Close: func(s *session, cause error) error {
			return s.Close()
		},
		// Before an idle session is lent, and while it is idle.
		Check: func(s *session) error {
			if s.user == "" {
				return errors.New("logged out")
			}
			return nil
		},
		// When a session is put back: the next caller must not find what the last
		// one left behind.
		Clean: func(s *session) error {
			if s.inTx {
				return errors.New("transaction left open")
			}
			return nil
		},
		// After Open: tell the pool at once when the server ends the session.
		Watch: func(s *session, broken func(cause error)) {
			go func() {
				<-s.ended.Done()
				broken(io.EOF)
			}()
		},
	}, pool.Config{MaxConnections: 1})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()

	lease, err := p.Get(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(lease.Value().user)
	lease.Value().inTx = true
	p.Put(lease) // Clean objects, and the session is closed

	lease, err = p.Get(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(lease.Value().user)
	lease.Value().user = ""
	p.Put(lease)

	lease, err = p.Get(ctx) // Check objects, and another is opened
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(lease.Value().user)
	lease.Value().end() // by the server
	p.Put(lease)

	if err := p.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	stats := p.Stats()
	fmt.Println("opened:", stats.Opened, "closed by Clean:", stats.ClosedClean, "by Check:", stats.ClosedCheck)
	// Output:
	// ann
	// ben
	// cem
	// opened: 3 closed by Clean: 1 by Check: 1
}

// An error of Get says what the caller ran out of.
func ExampleExhaustedError() {
	p, err := pool.New(pool.Factory[net.Conn]{Open: dialEcho}, pool.Config{
		MaxConnections: 1,
		MaxWaitTime:    time.Millisecond,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	if err := p.Warm(context.Background(), 1); err != nil { // opening may take longer than MaxWaitTime
		log.Fatal(err)
	}
	lease, err := p.Get(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	defer p.Put(lease)

	_, err = p.Get(context.Background())
	var exhausted *pool.ExhaustedError
	if errors.As(err, &exhausted) {
		fmt.Println(errors.Is(err, pool.ErrExhausted), exhausted.Stats.ActiveConnections, "of", exhausted.Stats.MaxConnections, "are leased")
	}
	// Output: true 1 of 1 are leased
}

// Stats is a [slog.LogValuer]: give it to a logger as it is.
func ExampleStats() {
	p, err := pool.New(pool.Factory[net.Conn]{Open: dialEcho}, pool.Config{MaxConnections: 4})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	lease, err := p.Get(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	defer p.Put(lease)

	s := p.Stats()
	fmt.Println(s.ActiveConnections, "active,", s.IdleConnections, "idle,", s.VacantConnections(), "vacant,", s.WaitTime.Count, "wait")
	slog.Debug("pool", "stats", s) // all of it, as a group of attributes
	// Output:
	// 1 active, 0 idle, 3 vacant, 1 wait
}

// A pool for a service: some connections ready, none too old, and leaks reported.
func ExampleConfig() {
	p, err := pool.New(pool.Factory[net.Conn]{Open: dialEcho}, pool.Config{
		Name:           "orders",
		MaxConnections: 50,
		MinIdle:        2,
		MaxLifetime:    30 * time.Minute,
		LeakAfter:      time.Minute,
		Logger:         slog.Default(),
		Hooks: pool.Hooks{
			Waited: func(pool.WaitInfo) { /* your metrics */ },
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	if err := p.Warm(context.Background(), 2); err != nil { // do not begin cold
		log.Fatal(err)
	}
	fmt.Println(p.Stats().IdleConnections >= 2)
	// Output: true
}

// When the server is down, callers are told so at once, and not that the pool is full.
func Example_outage() {
	down := errors.New("connection refused")
	p, err := pool.New(pool.Factory[net.Conn]{
		Open: func(context.Context) (net.Conn, error) { return nil, down },
	}, pool.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	for !errors.Is(err, pool.ErrUnavailable) {
		_, err = p.Get(context.Background())
	}
	fmt.Println(err)
	fmt.Println(errors.Is(err, down))
	// Output:
	// pool: opening connections keeps failing: connection refused
	// true
}

func ExamplePool_Leases() {
	p, err := pool.New(pool.Factory[net.Conn]{Open: dialEcho}, pool.Config{LeakAfter: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	lease, err := p.Get(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	defer p.Put(lease)

	for _, l := range p.Leases() {
		function, _, _ := strings.Cut(l.Where, " ")
		fmt.Println(function, "has", l.Conn == lease.Value())
	}
	// Output: github.com/S4AK4N/pool_test.ExamplePool_Leases has true
}
