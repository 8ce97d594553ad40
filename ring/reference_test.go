package ring

import (
	"math/rand/v2"
	"testing"
	"time"
)

// A reference is what a ring does, one call at a time, in plain maps and slices.
type reference struct {
	words []Word // of each slot
	high  int
}

func (m *reference) in(phase Phase) (slots []int) {
	for slot, w := range m.words {
		if w.Phase() == phase {
			slots = append(slots, slot)
		}
	}
	return slots
}

// word returns a word that a caller might have, right more often than not.
func (m *reference) word(random *rand.Rand, slot int, seen []Word) Word {
	switch random.IntN(8) {
	case 0:
		return seen[random.IntN(len(seen))] // once right, of this slot or another
	case 1:
		return m.words[slot].as(Phase(random.IntN(4)))
	default:
		return m.words[slot]
	}
}

func TestRandomCallsDoWhatThePlainReferenceDoes(t *testing.T) {
	seed := newSeed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	for end := time.Now().Add(stressTime(t)); time.Now().Before(end) && !t.Failed(); {
		size := []int{1, 2, 3, 16, 63, 64, 65, 130}[random.IntN(8)]
		gen := []uint64{0, 1, 1<<46 - 2, 1<<46 - 20}[random.IntN(4)]
		checkAgainstReference(t, random, size, gen, 400)
	}
}

func checkAgainstReference(t *testing.T, random *rand.Rand, size int, gen uint64, calls int) {
	r := New(size)
	m := &reference{words: make([]Word, size)}
	for slot := range size {
		m.words[slot] = Word(gen)
		r.cell(slot).Store(gen)
	}
	seen := []Word{0}
	stamp := uint16(random.Uint32())
	few := random.IntN(2) == 0 // most slots leased, or most idle
	for range calls {
		stamp += uint16(random.IntN(3))
		for i := range r.starts { // as if any goroutine were calling
			if random.IntN(4) == 0 {
				r.starts[i].slot.Store(uint32(random.IntN(size)))
			}
		}
		switch call := random.IntN(12); call {
		case 0, 1: // Claim
			vacant := m.in(Vacant)
			if len(vacant) == 0 {
				continue
			}
			slot, w, _ := r.Claim()
			if m.words[slot].Phase() != Vacant || w != m.words[slot].next(Busy, m.words[slot].Stamp()) {
				t.Fatalf("Claim returned slot %d, %#x; its word was %#x", slot, w, m.words[slot])
			}
			m.words[slot] = w
			m.high = max(m.high, slot+1)
		case 2, 3, 4: // Take, Scan
			idle := m.in(Idle)
			if few && len(idle) > 2 || call == 2 {
				slot, w, ok := r.Scan()
				if ok != (len(idle) > 0) || ok && (slot != idle[0] || w != m.words[slot].as(Leased)) {
					t.Fatalf("Scan returned slot %d, %#x, %v; idle were %v", slot, w, ok, idle)
				}
				if ok {
					m.words[slot] = w
				}
				break
			}
			// By hints alone: at rest they lead to every idle slot.
			slot, w, ok := r.Take()
			if ok != (len(idle) > 0) || ok && (m.words[slot].Phase() != Idle || w != m.words[slot].as(Leased)) {
				t.Fatalf("Take returned slot %d, %#x, %v; idle were %v", slot, w, ok, idle)
			}
			if ok {
				m.words[slot] = w
			}
		default:
			slot := random.IntN(size)
			w := m.word(random, slot, seen)
			v := movers[call-5]
			want, legal := m.words[slot], w == m.words[slot] && w.Phase() == v.from
			if legal {
				want = v.result(w, stamp)
			}
			if got, ok := v.do(r, slot, w, stamp); ok != legal || ok && got != want {
				t.Fatalf("%s(%d, %#x) returned %#x, %v, want %#x, %v", v.name, slot, w, got, ok, want, legal)
			}
			m.words[slot] = want
		}
		for slot, want := range m.words {
			if got := r.At(slot); got != want {
				t.Fatalf("slot %d has the word %#x, want %#x", slot, got, want)
			}
			if seen = append(seen, want); len(seen) > 1000 {
				seen[random.IntN(1000)] = want
				seen = seen[:1000]
			}
		}
		if r.High() != m.high {
			t.Fatalf("High is %d, want %d", r.High(), m.high)
		}
		checkRest(t, r)
	}
}
