package wsconn

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/coder/websocket"
)

// crossed is the server of the test below: it answers each message with that message and
// the header of the handshake, sometimes in fragments.
func crossed(ctx context.Context, conn accepted) {
	tenant := conn.request.Header.Get("Tenant")
	for i := 0; ; i++ {
		kind, message, err := conn.Read(ctx)
		if err != nil {
			return
		}
		reply := tenant + " " + string(message)
		switch i % 2 {
		case 0:
			err = conn.Write(ctx, kind, []byte(reply))
		case 1:
			w, werr := conn.Writer(ctx, kind)
			if err = werr; err == nil {
				fmt.Fprint(w, reply[:2])
				fmt.Fprint(w, reply[2:])
				err = w.Close()
			}
		}
		if err != nil {
			return
		}
	}
}

// A hammered is one Dial of a program that behaves in one way or another.
type hammered struct {
	t    *testing.T
	conn *websocket.Conn
	name string // starts each of its messages, and so each message that it may get
	sent int
	late *sync.WaitGroup
}

// check fails the test if a message is not one of this Dial.
func (h *hammered) check(message []byte, err error) error {
	if err == nil && !strings.HasPrefix(string(message), h.name+".") {
		h.t.Errorf("the Dial %q got %q", h.name, message)
	}
	return err
}

func (h *hammered) write() error {
	h.sent++
	return h.conn.Write(h.ctx(), websocket.MessageText, h.message(strings.Repeat("x", h.sent*100)))
}

// message returns one to which the reply starts with the name.
func (h *hammered) message(s string) []byte {
	_, name, _ := strings.Cut(h.name, " ") // the server puts the tenant before it
	return []byte(name + "." + s)
}

func (h *hammered) read() error {
	_, message, err := h.conn.Read(h.ctx())
	return h.check(message, err)
}

func (h *hammered) exchange() error {
	if err := h.write(); err != nil {
		return err
	}
	return h.read()
}

func (h *hammered) ctx() context.Context { return context.Background() }

// afterwards goes on in a goroutine when the Dial has ended, or is ending.
func (h *hammered) afterwards(f func()) { h.late.Go(f) }

func (h *hammered) reader() {
	h.afterwards(func() {
		for h.read() == nil {
		}
	})
}

// ways are what programs do with a WebSocket between Dial and Close. polite says that the
// connection is finished then.
var ways = []struct {
	name   string
	polite bool
	f      func(h *hammered) error
}{
	{"polite", true, func(h *hammered) error { return h.exchange() }},
	{"says nothing", true, func(*hammered) error { return nil }},
	{"talks", true, func(h *hammered) error {
		for range 5 {
			if err := h.exchange(); err != nil {
				return err
			}
		}
		return nil
	}},
	{"leaves a reader", true, func(h *hammered) error {
		if err := h.exchange(); err != nil {
			return err
		}
		h.reader()
		return nil
	}},
	{"leaves a reader and owes", false, func(h *hammered) error {
		h.reader()
		return h.write()
	}},
	{"leaves everything", true, func(h *hammered) error {
		if err := h.exchange(); err != nil {
			return err
		}
		for _, f := range []func() error{
			h.read,
			func() error { return h.conn.Write(h.ctx(), websocket.MessageText, h.message("late")) },
			func() error { return h.conn.Close(websocket.StatusGoingAway, "late") },
			h.conn.CloseNow,
		} {
			h.afterwards(func() {
				for range rand.IntN(20) {
					runtime.Gosched()
				}
				f()
			})
		}
		return nil
	}},
	{"abandons a reply", false, func(h *hammered) error { return h.write() }},
	{"reads half", false, func(h *hammered) error {
		if err := h.write(); err != nil {
			return err
		}
		_, r, err := h.conn.Reader(h.ctx())
		if err == nil {
			_, err = r.Read(make([]byte, 3))
		}
		return err
	}},
	{"writes half", false, func(h *hammered) error {
		w, err := h.conn.Writer(h.ctx(), websocket.MessageText)
		if err == nil {
			_, err = w.Write([]byte("half"))
		}
		return err
	}},
	{"gives up", false, func(h *hammered) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(200))*time.Microsecond)
		defer cancel()
		if h.write() == nil {
			_, message, err := h.conn.Read(ctx)
			h.check(message, err)
		}
		return nil
	}},
	{"is closed twice", true, func(h *hammered) error {
		if err := h.exchange(); err != nil {
			return err
		}
		h.afterwards(func() { h.conn.Close(websocket.StatusNormalClosure, "too") })
		return nil
	}},
	{"reads for the close only", true, func(h *hammered) error {
		if err := h.exchange(); err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(context.Background())
		h.conn.CloseRead(ctx)
		h.afterwards(cancel)
		return nil
	}},
}

// TestNoMessageCrossesFromOneDialToAnother lets programs of every kind share connections,
// under a bound that makes some of them share none. It runs for a number of Dials, and no
// longer than patience.
func TestNoMessageCrossesFromOneDialToAnother(t *testing.T) {
	for _, noPeek := range []bool{false, true} {
		t.Run(fmt.Sprintf("noPeek=%v", noPeek), func(t *testing.T) {
			if !canPeek && !noPeek {
				t.Skip("no peek here")
			}
			var handshakes, dials atomic.Int32
			url := serveCounted(t, &handshakes, crossed)
			d := newDialer(t, &Options{OneReplyPerRequest: true, PingInterval: 20 * time.Millisecond, noPeek: noPeek})
			d.Config = pool.Config{MaxConnections: 5}
			d.MaxPools = 2
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			each := 150
			if testing.Short() {
				each = 30
			}
			var late, all sync.WaitGroup
			for g := range 8 {
				all.Go(func() {
					r := rand.New(rand.NewPCG(seed, uint64(g)))
					for i := range each {
						tenant := string("AAAABBC"[r.IntN(7)])
						way := ways[r.IntN(len(ways))]
						if !way.polite {
							way = ways[r.IntN(len(ways))] // fewer of these, so that more is shared
						}
						o := &websocket.DialOptions{HTTPHeader: http.Header{"Tenant": {tenant}}}
						conn, _, err := d.Dial(soon(t), url, o)
						if err != nil {
							t.Error(err)
							return
						}
						dials.Add(1)
						h := &hammered{t: t, conn: conn, name: fmt.Sprintf("%s %d-%d", tenant, g, i), late: &late}
						if err := way.f(h); err != nil && way.name != "leaves everything" && way.name != "is closed twice" {
							t.Errorf("%s: %v", way.name, err)
						}
						if r.IntN(16) == 0 {
							conn.CloseNow()
						} else {
							conn.Close(websocket.StatusNormalClosure, "done")
						}
					}
				})
			}
			all.Wait()
			late.Wait()
			if err := d.Shutdown(soon(t)); err != nil {
				t.Fatal(err)
			}
			if got, most := handshakes.Load(), dials.Load(); got >= most {
				t.Errorf("%d handshakes in %d Dials: nothing was shared", got, most)
			}
			t.Logf("%d handshakes in %d Dials", handshakes.Load(), dials.Load())
		})
	}
}
