package group

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

type small = Table[string, [1]byte]

func members(t *small) (n int) {
	for range t.All {
		n++
	}
	return n
}

func TestTableAgreesWithAMap(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	var table small
	table.Init()
	plain := map[string]*Member[string, [1]byte]{}
	keys := 1
	for i := range 20000 {
		if i%1000 == 0 {
			keys = 1 + random.IntN(300) // it grows and shrinks
		}
		key := fmt.Sprint(random.IntN(keys))
		if i%1000 > 900 {
			key = fmt.Sprint(random.IntN(300))
		}
		m := plain[key]
		if got := table.Find(key); got != m {
			t.Fatalf("step %d: Find(%s) returned %v, want %v", i, key, got, m)
		}
		switch {
		case m == nil:
			plain[key] = &Member[string, [1]byte]{Key: key}
			table.Put(plain[key])
		case random.IntN(2) == 0 || i%1000 > 900:
			delete(plain, key)
			if !table.Delete(m) || table.Delete(m) {
				t.Fatalf("step %d: Delete says whether the member was there: true, then false", i)
			}
		}
		if table.Len() != len(plain) || i%100 == 0 && members(&table) != len(plain) {
			t.Fatalf("step %d: the table has %d members, All yields %d, want %d", i, table.Len(), members(&table), len(plain))
		}
	}
}

// Half of the cells are empty at least, or a search for a key that is not there would not end. A
// table that was large and is empty is small.
func TestTableHasRoomAndGivesItBack(t *testing.T) {
	var table small
	table.Init()
	add := func(i int) {
		table.Put(&Member[string, [1]byte]{Key: fmt.Sprint(i)})
		empty := 0
		c := table.cells.Load()
		for i := range c.cells {
			if c.cells[i].Load() == nil {
				empty++
			}
		}
		if 2*empty < len(c.cells) || len(c.cells) > max(6*table.Len(), leastCells) && i < 3000 {
			t.Fatalf("%d members: %d of %d cells are empty", table.Len(), empty, len(c.cells))
		}
	}
	for i := range 3000 {
		add(i)
	}
	for i := range 3000 {
		table.Delete(table.Find(fmt.Sprint(i)))
	}
	if n := len(table.cells.Load().cells); n > 16*leastCells {
		t.Errorf("an empty table has %d cells", n)
	}
	for i := 3000; i < 100_000; i++ { // one at a time
		add(i)
		table.Delete(table.Find(fmt.Sprint(i)))
	}
	if n := len(table.cells.Load().cells); n > 16*leastCells {
		t.Errorf("an empty table has %d cells", n)
	}
}

// A key that stays is found at all times, whatever else comes and goes, also while the table
// moves to other cells.
func TestWhatStaysIsFoundWhileOthersComeAndGo(t *testing.T) {
	var table small
	table.Init()
	const stay = 10
	for i := range stay {
		table.Put(&Member[string, [1]byte]{Key: fmt.Sprint("stays", i)})
	}
	over := make(chan struct{})
	var finders sync.WaitGroup
	for range 3 {
		finders.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-over:
					return
				default:
				}
				key := fmt.Sprint("stays", i%stay)
				if m := table.Find(key); m == nil || m.Key != key {
					t.Errorf("Find(%s) returned %v", key, m)
					return
				}
				table.Find(fmt.Sprint(i % 100)) // may be there or not; must return
			}
		})
	}
	for range 200 {
		for i := range 100 {
			table.Put(&Member[string, [1]byte]{Key: fmt.Sprint(i)})
		}
		for i := range 100 {
			table.Delete(table.Find(fmt.Sprint(i)))
		}
	}
	close(over)
	finders.Wait()
}

func TestFindDoesNotAllocate(t *testing.T) {
	type key struct {
		a string
		p *int
		i any
	}
	var table Table[key, [1]byte]
	table.Init()
	k := key{"a", new(int), 3}
	table.Put(&Member[key, [1]byte]{Key: k})
	found := 0
	if n := testing.AllocsPerRun(100, func() {
		if table.Find(k) != nil {
			found++
		}
	}); n != 0 || found != 101 {
		t.Errorf("%v allocations, and found %d times of 101", n, found)
	}
}
