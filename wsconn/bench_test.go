package wsconn

import (
	"context"
	"fmt"
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
// with one on a connection that never saw a pool. The two take turns of a
// millisecond or so, so that both see the same machine.
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
			roundTrip(bare)
			pooled()
			const turn = 50
			var times [2]time.Duration
			for i := 0; b.Loop(); i++ {
				start := time.Now()
				for range turn {
					roundTrip(bare)
				}
				middle := time.Now()
				for range turn {
					pooled()
				}
				times[0] += middle.Sub(start)
				times[1] += time.Since(middle)
			}
			per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / float64(b.N*turn) }
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(per(times[0]), "bare-ns")
			b.ReportMetric(per(times[1]), "pool-ns")
			b.ReportMetric(float64(times[1])/float64(times[0]), "ratio")
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
			turns := [2]func() error{
				func() error {
					if err := bare.Write(ctx, websocket.MessageBinary, message); err != nil {
						return err
					}
					_, _, err := bare.Read(ctx)
					return err
				},
				func() error {
					l, err := p.Get(ctx)
					if err != nil {
						return err
					}
					if _, _, err := l.Value().Exchange(ctx, websocket.MessageBinary, message); err != nil {
						return err
					}
					return p.Put(l)
				},
			}
			const turn = 50
			var times [2]time.Duration
			for i := 0; b.Loop(); i++ {
				for k, f := range turns {
					start := time.Now()
					for range turn {
						if err := f(); err != nil {
							b.Fatal(err)
						}
					}
					times[k] += time.Since(start)
				}
			}
			per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / float64(b.N*turn) }
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(per(times[0]), "bare-ns")
			b.ReportMetric(per(times[1]), "pool-ns")
			b.ReportMetric(float64(times[1])/float64(times[0]), "ratio")
		})
	}
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

// BenchmarkCheck also shows what a look at the socket costs by itself.
func BenchmarkCheck(b *testing.B) {
	b.Run("transport=ws/look=alone", func(b *testing.B) {
		conn, _ := dial(b, modes[0], nil)
		for b.Loop() {
			if arrived, err := conn.stream.peeker.peek(); arrived || err != nil {
				b.Fatal(arrived, err)
			}
		}
	})
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
	b.Run("impl=dial", func(b *testing.B) {
		for b.Loop() {
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
		}
	})
	b.Run("impl=pool", func(b *testing.B) {
		p := newPool(b, n.url, nil, pool.Config{MaxConnections: 1})
		for b.Loop() {
			l, err := p.Get(ctx)
			if err != nil {
				b.Fatal(err)
			}
			if _, _, err := l.Value().Exchange(ctx, websocket.MessageBinary, message); err != nil {
				b.Fatal(err)
			}
			p.Put(l)
		}
	})
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
