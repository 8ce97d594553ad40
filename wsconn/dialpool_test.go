package wsconn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/coder/websocket"
)

// What has arrived of a message when a connection is lent is no reply to what the Dial is
// about to ask. With a handler for what the server pushes, Check leaves it there.
func TestAMessageThatHasBegunIsNotForTheNextDial(t *testing.T) {
	for _, m := range modes[:3] {
		if !canPeek {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			v := viewOf(t, m, &Options{OneReplyPerRequest: true, OnUnsolicited: func(*Conn, Message) (*Message, error) { return nil, nil }})
			v.asks("q", sends(text("a")))
			closeOK(t, v.Conn)
			v.peer.send([]byte{finBit | opText, 5, 'l'})
			if _, same := v.again(); same {
				t.Error("the next Dial got the connection")
			}
		})
	}
}

// An adopter is the pools of a Dialer in the hands of one who dials url, and what Dial does with them.
type adopter struct {
	*dialPools
	t   *testing.T
	d   *Dialer
	url string
	key dialKey
}

func newAdopter(t *testing.T, d *Dialer, url string) adopter {
	t.Helper()
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	key, _ := keyOf(url, nil, nil)
	return adopter{d.pools, t, d, url, key}
}

func (a adopter) open() opened {
	a.t.Helper()
	conn, response, err := a.d.open(soon(a.t), a.url, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return opened{conn, response, 0}
}

func (a adopter) adopt(mine opened) (*view, opened, error) {
	return a.dialPools.adopt(soon(a.t), a.key, mine, nil)
}

// A connection may come back while a Dial opens one of its own.
func TestAConnectionThatIsNotNeededIsClosed(t *testing.T) {
	ends := make(chan websocket.StatusCode, 2)
	url := serve(t, func(ctx context.Context, conn accepted) {
		_, _, err := conn.Read(ctx)
		ends <- websocket.CloseStatus(err)
	})
	a := newAdopter(t, newDialer(t, nil), url)
	first, _, err := a.adopt(a.open())
	if err != nil || first == nil {
		t.Fatalf("adopt returned %v, %v, want a view", first, err)
	}
	conn := first.conn
	late := a.open()
	if !first.leave(appendFrame(nil, finBit|opClose, []byte{3, 0xe8})) {
		t.Fatal("the first view was not left")
	}
	v, _, err := a.adopt(late)
	if err != nil || v == nil || v.conn != conn {
		t.Errorf("adopt returned %v, %v, want a view of the connection that came back", v, err)
	}
	if got := receive(t, ends, "end of a connection"); got != websocket.StatusNormalClosure {
		t.Errorf("the other one ended with status %v, want a closing handshake", got)
	}
	if len(a.offers) != 0 {
		t.Errorf("%d keys have offers, and no dial", len(a.offers))
	}
}

// Of several dials each may get what another one has opened.
func TestAConnectionIsLeftForTheDialThatStillWaits(t *testing.T) {
	url := serve(t, echo)
	a := newAdopter(t, newDialer(t, nil), url)
	mine, other := a.open(), a.open()
	defer mine.conn.CloseNow()
	defer other.conn.CloseNow()
	o := &offers{given: []opened{mine}, dials: 2} // the pool has taken the other, and given it to this one
	a.offers[a.key] = o
	if spare := a.withdraw(a.key, mine); spare.conn != nil {
		t.Error("the connection for the dial that waits was taken away")
	}
	o.given = []opened{other, mine}
	o.dials = 2
	if spare := a.withdraw(a.key, mine); spare != mine {
		t.Errorf("the spare one is %v, want the dial's own", spare)
	}
	if !slices.Equal(o.given, []opened{other}) || o.dials != 1 {
		t.Errorf("%v are offered, for %d dials, want the other one for one", o.given, o.dials)
	}
	if spare := a.withdraw(a.key, mine); spare != other || len(a.offers) != 0 {
		t.Errorf("the last dial was left %v, and %d offers, want the other one and none", spare, len(a.offers))
	}
}

// The dial has gone before the function of the Group has been called: what it would have been
// opened with is not known any more.
func TestAPoolThatNoDialWaitsForIsNotMade(t *testing.T) {
	a := newAdopter(t, newDialer(t, nil), "ws://localhost")
	if _, err := a.Get(soon(t), a.key); err != errWithdrawn {
		t.Errorf("Get returned %v, want %v", err, errWithdrawn)
	}
}

// What a dial has opened is for its key, not for the pool that it has found.
func TestADialWhosePoolEndsGoesOnWithTheNextOne(t *testing.T) {
	var handshakes atomic.Int32
	a := newAdopter(t, newDialer(t, nil), serveCounted(t, &handshakes, echo))
	closeOK(t, dialOK(t, a.d.Dial, a.url, nil))
	first, _ := a.Pool(a.key)
	mine := a.open()
	first.Close()
	v, _, err := a.adopt(mine)
	if err != nil || v == nil || v.conn != mine.conn {
		t.Fatalf("adopt returned %v, %v, want a view of what was opened", v, err)
	}
	v.Close()
	if got := handshakes.Load(); got != 2 {
		t.Errorf("%d handshakes, want 2", got)
	}
}

// A pool that has no room gives the connection back, with its response.
func TestAConnectionThatHasNoRoomIsTheDialsAlone(t *testing.T) {
	url := serve(t, echo)
	d := newDialer(t, nil)
	d.Config.MaxConnections = 1
	a := newAdopter(t, d, url)
	first, _, err := a.adopt(a.open())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second := a.open()
	defer second.conn.CloseNow()
	if v, alone, err := a.adopt(second); v != nil || alone != second || err != nil {
		t.Errorf("adopt returned %v, %v, %v, want what was opened", v, alone, err)
	}
}

func TestAConnectionForADialerThatIsClosedIsClosed(t *testing.T) {
	ends := make(chan error, 1)
	url := serve(t, func(ctx context.Context, conn accepted) {
		_, _, err := conn.Read(ctx)
		ends <- err
	})
	a := newAdopter(t, newDialer(t, nil), url)
	conn := a.open()
	a.Close()
	if v, alone, err := a.adopt(conn); v != nil || alone.conn != nil || !errors.Is(err, pool.ErrClosed) {
		t.Errorf("adopt returned %v, %v, %v, want ErrClosed", v, alone, err)
	}
	receive(t, ends, "end of the connection")
}

func TestAPoolThatIsEmptyForAWhileIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m inMemory
		d := newDialer(t, nil)
		d.Config = pool.Config{MaxIdleTime: -1}
		o := &websocket.DialOptions{HTTPClient: &http.Client{Transport: &m}}
		dial := func(path string) *websocket.Conn {
			m.peer = nil
			conn, _, err := d.Dial(t.Context(), "ws://example.com"+path, o)
			if err != nil {
				t.Fatal(err)
			}
			if m.peer != nil {
				go answer(m.peer)
			}
			return conn
		}
		visit := func(path string) { closeOK(t, dial(path)) }
		visit("/a")
		held := dial("/held")
		visit("/b")
		testkit.Sleep(3 * time.Minute)
		if got := pools(d); got != 3 {
			t.Errorf("%d pools, want 3: each has a connection", got)
		}
		for p := range d.Sources() {
			p.(*pool.Pool[*Conn]).Reset() // closes what is idle
		}
		testkit.Sleep(30 * time.Second)
		visit("/b")
		testkit.Sleep(90 * time.Second)
		if got := pools(d); got != 2 {
			t.Errorf("%d pools, want 2: those of /held and /b", got)
		}
		closeOK(t, held)
		if got := d.Stats().Opened; got != 4 {
			t.Errorf("Stats has %d opened, want 4: what is gone counts", got)
		}
	})
}

// slowly is a transport that takes a second, and fails if it is to.
type slowly struct {
	inMemory
	fails error
}

func (s *slowly) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(time.Second)
	if s.fails != nil {
		return nil, s.fails
	}
	return s.inMemory.RoundTrip(r)
}

// A pool gets a connection that has been dialed before. What it tells is the time of the dial.
func TestADialerTellsHowLongDialsTookAndOfThoseThatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s slowly
		var hooked []time.Duration
		d := newDialer(t, nil)
		d.Config = pool.Config{Name: "sockets", Hooks: pool.Hooks{Opened: func(i pool.OpenInfo) { hooked = append(hooked, i.Took) }}}
		o := &websocket.DialOptions{HTTPClient: &http.Client{Transport: &s}}
		conn, _, err := d.Dial(t.Context(), "ws://example.com", o)
		if err != nil {
			t.Fatal(err)
		}
		go answer(s.peer)
		sources := func() (names []string, all []pool.Stats) {
			for s := range d.Sources() {
				names, all = append(names, s.Name()), append(all, s.Stats())
			}
			return names, all
		}
		if got, want := hooked, []time.Duration{time.Second}; !slices.Equal(got, want) {
			t.Errorf("Hooks.Opened was told %v, want %v", got, want)
		}
		names, all := sources()
		if len(all) != 1 || all[0].OpenTime.Sum != time.Second {
			t.Fatalf("Sources are %q with %v, want one with a dial of a second", names, all)
		}

		s.fails = errors.New("refused")
		for _, url := range []string{"ws://example.com", "ws://example.org"} {
			if _, _, err := d.Dial(t.Context(), url, o); !errors.Is(err, s.fails) {
				t.Fatalf("Dial returned %v, want %v", err, s.fails)
			}
		}
		names, all = sources()
		if len(all) != 2 || names[1] != "sockets" || all[1].OpenErrors != 2 || !errors.Is(all[1].LastOpenError, s.fails) || all[0].OpenErrors != 0 {
			t.Errorf("Sources are %q with %v, want a second one, sockets, with two failed dials", names, all)
		}
		if s := d.Stats(); s.OpenErrors != 2 || s.OpenTime.Count != 1 || s.OpenTime.Sum != time.Second || s.LastOpenError == nil {
			t.Errorf("Stats has %d failed dials, %d in %v, and %v", s.OpenErrors, s.OpenTime.Count, s.OpenTime.Sum, s.LastOpenError)
		}
		closeOK(t, conn)
		s.fails = nil
		o.Host = "another" // another pool
		conn, _, err = d.Dial(t.Context(), "ws://example.com", o)
		if err != nil {
			t.Fatal(err)
		}
		go answer(s.peer)
		closeOK(t, conn)
		names, all = sources()
		if len(all) != 3 || all[2].OpenErrors != 2 || all[2].LastOpenError != nil {
			t.Errorf("Sources are %q with %v, want the failed ones, and that opening does not fail any more", names, all)
		}
		for range d.Sources() {
			break // the loop may end early
		}
	})
}

// MinIdle is the one thing for which a pool of a Dialer dials by itself.
func TestMinIdleIsOpenedAsTheFirstDialWas(t *testing.T) {
	tokens := make(chan string, 8)
	url := serve(t, func(ctx context.Context, conn accepted) {
		tokens <- conn.request.Header.Get("Token")
		echo(ctx, conn)
	})
	d := newDialer(t, nil)
	d.Config = pool.Config{MinIdle: 2}
	header := http.Header{"Token": {"one"}}
	conn := dialOK(t, d.Dial, url, &websocket.DialOptions{HTTPHeader: header})
	defer conn.CloseNow()
	header.Set("Token", "two") // the caller's
	for range 3 {
		if got := receive(t, tokens, "handshake"); got != "one" {
			t.Errorf("a handshake with token %q, want one", got)
		}
	}
}

// A program that dials with another header each time gets as many connections, and no more
// pools than MaxPools, which end.
func TestDialsThatAreAllDifferentLeaveNoMoreThanMaxPools(t *testing.T) {
	url := serve(t, echo)
	d := newDialer(t, nil)
	d.MaxPools = 3
	for i := range 50 {
		o := &websocket.DialOptions{HTTPHeader: http.Header{"Request": {fmt.Sprint(i)}}}
		closeOK(t, dialOK(t, d.Dial, url, o))
		if got := pools(d); got > 3 {
			t.Fatalf("%d pools, want 3 at most", got)
		}
	}
	if err := d.Shutdown(soon(t)); err != nil {
		t.Fatal(err)
	}
	if got := d.Stats(); got.Opened != 50 || got.IdleConnections != 0 {
		t.Errorf("Stats has %d opened and %d idle, want 50 and 0", got.Opened, got.IdleConnections)
	}
}

// pools counts the pools of d.
func pools(d *Dialer) (n int) {
	for range d.pools.All() {
		n++
	}
	return n
}

// What is in no pool is as websocket.Dial would have made it: nobody else writes to it.
func TestAConnectionOfADialAloneIsNotTended(t *testing.T) {
	url := serve(t, echo)
	d := newDialer(t, nil)
	tended := func() int {
		tender := d.pools.opener.rules.tender
		tender.mu.Lock()
		defer tender.mu.Unlock()
		return len(tender.streams)
	}
	alone := dialOK(t, d.Dial, url, &websocket.DialOptions{OnPongReceived: func(context.Context, []byte) {}})
	defer alone.CloseNow()
	if got := tended(); got != 0 {
		t.Errorf("%d connections are tended, want none", got)
	}
	pooled := dialOK(t, d.Dial, url, nil)
	defer pooled.CloseNow()
	if got := tended(); got != 1 {
		t.Errorf("%d connections are tended, want the one of the pool", got)
	}
}

func TestDialerDefaults(t *testing.T) {
	for _, test := range []struct {
		dialer   *Dialer
		pools    int
		max      int
		lifetime time.Duration
	}{
		{&Dialer{}, 1000, 100, 30 * time.Minute},
		{&Dialer{MaxPools: 5, Config: pool.Config{MaxConnections: 7, MaxLifetime: time.Hour}}, 5, 7, time.Hour},
	} {
		d := test.dialer
		c, g := d.limits()
		if g.MaxPools != test.pools || c.MaxConnections != test.max || c.MaxLifetime != test.lifetime {
			t.Errorf("MaxPools %d, MaxConnections %d, MaxLifetime %v, want %d, %d, %v",
				g.MaxPools, c.MaxConnections, c.MaxLifetime, test.pools, test.max, test.lifetime)
		}
		if !c.OpenEagerly || c.MaxWaiters >= 0 || c.MaxOpening != 0 || c.OpenContext != nil {
			t.Errorf("a Dial may wait in the pool: %+v", c)
		}
	}
}
