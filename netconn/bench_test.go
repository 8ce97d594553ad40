package netconn

import (
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
)

// BenchmarkCheck compares Check with the bare system call on the same socket. The two take
// turns of some 50 µs, so that both see the same machine.
func BenchmarkCheck(b *testing.B) {
	for _, secure := range []bool{false, true} {
		s := serve(b, secure)
		client, p := s.open(b, nil)
		other, q := s.dial(b)
		ask(b, client, p)
		ask(b, other, q)
		clean := s.factory(b, nil).Clean
		if err := clean(client); err != nil { // TLS has nothing left
			b.Fatal(err)
		}
		look := func() error {
			there, err := of(client).socket.Peek()
			if there {
				err = errUnread
			}
			return err
		}
		for _, call := range []struct {
			name string
			f    func() error
		}{
			{"check", func() error { return Check(client) }},
			{"clean", func() error { return clean(client) }},
			{"clean-after-read", func() error { of(client).hidden = secure; return clean(client) }},
			{"check-other", func() error { return Check(other) }},
		} {
			b.Run(fmt.Sprintf("tls=%v/call=%s", secure, call.name), func(b *testing.B) {
				compare(b, "recvfrom", look, call.f)
			})
		}
	}
}

// compare reports how long f takes, and how many times what base takes: medians of turns, in
// which it does not show if somebody else has the processor now and then.
func compare(b *testing.B, name string, base, f func() error) {
	const turn = 50
	var turns [2][]time.Duration
	for b.Loop() {
		for i, call := range []func() error{base, f} {
			start := time.Now()
			for range turn {
				if err := call(); err != nil {
					b.Fatal(err)
				}
			}
			turns[i] = append(turns[i], time.Since(start))
		}
	}
	b.ReportMetric(0, "ns/op") // of both together: it says nothing
	var median [2]float64
	for i := range turns {
		slices.Sort(turns[i])
		median[i] = float64(turns[i][len(turns[i])/2]) / turn
	}
	b.ReportMetric(median[0], "ns/"+name)
	b.ReportMetric(median[1], "ns/call")
	b.ReportMetric(median[1]/median[0], "x/"+name)
}

// BenchmarkEcho compares a round trip through the pool with one on a bare connection.
func BenchmarkEcho(b *testing.B) {
	for _, secure := range []bool{false, true} {
		b.Run(fmt.Sprintf("tls=%v", secure), func(b *testing.B) {
			s := serve(b, secure)
			echo := func(p *peer) {
				p.raw.SetDeadline(time.Time{})
				io.Copy(struct{ io.Writer }{p}, struct{ io.Reader }{p})
			}
			bare, q := s.dial(b)
			go echo(q)
			p := s.pool(b, nil, pool.Config{MaxConnections: 1})
			peers := s.accepts(b, 1)
			if err := p.Warm(b.Context(), 1); err != nil {
				b.Fatal(err)
			}
			go echo(<-peers)
			message := make([]byte, 16)
			trip := func(c net.Conn) error {
				if _, err := c.Write(message); err != nil {
					return err
				}
				_, err := io.ReadFull(c, message)
				return err
			}
			compare(b, "bare", func() error { return trip(bare) }, func() error {
				l, err := p.Get(b.Context())
				if err != nil {
					return err
				}
				if err := trip(l.Value()); err != nil {
					return err
				}
				return p.Put(l)
			})
		})
	}
}
