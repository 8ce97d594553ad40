package netconn

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
)

// unfit fails the test unless Check fails, with a text that says so.
func unfit(t *testing.T, client net.Conn, want error) {
	t.Helper()
	got := Check(client)
	if !errors.Is(got, want) {
		t.Fatalf("Check returns %v, want %v", got, want)
	}
	if address := client.RemoteAddr().String(); !strings.HasPrefix(got.Error(), "netconn: tcp "+address+": ") {
		t.Errorf("the error does not begin with the address %s: %v", address, got)
	}
	if again := Check(client); of(client) != nil && again != got {
		t.Errorf("a second Check returns %v, want the first error %v", again, got)
	}
}

func fit(t *testing.T, client net.Conn) {
	t.Helper()
	if err := Check(client); err != nil {
		t.Fatal(err)
	}
}

// both runs a test on a connection of a Factory and on any other.
func both(t *testing.T, f func(t *testing.T, client net.Conn, p *peer)) {
	transports(t, func(t *testing.T, s *server) {
		t.Run("factory", func(t *testing.T) {
			client, p := s.open(t, nil)
			f(t, client, p)
		})
		t.Run("other", func(t *testing.T) {
			client, p := s.dial(t)
			f(t, client, p)
		})
	})
}

func TestCheckPassesAQuietConnection(t *testing.T) {
	both(t, func(t *testing.T, client net.Conn, p *peer) {
		fit(t, client)
		ask(t, client, p)
		fit(t, client)
		fit(t, client)
		ask(t, client, p) // it is as before
	})
}

func TestCheckFailsWhenThePeerHasClosed(t *testing.T) {
	both(t, func(t *testing.T, client net.Conn, p *peer) {
		ask(t, client, p)
		p.raw.Close() // on TLS too without a word
		arrived(t, client, 1)
		unfit(t, client, io.EOF)
	})
}

func TestCheckFailsWhenThePeerHasEndedTLS(t *testing.T) {
	s := serve(t, true)
	client, p := s.open(t, nil)
	ask(t, client, p)
	p.Conn.(*tls.Conn).CloseWrite()
	arrived(t, client, 1)
	unfit(t, client, io.EOF)
}

func TestCheckFailsWhenThePeerHasReset(t *testing.T) {
	both(t, func(t *testing.T, client net.Conn, p *peer) {
		ask(t, client, p)
		p.raw.Conn.(*net.TCPConn).SetLinger(0)
		p.raw.Close()
		arrived(t, client, 1)
		// To look at the socket has taken its error, so the next look sees the end.
		if got := Check(client); got == nil {
			t.Fatal("Check returns nil")
		}
	})
}

func TestCheckTellsThatThePeerHasReset(t *testing.T) {
	s := serve(t, false)
	client, p := s.open(t, nil)
	p.raw.Conn.(*net.TCPConn).SetLinger(0)
	p.raw.Close()
	for { // the reset may not have come yet, and to wait for it would take it
		err := Check(client)
		if err == nil {
			continue
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("Check returns %v, want ECONNRESET", err)
		}
		return
	}
}

func TestCheckFailsOnUnreadBytes(t *testing.T) {
	both(t, func(t *testing.T, client net.Conn, p *peer) {
		ask(t, client, p)
		p.say("push")
		arrived(t, client, 4)
		if of(client) == nil {
			if err := Check(client); !errors.Is(err, errUnread) {
				t.Errorf("Check returns %v, want %v", err, errUnread)
			}
			return
		}
		unfit(t, client, errUnread)
	})
}

// What TLS has taken from the socket cannot be seen there any more.
func TestCheckFailsOnBytesThatTLSHolds(t *testing.T) {
	for name, words := range map[string][]string{
		"the rest of a record": {"replyrest"},
		"another record":       {"reply", "rest"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, true)
			for _, open := range []func(testing.TB) (net.Conn, *peer){
				s.dial, func(t testing.TB) (net.Conn, *peer) { return s.open(t, nil) },
			} {
				client, p := open(t)
				ask(t, client, p) // the tickets have been read
				p.raw.shut = true
				for _, word := range words {
					p.say(word)
				}
				arrived(t, client, p.open())
				read(t, client, "reply")
				quiet(t, client) // so the socket does not tell
				if err := Check(client); !errors.Is(err, errUnread) {
					t.Errorf("Check returns %v, want %v", err, errUnread)
				}
			}
		})
	}
}

// Tickets come when the handshake is over for the client, on a connection that may be idle
// already. They look like data from outside. Go's server sends them so only if it asks for
// the client's certificate, and else in its first flight, where TLS has read them already.
func TestCheckTakesInSessionTickets(t *testing.T) {
	for name, late := range map[string]bool{"in the handshake": false, "behind it": true} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, true)
			s.late = late
			config := clientTLS()
			for round, resumed := range []bool{false, true} {
				client, p := s.open(t, &Options{TLS: config})
				if got := client.(*tls.Conn).ConnectionState().DidResume; got != resumed {
					t.Fatalf("round %d: resumed %v, want %v", round, got, resumed)
				}
				if late {
					if !resumed && p.raw.kept.Len() == 0 {
						t.Fatal("no ticket was sent")
					}
					if n := p.open(); n > 0 {
						arrived(t, client, n)
					}
				}
				fit(t, client)
				quiet(t, client)
				fit(t, client)
				ask(t, client, p)
			}
		})
	}
}

// quiet fails the test if the socket has bytes.
func quiet(t *testing.T, client net.Conn) {
	t.Helper()
	for {
		c, ok := client.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		client = c.NetConn()
	}
	var raw socket
	raw.Init(client)
	if there, err := raw.Peek(); there || err != nil {
		t.Fatalf("the socket has bytes (%v, %v)", there, err)
	}
}

func TestCheckFindsDataBehindASessionTicket(t *testing.T) {
	s := serve(t, true)
	s.late = true
	client, p := s.open(t, nil)
	p.say("greeting")
	arrived(t, client, p.open())
	unfit(t, client, errUnread)
}

// Part of a record is a ticket or data: nobody can know before the rest is there.
func TestCheckFailsOnPartOfARecord(t *testing.T) {
	for _, size := range []int{1, 5, 20} {
		s := serve(t, true)
		for _, open := range []func(testing.TB) (net.Conn, *peer){
			s.dial, func(t testing.TB) (net.Conn, *peer) { return s.open(t, nil) },
		} {
			client, p := open(t)
			ask(t, client, p)
			p.raw.shut = true
			p.say("data that will come")
			p.raw.Conn.Write(p.raw.kept.Bytes()[:size])
			arrived(t, client, size)
			err := Check(client)
			if of(client) != nil && !errors.Is(err, errPart) {
				t.Errorf("%d bytes: Check returns %v, want %v", size, err, errPart)
			}
			if of(client) == nil && err != nil { // no one can see what this TLS holds
				t.Errorf("%d bytes, any other connection: Check returns %v", size, err)
			}
		}
	}
}

// The kernel is asked, and no deadline: one that has passed hides nothing, and spoils nothing.
func TestCheckIgnoresDeadlines(t *testing.T) {
	transports(t, func(t *testing.T, s *server) {
		client, p := s.open(t, nil)
		ask(t, client, p)
		client.SetDeadline(longAgo)
		fit(t, client)
		if n, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("Read returns %d, %v, want its deadline", n, err)
		}
		fit(t, client) // it may have waited for something that does not come
		p.say("push")
		arrived(t, client, 4) // lifts the deadline
		client.SetDeadline(longAgo)
		unfit(t, client, errUnread)
	})
}

func TestCheckFailsAfterAFailedWrite(t *testing.T) {
	transports(t, func(t *testing.T, s *server) {
		client, p := s.open(t, nil)
		ask(t, client, p)
		client.SetWriteDeadline(longAgo) // part of a write may have been sent
		if _, err := client.Write([]byte("request")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("Write returns %v, want its deadline", err)
		}
		client.SetWriteDeadline(time.Time{})
		unfit(t, client, os.ErrDeadlineExceeded)
	})
}

func TestCheckFailsAfterCloseWrite(t *testing.T) {
	client, p := serve(t, false).open(t, nil)
	if err := client.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	p.hearEnd()
	unfit(t, client, errHalfClosed)
}

func TestCheckFailsAfterClose(t *testing.T) {
	both(t, func(t *testing.T, client net.Conn, p *peer) {
		ask(t, client, p)
		client.Close()
		if err := Check(client); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Check returns %v, want %v", err, net.ErrClosed)
		}
	})
}

// A goroutine that its lease has left behind would take the next one's reply.
func TestCheckFailsWhileAReadIsInProgress(t *testing.T) {
	transports(t, func(t *testing.T, s *server) {
		client, p := s.open(t, nil)
		ask(t, client, p)
		var reading sync.WaitGroup
		reading.Go(func() { client.Read(make([]byte, 1)) })
		for of(client).busy.Load() == 0 { // it says to nobody that it waits
			time.Sleep(0)
		}
		unfit(t, client, errInUse)
		client.Close()
		reading.Wait()
	})
}

func TestAReadDuringALookIsRefused(t *testing.T) {
	transports(t, func(t *testing.T, s *server) {
		client, p := s.open(t, nil)
		ask(t, client, p)
		c := of(client)
		if err := c.hold(); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, errInUse) {
			t.Errorf("Read returns %v, want %v", err, errInUse)
		}
		if _, err := client.Write([]byte("x")); !errors.Is(err, errInUse) {
			t.Errorf("Write returns %v, want %v", err, errInUse)
		}
		c.release()
		unfit(t, client, errInUse)
	})
}

// A late Read and the pool's look change busy, and look at what it was: never do both go on.
func TestALateReadAndALookDoNotMeet(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	for range 2000 {
		c := newConn(a, "tcp pipe")
		var held, entered bool
		var late sync.WaitGroup
		late.Go(func() { entered = c.enter() == nil })
		held = c.hold() == nil
		late.Wait()
		if held && entered {
			t.Fatal("the pool looks, and somebody reads")
		}
		if !held && !entered {
			t.Fatal("nobody does")
		}
		if c.failure() == nil {
			t.Fatal("the connection is fit")
		}
	}
}

func TestOneThatIsUnfitIsNotLentAgain(t *testing.T) {
	transports(t, func(t *testing.T, s *server) {
		p := s.pool(t, nil, pool.Config{MaxConnections: 1, CheckInterval: -1})
		peers := s.accepts(t, 2)
		first := get(t, p)
		if err := p.Put(first); err != nil {
			t.Fatal(err)
		}
		second := get(t, p)
		if first.Value() != second.Value() {
			t.Fatal("a fit one was not lent again")
		}
		// The reply that a lease has not waited for arrives while the connection is idle.
		if _, err := io.WriteString(second.Value(), "ask"); err != nil {
			t.Fatal(err)
		}
		if err := p.Put(second); err != nil {
			t.Fatal(err)
		}
		peer := <-peers
		peer.hear("ask")
		peer.say("reply")
		arrived(t, second.Value(), 5)
		third := get(t, p)
		if third.Value() == second.Value() {
			t.Error("the next lease would read the reply")
		}
		if got := p.Stats().ClosedCheck; got != 1 {
			t.Errorf("%d closed by Check, want 1", got)
		}
		<-peers
		p.Put(third)
	})
}

func TestPutClosesOneWithUnreadBytes(t *testing.T) {
	transports(t, func(t *testing.T, s *server) {
		closed := make(chan pool.CloseInfo, 1)
		p := s.pool(t, nil, pool.Config{Hooks: pool.Hooks{Closed: func(i pool.CloseInfo) { closed <- i }}})
		peers := s.accepts(t, 1)
		l := get(t, p)
		peer := <-peers
		ask(t, l.Value(), peer)
		peer.say("more")
		arrived(t, l.Value(), 4)
		if err := p.Put(l); err != nil {
			t.Fatal(err)
		}
		if got := <-closed; !errors.Is(got.Cause, errUnread) {
			t.Errorf("closed for %v, want %v", got.Cause, errUnread)
		}
	})
}

func TestCheckOfWhatHasNoSocketKnowsNothing(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	b.Close()
	if err := Check(a); err != nil {
		t.Errorf("Check returns %v", err)
	}
	f, err := NewFactory("tcp", "pipe:1", &Options{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return a, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	client, err := f.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(client); err != nil {
		t.Errorf("Check returns %v", err)
	}
	if n, err := io.Copy(io.Discard, client); n != 0 || err != nil {
		t.Errorf("copied %d, %v", n, err)
	}
	if err := Check(client); !errors.Is(err, io.EOF) {
		t.Errorf("after a copy to the end, Check returns %v, want %v", err, io.EOF)
	}
}

func TestCheckDoesNotAllocate(t *testing.T) {
	transports(t, func(t *testing.T, s *server) {
		client, p := s.open(t, nil)
		ask(t, client, p)
		f := s.factory(t, nil)
		if err := f.Clean(client); err != nil {
			t.Fatal(err)
		}
		if got := testing.AllocsPerRun(100, func() { Check(client) }); got != 0 {
			t.Errorf("Check allocates %v times", got)
		}
		if got := testing.AllocsPerRun(100, func() { f.Clean(client) }); got != 0 {
			t.Errorf("Clean allocates %v times", got)
		}
	})
}

// TLS answers an update of its keys while the pool looks. A peer that does not read must not
// hold that up.
func TestALookDoesNotWaitToWrite(t *testing.T) {
	client, _ := serve(t, true).open(t, nil)
	c := of(client)
	if !c.socket.Able() {
		t.Skip("there is no socket to look at here")
	}
	var err error
	for err == nil { // until no buffer has room
		_, err = c.socket.give(make([]byte, 1<<16))
	}
	if !errors.Is(err, errNoRoom) {
		t.Errorf("without room, give returns %v, want %v", err, errNoRoom)
	}
	c.looking.Store(true)
	for err = nil; err == nil; { // there may be room again, but not for long
		_, err = c.Write(make([]byte, 1<<16))
	}
	if !errors.Is(err, errNoRoom) {
		t.Errorf("without room, a Write of a look returns %v, want %v", err, errNoRoom)
	}
	c.inner.Close() // for TLS would try to say goodbye for 5 s
}

func TestRecordsAreFollowedHoweverTheyAreCut(t *testing.T) {
	stream := []byte{23, 3, 3, 0, 3, 'a', 'b', 'c', 22, 3, 3, 0, 0, 23, 3, 3, 1, 4}
	stream = append(stream, make([]byte, 260)...)
	ends := map[int]bool{0: true, 8: true, 13: true, len(stream): true}
	for step := 1; step <= len(stream); step++ {
		var r records
		for at := 0; at < len(stream); at += step {
			end := min(at+step, len(stream))
			r.feed(stream[at:end])
			if got, want := r.within(), !ends[end]; got != want {
				t.Fatalf("in steps of %d: after %d bytes within is %v, want %v", step, end, got, want)
			}
		}
	}
}
