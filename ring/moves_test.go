package ring

import (
	"fmt"
	"testing"
)

// A mover is a method that moves a slot from its one phase, given the word.
type mover struct {
	name     string
	from, to Phase
	stamps   bool // gives the slot the stamp of the call
	ends     bool // ends the generation
	do       func(r *Ring, slot int, w Word, stamp uint16) (Word, bool)
}

var movers = []mover{
	{"Fill", Busy, Leased, true, false, func(r *Ring, slot int, w Word, stamp uint16) (to Word, ok bool) {
		defer func() { ok = recover() == nil }()
		return r.Fill(slot, w, stamp), true
	}},
	{"Vacate", Busy, Vacant, false, false, func(r *Ring, slot int, w Word, stamp uint16) (to Word, ok bool) {
		defer func() { ok = recover() == nil }()
		r.Vacate(slot, w)
		return r.At(slot), true
	}},
	{"Give", Leased, Idle, true, true, (*Ring).Give},
	{"Renew", Leased, Leased, true, true, (*Ring).Renew},
	{"Publish", Leased, Idle, false, false, func(r *Ring, slot int, w Word, stamp uint16) (Word, bool) { return r.Publish(slot, w) }},
	{"Retake", Idle, Leased, false, false, func(r *Ring, slot int, w Word, stamp uint16) (Word, bool) { return r.Retake(slot, w) }},
	{"Reserve", Leased, Busy, false, false, func(r *Ring, slot int, w Word, stamp uint16) (Word, bool) { return r.Reserve(slot, w) }},
}

// result is the word after a legal move, worked out field by field.
func (m mover) result(w Word, stamp uint16) Word {
	gen := w.Generation()
	if m.ends {
		gen = (gen + 1) % (1 << 46)
	}
	if !m.stamps {
		stamp = w.Stamp()
	}
	return Word(m.to)<<62 | Word(stamp)<<46 | Word(gen)
}

func TestEachMethodMovesFromItsPhaseAndOnlyWithTheExactWord(t *testing.T) {
	const slot, stamp = 3, 0xabc
	for _, phase := range []Phase{Vacant, Busy, Idle, Leased} {
		for _, gen := range []uint64{0, 1, 5, 1<<46 - 1} {
			right := Word(phase)<<62 | 0x123<<46 | Word(gen)
			words := map[Word]string{0: "zero", ^Word(0): "all ones", right: "right"}
			for _, p := range []Phase{Vacant, Busy, Idle, Leased} {
				words[right.as(p)] = fmt.Sprintf("as in phase %d", p)
				words[right.next(p, right.Stamp())] = fmt.Sprintf("of the next generation, phase %d", p)
				words[right.as(p)&^genMask|Word(gen-1)&genMask] = fmt.Sprintf("of the last generation, phase %d", p)
				words[right.as(p)+1<<46] = fmt.Sprintf("with another stamp, phase %d", p)
			}
			words[right] = "right"
			for _, m := range movers {
				for w, what := range words {
					r := New(10)
					r.cell(slot).Store(uint64(right))
					got, ok := m.do(r, slot, w, stamp)
					want, legal := right, w == right && phase == m.from
					if legal {
						want = m.result(w, stamp)
					}
					call := fmt.Sprintf("%s in phase %d, generation %#x, with a word that is %s (%#x)", m.name, phase, gen, what, w)
					if ok != legal {
						t.Errorf("%s succeeds: %v, want %v", call, ok, legal)
					}
					if ok && got != want {
						t.Errorf("%s returned %#x, want %#x", call, got, want)
					}
					if r.At(slot) != want {
						t.Errorf("%s left %#x, want %#x", call, r.At(slot), want)
					}
					if hinted, want := r.hinted(slot), legal && m.to == Idle; hinted != want {
						t.Errorf("%s left the hint %v, want %v", call, hinted, want)
					}
					for other := range r.Len() {
						if other != slot && (r.At(other) != 0 || r.hinted(other)) {
							t.Errorf("%s changed slot %d", call, other)
						}
					}
				}
			}
		}
	}
}

func TestClaimTakesVacantSlotsAndTakeAndScanIdleOnes(t *testing.T) {
	for name, m := range map[string]struct {
		from, to Phase
		begins   int // generations
		do       func(r *Ring) (int, Word, bool)
	}{
		"Claim": {Vacant, Busy, 1, func(r *Ring) (int, Word, bool) { slot, w, ok := r.Claim(); return slot, w, ok }},
		"Take":  {Idle, Leased, 0, (*Ring).Take},
		"Scan":  {Idle, Leased, 0, (*Ring).Scan},
	} {
		for _, phase := range []Phase{Vacant, Busy, Idle, Leased} {
			if name == "Claim" && phase != Vacant {
				continue // it would look for ever; the other slot is Busy
			}
			r := New(2)
			r.raise(2)
			r.hints[0].Store(3)
			r.cell(0).Store(uint64(Word(Busy) << 62))
			w := Word(phase)<<62 | 0x123<<46 | 9
			r.cell(1).Store(uint64(w))
			slot, got, ok := m.do(r)
			if want := phase == m.from; ok != want {
				t.Errorf("%s in phase %d succeeds: %v, want %v", name, phase, ok, want)
			} else if want := w.as(m.to) + Word(m.begins); ok && (slot != 1 || got != want) {
				t.Errorf("%s in phase %d returned slot %d, %#x, want 1, %#x", name, phase, slot, got, want)
			} else if !ok && r.At(1) != w {
				t.Errorf("%s in phase %d left %#x, want %#x", name, phase, r.At(1), w)
			}
		}
	}
}

// The stamp is the same all the time, so that nothing but the generation tells one
// lease from another. The walk goes through all sequences of moves of a certain
// length, from just below the wrap-around of generations.
func TestAWordWhoseGenerationHasEndedIsRefusedForEver(t *testing.T) {
	depth := 9
	if testing.Short() {
		depth = 6
	}
	r := New(1)
	r.raise(1)
	refused := func(ended []Word, path []string) {
		now := r.At(0)
		for _, w := range ended {
			for _, w := range []Word{w, w.as(Idle), w.as(Busy)} {
				if w == now {
					t.Fatalf("%v: the word %#x is back", path, w)
				}
				for _, m := range movers {
					if _, ok := m.do(r, 0, w, 0); ok || r.At(0) != now {
						t.Fatalf("%v: %s with the word %#x, which has ended, left %#x of %#x", path, m.name, w, r.At(0), now)
					}
				}
			}
		}
	}
	var walk func(w Word, ended []Word, path []string, depth int)
	walk = func(w Word, ended []Word, path []string, depth int) {
		refused(ended, path)
		if depth == 0 {
			return
		}
		for _, m := range movers {
			if w.Phase() != m.from {
				continue
			}
			r.cell(0).Store(uint64(w))
			to, ok := m.do(r, 0, w, 0)
			if !ok {
				t.Fatalf("%v: %s with the word %#x fails", path, m.name, w)
			}
			after := ended
			if m.ends {
				after = append(ended[:len(ended):len(ended)], w)
			}
			walk(to, after, append(path[:len(path):len(path)], m.name), depth-1)
		}
		if w.Phase() == Vacant {
			r.cell(0).Store(uint64(w))
			_, to, _ := r.Claim()
			walk(to, ended, append(path[:len(path):len(path)], "Claim"), depth-1)
		}
	}
	start := Word(1<<46 - 3)
	r.cell(0).Store(uint64(start))
	walk(start, nil, nil, depth)
}

func TestFillAndVacatePanicForWhoeverDoesNotOwnTheSlot(t *testing.T) {
	for _, m := range movers[:2] {
		func() {
			defer func() {
				want := "ring: internal error: " + m.name + " of a slot that is not owned"
				if got := recover(); got != want {
					t.Errorf("%s of a vacant slot panics with %v, want %q", m.name, got, want)
				}
			}()
			r := New(1)
			if m.name == "Fill" {
				r.Fill(0, 0, 0)
			} else {
				r.Vacate(0, 0)
			}
		}()
	}
}
