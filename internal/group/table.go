package group

import (
	"hash/maphash"
	"time"

	"github.com/S4AK4N/pool/internal/atomic"
	"github.com/S4AK4N/pool/internal/step"
)

// A Table finds the member of a key. Find takes no lock, does not allocate and writes nothing.
// Whoever calls another method holds the lock of the group.
//
// It is a hash table with open addressing. A cell is written twice at most: it gets a member,
// and it gives that up for the tombstone. Cells are not used again; when half of them are used,
// the members go to a new array of cells, which is published by one pointer, and is smaller if
// few are left.
//
// Find may be a little behind. A member that is put or deleted after Find has loaded the array
// may be missed, or found. So what Find has not found is asked again under the lock, and
// who deletes a member closes its pool afterwards: a caller that finds it all the same is told
// by the pool.
//
// sync.Map does the same, with two pointers more on the way. On a machine that was loaded it took
// twice the time with ten keys (15 ns, 8 here).
type Table[K comparable, M any] struct {
	cells atomic.Pointer[cells[K, M]]
	seed  maphash.Seed
	dead  *Member[K, M] // the tombstone
	used  int           // cells that have, or had, a member
	live  int           // members
}

// A Member is the pool of a key. The pool is its first field: there its 64-bit words are aligned
// on 32-bit machines, too.
type Member[K comparable, M any] struct {
	Pool M
	hash uint64
	Key  K
	Node // its flag, which every Get reads, lies near the key

	gone   bool // everything of its pool has been closed. Under the lock
	goneAt time.Duration
}

type cells[K comparable, M any] struct {
	mask  uint64
	cells []atomic.Pointer[Member[K, M]]
}

// alive is in the hash of each member, and not in that of the tombstone. It is none of the bits that
// say where a member is.
const alive = 1 << 63

// leastCells is the size of an empty table.
const leastCells = 8

// Init makes t an empty table.
func (t *Table[K, M]) Init() {
	t.seed = maphash.MakeSeed()
	t.dead = new(Member[K, M])
	t.Clear()
}

// Clear deletes all members.
func (t *Table[K, M]) Clear() {
	t.used, t.live = 0, 0
	t.cells.Store(newCells[K, M](leastCells))
}

func newCells[K comparable, M any](n int) *cells[K, M] {
	return &cells[K, M]{uint64(n - 1), make([]atomic.Pointer[Member[K, M]], n)}
}

// Find returns the member of a key, or nil.
func (t *Table[K, M]) Find(key K) *Member[K, M] {
	var h uint64
	if repeatable {
		h = repeatableHash(key) | alive
	} else {
		h = maphash.Comparable(t.seed, key) | alive
	}
	c := t.cells.Load()
	step.At("find: cells read")
	for i := h; ; i++ {
		k := c.cells[i&c.mask].Load() // found or not by this load
		if k == nil {
			return nil
		}
		if k.hash == h && k.Key == key {
			return k
		}
	}
}

// hash is what Find has written out: the compiler inlines no part of a generic method.
func (t *Table[K, M]) hash(key K) uint64 {
	if repeatable {
		return repeatableHash(key) | alive
	}
	return maphash.Comparable(t.seed, key) | alive
}

// Len returns the number of members.
func (t *Table[K, M]) Len() int { return t.live }

// Put adds a member. Its key has none.
func (t *Table[K, M]) Put(k *Member[K, M]) {
	k.hash = t.hash(k.Key)
	if 2*(t.used+1) > len(t.cells.Load().cells) {
		t.rebuild(t.live + 1)
	}
	t.used++
	t.live++
	t.cells.Load().put(k)
}

func (c *cells[K, M]) put(k *Member[K, M]) {
	for i := k.hash; ; i++ {
		if cell := &c.cells[i&c.mask]; cell.Load() == nil {
			cell.Store(k) // it is found from here on
			return
		}
	}
}

// rebuild moves the members to new cells, of which a quarter will be used by so many.
func (t *Table[K, M]) rebuild(members int) {
	n := leastCells
	for n < 3*members {
		n *= 2
	}
	c := newCells[K, M](n)
	for k := range t.All {
		c.put(k)
	}
	t.used = t.live
	t.cells.Store(c)
}

// Delete deletes a member. It reports false if that is not in the table.
func (t *Table[K, M]) Delete(k *Member[K, M]) bool {
	c := t.cells.Load()
	for i := k.hash; ; i++ {
		cell := &c.cells[i&c.mask]
		switch cell.Load() {
		case nil:
			return false
		case k:
			cell.Store(t.dead) // it is not found from here on
			t.live--
			if n := len(c.cells); n > leastCells && t.live < n/16 {
				t.rebuild(t.live)
			}
			return true
		}
	}
}

// All yields all members. It may be called without the lock, too, and yields then what it meets.
func (t *Table[K, M]) All(yield func(*Member[K, M]) bool) {
	c := t.cells.Load()
	for i := range c.cells {
		if k := c.cells[i].Load(); k != nil && k != t.dead && !yield(k) {
			return
		}
	}
}
