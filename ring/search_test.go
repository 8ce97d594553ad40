package ring

import (
	"slices"
	"testing"
)

// at makes the searches of every goroutine begin at slot.
func at(r *Ring, slot int) {
	for i := range r.starts {
		r.starts[i].slot.Store(uint32(slot))
	}
}

// starts returns where searches begin.
func starts(r *Ring) (slots []int) {
	for i := range r.starts {
		slots = append(slots, int(r.starts[i].slot.Load()))
	}
	return slots
}

// hints returns the slots that have a hint.
func hints(r *Ring) (slots []int) {
	for slot := range r.Len() {
		if r.hinted(slot) {
			slots = append(slots, slot)
		}
	}
	return slots
}

func TestTakeFindsEverySlotFromEveryStart(t *testing.T) {
	for _, size := range []int{1, 2, 63, 64, 65, 127, 128, 129, 200} {
		for idle := range size {
			for start := range size {
				if size > 130 && (idle+start)%7 != 0 {
					continue
				}
				r := New(size)
				r.raise(uint32(size))
				r.cell(idle).Store(uint64(Idle) << phaseShift)
				r.setHint(idle)
				at(r, start)
				slot, w, ok := r.Take()
				if !ok || slot != idle || w != Word(Leased)<<phaseShift || r.At(idle) != w {
					t.Fatalf("of %d slots, %d is idle; Take from %d on returned %d, %#x, %v", size, idle, start, slot, w, ok)
				}
				if !slices.Contains(starts(r), idle) {
					t.Fatalf("no search begins at slot %d, which Take has found", idle)
				}
			}
		}
	}
}

func TestGiveMakesTheNextSearchBeginAtItsSlot(t *testing.T) {
	r := full(100)
	held := drain(r)
	for _, i := range []int{7, 70, 99, 0} {
		at(r, 50)
		r.Give(held[i].slot, held[i].w, 0)
		if !slices.Contains(starts(r), i) {
			t.Errorf("after Give(%d) the starts are %v", i, starts(r))
		}
	}
	for _, i := range []int{99, 7, 0, 70} {
		at(r, i)
		if slot, _, ok := r.Take(); !ok || slot != i {
			t.Errorf("Take from %d on returned %d, %v", i, slot, ok)
		}
	}
}

func TestTheNextSearchBeginsWhereTheLastOneFound(t *testing.T) {
	r := full(200)
	at(r, 0)
	for want := range 200 {
		if slot, _, ok := r.Take(); !ok || slot != want {
			t.Fatalf("Take returned %d, %v, want %d", slot, ok, want)
		}
	}
}

func TestASearchClearsTheHintsOfAllThatItMissesButTheFirstFew(t *testing.T) {
	r := full(200)
	held := drain(r)
	at(r, 100)
	if slot, _, ok := r.Take(); ok {
		t.Fatalf("Take returned %d, but none was idle", slot)
	}
	if got, want := hints(r), []int{0, 1}; !slices.Equal(got, want) {
		t.Errorf("after a search in vain %v have hints, want the first few, %v", got, want)
	}

	for _, l := range held {
		if l.slot >= 50 {
			r.Give(l.slot, l.w, 0)
		}
	}
	for _, l := range drain(r) {
		if l.slot >= 60 {
			r.Publish(l.slot, l.w)
		}
	}
	at(r, 49)
	if slot, _, ok := r.Take(); !ok || slot != 60 {
		t.Fatalf("Take returned %d, %v, want 60", slot, ok)
	}
	// Ten misses more, two of them free: 0 and 1 were free, so 50 to 59 are not.
	if got, want := hints(r)[:3], []int{0, 1, 60}; !slices.Equal(got, want) {
		t.Errorf("after twelve misses the first hints are %v, want %v", got, want)
	}
}

// go#43173, r2d2 0.8.3, HikariCP#2417: what was used once is used for ever.
func TestTakeThatMissesItsStartTakesTheLowest(t *testing.T) {
	r := full(200)
	held := drain(r)
	for _, i := range []int{3, 70, 150} {
		r.Publish(held[i].slot, held[i].w)
	}
	at(r, 100)
	for _, want := range []int{3, 70, 150} {
		if slot, _, ok := r.Take(); !ok || slot != want {
			t.Fatalf("Take returned %d, %v, want %d", slot, ok, want)
		}
		at(r, 100)
	}
}

func TestRegroupMakesEveryTakeBeginAtTheLowEnd(t *testing.T) {
	r := full(200)
	for i := range r.starts {
		r.starts[i].slot.Store(uint32(3 * i))
	}
	r.Regroup()
	for i, s := range starts(r) {
		if s != 0 {
			t.Errorf("start %d is at slot %d after Regroup", i, s)
		}
	}
	if slot, _, ok := r.Take(); !ok || slot != 0 {
		t.Errorf("Take returned %d, %v, want the lowest", slot, ok)
	}
}

func TestGiveAndPublishSetTheHintThatASearchHasCleared(t *testing.T) {
	for name, give := range map[string]func(r *Ring, l lease) bool{
		"Give":    func(r *Ring, l lease) bool { _, ok := r.Give(l.slot, l.w, 0); return ok },
		"Publish": func(r *Ring, l lease) bool { _, ok := r.Publish(l.slot, l.w); return ok },
	} {
		r := full(130)
		held := drain(r)
		r.Take() // in vain
		for i := range r.hints {
			r.hints[i].Store(0)
		}
		for i := len(held) - 1; i >= 0; i-- {
			slot := held[i].slot
			if !give(r, held[i]) {
				t.Fatalf("%s(%d) fails", name, slot)
			}
			if got := hints(r); !slices.Equal(got, []int{slot}) {
				t.Fatalf("after %s(%d) there are hints for %v", name, slot, got)
			}
			at(r, 0)
			got, w, ok := r.Take()
			if !ok || got != slot {
				t.Fatalf("after %s(%d), Take returned %d, %v", name, slot, got, ok)
			}
			held[i].w = w
			r.clearHint(slot)
		}
	}
}

func TestScanNeedsNoHints(t *testing.T) {
	r := full(300)
	for i := range r.hints {
		r.hints[i].Store(0)
	}
	at(r, 150)
	if slot, _, ok := r.Take(); !ok || slot != 150 {
		t.Fatalf("Take returned %d, %v, want the slot at its start", slot, ok)
	}
	if slot, _, ok := r.Take(); ok {
		t.Fatalf("Take returned %d, to which nothing led it", slot)
	}
	for want := range 300 {
		if want == 150 {
			continue
		}
		if slot, _, ok := r.Scan(); !ok || slot != want {
			t.Fatalf("Scan returned %d, %v, want %d", slot, ok, want)
		}
	}
	if slot, _, ok := r.Scan(); ok {
		t.Fatalf("Scan returned %d of none", slot)
	}
}

func TestHintsOfOneGroupAreSetAndClearedOneByOne(t *testing.T) {
	r := New(130)
	for slot := range 130 {
		r.setHint(slot)
		r.setHint(slot)
	}
	for slot := range 130 {
		r.clearHint(slot)
		r.clearHint(slot)
		if got := hints(r); len(got) != 129-slot || len(got) > 0 && got[0] != slot+1 {
			t.Fatalf("after clearing those up to %d, the rest is %v", slot, got)
		}
	}
}
