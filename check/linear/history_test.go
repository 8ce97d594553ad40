package linear

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/S4AK4N/pool"

	"github.com/anishathalye/porcupine"
)

// An event is one call of a caller, and what came of it.
type event struct {
	client    int
	kind      kind
	wire      *wire // that it was about, if it was about one
	lease     int   // number of the lease, likewise
	call, ret int64 // on the clock of the world
	get       bool  // it was a Get, GetFresh or GetSame, which may have waited
	same      bool  // it was a GetSame
	follows   int   // number of the lease that this one follows, if it says so
	fresh     bool  // it was a GetFresh
	try       bool  // it was a TryGet
	refused   bool  // it was a TryGet that returned false, and may have been the only one
	max       int   // what Resize was asked for
}

func (e *event) overlaps(f *event) bool { return e.call <= f.ret && f.call <= e.ret }

func (e *event) String() string {
	s := fmt.Sprintf("%6d %6d  caller %d  %v", e.call, e.ret, e.client, e.kind)
	if e.wire != nil {
		s += fmt.Sprintf(" c%d", e.wire.number)
	}
	if e.lease > 0 {
		s += fmt.Sprintf(" l%d", e.lease)
	}
	if e.refused {
		s += " (TryGet)"
	}
	if e.fresh {
		s += " (GetFresh)"
	}
	if e.same {
		s += " (GetSame)"
	}
	if e.follows > 0 {
		s += fmt.Sprintf(" (follows l%d)", e.follows)
	}
	if e.kind == resized {
		s += fmt.Sprintf(" to %d", e.max)
	}
	return s
}

// A history is what happened between two stops.
type history struct {
	initial []*wire // idle at the first stop
	events  []event // of callers, in no order
	opened  []*wire // since the first stop
	closed  []*wire // since the first stop
	begin   int64
	end     int64
	max     int  // MaxConnections at the first stop
	mortal  bool // connections have a MaxLifetime
}

// A translation numbers what occurs in a history.
type translation struct {
	conns  map[*wire]uint8
	leases map[int]uint8
}

func (n *translation) conn(w *wire) uint8 {
	i, ok := n.conns[w]
	if !ok {
		if i = uint8(len(n.conns)); i == most {
			panic("more connections in a window than a state holds")
		}
		n.conns[w] = i
	}
	return i
}

func (n *translation) lease(l int) uint8 {
	if l == 0 {
		return 0
	}
	i, ok := n.leases[l]
	if !ok {
		if i = uint8(len(n.leases) + 1); i == 0 {
			panic("more leases in a window than a state holds")
		}
		n.leases[l] = i
	}
	return i
}

// operations is the history as porcupine has it, and the state that it begins in.
func (h *history) operations() (state, []porcupine.Operation) {
	n := translation{map[*wire]uint8{}, map[int]uint8{}}
	first := state{max: uint8(h.max)}
	for _, w := range h.initial {
		first.conns[n.conn(w)].phase = idle
	}
	var ops []porcupine.Operation
	add := func(client int, k kind, w *wire, lease int, call, ret int64) {
		a := action{kind: k, lease: n.lease(lease)}
		if w != nil {
			a.conn = n.conn(w)
		}
		ops = append(ops, porcupine.Operation{ClientId: client, Input: a, Call: call, Return: ret})
	}
	unseen := map[*wire]bool{} // closed before anybody was lent them
	for _, w := range h.opened {
		seen := h.end
		unseen[w] = slices.Contains(h.closed, w)
		for i := range h.events {
			if e := &h.events[i]; e.kind == lent && e.wire == w {
				seen = min(seen, e.ret)
				unseen[w] = false
			}
		}
		if unseen[w] {
			continue
		}
		add(poolItself, opened, w, 0, max(w.ready, h.begin), seen)
	}
	shutBegan := h.end
	old := map[*wire]bool{} // somebody was told that it is gone, and its life may just have been over
	for i := range h.events {
		e := &h.events[i]
		if e.kind == shut {
			shutBegan = min(shutBegan, e.call)
		}
		if e.refused {
			for _, w := range h.looksOf(e) {
				add(e.client, missed, w, 0, e.call, e.ret)
			}
		}
		switch e.kind {
		case cut:
			if !unseen[e.wire] { // else it was revoked before anybody was lent it
				add(e.client, e.kind, e.wire, e.lease, e.call, e.ret)
			}
		case fruitless:
		case sawGone:
			k := sawGone
			if h.mortal && (e.wire.away.Load() || slices.Contains(h.closed, e.wire)) {
				k, old[e.wire] = sawOld, e.wire.cause == nil
			}
			add(e.client, k, e.wire, 0, e.call, e.ret)
		case lostToClose, lostToRevoke:
			// Detach ends the lease, and then takes the connection. Close, or a Revoke that counts
			// it as on its way, may come in between, and somebody else see that the lease has ended.
			add(e.client, yielded, e.wire, e.lease, e.call, e.ret)
			add(e.client, e.kind, e.wire, 0, e.call, e.ret)
		case resized:
			ops = append(ops, porcupine.Operation{ClientId: e.client, Input: action{kind: resized, conn: uint8(e.max)}, Call: e.call, Return: e.ret})
		case reset:
			// A connection whose opening began before the call is not handed out after
			// it.
			for _, w := range slices.Concat(h.initial, h.opened) {
				switch {
				case unseen[w]:
				case w.begun < e.call:
					add(e.client, reported, w, 0, e.call, e.ret)
				case w.begun < e.ret:
					add(e.client, maybeReset, w, 0, e.call, e.ret)
				}
			}
		default:
			add(e.client, e.kind, e.wire, e.lease, e.call, e.ret)
		}
	}
	freshAsked := slices.ContainsFunc(h.events, func(e event) bool { return e.fresh })
	for _, w := range h.closed {
		switch {
		case unseen[w], h.wasReset(w):
		case errors.Is(w.cause, pool.ErrClosed):
			add(poolItself, revoked, w, 0, shutBegan, w.closing)
		case old[w], w.cause == nil && (shutBegan < w.closing && freshAsked || h.mortal && h.wasReported(w)):
			// Marked for its age while it was leased, and then reported: the first mark is the cause. The
			// report sees to it that nobody gets it.
			add(poolItself, maybeGone, w, 0, h.begin, w.closing)
		case w.cause == nil && shutBegan < w.closing, errors.Is(w.cause, errDiscarded), errors.Is(w.cause, errReported), errors.Is(w.cause, pool.ErrRevoked):
			// It is a caller's call that has closed it.
		default:
			add(poolItself, vanished, w, 0, h.begin, w.closing)
		}
	}
	// What is known from before, and has gone before.
	for w, i := range n.conns {
		if first.conns[i].phase == absent && !slices.Contains(h.opened, w) {
			first.conns[i].phase = gone
		}
	}
	return first, ops
}

// wasReset reports whether a Reset explains that a connection was closed. What was closed
// for its age or by Resize is healthy, and has no cause.
func (h *history) wasReset(w *wire) bool {
	return w.cause != nil && slices.ContainsFunc(h.events, func(e event) bool { return e.kind == reset && w.begun < e.ret && e.call < w.closing })
}

// wasReported reports whether a caller has reported a connection broken before it was closed.
func (h *history) wasReported(w *wire) bool {
	return slices.ContainsFunc(h.events, func(e event) bool { return e.kind == reported && e.wire == w && e.call < w.closing })
}

// poolItself is the number of the client that is none.
const poolItself = 99

// sameDuring reports whether a GetSame came during a call.
func (h *history) sameDuring(e *event) bool {
	return slices.ContainsFunc(h.events, func(f event) bool { return f.same && f.overlaps(e) })
}

// overtaken returns a lease that was in between two of which one follows the other, as it says,
// and the latter.
func (h *history) overtaken() (between, e *event) {
	began := map[int]*event{}
	for i := range h.events {
		if e := &h.events[i]; e.kind == lent {
			began[e.lease] = e
		}
	}
	for _, e := range began {
		first := began[e.follows]
		if first == nil {
			continue // it began before the last stop, or follows nothing
		}
		for _, between := range began {
			if between.wire == e.wire && between.call > first.ret && between.ret < e.call {
				return between, e
			}
		}
	}
	return nil, nil
}

// poached returns a TryGet that was lent a connection which was reserved. Nobody can have had the
// reservation ended: no Get was under way since, which might have waited, and no Resize.
func (h *history) poached() *event {
	for i := range h.events {
		e := &h.events[i]
		if e.kind != lent || e.get {
			continue
		}
		for j := range h.events {
			f := &h.events[j]
			if f.kind != kept || f.wire != e.wire || f.ret >= e.call {
				continue
			}
			if !slices.ContainsFunc(h.events, func(g event) bool {
				return g.ret >= f.call && g.call <= e.ret && (g.get || g.kind == resized || g.kind == lent && g.wire == e.wire && g.lease != e.lease)
			}) {
				return e
			}
		}
	}
	return nil
}

// looksOf returns the connections at which a TryGet must have looked in vain. They
// are those that it could have seen idle: doc.go has what is left out and why.
func (h *history) looksOf(e *event) (looks []*wire) {
	known := slices.Clone(h.initial)
	var skip []*wire
	for i := range h.events {
		f := &h.events[i]
		switch {
		case f.overlaps(e):
			switch {
			case f.get, f.kind == shut, f.kind == resized, f.kind == reported, f.kind == reset:
				return nil // may have had any connection in hand
			case f.kind == put, f.kind == kept, f.kind == cut:
				skip = append(skip, f.wire)
			case f != e && f.try && h.sameDuring(f):
				return nil // it may have had any in hand, and passed it on
			case f != e && (f.try || f.kind == lent):
				// Another TryGet, which may have had one in hand that it found unfit
				// in the end, and closed.
				for _, w := range h.closed {
					if w != f.wire {
						skip = append(skip, w)
					}
				}
			}
		case f.ret < e.call:
			switch f.kind {
			case shut, resized:
				return nil
			case lent:
				known = append(known, f.wire)
			case discarded, detached, cut:
				skip = append(skip, f.wire) // it is not in the pool any more
			}
		}
	}
	for _, w := range known {
		if !slices.Contains(skip, w) && !slices.Contains(looks, w) {
			looks = append(looks, w)
		}
	}
	return looks
}

// String is for the person that has to find out what is wrong.
func (h *history) String() string {
	events := slices.Clone(h.events)
	slices.SortFunc(events, func(e, f event) int { return int(e.call - f.call) })
	var b strings.Builder
	fmt.Fprintf(&b, "at most %d connections; idle at %d:", h.max, h.begin)
	for _, w := range h.initial {
		fmt.Fprintf(&b, " c%d", w.number)
	}
	b.WriteString("\n  call return\n")
	for i := range events {
		fmt.Fprintln(&b, &events[i])
	}
	for _, w := range h.opened {
		fmt.Fprintf(&b, "%6d         c%d opened\n", w.ready, w.number)
	}
	for _, w := range h.closed {
		fmt.Fprintf(&b, "       %6d  c%d closed: %v\n", w.closing, w.number, w.cause)
	}
	return b.String()
}
