package netconn

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
)

var errCause = errors.New("the user has gone")

// calls are those that the end of a ctx has to end. Each runs until then.
var calls = map[string]func(net.Conn) error{
	"read": func(c net.Conn) error {
		_, err := c.Read(make([]byte, 1))
		return err
	},
	"write": func(c net.Conn) error { // until no buffer has room
		for {
			if _, err := c.Write(make([]byte, 1<<16)); err != nil {
				return err
			}
		}
	},
}

func TestTheEndOfACtxEndsTheCallInProgress(t *testing.T) {
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			transports(t, func(t *testing.T, s *server) {
				client, p := s.open(t, nil)
				ask(t, client, p)
				ctx, cancel := context.WithCancelCause(t.Context())
				release := Bind(ctx, client)
				go cancel(errCause)
				err := call(client)
				if !errors.Is(err, context.Canceled) || !errors.Is(err, errCause) {
					t.Errorf("the call returns %v, want the error and the cause of its ctx", err)
				}
				var ne net.Error
				if !errors.As(err, &ne) || ne.Timeout() {
					t.Errorf("the call returns %v, want a net.Error that is no timeout", err)
				}
				var op *net.OpError
				if !errors.As(err, &op) || op.Op != name || op.Addr.String() != client.RemoteAddr().String() {
					t.Errorf("the call returns %v, want a %s and its address", err, name)
				}
				release()
				unfit(t, client, errCause)
			})
		})
	}
}

func TestADeadlineOfACtxIsATimeout(t *testing.T) {
	transports(t, func(t *testing.T, s *server) {
		client, p := s.open(t, nil)
		ask(t, client, p)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		release := Bind(ctx, client)
		_, err := client.Read(make([]byte, 1))
		release()
		var ne net.Error
		if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("Read returns %v, want a timeout", err)
		}
		unfit(t, client, context.DeadlineExceeded)
	})
}

func TestTheEndOfACtxClosesAConnectionThatCannotBeMarked(t *testing.T) {
	transports(t, func(t *testing.T, s *server) {
		client, p := s.dial(t)
		ask(t, client, p)
		ctx, cancel := context.WithCancel(t.Context())
		release := Bind(ctx, client)
		go cancel()
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read returns %v, want %v", err, os.ErrDeadlineExceeded)
		}
		release()
		p.raw.SetDeadline(time.Now().Add(patience))
		if _, err := p.raw.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the server got %v, want the end", err)
		}
		if err := Check(client); err == nil {
			t.Error("Check returns nil")
		}
	})
}

func TestTheFirstCallFailsIfItsCtxHasEnded(t *testing.T) {
	transports(t, func(t *testing.T, s *server) {
		for _, call := range calls {
			client, p := s.open(t, nil)
			ask(t, client, p)
			p.say("here") // there is something to read
			arrived(t, client, 4)
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(errCause)
			release := Bind(ctx, client)
			if err := call(client); !errors.Is(err, errCause) {
				t.Errorf("the call returns %v, want %v", err, errCause)
			}
			release()
			unfit(t, client, errCause)
		}
	})
}

func TestTheEndOfACtxDoesNothingAfterRelease(t *testing.T) {
	both(t, func(t *testing.T, client net.Conn, p *peer) {
		ctx, cancel := context.WithCancel(t.Context())
		release := Bind(ctx, client)
		ask(t, client, p)
		release()
		cancel()
		release() // a second time it does nothing either
		fit(t, client)
		ask(t, client, p)
	})
}

func TestEachBindHoldsUntilItsOwnRelease(t *testing.T) {
	client, p := serve(t, false).open(t, nil)
	outer, cancel := context.WithCancelCause(t.Context())
	inner, end := context.WithCancel(outer)
	release := Bind(outer, client)
	Bind(inner, client)()
	end()
	ask(t, client, p)
	go cancel(errCause)
	if err := calls["read"](client); !errors.Is(err, errCause) {
		t.Errorf("the call returns %v, want %v", err, errCause)
	}
	release()
}

// A ctx that ends between two calls has ended the exchange, whatever its user sees of it.
func TestACtxThatEndsBetweenTwoCallsUsesTheConnectionUp(t *testing.T) {
	client, p := serve(t, false).open(t, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	release := Bind(ctx, client)
	ask(t, client, p)
	cancel(errCause)
	release()
	unfit(t, client, errCause)
}

func TestAnEndlessCtxCostsNothing(t *testing.T) {
	client, _ := serve(t, false).open(t, nil)
	if got := testing.AllocsPerRun(100, func() { Bind(context.Background(), client)() }); got != 0 {
		t.Errorf("Bind allocates %v times", got)
	}
}

// A slowConn is one end of a net.Pipe whose SetDeadline waits
// until it may go on.
type slowConn struct {
	net.Conn
	goOn     chan struct{}
	deadline time.Time
}

func (c *slowConn) SetDeadline(t time.Time) error {
	<-c.goOn
	c.deadline = t
	return c.Conn.SetDeadline(t)
}

func TestReleaseWaitsForTheEndThatHasBegun(t *testing.T) {
	for _, ours := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			a, b := net.Pipe()
			defer a.Close()
			defer b.Close()
			slow := &slowConn{Conn: a, goOn: make(chan struct{})}
			client := net.Conn(slow)
			if ours {
				client = newConn(slow, "tcp pipe")
			}
			ctx, cancel := context.WithCancel(t.Context())
			release := Bind(ctx, client)
			cancel()
			synctest.Wait() // the end waits in SetDeadline
			released := make(chan struct{})
			go func() {
				release()
				close(released)
			}()
			synctest.Wait()
			select {
			case <-released:
				t.Error("release has not waited")
			default:
			}
			close(slow.goOn)
			<-released
			if !slow.deadline.Equal(longAgo) {
				t.Errorf("the deadline is %v", slow.deadline)
			}
		})
	}
}

// A raceConn stops a SetDeadline of its user before it takes effect, or that of the end of a
// ctx right after it has, until the other has been called.
type raceConn struct {
	net.Conn
	before, after func()
	deadline      time.Time
}

func (c *raceConn) SetDeadline(t time.Time) error {
	if f := c.before; f != nil && !t.Equal(longAgo) {
		c.before = nil
		f()
	}
	c.deadline = t
	if f := c.after; f != nil && t.Equal(longAgo) {
		c.after = nil
		f()
	}
	return nil
}

func (c *raceConn) SetReadDeadline(t time.Time) error  { return c.SetDeadline(t) }
func (c *raceConn) SetWriteDeadline(t time.Time) error { return c.SetDeadline(t) }

func TestNoDeadlineLiftsTheEndOfACtx(t *testing.T) {
	for name, set := range map[string]func(net.Conn, time.Time) error{
		"SetDeadline": net.Conn.SetDeadline, "SetReadDeadline": net.Conn.SetReadDeadline, "SetWriteDeadline": net.Conn.SetWriteDeadline,
	} {
		for _, order := range []string{"after the end", "around the end", "within the end"} {
			a, b := net.Pipe()
			defer a.Close()
			defer b.Close()
			inner := &raceConn{Conn: a}
			client := newConn(inner, "tcp pipe")
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			var release func()
			later := func() {
				if err := set(client, time.Now().Add(time.Hour)); err != nil {
					t.Fatal(err)
				}
			}
			switch order {
			case "after the end":
				release = Bind(ctx, client)
				later()
			case "around the end":
				inner.before = func() { release = Bind(ctx, client) }
				later()
			case "within the end":
				inner.after = later
				release = Bind(ctx, client)
			}
			if !inner.deadline.Equal(longAgo) {
				t.Errorf("%s %s has lifted it", name, order)
			}
			release()
		}
	}
}

// With a deadline of its own in force, the end of a ctx still ends the call.
func TestDeadlinesHoldBesideABind(t *testing.T) {
	transports(t, func(t *testing.T, s *server) {
		client, p := s.open(t, nil)
		ask(t, client, p)
		ctx, cancel := context.WithCancelCause(t.Context())
		release := Bind(ctx, client)
		defer release()
		client.SetReadDeadline(time.Now().Add(time.Millisecond))
		if err := calls["read"](client); !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.Canceled) {
			t.Errorf("Read returns %v, want its deadline", err)
		}
		client.SetReadDeadline(time.Now().Add(time.Hour))
		go cancel(errCause)
		if err := calls["read"](client); !errors.Is(err, errCause) {
			t.Errorf("Read returns %v, want %v", err, errCause)
		}
	})
}

func TestDoClosesOneWhoseCtxHasEndedACall(t *testing.T) {
	transports(t, func(t *testing.T, s *server) {
		closed := make(chan pool.CloseInfo, 1)
		p := s.pool(t, nil, pool.Config{MaxConnections: 1, Hooks: pool.Hooks{Closed: func(i pool.CloseInfo) { closed <- i }}})
		peers := s.accepts(t, 1)
		if err := p.Warm(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		<-peers
		ctx, cancel := context.WithCancel(t.Context())
		err := p.Do(ctx, func(ctx context.Context, conn net.Conn) error {
			defer Bind(ctx, conn)()
			go cancel()
			_, err := conn.Read(make([]byte, 1))
			return pool.Keep(err) // its user is wrong
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Do returns %v, want %v", err, context.Canceled)
		}
		if got := <-closed; !errors.Is(got.Cause, context.Canceled) {
			t.Errorf("closed for %v, want %v", got.Cause, context.Canceled)
		}
		if got := p.Stats().ClosedClean; got != 1 {
			t.Errorf("%d closed by Clean, want 1", got)
		}
	})
}

// Else the end of that ctx would end a call of the next lease.
func TestPutClosesOneThatIsStillBound(t *testing.T) {
	s := serve(t, false)
	closed := make(chan pool.CloseInfo, 1)
	p := s.pool(t, nil, pool.Config{Hooks: pool.Hooks{Closed: func(i pool.CloseInfo) { closed <- i }}})
	s.accepts(t, 1)
	l := get(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	release := Bind(ctx, l.Value())
	defer release()
	if err := p.Put(l); err != nil {
		t.Fatal(err)
	}
	if got := <-closed; !errors.Is(got.Cause, errBound) {
		t.Errorf("closed for %v, want %v", got.Cause, errBound)
	}
}
