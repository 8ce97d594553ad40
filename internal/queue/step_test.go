//go:build step

package queue

import (
	"testing"

	"github.com/S4AK4N/pool/internal/stage"
)

// links returns a queue in which so many wait.
func links(n int) (*Queue, []*Waiter) {
	q := newQueue()
	all := make([]*Waiter, n)
	for i := range all {
		all[i] = q.link(int64(i))
	}
	return q, all
}

// lists fails the test unless those and no others are live, in this order, and all can
// still be linked and served.
func lists(t *testing.T, q *Queue, want ...*Waiter) {
	t.Helper()
	want = append(want, q.link(-1))
	live := walk(t, q)
	if len(live) != len(want) {
		t.Fatalf("%d are live, want %d", len(live), len(want))
	}
	for i := range want {
		dummy, w := q.Front()
		if w != want[i] || live[i] != want[i] {
			t.Fatalf("number %d is another", i)
		}
		w.end(Taken)
		q.Advance(dummy, w)
	}
	if _, w := q.Front(); w != nil {
		t.Fatal("somebody is left")
	}
	walk(t, q)
}

// Seeded fault 4: the last node is unlinked while an enqueuer is about to link to it.
func TestEnqueuerFindsTheLastNodeInPlaceAfterUnlink(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		q, w := links(2)
		var late *Waiter
		enqueuer := s.Act("enqueue: tail read", func() { late = q.link(2) })
		w[1].end(Left)
		q.Unlink()
		enqueuer.End()
		lists(t, q, w[0], late)
	})
}

// Seeded fault 5: a node is unlinked and severed while tail is still at it.
func TestUnlinkOfTheNodeThatTailIsAt(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		q, w := links(2)
		var late *Waiter
		enqueuer := s.Act("enqueue: linked", func() { late = q.link(2) })
		w[1].end(Left)
		q.Unlink()
		last := q.link(3)
		enqueuer.End()
		lists(t, q, w[0], late, last)
	})
}

// The same at the front: the enqueuer has not moved tail, and the node that tail points
// to is removed.
func TestAdvanceOverTheNodeThatTailIsAt(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		q, _ := links(0)
		enqueuer := s.Act("enqueue: linked", func() { q.link(0).end(Taken) })
		dummy := q.head.Load()
		w := dummy.next.Load()
		w.end(Taken)
		q.Advance(dummy, w)
		last := q.link(1)
		enqueuer.End()
		lists(t, q, last)
	})
}

// Seeded fault 6: Unlink cuts off a node that somebody is about to make the head.
func TestUnlinkSeversNothingOnceHeadHasMoved(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		q, w := links(3)
		w[1].end(Left)
		sweeper := s.Act("unlink: tail passed", q.Unlink)
		dummy, first := q.Front()
		first.end(Taken)
		q.Advance(dummy, first)
		// The next granter has read w[1], to make it the head.
		granter := s.Act("advance: tail passed", func() { q.Front() })
		sweeper.To("unlink: cut")
		sweeper.End()
		granter.End()
		lists(t, q, w[2])
	})
}

// The same, but head has moved to the node already when it is cut off.
func TestUnlinkOfTheNodeThatIsTheHead(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		q, w := links(3)
		w[1].end(Left)
		sweeper := s.Act("unlink: tail passed", q.Unlink)
		w[0].end(Taken)
		if _, front := q.Front(); front != w[2] {
			t.Fatal("front is another")
		}
		sweeper.End()
		if w[0].next.Load() != w[0] {
			t.Error("one that was severed has been linked again")
		}
		lists(t, q, w[2])
	})
}

func TestUnlinkAfterTheCutWhileHeadMoves(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		q, w := links(4)
		w[1].end(Left)
		w[2].end(Left)
		sweeper := s.Act("unlink: cut", q.Unlink)
		w[0].end(Taken)
		q.Front()
		sweeper.End()
		lists(t, q, w[3])
	})
}

// A granter that has stalled since it served goes on when head is far away.
func TestAdvanceThatComesTooLateChangesNothing(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		q, w := links(3)
		dummy, first := q.Front()
		first.end(Taken)
		late := s.Act("advance: tail passed", func() { q.Advance(dummy, first) })
		w[1].end(Taken)
		q.Front()
		late.End()
		lists(t, q, w[2])
	})
}

// An enqueuer and a granter that have stalled with a node in hand find it severed, and
// start again.
func TestWhoHasASeveredNodeInHandStartsAgain(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		q, w := links(2)
		var late, front *Waiter
		enqueuer := s.Act("enqueue: tail read", func() { late = q.link(4) })
		granter := s.Act("front: head read", func() { _, front = q.Front() })
		more := q.link(2)
		last := q.link(3)
		w[0].end(Taken)
		w[1].end(Taken)
		more.end(Taken)
		q.Front()
		enqueuer.End()
		granter.End()
		if front != last {
			t.Error("front is another than the oldest live waiter")
		}
		lists(t, q, last, late)
	})
}
