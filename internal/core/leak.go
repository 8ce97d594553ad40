package core

import (
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/S4AK4N/pool/internal/sight"
	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
	"github.com/S4AK4N/pool/ring"
)

// A LeaseInfo is the LeaseInfo of the root package, with the box of the connection.
type LeaseInfo struct {
	Conn   any
	Number uint64
	Opened time.Time
	Since  time.Time
	Where  string
	Lease  Lease // for Revoke
}

// noted returns a lease that has just begun. If leaks are looked for, it notes where it
// was taken: at the call of the API function that is so many calls above noted.
func (p *Pool) noted(l Lease, above int) Lease {
	if p.notes {
		p.note(l, above+1)
	}
	return l
}

// note is noted for a pool that notes something.
func (p *Pool) note(l Lease, above int) {
	if p.config.TimeUse {
		l.conn.leasedAt = time.Duration(p.now())
	}
	if p.config.LeakAfter > 0 {
		l.conn.sight.Note(l.word, p.depth(l), above+1)
	}
}

// depth says how much is noted of a lease. To look at the stack takes longer than all the
// rest of a Get, so until there is a leak it is done for one lease in sampleLeases, drawn at
// random, and for the first of each connection. A leak that happens again and again is found
// after a few times all the same: after the first report, the callers of all leases are noted.
func (p *Pool) depth(l Lease) sight.Depth {
	switch {
	case p.counters.leaked.Load() > 0:
		return sight.Callers
	case !l.conn.noted || rand.Uint32()%p.sample == 0:
		l.conn.noted = true
		if p.config.LeakCallers {
			return sight.Callers
		}
		return sight.Place
	}
	return sight.Time
}

const sampleLeases = 32

// see is called by the sweeper for a leased slot. It remembers when the lease was first
// seen. It reports the lease once it has been in force for LeakAfter.
//
// A slot that the pool holds has the word that the next lease will have, and may become one at any time: by publish and a Take,
// by a reservation that somebody takes, by a hand-off. The race:
//
//	sweeper:                   notes the word; then reads the slot, and whether it is reserved; then the clock
//	publish, reserve, accept:  the slot is idle, or reserved, or in a lease; then what was noted is forgotten
//
// So what is noted is forgotten, or the slot was read after that. If it has the word once more, a lease has
// begun before the clock was read, or the pool holds the slot again, and the same holds for that. The clock of
// the pass will not do: it may be older than the lease.
func (p *Pool) see(c *conn, word ring.Word, now time.Duration) {
	step.At("see: slot read")
	noted := c.sight.Noted(word) // asked first, so that See is about the noted lease
	held, seen := c.sight.See(word, now)
	if !seen {
		step.At("see: noted")
		if c.ring.At(c.index) != word || c.reservedBy(word) != nil {
			c.sight.Forget(word)
		} else {
			c.sight.Began(time.Duration(p.now()))
		}
		return
	}
	if !noted || c.sight.Reported(word) || held < p.config.LeakAfter {
		return
	}
	info, ok := p.info(c)
	if !ok || c.ring.At(c.index) != word {
		return
	}
	c.sight.Report(word)
	p.counters.leaked.Inc()
	p.config.Logger.Warn("a lease is in force for longer than LeakAfter", slog.Uint64("conn", c.number),
		slog.Duration("held", held), slog.String("taken_by", info.takenBy()))
	if f := p.config.Hooks.Leaked; f != nil {
		go p.hook("Leaked", func() { f(info) }) // the hook must not delay the sweeper
	}
}

// takenBy is Where for the log.
func (i LeaseInfo) takenBy() string {
	if i.Where == "" {
		return "not noted; from now on it is, of every lease"
	}
	return i.Where
}

// info describes the lease that is in force for c. It reports false if there is none.
func (p *Pool) info(c *conn) (LeaseInfo, bool) {
	word := c.ring.At(c.index)
	info := LeaseInfo{Conn: c.box, Number: c.number, Opened: c.opened, Where: c.sight.Where(word), Lease: Lease{c, word}}
	if at, ok := c.sight.Since(word); ok {
		info.Since = p.epoch.Add(at)
	}
	// All of that is about this lease if it is still in force: the holder of the next
	// lease writes only after the slot has another word.
	b, i := p.bankOf(c.slot)
	// One that is being revoked is none, nor is one that is reserved.
	return info, word.Phase() == ring.Leased && c.reservedBy(word) == nil && word.Stamp() != revokedStamp && b.slots[i].Load() == c && b.ring.At(i) == word
}

// Leases lists the leases in force. Each is looked at for itself, and nobody is held up.
func (p *Pool) Leases() []LeaseInfo {
	if words.Gate(p.gate.Load()).Asleep() {
		return nil
	}
	var leases []LeaseInfo
	for _, b := range *p.banks.Load() {
		for i := range b.ring.High() {
			c := b.slots[i].Load()
			if c == nil || b.ring.At(i).Phase() != ring.Leased {
				continue
			}
			if info, ok := p.info(c); ok {
				leases = append(leases, info)
			}
		}
	}
	return leases
}
