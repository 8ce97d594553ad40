package wsconn

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/coder/websocket"
)

// echoRaw is a server that costs little beside the client: it unmasks what
// comes, and sends it back.
func echoRaw(b *testing.B) *network {
	n := newNetwork(b, modes[0])
	go func() {
		for p := range n.peers {
			go func() {
				defer p.Close()
				p.SetDeadline(time.Time{})
				buf := make([]byte, 0, 16<<10)
				for {
					first, payload, err := readClientFrame(p.br)
					if err != nil || first&opBits == opClose {
						return
					}
					buf = buf[:0]
					buf = append(buf, frameOf(first, []byte(payload))...)
					if _, err := p.Conn.Write(buf); err != nil {
						return
					}
				}
			}()
		}
	}()
	return n
}

// BenchmarkEcho compares a round trip through the pool (Get, Write, Read, Put)
// with one on a connection that never saw a pool.
func BenchmarkEcho(b *testing.B) {
	for _, size := range []int{16, 8 << 10} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			n := echoRaw(b)
			ctx := context.Background()
			bare, _, err := websocket.Dial(ctx, n.url, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer bare.CloseNow()
			p := newPool(b, n.url, nil, pool.Config{MaxConnections: 1})
			message := make([]byte, size)
			roundTrip := func(conn *websocket.Conn) {
				if err := conn.Write(ctx, websocket.MessageBinary, message); err != nil {
					b.Fatal(err)
				}
				if _, _, err := conn.Read(ctx); err != nil {
					b.Fatal(err)
				}
			}
			pooled := func() {
				l, err := p.Get(ctx)
				if err != nil {
					b.Fatal(err)
				}
				roundTrip(l.Value().Conn)
				if err := p.Put(l); err != nil {
					b.Fatal(err)
				}
			}
			sideBySide(b, turns{"bare", 10, func() { roundTrip(bare) }}, turns{"pool", 10, pooled})
		})
	}
}

// BenchmarkExchange compares Exchange on a pooled connection with a Write and a Read on
// one that never saw a pool, as BenchmarkEcho does, with a ctx that can be canceled and
// one that cannot.
func BenchmarkExchange(b *testing.B) {
	canBeCanceled, cancel := context.WithCancel(context.Background())
	defer cancel()
	for name, ctx := range map[string]context.Context{"background": context.Background(), "cancel": canBeCanceled} {
		b.Run("ctx="+name, func(b *testing.B) {
			n := echoRaw(b)
			bare, _, err := websocket.Dial(ctx, n.url, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer bare.CloseNow()
			p := newPool(b, n.url, nil, pool.Config{MaxConnections: 1})
			message := make([]byte, 16)
			sideBySide(b, turns{"bare", 50, func() {
				if err := bare.Write(ctx, websocket.MessageBinary, message); err != nil {
					b.Fatal(err)
				}
				if _, _, err := bare.Read(ctx); err != nil {
					b.Fatal(err)
				}
			}}, turns{"pool", 50, func() { exchangeOnce(b, ctx, p, message) }})
		})
	}
}

// A turns is what sideBySide compares: calls of f, so many at a time.
type turns struct {
	name  string
	calls int
	f     func()
}

// sideBySide has what is compared take turns of a millisecond at most, so that all see the
// same machine. It reports the median of each, and the median of the ratios of the others
// to the first, turn by turn.
func sideBySide(b *testing.B, all ...turns) {
	b.Helper()
	times := make([][]float64, len(all)) // of one call
	ratios := make([][]float64, len(all))
	for _, t := range all {
		t.f()
	}
	for b.Loop() {
		for i, t := range all {
			start := time.Now()
			for range t.calls {
				t.f()
			}
			times[i] = append(times[i], float64(time.Since(start).Nanoseconds())/float64(t.calls))
			ratios[i] = append(ratios[i], times[i][len(times[i])-1]/times[0][len(times[0])-1])
		}
	}
	median := func(x []float64) float64 {
		slices.Sort(x)
		return x[len(x)/2]
	}
	b.ReportMetric(0, "ns/op")
	for i, t := range all {
		b.ReportMetric(median(times[i]), t.name+"-ns")
		if i > 0 {
			b.ReportMetric(median(ratios[i]), t.name+"/"+all[0].name)
		}
	}
}

// exchangeOnce is a request through a pool.
func exchangeOnce(b *testing.B, ctx context.Context, p *pool.Pool[*Conn], message []byte) {
	l, err := p.Get(ctx)
	if err != nil {
		b.Fatal(err)
	}
	if _, _, err := l.Value().Exchange(ctx, websocket.MessageBinary, message); err != nil {
		b.Fatal(err)
	}
	if err := p.Put(l); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkTendedEcho compares a round trip on a connection that is tended, ten times as
// often as by default, with one on a connection that is not.
func BenchmarkTendedEcho(b *testing.B) {
	n := echoRaw(b)
	message := make([]byte, 16)
	pooled := func(o *Options) func() {
		p := newPool(b, n.url, o, pool.Config{MaxConnections: 1})
		return func() { exchangeOnce(b, context.Background(), p, message) }
	}
	sideBySide(b, turns{"untended", 50, pooled(&Options{noTend: true})}, turns{"tended", 50, pooled(&Options{PongTimeout: 400 * time.Millisecond})})
}

func newPool(t testing.TB, url string, opts *Options, config pool.Config) *pool.Pool[*Conn] {
	t.Helper()
	p, err := pool.New(newFactory(t, url, opts), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func BenchmarkCheck(b *testing.B) {
	for _, m := range modes {
		b.Run("transport="+m.name, func(b *testing.B) {
			conn, p := dial(b, m, &Options{PingInterval: time.Hour})
			conn.roundTrip(p)
			b.ReportAllocs()
			for b.Loop() {
				if err := conn.check(conn.Conn); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkClean(b *testing.B) {
	for _, m := range modes[:3] {
		b.Run("transport="+m.name, func(b *testing.B) {
			conn, p := dial(b, m, nil)
			conn.roundTrip(p)
			b.ReportAllocs()
			for b.Loop() {
				if err := conn.clean(conn.Conn); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("transport=tls13/read=yes", func(b *testing.B) {
		conn, p := dial(b, modes[2], nil)
		conn.roundTrip(p)
		b.ReportAllocs()
		for b.Loop() {
			conn.stream.hidden = true // as after a Read
			if err := conn.clean(conn.Conn); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRequest compares a pooled request with one that dials.
func BenchmarkRequest(b *testing.B) {
	n := echoRaw(b)
	ctx := context.Background()
	message := make([]byte, 16)
	p := newPool(b, n.url, nil, pool.Config{MaxConnections: 1})
	sideBySide(b, turns{"pool", 50, func() { exchangeOnce(b, ctx, p, message) }}, turns{"dial", 5, func() {
		conn, _, err := websocket.Dial(ctx, n.url, nil)
		if err != nil {
			b.Fatal(err)
		}
		err = conn.Write(ctx, websocket.MessageBinary, message)
		if err == nil {
			_, _, err = conn.Read(ctx)
		}
		if err != nil {
			b.Fatal(err)
		}
		conn.CloseNow()
	}})
}

// A memory is a connection that costs nothing: the same bytes come again and again.
type memory struct{ b []byte }

func (m *memory) Read(p []byte) (int, error)  { return copy(p, m.b), nil }
func (m *memory) Write(p []byte) (int, error) { return len(p), nil }
func (m *memory) Close() error                { return nil }

// BenchmarkStream is what the stream adds to a round trip: one op is a Write of a frame,
// and the two Reads in which one is given out.
func BenchmarkStream(b *testing.B) {
	s := newStream(&memory{text("0123456789abcdef")}, nil, &rules{})
	request := append([]byte{finBit | opText, maskBit | 16, 1, 2, 3, 4}, "0123456789abcdef"...)
	buf := make([]byte, 4096)
	for b.Loop() {
		if _, err := s.Write(request); err != nil {
			b.Fatal(err)
		}
		for range 2 {
			if _, err := s.Read(buf); err != nil {
				b.Fatal(err)
			}
		}
	}
}
