package ring

import "testing"

func TestTheFieldsOfAWordDoNotOverlap(t *testing.T) {
	for _, phase := range []Phase{Vacant, Busy, Idle, Leased} {
		for _, stamp := range []uint16{0, 1, 1 << 15, 1<<16 - 1} {
			for _, gen := range []uint64{0, 1, 1 << 45, 1<<46 - 1} {
				w := Word(phase)<<62 | Word(stamp)<<46 | Word(gen)
				if w.Phase() != phase || w.Stamp() != stamp || w.Generation() != gen {
					t.Errorf("%#x has phase %d, stamp %#x, generation %#x, want %d, %#x, %#x",
						w, w.Phase(), w.Stamp(), w.Generation(), phase, stamp, gen)
				}
				for _, p := range []Phase{Vacant, Busy, Idle, Leased} {
					if got, want := w.as(p), Word(p)<<62|Word(stamp)<<46|Word(gen); got != want {
						t.Errorf("%#x.as(%d) is %#x, want %#x", w, p, got, want)
					}
					if got, want := w.next(p, 0x1234), Word(p)<<62|0x1234<<46|Word((gen+1)%(1<<46)); got != want {
						t.Errorf("%#x.next(%d) is %#x, want %#x", w, p, got, want)
					}
				}
			}
		}
	}
	if leasedBit|Word(Idle)<<62 != Word(Leased)<<62 {
		t.Error("Idle and leasedBit is not Leased")
	}
}

func TestGenerationsAndStampsWrapAround(t *testing.T) {
	const last = 1<<46 - 1
	r := fullFrom(1, last-1, 1<<16-2)
	for _, want := range []struct {
		gen   uint64
		stamp uint16
	}{{last - 1, 1<<16 - 2}, {last, 1<<16 - 1}, {0, 0}, {1, 1}} {
		slot, w, ok := r.Take()
		if !ok || w.Phase() != Leased || w.Generation() != want.gen || w.Stamp() != want.stamp {
			t.Fatalf("Take returned %#x, %v, want generation %#x, stamp %#x", w, ok, want.gen, want.stamp)
		}
		given, ok := r.Give(slot, w, want.stamp+1)
		if !ok || given != r.At(slot) || given.Phase() != Idle {
			t.Fatalf("Give returned %#x, %v; the word is %#x", given, ok, r.At(slot))
		}
		if _, ok := r.Give(slot, w, 0); ok {
			t.Fatal("a second Give succeeds")
		}
	}

	r = fullFrom(1, last, 1<<16-1)
	slot, w, _ := r.Take()
	renewed, ok := r.Renew(slot, w, 7)
	if want := Word(Leased)<<62 | 7<<46; !ok || renewed != want || r.At(slot) != want {
		t.Errorf("Renew in the last generation returned %#x, %v; the word is %#x, want %#x", renewed, ok, r.At(slot), want)
	}
}

func TestAgesAreTheDifferencesOfStamps(t *testing.T) {
	r := fullFrom(1, 0, 1<<16-3)
	if age := uint16(4) - r.At(0).Stamp(); age != 7 {
		t.Errorf("stamped at -3, at 4 its age is %d, want 7", age)
	}
}

func TestPrecedesComparesGenerationsAloneAndWrapsAround(t *testing.T) {
	const last = 1<<46 - 1
	for _, tt := range []struct {
		w, v uint64
		want bool
	}{
		{0, 0, false}, {1, 0, false}, {0, 1, true}, {last, 0, true}, {0, last, false}, {last - 5, 5, true},
		{5, last - 5, false}, {0, 1 << 45, true}, {0, 1<<45 + 1, false}, {0, 1<<45 - 1, true},
	} {
		for _, phase := range []Phase{Vacant, Busy, Idle, Leased} {
			w, v := Word(phase)<<62|0xabc<<46|Word(tt.w), Word(Busy)<<62|0x123<<46|Word(tt.v)
			if got := w.Precedes(v); got != tt.want {
				t.Errorf("%#x precedes %#x: %v, want %v", w, v, got, tt.want)
			}
		}
	}
}

// A slot that is emptied and filled again without a lease in between never has a word that it
// had before, though the stamp is the same.
func TestAWordDoesNotComeBackWithSomethingElseInTheSlot(t *testing.T) {
	r := New(1)
	seen := map[Word]bool{}
	for range 5 {
		slot, w, _ := r.Claim()
		leased := r.Fill(slot, w, 7)
		idle, _ := r.Publish(slot, leased)
		for _, w := range []Word{w, leased, idle} {
			if seen[w] {
				t.Errorf("the word %#x has come back", w)
			}
			seen[w] = true
		}
		leased, _ = r.Retake(slot, idle)
		busy, _ := r.Reserve(slot, leased)
		r.Vacate(slot, busy)
	}
}
