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
	"sync/atomic"
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

func ExamplePool_Retry() {
	ctx := context.Background()
	p, err := pool.New(pool.Factory[net.Conn]{Open: dialEcho}, pool.Config{MaxConnections: 3})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()

	// A connection is idle, and the server has hung up.
	lease, err := p.Get(ctx)
	if err != nil {
		log.Fatal(err)
	}
	request(lease.Value(), "quit")
	p.Put(lease)

	err = p.Retry(ctx, func(_ context.Context, conn net.Conn) error {
		answer, err := request(conn, "hello")
		fmt.Println(answer, err)
		if err != nil {
			return pool.Broken(err) // hello may be said twice
		}
		return nil
	})
	fmt.Println("error:", err)
	// Output:
	//  io: read/write on closed pipe
	// HELLO <nil>
	// error: <nil>
}

func ExamplePool_RetryLease() {
	ctx := context.Background()
	p, err := pool.New(pool.Factory[net.Conn]{Open: dialEcho}, pool.Config{MaxConnections: 3})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()

	for _, line := range []string{"one", "quit", "three"} {
		err := p.RetryLease(ctx, func(_ context.Context, lease pool.Lease[net.Conn]) error {
			answer, err := request(lease.Value(), line)
			fmt.Printf("%s reused: %v, answer %q\n", line, lease.Reused(), answer)
			if err != nil && line != "quit" { // not to be said twice
				return pool.Broken(err)
			}
			return nil // as if nothing had happened
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// one reused: false, answer "ONE"
	// quit reused: true, answer ""
	// three reused: true, answer ""
	// three reused: false, answer "THREE"
}

func ExamplePool_GetFresh() {
	ctx := context.Background()
	p, err := pool.New(pool.Factory[net.Conn]{Open: dialEcho}, pool.Config{MaxConnections: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()

	lease, err := p.Get(ctx)
	if err != nil {
		log.Fatal(err)
	}
	old := lease.Value()
	p.Put(lease)

	lease, err = p.GetFresh(ctx) // no other may be open: the idle one makes room
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the same:", lease.Value() == old, "reused:", lease.Reused())
	p.Put(lease)
	// Output: the same: false reused: false
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

// A server keeps the last response on the connection. The session goes on where it was, or starts
// over with the whole story if that connection is gone, or somebody else has used it.
func ExamplePool_GetSame() {
	p, err := pool.New(pool.Factory[net.Conn]{Open: dialEcho}, pool.Config{MaxConnections: 10})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()

	ctx := context.Background()
	var last pool.Mark // of no connection yet
	turn := func(next, story string) error {
		lease, err := p.GetSame(ctx, last)
		if errors.Is(err, pool.ErrGone) {
			lease, err = p.Get(ctx)
		}
		if err != nil {
			return err
		}
		question := story
		if lease.Follows(last) {
			question = next // the server knows the rest
		}
		answer, err := request(lease.Value(), question)
		if err != nil {
			return errors.Join(err, p.Discard(lease, err))
		}
		fmt.Println(answer)
		last = lease.Mark()
		return p.PutFor(lease, time.Minute) // nobody else gets it while the user thinks
	}

	fmt.Println(turn("one", "one"))
	fmt.Println(turn("two", "one, two"))
	p.Reset() // the account has changed, say
	fmt.Println(turn("three", "one, two, three"))
	// Output:
	// ONE
	// <nil>
	// TWO
	// <nil>
	// ONE, TWO, THREE
	// <nil>
}

// A pool for each account: each has its own connections and its own limit, and a password that
// changes is told by Remove.
func ExampleGroup() {
	err := twoAccounts(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// alice: login 1
	// bob: login 1
	// alice: login 1
	// alice, with a new password: login 2
	// 4 leases, 3 logins opened
}

// A login is a connection that is logged in as one account.
type login struct {
	account string
	number  int
}

func (*login) Close() error { return nil }

// logins returns what opens connections for an account.
func logins(account string) pool.Factory[*login] {
	return pool.Factory[*login]{
		Open: func(context.Context) (*login, error) {
			loggedIn[account]++ // your client logs in here, with the password as it is now
			return &login{account, loggedIn[account]}, nil
		},
	}
}

var loggedIn = map[string]int{}

func twoAccounts(ctx context.Context) error {
	g, err := pool.NewGroup(func(account string) (pool.Factory[*login], pool.Config, error) {
		return logins(account), pool.Config{Name: account, MaxConnections: 5}, nil
	}, pool.GroupConfig{MaxPools: 1000})
	if err != nil {
		return err
	}
	defer g.Close()

	for _, account := range []string{"alice", "bob", "alice"} {
		err := g.Do(ctx, account, func(_ context.Context, s *login) error {
			fmt.Printf("%s: login %d\n", s.account, s.number)
			return nil
		})
		if err != nil {
			return err
		}
	}

	g.Remove("alice") // her password has changed
	if err := lend(ctx, g); err != nil {
		return err
	}
	stats := g.Stats()
	fmt.Printf("%d leases, %d logins opened\n", stats.Gets, stats.Opened)
	return nil
}

func lend(ctx context.Context, g *pool.Group[string, *login]) error {
	lease, err := g.Get(ctx, "alice")
	if err != nil {
		return err
	}
	defer g.Put(lease)

	fmt.Printf("alice, with a new password: login %d\n", lease.Value().number)
	return nil
}

func ExampleNewBudget() {
	ctx := context.Background()
	var open atomic.Int64
	reading := pool.Factory[*reader]{
		Open:  func(context.Context) (*reader, error) { open.Add(1); return new(reader), nil },
		Close: func(*reader, error) error { open.Add(-1); return nil },
	}
	writing := pool.Factory[*writer]{
		Open:  func(context.Context) (*writer, error) { open.Add(1); return new(writer), nil },
		Close: func(*writer, error) error { open.Add(-1); return nil },
	}
	if err := copyWith(ctx, reading, writing, &open); err != nil {
		fmt.Println(err)
	}
	// Output:
	// two readers: 2 open
	// a reader and a writer: 2 open, 1 reader closed for it
}

type (
	reader struct{ _ int }
	writer struct{ _ int }
)

func copyWith(ctx context.Context, reading pool.Factory[*reader], writing pool.Factory[*writer], open *atomic.Int64) error {
	budget := pool.NewBudget(2)
	readers, err := pool.New(reading, pool.Config{Budget: budget})
	if err != nil {
		return err
	}
	defer readers.Close()
	writers, err := pool.New(writing, pool.Config{Budget: budget})
	if err != nil {
		return err
	}
	defer writers.Close()

	if err := readers.Warm(ctx, 2); err != nil {
		return err
	}
	fmt.Printf("two readers: %d open\n", open.Load())

	// No right is free. The reader that has been idle longest is closed, and then a writer opened.
	lease, err := writers.Get(ctx)
	if err != nil {
		return err
	}
	defer writers.Put(lease)
	fmt.Printf("a reader and a writer: %d open, %d reader closed for it\n", open.Load(), readers.Stats().ClosedBudget)
	return nil
}

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
// Connections that a server accepts with a token, and only as long as that is valid. The Factory
// ends each of them in time, and asks the server whether it is still there when the machine
// has slept.
func ExampleFactory_expires() {
	type session struct {
		net.Conn
		tokenEnds time.Time
	}
	factory := pool.Factory[*session]{
		Open: func(ctx context.Context) (*session, error) {
			conn, err := dialEcho(ctx)
			return &session{conn, time.Now().Add(time.Hour)}, err
		},
		Expires: func(s *session) time.Time {
			return s.tokenEnds.Add(-time.Minute) // for the longest lease
		},
		Probe: func(ctx context.Context, s *session) error {
			if deadline, ok := ctx.Deadline(); ok {
				s.SetDeadline(deadline)
				defer s.SetDeadline(time.Time{})
			}
			_, err := request(s, "ping")
			return err
		},
	}
	p, err := pool.New(factory, pool.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()

	err = p.Do(context.Background(), func(_ context.Context, s *session) error {
		answer, err := request(s, "hello")
		fmt.Println(answer)
		return err
	})
	fmt.Println(err)
	// Output:
	// HELLO
	// <nil>
}

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

// A lease that lasts for longer than LeakAfter is ended. The holder's calls fail, because its
// connection is closed, and whoever waits gets another one. To go by another limit than
// LeakAfter, look at Since of what Leases lists, now and then.
func ExamplePool_Revoke() {
	var p *pool.Pool[net.Conn]
	p, err := pool.New(pool.Factory[net.Conn]{Open: dialEcho}, pool.Config{
		MaxConnections: 1,
		LeakAfter:      20 * time.Millisecond, // rather minutes
		Hooks: pool.Hooks{
			Leaked: func(l pool.LeaseInfo) { p.Revoke(l) },
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()

	leaked, err := p.Get(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	_, err = leaked.Value().Read(make([]byte, 1)) // nothing will ever come
	fmt.Println(err)
	fmt.Println("revoked:", p.Stats().ClosedRevoke)

	err = p.Do(context.Background(), func(_ context.Context, conn net.Conn) error {
		answer, err := request(conn, "next")
		fmt.Println(answer)
		return err
	})
	fmt.Println(err, p.Put(leaked)) // to put it back is not needed, and no mistake
	// Output:
	// io: read/write on closed pipe
	// revoked: 1
	// NEXT
	// <nil> <nil>
}
