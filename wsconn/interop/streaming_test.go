package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/wsconn"
	"github.com/coder/websocket"
	"go.uber.org/atomic"
)

// A streamer is a server in the way of those in front of inference: it greets, answers a
// request by many messages, tells its rate limits before, between and after them, and
// ends each connection hard after a lifetime, whatever is in progress.
type streamer struct {
	url      string
	lifetime time.Duration // of a connection; zero: no end
	pause    time.Duration // before each part of a response

	opened, turns, cut atomic.Int64 // connections, turns done, turns cut off
}

// A frame is a message either way.
type frame struct {
	Type    string    `json:"type"`
	ID      string    `json:"id,omitempty"`
	Parts   int       `json:"parts,omitempty"`
	Index   int       `json:"index,omitempty"`
	Expires time.Time `json:"expires_at,omitzero"`
}

type connKey struct{}

func (s *streamer) start(t *testing.T) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }
	server.Start()
	t.Cleanup(server.Close)
	s.url = server.URL
}

func (s *streamer) serve(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	s.opened.Inc()
	greeting := frame{Type: "session.created"}
	inTurn := atomic.Int64{}
	if s.lifetime > 0 {
		greeting.Expires = time.Now().Add(s.lifetime)
		timer := time.AfterFunc(s.lifetime, func() {
			s.cut.Add(inTurn.Load())
			tcp := r.Context().Value(connKey{}).(*net.TCPConn)
			tcp.SetLinger(0) // the client gets a reset
			tcp.Close()
		})
		defer timer.Stop()
	}
	ctx := context.WithoutCancel(r.Context())
	send := func(f frame) bool {
		b, _ := json.Marshal(f)
		return conn.Write(ctx, websocket.MessageText, b) == nil
	}
	limits := frame{Type: "rate_limits.updated"}
	for ok := send(greeting); ok; ok = send(limits) {
		_, b, err := conn.Read(ctx)
		if err != nil {
			return
		}
		var request frame
		if json.Unmarshal(b, &request) != nil {
			return
		}
		inTurn.Store(1)
		ok = send(limits) && send(frame{Type: "response.created", ID: request.ID})
		for i := 0; ok && i < request.Parts; i++ {
			time.Sleep(s.pause) // the work
			ok = send(frame{Type: "response.delta", ID: request.ID, Index: i}) && (i%5 != 0 || send(limits))
		}
		ok = ok && send(frame{Type: "response.done", ID: request.ID})
		inTurn.Store(0)
		if !ok {
			return
		}
		s.turns.Inc()
	}
}

// stream collects the parts of one response.
type stream struct {
	id    string
	parts int
	next  int // the part that is due
	err   error
}

// take takes a message, and reports whether it is the last one of the response.
func (s *stream) take(m []byte) (last bool) {
	var f frame
	if err := json.Unmarshal(m, &f); err != nil {
		s.err = err
		return false
	}
	switch {
	case !strings.HasPrefix(f.Type, "response."):
	case f.ID != s.id:
		s.err = fmt.Errorf("the %s of %s was read by %s", f.Type, f.ID, s.id)
	case f.Type == "response.delta":
		if f.Index != s.next {
			s.err = fmt.Errorf("%s: part %d, want %d", s.id, f.Index, s.next)
		}
		s.next++
	case f.Type == "response.done":
		if s.next != s.parts {
			s.err = fmt.Errorf("%s: done after %d parts of %d", s.id, s.next, s.parts)
		}
		return true
	}
	return false
}

// errForeign marks what must not happen.
var errForeign = errors.New("a response is not whole, or somebody else's")

// turn sends a request and takes its response. giveUp, if not nil, is called for each part.
func turn(ctx context.Context, conn *wsconn.Conn, id string, parts int, giveUp func(next int)) error {
	request, _ := json.Marshal(frame{Type: "response.create", ID: id, Parts: parts})
	s := &stream{id: id, parts: parts}
	last := func(m []byte) bool {
		done := s.take(m)
		if giveUp != nil {
			giveUp(s.next)
		}
		return done || s.err != nil
	}
	var err error
	if parts%2 == 0 {
		_, _, err = conn.ExchangeFunc(ctx, websocket.MessageText, request, func(m wsconn.Message) bool { return last(m.Data) })
	} else { // the same by hand
		conn.Begin()
		err = conn.Write(ctx, websocket.MessageText, request)
		for done := false; err == nil && !done; {
			var b []byte
			if _, b, err = conn.Read(ctx); err == nil {
				done = last(b)
			}
		}
		if err == nil {
			conn.End()
		}
	}
	if s.err != nil {
		return fmt.Errorf("%w: %w", errForeign, s.err)
	}
	return err
}

// options are those of a client of s. The expiry is the connection's Value.
func (s *streamer) options() *wsconn.Options {
	return &wsconn.Options{
		OnConnect: func(ctx context.Context, conn *wsconn.Conn) error {
			_, b, err := conn.Read(ctx)
			if err != nil {
				return err
			}
			var greeting frame
			if err := json.Unmarshal(b, &greeting); err != nil {
				return err
			}
			conn.Value = greeting.Expires
			return nil
		},
		OnUnsolicited:    func(*wsconn.Conn, wsconn.Message) (*wsconn.Message, error) { return nil, nil },
		HandshakeTimeout: patience,
	}
}

// TestStreamedResponsesAreWholeAndOnesOwn: callers share few connections, and some give up
// in the middle of a response, which goes on.
func TestStreamedResponsesAreWholeAndOnesOwn(t *testing.T) {
	for _, connections := range []int{1, 10, 50} {
		t.Run(fmt.Sprint(connections, " connections"), func(t *testing.T) {
			const callers, turns = 60, 5
			s := &streamer{}
			s.start(t)
			p := newPool(t, s.url, s.options(), pool.Config{MaxConnections: connections, MaxWaitTime: -1, OpenTimeout: patience, CheckInterval: checkInterval})
			ctx := soon(t)
			var given atomic.Int64
			var group sync.WaitGroup
			for i := range callers {
				group.Go(func() {
					for k := range turns {
						ctx, cancel := context.WithCancel(ctx)
						var giveUp func(int)
						if (i+k)%5 == 0 {
							giveUp = func(next int) {
								if next == 3 {
									cancel()
								}
							}
						}
						err := p.Do(ctx, func(ctx context.Context, conn *wsconn.Conn) error {
							return turn(ctx, conn, fmt.Sprint(i, "-", k), 5+k%10, giveUp)
						})
						gaveUp := ctx.Err() != nil
						cancel()
						switch {
						case errors.Is(err, errForeign) || err != nil && !gaveUp:
							t.Error(err)
							return
						case gaveUp:
							given.Inc()
						}
					}
				})
			}
			group.Wait()
			if given.Load() == 0 {
				t.Error("nobody has given up")
			}
		})
	}
}

// TestNoTurnBeginsOnAnExpiredConnection: the server tells when it ends a connection, and
// Factory.Expires passes that on, with a margin for one turn. On a slow machine a turn may
// last for longer than the margin, and be cut off, or a dial for longer than the rest.
func TestNoTurnBeginsOnAnExpiredConnection(t *testing.T) {
	const lifetime, margin, enough = time.Second, 700 * time.Millisecond, 12
	s := &streamer{lifetime: lifetime, pause: time.Millisecond}
	s.start(t)
	factory, err := wsconn.NewFactory(s.url, s.options())
	if err != nil {
		t.Fatal(err)
	}
	factory.Expires = func(conn *wsconn.Conn) time.Time { return conn.Value.(time.Time).Add(-margin) }
	p, err := pool.New(factory, pool.Config{MaxConnections: 4, MaxWaitTime: -1, OpenTimeout: patience, CheckInterval: checkInterval})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx := soon(t)
	var slow atomic.Int64
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for k := 0; ctx.Err() == nil && s.opened.Load() < enough; k++ {
				asked := time.Now().Round(0)
				var expires time.Time
				err := p.Retry(ctx, func(ctx context.Context, conn *wsconn.Conn) error {
					expires = conn.Value.(time.Time)
					if late := asked.Sub(expires.Add(-margin)); late > 10*time.Millisecond {
						return fmt.Errorf("lent %v after its end", late)
					}
					return turn(ctx, conn, fmt.Sprint(i, "-", k), 4+k%2, nil)
				})
				var open *pool.OpenError
				switch {
				case err == nil || ctx.Err() != nil || errors.As(err, &open):
				case !errors.Is(err, errForeign) && !time.Now().Before(expires) && expires.Sub(asked) > 0:
					slow.Inc() // longer than the margin
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	t.Logf("%d connections, %d turns, %d longer than the margin", s.opened.Load(), s.turns.Load(), slow.Load())
	if s.turns.Load() == 0 || s.opened.Load() <= 4 {
		t.Error("no connection has come to its end")
	}
}

// TestTurnCutOffByTheServerIsRepeated: nobody knows of the lifetime. A turn that a reused
// connection fails is repeated on a fresh one, which is only cut off if one turn lasts for
// longer than the lifetime.
func TestTurnCutOffByTheServerIsRepeated(t *testing.T) {
	const lifetime = 500 * time.Millisecond
	s := &streamer{lifetime: lifetime, pause: time.Millisecond}
	s.start(t)
	p := newPool(t, s.url, s.options(), pool.Config{MaxConnections: 4, MaxWaitTime: -1, OpenTimeout: patience, CheckInterval: checkInterval})
	ctx := soon(t)
	var repeated, slow atomic.Int64
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for k := 0; ctx.Err() == nil && repeated.Load() < 10; k++ {
				tries, began, reused := 0, time.Time{}, false
				err := p.RetryLease(ctx, func(ctx context.Context, lease pool.Lease[*wsconn.Conn]) error {
					tries++
					began, reused = time.Now(), lease.Reused()
					return turn(ctx, lease.Value(), fmt.Sprint(i, "-", k), 20+k%2, nil)
				})
				switch {
				case err == nil && tries == 2:
					repeated.Inc()
				case err == nil || ctx.Err() != nil:
				case !errors.Is(err, errForeign) && !reused && time.Since(began) > lifetime/2:
					slow.Inc()
				default:
					t.Errorf("%d tries, the last on a reused connection: %v, for %v: %v", tries, reused, time.Since(began), err)
					return
				}
			}
		})
	}
	group.Wait()
	t.Logf("%d turns cut off, %d repeated, %d longer than half a lifetime", s.cut.Load(), repeated.Load(), slow.Load())
	if repeated.Load() == 0 {
		t.Error("no turn was repeated")
	}
}
