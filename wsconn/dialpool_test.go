package wsconn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
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

// newDialsPool returns the pool of a Dialer for url, and how to open a connection for it.
func newDialsPool(t *testing.T, d *Dialer, url string) (p *dialPool, open func() opened) {
	t.Helper()
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	key, _ := keyOf(url, nil, nil)
	p, err := d.pools.enter(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p, func() opened {
		conn, response, err := d.open(soon(t), url, nil)
		if err != nil {
			t.Fatal(err)
		}
		return opened{conn, response}
	}
}

// A connection may come back while a Dial opens one of its own.
func TestAConnectionThatIsNotNeededIsClosed(t *testing.T) {
	ends := make(chan websocket.StatusCode, 2)
	url := serve(t, func(ctx context.Context, conn accepted) {
		_, _, err := conn.Read(ctx)
		ends <- websocket.CloseStatus(err)
	})
	p, open := newDialsPool(t, newDialer(t, nil), url)
	first, _, err := p.adopt(soon(t), open())
	if err != nil || first == nil {
		t.Fatalf("adopt returned %v, %v, want a view", first, err)
	}
	conn := first.conn
	late := open()
	if !first.leave(appendFrame(nil, finBit|opClose, []byte{3, 0xe8})) {
		t.Fatal("the first view was not left")
	}
	v, _, err := p.adopt(soon(t), late)
	if err != nil || v == nil || v.conn != conn {
		t.Errorf("adopt returned %v, %v, want a view of the connection that came back", v, err)
	}
	if got := receive(t, ends, "end of a connection"); got != websocket.StatusNormalClosure {
		t.Errorf("the other one ended with status %v, want a closing handshake", got)
	}
	if len(p.given) != 0 || p.adopting != 0 {
		t.Errorf("%d connections are still offered to the pool, for %d dials", len(p.given), p.adopting)
	}
}

// Of several dials each may get what another one has opened.
func TestAConnectionIsLeftForTheDialThatStillWaits(t *testing.T) {
	url := serve(t, echo)
	p, open := newDialsPool(t, newDialer(t, nil), url)
	mine, other := open(), open()
	defer mine.conn.CloseNow()
	defer other.conn.CloseNow()
	p.given, p.adopting = []opened{mine}, 2 // the pool has taken the other, and given it to this one
	if spare := p.adopted(mine); spare.conn != nil {
		t.Error("the connection for the dial that waits was taken away")
	}
	p.given = []opened{other, mine}
	if spare := p.adopted(mine); spare != mine {
		t.Errorf("the spare one is %v, want the dial's own", spare)
	}
	if !slices.Equal(p.given, []opened{other}) || p.adopting != 0 {
		t.Errorf("%v are offered, for %d dials, want the other one for none", p.given, p.adopting)
	}
}

// A pool that has no room gives the connection back, with its response.
func TestAConnectionThatHasNoRoomIsTheDialsAlone(t *testing.T) {
	url := serve(t, echo)
	d := newDialer(t, nil)
	d.Config.MaxConnections = 1
	p, open := newDialsPool(t, d, url)
	first, _, err := p.adopt(soon(t), open())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second := open()
	defer second.conn.CloseNow()
	if v, alone, err := p.adopt(soon(t), second); v != nil || alone != second || err != nil {
		t.Errorf("adopt returned %v, %v, %v, want what was opened", v, alone, err)
	}
}

func TestAConnectionForADialerThatIsClosedIsClosed(t *testing.T) {
	ends := make(chan error, 1)
	url := serve(t, func(ctx context.Context, conn accepted) {
		_, _, err := conn.Read(ctx)
		ends <- err
	})
	p, open := newDialsPool(t, newDialer(t, nil), url)
	conn := open()
	p.Close()
	if v, alone, err := p.adopt(soon(t), conn); v != nil || alone.conn != nil || !errors.Is(err, pool.ErrClosed) {
		t.Errorf("adopt returned %v, %v, %v, want ErrClosed", v, alone, err)
	}
	receive(t, ends, "end of the connection")
}

// Nobody waits for a minute here: the test says that it has passed.
func TestAPoolThatIsEmptyForAWhileIsRemoved(t *testing.T) {
	url := serve(t, echo)
	d := newDialer(t, nil)
	visit := func(path string) { closeOK(t, dialOK(t, d.Dial, url+path, nil)) }
	count := func() int { return sizes(d, func(a *dialPools) int { return len(a.byKey) }) }
	later := func() {
		d.pools.mu.Lock()
		defer d.pools.mu.Unlock()
		d.pools.swept = d.pools.swept.Add(-2 * emptyTime)
		for _, p := range d.pools.byKey {
			p.unused = p.unused.Add(-2 * emptyTime)
		}
	}
	visit("/a")
	held := dialOK(t, d.Dial, url+"/held", nil)
	visit("/b")
	later()
	visit("/c")
	if got := count(); got != 4 {
		t.Errorf("%d pools, want 4: each has a connection", got)
	}
	for p := range d.Sources() {
		p.(*pool.Pool[*Conn]).Reset() // closes what is idle
	}
	visit("/c")
	later()
	visit("/d")
	if got := count(); got != 3 {
		t.Errorf("%d pools, want 3: those of /held, /c and /d", got)
	}
	askOn(t, held, "x")
	closeOK(t, held)
	if got := d.Stats().Opened; got != 6 {
		t.Errorf("Stats has %d opened, want 6: what is gone counts", got)
	}
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
		if got := sizes(d, func(a *dialPools) int { return len(a.byKey) }); got > 3 {
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

// sizes returns what f counts in the pools of d.
func sizes(d *Dialer, f func(*dialPools) int) int {
	d.pools.mu.Lock()
	defer d.pools.mu.Unlock()
	return f(d.pools)
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
		d.Options = &Options{OneReplyPerRequest: true}
		defer d.Close()
		if err := d.start(); err != nil {
			t.Fatal(err)
		}
		c := d.pools.config
		if d.pools.max != test.pools || c.MaxConnections != test.max || c.MaxLifetime != test.lifetime {
			t.Errorf("MaxPools %d, MaxConnections %d, MaxLifetime %v, want %d, %d, %v",
				d.pools.max, c.MaxConnections, c.MaxLifetime, test.pools, test.max, test.lifetime)
		}
		if !c.OpenEagerly || c.MaxWaiters >= 0 || c.MaxOpening != 0 || c.OpenContext != nil {
			t.Errorf("a Dial may wait in the pool: %+v", c)
		}
	}
}
