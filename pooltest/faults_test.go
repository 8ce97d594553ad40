package pooltest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/netconn"
)

// A client is a connection of a Factory of somebody's own.
type client struct {
	net.Conn
	lock   chan struct{}
	closed atomic.Bool
	uses   atomic.Int32
}

// A seed is what the faults get to make a bad Factory of a good one.
type seed struct {
	*pool.Factory[*client]
	options *Options[*client]
	address string
	over    context.Context // the test
}

// seeded returns a Factory without a fault, of clients that are greeted and have a round trip as Probe.
func seeded(t testing.TB) seed {
	wire := NewWire(t, "tcp", listen(t, greet))
	over, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	factory, err := netconn.NewFactory("tcp", wire.Addr(), &netconn.Options{OnConnect: welcome})
	conns := made(t, factory, err)
	return seed{
		Factory: &pool.Factory[*client]{
			Open: func(ctx context.Context) (*client, error) {
				c, err := conns.Open(ctx)
				if err != nil {
					return nil, err
				}
				return &client{Conn: c, lock: make(chan struct{}, 1)}, nil
			},
			Close: func(c *client, cause error) error { return conns.Close(c.Conn, cause) },
			Check: func(c *client) error { return conns.Check(c.Conn) },
			Clean: func(c *client) error { return conns.Clean(c.Conn) },
			Probe: func(ctx context.Context, c *client) error { return echo(ctx, c.Conn) },
		},
		options: &Options[*client]{Wire: wire, Use: func(ctx context.Context, c *client) error { return echo(ctx, c.Conn) }},
		address: wire.Addr(),
		over:    over,
	}
}

func TestAFactoryWithoutAFaultPasses(t *testing.T) {
	s := seeded(t)
	passes(t, *s.Factory, s.options)
}

// bare opens a connection as simple clients do.
func (s seed) bare(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", s.address)
}

// A fault is put into a Factory; TestFactory must report it by this contract, in these words.
type fault struct {
	name string
	put  func(s seed)
	want contract
	says string
}

// hanging are faults that never end by themselves: each takes TestFactory its patience.
var hanging = []fault{
	{"Open does not end with its ctx", func(s seed) {
		s.Open = func(ctx context.Context) (*client, error) {
			c, err := s.bare(ctx)
			if err != nil {
				return nil, err
			}
			if err := welcome(context.Background(), c); err != nil {
				return nil, errors.Join(err, c.Close())
			}
			return &client{Conn: c}, nil
		}
	}, openEnds, "whose ctx ended while the server was silent, has not returned"},
	{"Check reads", func(s seed) {
		s.Check = func(c *client) error { _, err := c.Read(make([]byte, 1)); return err }
	}, returns, "Check has not returned"},
	{"Check pings, without a limit", func(s seed) {
		s.Check = func(c *client) error { return echo(context.Background(), c.Conn) }
	}, checkLooks, "Check blocks: it has not returned"},
	{"Clean asks, without a limit", func(s seed) {
		s.Clean = func(c *client) error { return echo(context.Background(), c.Conn) }
	}, holdsPut, "Clean blocks: it has not returned"},
	{"Probe does not end with its ctx", func(s seed) {
		s.Probe = func(ctx context.Context, c *client) error { return echo(context.Background(), c.Conn) }
	}, probeEnds, "Probe, whose ctx ended while the server was silent, has not returned"},
	{"Close waits for a reply", func(s seed) {
		last := s.Close
		s.Close = func(c *client, cause error) error {
			if cause == nil {
				echo(context.Background(), c.Conn)
			}
			return last(c, cause)
		}
	}, returns, "Close has not returned"},
	{"Close waits for the caller", func(s seed) {
		last := s.Close
		s.options.Read = func(c *client) error {
			c.lock <- struct{}{}
			defer func() { <-c.lock }()
			_, err := c.Read(make([]byte, 1))
			return err
		}
		s.Close = func(c *client, cause error) error {
			select {
			case c.lock <- struct{}{}:
			case <-s.over.Done():
			}
			return last(c, cause)
		}
	}, closeInUse, "Close, called while a Read was in progress, has not returned"},
	{"Close leaves it to the caller", func(s seed) {
		last := s.Close
		s.options.Read = func(c *client) error {
			c.lock <- struct{}{}
			_, err := c.Read(make([]byte, 1))
			<-c.lock
			if c.closed.Load() {
				last(c, err)
			}
			return err
		}
		s.Close = func(c *client, cause error) error {
			select {
			case c.lock <- struct{}{}:
				return last(c, cause)
			default:
				c.closed.Store(true)
				return nil
			}
		}
	}, closeInUse, "a Read that was in progress when Close was called has not returned"},
	{"Watch does not return", func(s seed) {
		s.Watch = func(*client, func(error)) { <-s.over.Done() }
	}, returns, "Watch has not returned"},
	{"Expires does not return", func(s seed) {
		s.Expires = func(*client) time.Time { <-s.over.Done(); return time.Time{} }
	}, returns, "Expires has not returned"},
}

// passing are faults that end.
var passing = []fault{
	{"Open is for one at a time", func(s seed) {
		last, busy := s.Open, make(chan struct{}, 1)
		s.Open = func(ctx context.Context) (*client, error) {
			select {
			case busy <- struct{}{}:
				defer func() { <-busy }()
			default:
				return nil, errors.New("busy")
			}
			return last(ctx)
		}
	}, anyGoroutine, "Open returned an error when 8 connections were opened side by side"},
	{"Open returns one connection to all", func(s seed) {
		last := s.Open
		var mu sync.Mutex
		var one *client
		var users int
		s.Open = func(ctx context.Context) (*client, error) {
			mu.Lock()
			defer mu.Unlock()
			if users++; one != nil {
				return one, nil
			}
			var err error
			one, err = last(ctx)
			return one, err
		}
		lastClose := s.Close
		s.Close = func(c *client, cause error) error {
			mu.Lock()
			defer mu.Unlock()
			if users--; users > 0 {
				return nil
			}
			one = nil
			return lastClose(c, cause)
		}
	}, anyGoroutine, "Open returned the same *pooltest.client twice"},
	{"Open returns nil", func(s seed) {
		s.Open = func(context.Context) (*client, error) { return nil, nil }
	}, opens, "Open returned nil, and no error"},
	{"Open loses a connection when its handshake fails", func(s seed) {
		s.Probe = nil // it would close what is not netconn's
		s.Open = func(ctx context.Context) (*client, error) {
			c, err := s.bare(ctx)
			if err != nil {
				return nil, err
			}
			defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })()
			if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
				context.AfterFunc(s.over, func() { c.Close() }) // or the collector would close it
				return nil, err
			}
			return &client{Conn: c}, nil
		}
	}, openBeside, "connections to the server are still open"},
	{"Open starts a goroutine that nobody ends", func(s seed) {
		last := s.Open
		s.Open = func(ctx context.Context) (*client, error) {
			go func() { <-s.over.Done() }()
			return last(ctx)
		}
	}, closes, "goroutines were left behind"},
	{"Open keeps a descriptor", func(s seed) {
		last := s.Open
		s.Open = func(ctx context.Context) (*client, error) {
			if r, w, err := os.Pipe(); err == nil {
				context.AfterFunc(s.over, func() { r.Close(); w.Close() })
			}
			return last(ctx)
		}
	}, closes, "descriptors were left behind"},
	{"Close does not close", func(s seed) {
		s.Close = func(c *client, cause error) error {
			c.SetReadDeadline(time.Unix(1, 0)) // a Read ends
			context.AfterFunc(s.over, func() { c.Conn.Close() })
			return nil
		}
	}, closes, "connections to the server are still open"},
	{"Check closes what it finds dead", func(s seed) {
		last := s.Check
		s.Check = func(c *client) error {
			err := last(c)
			if err != nil {
				c.Conn.Close()
			}
			return err
		}
	}, closeOnce, "Close found the connection closed"},
	{"Check pings", func(s seed) {
		s.Check = func(c *client) error {
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			defer cancel()
			return echo(ctx, c.Conn)
		}
	}, checkLooks, "Check waits for the server, and fails if that is silent"},
	{"Check waits a little", func(s seed) {
		last := s.Check
		s.Check = func(c *client) error {
			c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if _, err := c.Conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				return err
			}
			c.SetReadDeadline(time.Time{})
			return last(c)
		}
	}, checkLooks, "Check blocks: it was seen waiting in 8 calls"},
	{"Clean asks", func(s seed) {
		last := s.Clean
		s.Clean = func(c *client) error { <-time.After(100 * time.Millisecond); return last(c) }
	}, holdsPut, "Clean blocks: it was seen waiting in 8 calls"},
	{"Check is always content", func(s seed) {
		s.Check = func(*client) error { return nil }
	}, checkValid, "Check does not see that the server has closed the connection"},
	{"Check does not know a reset", func(s seed) {
		last := s.Check
		s.Check = func(c *client) error {
			if err := last(c); errors.Is(err, io.EOF) {
				return err
			}
			return nil
		}
	}, checkValid, "Check does not see that the server has reset the connection"},
	{"Check fails for all", func(s seed) {
		s.Check = func(*client) error { return errLost }
	}, checkFails, "Check returned an error for a healthy connection: lost"},
	{"Check fails the second time", func(s seed) {
		s.Check = func(c *client) error {
			if c.uses.Add(1) > 1 {
				return errLost
			}
			return nil
		}
	}, checkFails, "Check returned an error for a healthy connection: lost"},
	{"Check panics", func(s seed) {
		s.Check = func(c *client) error { panic("no such thing") }
	}, noPanic, "Check panicked: no such thing"},
	{"Check ends its goroutine", func(s seed) {
		s.Check = func(c *client) error { runtime.Goexit(); return nil }
	}, noPanic, "Check panicked: it has ended its goroutine"},
	{"Check panics when the connection is closed", func(s seed) {
		last, lastClose := s.Check, s.Close
		s.Close = func(c *client, cause error) error { c.closed.Store(true); return lastClose(c, cause) }
		s.Check = func(c *client) error {
			for range 1000 { // long enough to meet Close
				if c.closed.Load() {
					panic("closed")
				}
				runtime.Gosched()
			}
			return last(c)
		}
	}, noPanic, "beside which Close was called, panicked: closed"},
	{"Clean fails", func(s seed) {
		s.Clean = func(*client) error { return errLost }
	}, cleanFails, "Clean returned an error for a healthy connection that nobody uses any more, so no connection is ever used twice: lost"},
	{"Probe does not ask", func(s seed) {
		s.Probe = func(context.Context, *client) error { return nil }
	}, probeAsks, "Probe returned nil though the server has said nothing"},
	{"Probe fails", func(s seed) {
		s.Probe = func(context.Context, *client) error { return errLost }
	}, probeAsks, "Probe returned an error for a healthy connection whose server answers: lost"},
	{"Expires has passed", func(s seed) {
		s.Expires = func(*client) time.Time { return time.Now() }
	}, expiresLater, "Expires returned a time that has passed"},
	{"an error does not tell that the server has gone", func(s seed) {
		s.options.Read = func(c *client) error {
			_, err := c.Conn.Read(make([]byte, 1))
			return fmt.Errorf("request failed: %v", err)
		}
	}, peerKnown, "the error of a Read does not tell the pool that the server has closed the connection"},
	{"a Read ends without an error", func(s seed) {
		s.options.Read = func(c *client) error { c.Conn.Read(make([]byte, 1)); return nil }
	}, closeInUse, "has returned no error"},
}

// TestEachFaultIsCaught runs factories with a fault in them, one by one, as what one leaves behind would count for others.
func TestEachFaultIsCaught(t *testing.T) {
	for _, f := range passing {
		t.Run(f.name, func(t *testing.T) { f.isCaught(t, seeded(t), 100*time.Millisecond) })
	}
}

// TestEachFaultThatHangsIsCaught runs them side by side: they do not come as far as to look for what they have left.
func TestEachFaultThatHangsIsCaught(t *testing.T) {
	var all sync.WaitGroup
	for _, f := range hanging {
		s := seeded(t)
		all.Go(func() { f.isCaught(t, s, 0) })
	}
	all.Wait()
}

// TestFaultsAreCaughtWithoutAWire is for those that show, on Linux, without one.
func TestFaultsAreCaughtWithoutAWire(t *testing.T) {
	if len(descriptors()) == 0 {
		t.Skip("this system does not tell which descriptors are open")
	}
	show := []string{"Check is always content", "Check waits a little", "Check closes what it finds dead", "Close does not close", "Open starts a goroutine that nobody ends",
		"an error does not tell that the server has gone"}
	for _, f := range passing {
		if !slices.Contains(show, f.name) {
			continue
		}
		if f.name == "Close does not close" {
			f.says = "descriptors were left behind"
		}
		t.Run(f.name, func(t *testing.T) {
			s := seeded(t)
			s.options.Wire = nil
			f.isCaught(t, s, 100*time.Millisecond)
		})
		show = slices.DeleteFunc(show, func(name string) bool { return name == f.name })
	}
	if len(show) > 0 {
		t.Errorf("there are no faults with the names %q", show)
	}
}

// isCaught runs TestFactory. What tells nobody that it has happened is waited for until settle is over.
// That is short: here it does not happen.
func (f fault) isCaught(t *testing.T, s seed, settle time.Duration) {
	f.put(s)
	rec := &recorder{TB: t}
	(&run[*client]{t: rec, f: *s.Factory, o: s.options.normalize(), settle: settle}).all()
	for _, got := range rec.failed {
		if strings.Contains(got, f.says) && strings.HasSuffix(got, "\n"+f.want.String()) {
			return
		}
	}
	t.Errorf("%s: not told that %q, with\n%v\nbut:\n%s", f.name, f.says, f.want, rec.text())
}

// TestOneFaultIsNotTakenForAnother: what a failure leaves open in TestFactory itself is closed there.
func TestOneFaultIsNotTakenForAnother(t *testing.T) {
	for _, name := range []string{"Open is for one at a time", "Check fails for all", "Check panics", "Clean fails", "Expires has passed"} {
		i := slices.IndexFunc(passing, func(f fault) bool { return f.name == name })
		t.Run(name, func(t *testing.T) {
			s := seeded(t)
			passing[i].put(s)
			rec := &recorder{TB: t}
			TestFactory(rec, *s.Factory, s.options)
			for _, got := range rec.failed {
				if strings.Contains(got, "left behind") || strings.Contains(got, "still open") {
					t.Errorf("told as well:\n%s", got)
				}
			}
			if len(rec.failed) == 0 {
				t.Error("the fault was not told")
			}
		})
	}
}

func TestErrorsThatAreNoContractAreTold(t *testing.T) {
	for _, c := range []struct {
		name string
		put  func(s seed)
		want string
	}{
		{"a Factory that the pool refuses", func(s seed) { s.Open = nil }, "pool: Factory.Open is nil"},
		{"a server that is not there", func(s seed) {
			s.Open = func(context.Context) (*client, error) { return nil, errLost }
		}, "the first connection: Open returned an error, with the server there: lost"},
		{"a Use that fails", func(s seed) {
			s.options.Use = func(context.Context, *client) error { return errLost }
		}, "Options.Use returned an error: lost"},
		{"a Use that fails in a pool", func(s seed) {
			var uses atomic.Int32
			s.options.Use = func(context.Context, *client) error {
				if uses.Add(1) > 16 {
					return errLost
				}
				return nil
			}
		}, "in a pool that is shared by 8 callers, one got an error: lost"},
		{"a Read that does not wait", func(s seed) {
			s.options.Read = func(*client) error { return errLost }
		}, "Read returned before the connection was closed: lost"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := seeded(t)
			c.put(s)
			rec := &recorder{TB: t}
			(&run[*client]{t: rec, f: *s.Factory, o: s.options.normalize(), settle: 100 * time.Millisecond}).all()
			if got := rec.text(); !strings.Contains(got, c.want) {
				t.Errorf("not told that %q, but:\n%s", c.want, got)
			}
		})
	}
}
