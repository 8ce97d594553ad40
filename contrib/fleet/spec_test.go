//go:build linux

package fleet

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// The specification of the count, without any of its means: no deadlines, no notices, no clock but
// for this: that a lease ends, that an offer lapses and that the grace is over may have happened, at the earliest when it is time.
//
// The number that each answer has (rev) says between which others an operation was carried out, and how many there were between
// that had no answer. Which of those that have none these were is not known: all are tried.

// places is how many processes a history may have.
const places = 24

// A standing is what is known of one process.
type standing struct {
	known     bool
	seq       uint64
	at        int64 // when its last operation began
	count     int   // rights that are counted for it
	offered   int   // of these: it has not said yet that it knows of them
	offeredAt int64 // when the operation began by which the first of them was
	want      int
}

// A world is what there is between two operations.
type world struct {
	procs  [places]standing
	line   [places]uint8 // who waits, the first one first
	length int
	rev    int64
	closed bool // nothing is granted
	since  int64
	fresh  bool // the server knows nothing
}

func (w *world) used() (n int) {
	for i := range w.procs {
		n += w.procs[i].count
	}
	return n
}

func (w *world) wants() (n int) {
	for i := range w.procs {
		n += w.procs[i].want
	}
	return n
}

func (w *world) join(p uint8) {
	w.line[w.length] = p
	w.length++
}

func (w *world) quit(p uint8) {
	if i := slices.Index(w.line[:w.length], p); i >= 0 {
		copy(w.line[i:], w.line[i+1:w.length])
		w.length--
		w.line[w.length] = 0
	}
	w.procs[p].want = 0
}

func (w *world) forget(p uint8) {
	w.quit(p)
	w.procs[p] = standing{}
}

// An operation is one of a process, with its answer, or a restart.
type operation struct {
	proc       uint8
	asked      line
	answer     line // Kind is empty if there is none
	call, ret  int  // numbers of lines. Without an answer, it has been carried out before whatever is called after ret, or never
	restart    bool
	unanswered *[]operation   // of the whole history
	answered   map[int64]bool // revs, of the same life of the data
}

type rules struct {
	limit int
	lease time.Duration
}

// A set of worlds that are possible.
type set map[world]bool

// spec returns the specification. It remembers what it has found: porcupine asks for the same step again and again.
func spec(r rules) porcupine.Model {
	type question struct {
		w    world
		call int
	}
	known := map[question][]any{}
	model := porcupine.NondeterministicModel{
		Init: func() []any { return []any{world{fresh: true}} },
		Step: func(s, in, _ any) []any {
			q := question{s.(world), in.(operation).call}
			next, ok := known[q]
			if !ok {
				for w := range r.step(q.w, in.(operation)) {
					next = append(next, w)
				}
				known[q] = next
			}
			return next
		},
		Equal: func(a, b any) bool { return a.(world) == b.(world) },
	}
	return model.ToModel()
}

func (r rules) step(w world, o operation) set {
	next := set{}
	if o.restart {
		// What had no answer may have been carried out before it.
		last := set{w: true}
		for range 5 {
			for w := range last {
				if o.asked.Lost {
					w = world{fresh: true}
				}
				w.closed, w.since = true, o.asked.At
				next[w] = true
			}
			last = r.unseen(last, o, o.asked.At)
		}
		return next
	}
	for rev := w.rev + 1; rev < o.answer.Rev; rev++ {
		if o.answered[rev] {
			return nil // another one comes first
		}
	}
	if o.answer.Rev <= w.rev {
		return nil
	}
	worlds := set{w: true}
	for range o.answer.Rev - w.rev - 1 {
		worlds = r.unseen(worlds, o, o.answer.At)
	}
	for w := range worlds {
		for _, w := range r.aged(w, o.answer.At) {
			a := w.operate(o.proc, o.asked, r.limit)
			// What nobody waits for may be granted beyond what was wanted.
			if more := o.answer.Mine - a.Mine; more > 0 && a.Status == statusDone && a.Missing == 0 && !o.asked.Leaves && !w.closed && w.wants() == 0 &&
				more <= r.limit-w.used() && more <= max(o.asked.Ahead, o.asked.Hope) {
				w.procs[o.proc].count += more
				a.Mine += more
				a.Used += more
			}
			a.Kind, a.At, a.ID, a.Seq, a.Rev, a.Max = o.answer.Kind, o.answer.At, o.answer.ID, o.answer.Seq, o.answer.Rev, o.answer.Max
			if a == o.answer && w.used() <= r.limit {
				next[w] = true
			}
		}
	}
	return next
}

// unseen returns what may be after one operation that has no answer, before o has ended.
func (r rules) unseen(worlds set, o operation, until int64) set {
	next := set{}
	for w := range worlds {
		for _, u := range *o.unanswered {
			if u.call > o.ret {
				break
			}
			if o.call > u.ret {
				continue
			}
			if p := w.procs[u.proc]; p.known && u.asked.Seq <= p.seq {
				late := w
				late.rev++ // it has changed nothing
				next[late] = true
				continue
			}
			for _, w := range r.aged(w, until) {
				w.operate(u.proc, u.asked, r.limit)
				next[w] = true
			}
		}
	}
	return next
}

// aged returns what time may have done until then.
func (r rules) aged(w world, until int64) []world {
	const slack = 2 * time.Millisecond // the server counts in whole ones
	worlds := []world{w}
	if w.closed && !w.fresh && until >= w.since+int64(r.lease-slack) {
		open := w
		open.closed = false
		worlds = append(worlds, open)
	}
	for i := range w.procs {
		p, id := w.procs[i], uint8(i)
		switch {
		case !p.known:
		case until >= p.at+int64(r.lease-slack):
			idle := p.count == 0 && p.want == 0 // then nobody sees the difference
			for _, w := range worlds {
				w.forget(id)
				worlds = append(worlds, w)
			}
			if idle {
				worlds = worlds[len(worlds)/2:] // those that have forgotten it
			}
		case p.offered > 0 && until >= p.offeredAt+int64(patience-slack):
			for _, w := range worlds {
				q := &w.procs[id]
				q.count, q.offered, q.offeredAt = q.count-q.offered, 0, 0
				w.quit(id)
				worlds = append(worlds, w)
			}
		}
	}
	return worlds
}

// operate carries out an operation, and returns its answer.
func (w *world) operate(id uint8, r line, limit int) (a line) {
	p := &w.procs[id]
	w.rev++
	if w.fresh {
		w.fresh, w.closed = false, !r.Founds
	}
	if p.known && r.Seq <= p.seq {
		a.Status = statusLate
	} else {
		p.known, p.seq, p.at = true, r.Seq, r.At
		want := r.Want
		if r.Late && w.closed { // others may have that
			a.Missing, r.Held, p.count, p.offered = r.Held, 0, 0, 0
		}
		if r.Held > p.count { // it has what is not known here
			p.count += min(r.Held-p.count, max(0, limit-w.used()))
			a.Missing += r.Held - p.count
		} else { // what it does not have is counted. It keeps what was offered
			keep := min(p.count-r.Held, want, p.offered)
			p.count = r.Held + keep
			want -= keep
		}
		p.offered, p.offeredAt = 0, 0
		if want == 0 {
			w.quit(id)
		} else if p.want == 0 {
			w.join(id)
		}
		p.want = want
	}
	left := r.Leaves && a.Status == statusDone && p.count == 0
	if left {
		w.forget(id)
	}
	w.grant(id, r.At, limit)
	a.Used, a.Others = w.used(), w.wants()
	if !left {
		a.Mine = p.count
		a.Others -= p.want
	}
	return a
}

// grant gives what is free to those who wait: one to each, in the order in which they asked; who wants more goes to the end.
func (w *world) grant(me uint8, at int64, limit int) {
	for !w.closed && w.length > 0 && w.used() < limit {
		id := w.line[0]
		p := &w.procs[id]
		n := 1
		if w.length == 1 {
			n = min(p.want, limit-w.used())
		}
		want := p.want - n
		p.count += n
		if id != me {
			if p.offered == 0 {
				p.offeredAt = at
			}
			p.offered += n
		}
		w.quit(id)
		if p.want = want; want > 0 {
			w.join(id)
		}
	}
}

// history returns a record as porcupine has it.
func history(lines []line) (ops []porcupine.Operation, err error) {
	type key struct {
		id  string
		seq uint64
	}
	var (
		unanswered []operation
		index      = map[string]uint8{}
		answers    = map[key]int{}
		lives      = []map[int64]bool{{}} // of the data
		restarted  = -1
	)
	for i, l := range lines {
		if l.Kind == lineReturn {
			answers[key{l.ID, l.Seq}] = i
		}
	}
	for i, l := range lines {
		o := operation{asked: l, call: i, ret: len(lines), unanswered: &unanswered}
		switch l.Kind {
		case lineCall:
			p, ok := index[l.ID]
			if !ok {
				if p = uint8(len(index)); p == places {
					return nil, fmt.Errorf("there are more than %d processes", places)
				}
				index[l.ID] = p
			}
			o.proc = p
			n, ok := answers[key{l.ID, l.Seq}]
			switch {
			case ok && lines[n].Unsent:
				continue
			case !ok || lines[n].Failed:
				o.ret = lastOf(lines, i)
				unanswered = append(unanswered, o)
				continue
			}
			o.answer, o.ret = lines[n], n
			o.answered = lives[len(lives)-1]
			if !slices.ContainsFunc(lines[i:n], func(l line) bool { return l.Kind == lineRestart }) && restarted < i {
				o.answered[o.answer.Rev] = true
			}
		case lineRestart:
			o.restart = true
			if l.Lost {
				lives = append(lives, map[int64]bool{})
			}
			if n := slices.IndexFunc(lines[i:], func(l line) bool { return l.Kind == lineRestarted }); n >= 0 {
				o.ret = i + n
				restarted = o.ret
			}
		default:
			continue
		}
		ops = append(ops, porcupine.Operation{ClientId: int(o.proc), Input: o, Call: int64(o.call), Return: int64(o.ret)})
	}
	return ops, nil
}

// lastOf returns until when the operation at line i, which has no answer, may be carried out. When its process has given it up,
// it has arrived at the server, or never will. The server takes what has arrived at all of its connections, in any order, before it waits
// for more. So when another one that began afterwards has been answered, it is over.
func lastOf(lines []line, i int) int {
	gone := slices.IndexFunc(lines[i+1:], func(l line) bool {
		return l.ID == lines[i].ID && (l.Kind == lineKilled || l.Kind == lineReturn && l.Seq == lines[i].Seq)
	})
	if gone < 0 {
		return len(lines)
	}
	began := map[string]uint64{}
	for j := i + 1 + gone; j < len(lines); j++ {
		switch l := lines[j]; {
		case l.Kind == lineCall:
			began[l.ID] = l.Seq
		case l.Kind == lineReturn && !l.Failed && began[l.ID] == l.Seq:
			return j
		}
	}
	return len(lines)
}

// judge returns what is wrong with a record; nothing, if there is an order that explains it.
func judge(lines []line, r rules) (string, error) {
	var unclear error
	legal := func(n int) bool {
		ops, err := history(lines[:n])
		if err != nil {
			unclear = err
			return true
		}
		result := porcupine.CheckOperationsTimeout(spec(r), ops, time.Minute)
		if result == porcupine.Unknown {
			unclear = fmt.Errorf("porcupine has not come to an end with %d lines", n)
		}
		return result != porcupine.Illegal
	}
	if legal(len(lines)) {
		return "", unclear
	}
	n := sort.Search(len(lines), func(n int) bool { return !legal(n) }) // the shortest beginning that is wrong
	var b strings.Builder
	fmt.Fprintf(&b, "no order explains line %d of %d:\n", n, len(lines))
	for _, l := range lines[max(0, n-30):n] {
		text, _ := json.Marshal(l)
		fmt.Fprintf(&b, "%s\n", text)
	}
	return b.String(), unclear
}
