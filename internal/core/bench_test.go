package core

import (
	"fmt"
	"testing"
	"time"

	"github.com/S4AK4N/pool/internal/sight"
)

// BenchmarkPass is what the sweeper does once a second: one op is one pass over 10,000
// idle connections. It reports which part of a processor that is.
func BenchmarkPass(b *testing.B) {
	for _, lifetime := range []time.Duration{0, time.Hour} {
		b.Run(fmt.Sprintf("lifetime=%v", lifetime), func(b *testing.B) {
			p := start(b, bare(), Config{MaxConnections: 10_000, MaxLifetime: lifetime, MaxIdleTime: time.Hour})
			// Nobody has asked this pool for anything, so it has no sweeper of its own.
			p.banks.Store(&[]*bank{idleBank(10_000, p)})
			now := time.Duration(p.now())
			for b.Loop() {
				now += p.sweeper.passEvery
				p.sweeper.nextPass = 0
				p.tick.Store(0) // nothing grows old
				p.pass(now)
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(p.sweeper.passEvery)*100, "%core")
		})
	}
}

// idleBank returns a bank of connections that are idle, in the given pool.
func idleBank(n int, p *Pool) *bank {
	k := newBank(0, n)
	for range n {
		i, word, _ := k.ring.Claim()
		k.slots[i].Store(&conn{pool: p, ring: k.ring, index: i, slot: i, expires: never, sight: new(sight.Sight)})
		k.ring.Give(i, k.ring.Fill(i, word, 0), 0)
	}
	return k
}
