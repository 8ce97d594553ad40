//go:build step

package queue

import (
	"testing"

	"github.com/S4AK4N/pool/internal/stage"
)

// links returns a queue in which so many wait. A segment has two cells here.
func links(n int) (*Queue, []*Waiter) {
	q := newQueue()
	all := make([]*Waiter, n)
	for i := range all {
		all[i] = q.link(int64(i))
	}
	return q, all
}

func leave(all ...*Waiter) {
	for _, w := range all {
		w.end(Left)
	}
}

// lists fails the test unless those and no others are live, in this order, and all can
// still be served, and another one can come.
func lists(t *testing.T, q *Queue, want ...*Waiter) {
	t.Helper()
	want = append(want, q.link(-1))
	live := walk(t, q)
	if len(live) != len(want) {
		t.Fatalf("%d are live, want %d", len(live), len(want))
	}
	for i := range want {
		w := q.Front()
		if w != want[i] || live[i] != want[i] {
			t.Fatalf("number %d is another", i)
		}
		w.end(Taken)
		q.Advance(w)
	}
	if w := q.Front(); w != nil {
		t.Fatal("somebody is left")
	}
	walk(t, q)
}

// Seeded fault 4: the last segment is unlinked while an enqueuer is about to make the next one.
func TestEnqueuerFindsTheLastSegmentInPlaceAfterUnlink(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		q, w := links(6)
		var late *Waiter
		enqueuer := s.Act("enqueue: cell taken", func() { late = q.link(6) })
		leave(w[2:]...)
		q.Unlink()
		enqueuer.End()
		lists(t, q, w[0], w[1], late)
	})
}

// A segment is unlinked and severed while last is still at it.
func TestUnlinkOfTheSegmentThatLastIsAt(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		q, w := links(6)
		var late *Waiter
		enqueuer := s.Act("reach: segment made", func() { late = q.link(6) })
		leave(w[2:]...)
		q.Unlink()
		last := q.link(7)
		enqueuer.End()
		lists(t, q, w[0], w[1], late, last)
	})
}

// The same at the front: the enqueuer has not moved last, and the segment that last points to is
// passed over.
func TestAdvanceOverTheSegmentThatLastIsAt(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		q, w := links(2)
		var late *Waiter
		enqueuer := s.Act("reach: segment made", func() { late = q.link(2) })
		for _, w := range w {
			w.end(Taken)
			q.Advance(w)
		}
		if w[0].segment().next.Load() != w[0].segment() {
			t.Fatal("the segment has not been passed over")
		}
		last := q.link(3)
		enqueuer.End()
		lists(t, q, late, last)
	})
}

// Seeded fault 6: Unlink cuts off a segment that somebody is about to make the first.
func TestUnlinkSeversNothingOnceFirstHasMoved(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		q, w := links(8)
		leave(w[4:6]...)
		sweeper := s.Act("unlink: dead", q.Unlink)
		leave(w[:2]...)
		q.Front()
		leave(w[2:4]...)
		// The next granter has read the segment after the first, to make it the first.
		granter := s.Act("pass: next read", func() { q.Front() })
		sweeper.To("unlink: cut")
		sweeper.End()
		granter.End()
		lists(t, q, w[6], w[7])
	})
}

// The same, but first has moved past the segment before it: that is severed, and stays so.
func TestUnlinkBehindASegmentThatIsSevered(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		q, w := links(8)
		leave(w[4:6]...)
		sweeper := s.Act("unlink: dead", q.Unlink)
		leave(w[:4]...)
		if front := q.Front(); front != w[6] {
			t.Fatal("front is another")
		}
		sweeper.End()
		if s := w[2].segment(); s.next.Load() != s {
			t.Error("one that was severed has been linked again")
		}
		lists(t, q, w[6], w[7])
	})
}

func TestUnlinkAfterTheCutWhileFirstMoves(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		q, w := links(10)
		leave(w[4:8]...)
		sweeper := s.Act("unlink: cut", q.Unlink)
		leave(w[:4]...)
		q.Front()
		sweeper.End()
		lists(t, q, w[8], w[9])
	})
}

// A granter that has stalled since it served goes on when head is far away.
func TestAdvanceThatComesTooLateChangesNothing(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		q, w := links(7)
		leave(w[0])
		w[1].end(Taken)
		late := s.Act("pass: head moved", func() { q.Advance(w[1]) })
		leave(w[2:6]...)
		q.Front()
		late.End()
		lists(t, q, w[6])
	})
}

// An enqueuer and a granter that have stalled with a segment in hand find it severed, and
// start again. The enqueuer's cell has been broken for those behind it.
func TestWhoHasASeveredSegmentInHandStartsAgain(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		q, w := links(2)
		var late, front *Waiter
		enqueuer := s.Act("enqueue: cell taken", func() { late = q.link(9) })
		granter := s.Act("front: head read", func() { front = q.Front() })
		more := []*Waiter{q.link(3), q.link(4), q.link(5), q.link(6)}
		leave(w...)
		leave(more[:3]...)
		if got := q.Front(); got != more[3] {
			t.Fatal("front is another")
		}
		enqueuer.End()
		granter.End()
		if front != more[3] {
			t.Error("front is another than the oldest live waiter")
		}
		if q.broken.Load() != 1 || q.Waits() != 7 {
			t.Errorf("%d cells are broken, %d have come, want 1, 7", q.broken.Load(), q.Waits())
		}
		lists(t, q, more[3], late)
	})
}

// Who is written down in time keeps the cell, and is served before those behind it.
func TestWhoIsWrittenDownBeforeTheCellIsBrokenKeepsIt(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		q, _ := links(0)
		var first, front *Waiter
		enqueuer := s.Act("enqueue: cell taken", func() { first = q.link(0) })
		second := q.link(1)
		granter := s.Act("search: somebody behind", func() { front = q.Front() })
		enqueuer.End()
		granter.End()
		if front != first {
			t.Error("front is another than the one with the first cell")
		}
		lists(t, q, first, second)
	})
}

// One who looks behind a cell that nobody is written down in, and finds nobody, need not break it.
func TestACellIsNotBrokenForThoseWhoComeLater(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		q, _ := links(0)
		var first, front *Waiter
		enqueuer := s.Act("enqueue: cell taken", func() { first = q.link(0) })
		granter := s.Act("search: empty", func() { front = q.Front() })
		granter.End()
		if front != nil {
			t.Error("somebody waits")
		}
		second := q.link(1)
		enqueuer.End()
		lists(t, q, first, second)
	})
}

// A look comes to the end of a segment that has left the row meanwhile.
func TestALookBeginsAnewWhereASegmentHasLeftTheRow(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		q, w := links(1)
		var stalled, found *Waiter
		enqueuer := s.Act("enqueue: cell taken", func() { stalled = q.link(1) })
		leave(w...)
		looker := s.Act("search: empty", func() { found = q.Front() })
		enqueuer.End()
		leave(stalled)
		last := q.link(2)
		q.Front()
		looker.End()
		if found != last {
			t.Error("nobody was found, and somebody waits")
		}
		lists(t, q, last)
	})
}

// Two cells are taken and empty, and the segment behind them has been unlinked.
func TestALookKnowsThatSomebodyWasInASegmentThatHasLeftTheRow(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		q, w := links(2)
		var first, second *Waiter
		one := s.Act("enqueue: cell taken", func() { first = q.link(2) })
		two := s.Act("enqueue: cell taken", func() { second = q.link(3) })
		gone := []*Waiter{q.link(4), q.link(5)}
		last := q.link(6)
		leave(gone...)
		q.Unlink()
		if next, ok := q.Behind(w[1]); next != last || !ok {
			t.Error("the one behind is another")
		}
		one.End()
		two.End()
		lists(t, q, w[0], w[1], last, first, second)
	})
}

// All segments up to that of the cell that an enqueuer has taken are passed over before it comes there.
func TestAnEnqueuerWhoseSegmentHasLeftTheRowTakesAnotherCell(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		q, w := links(2)
		var late *Waiter
		enqueuer := s.Act("enqueue: cell taken", func() { late = q.link(2) })
		behind, last := q.link(3), q.link(4)
		leave(w...)
		q.Front() // breaks the cell
		leave(behind)
		q.Front()
		if behind.segment().next.Load() != behind.segment() {
			t.Fatal("the segment has not been passed over")
		}
		enqueuer.End()
		lists(t, q, last, late)
	})
}
