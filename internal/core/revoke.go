package core

import (
	"log/slog"

	"github.com/S4AK4N/pool/internal/step"
	"github.com/S4AK4N/pool/internal/words"
)

// Revoke ends a lease that somebody else has. It reports whether this call has ended it.
//
// The lease may be on its way: a Get has the slot and has not returned yet, or the pool holds
// the slot, to check the connection or to hand it on. Nothing tells these from a lease in a
// caller's hands. So whoever is about to lend a connection looks whether the one in the slot
// is its own (owns) and not marked (notice, which revokeLease sets). A Get that finds that its
// connection has been revoked looks for another.
func (p *Pool) Revoke(l Lease) bool {
	if l.conn == nil || l.conn.pool != p {
		return false
	}
	if p.elsewhere() {
		p.config.Logger.Warn("Revoke has done nothing", slog.Any("error", ErrBubble))
		return false
	}
	return p.revokeLease(l, closedByRevoke, ErrRevoked)
}

// revokeLease ends a lease, or takes a held slot from its owner, and closes the connection. It
// reports false if the slot has another word.
//
// All that may happen to a slot competes by one compare-and-swap of its word: Put, Discard,
// Detach, Close, another Revoke, and whoever holds it. The word is of that connection alone,
// because Claim begins another generation. From the swap on the slot is ours. revokedStamp
// keeps Close and other Revokes away, and everybody else has an older word.
func (p *Pool) revokeLease(l Lease, why reason, cause error) bool {
	return p.revokeFor(0, l, why, cause)
}

// revokeFor is revokeLease, for the line of a budget: yielded has the bit of its share.
func (p *Pool) revokeFor(yielded uint8, l Lease, why reason, cause error) bool {
	c := l.conn
	word, ok := c.ring.Renew(c.index, l.word, revokedStamp) // the lease ends here
	if !ok {
		return false
	}
	step.At("revoke: renewed")
	c.mark(why, cause) // for whoever is about to lend it
	// Before the slot goes on: the other side is in notLeased.
	c.revoked.Store(&revocation{word, cause})
	step.At("revoke: noted")
	k := p.endCall(c)
	c.yielded = yielded // the slot is ours
	p.destroy(held{c.slot, word}, why, cause)
	p.leaveLook(k)
	return true
}

// notLeased says why a lease is not in force: ErrClosed or ErrRevoked if Close or Revoke has
// ended it, else ErrNotLeased. Of all that ask about a revoked lease one is told so: it counts
// as the one that has ended the lease.
//
// The other side is in revokeLease, which gives the slot a word with revokedStamp, notes that
// word in the connection, and lets the slot go on. Here the slot is read, then the note. So a
// lease that has been revoked is known by one of them.
func (p *Pool) notLeased(l Lease) error {
	c := l.conn
	word := c.ring.At(c.index)
	step.At("notLeased: slot read")
	by := ErrRevoked
	switch noted := c.revoked.Load(); {
	case noted != nil && noted.word.Succeeds(l.word):
		by = noted.by
	case word.Stamp() == revokedStamp && word.Succeeds(l.word):
		if words.Gate(p.gate.Load()).Closed() {
			by = ErrClosed // most likely; it is not noted yet
		}
	default:
		return ErrNotLeased
	}
	if !c.told.CompareAndSwap(false, true) {
		return ErrNotLeased
	}
	return by
}
