//go:build step

package pool

import (
	"testing"
	"testing/synctest"
	"time"
)

// links returns a queue in which so many wait.
func links(n int) (*queue, []*waiter) {
	q := newQueue()
	all := make([]*waiter, n)
	for i := range all {
		all[i] = q.link(int64(i))
	}
	return q, all
}

// lists fails the test unless those and no others are live, in this order, and all can
// still be linked and served.
func lists(t *testing.T, q *queue, want ...*waiter) {
	t.Helper()
	want = append(want, q.link(-1))
	live := walk(t, q)
	if len(live) != len(want) {
		t.Fatalf("%d are live, want %d", len(live), len(want))
	}
	for i := range want {
		dummy, w := q.front()
		if w != want[i] || live[i] != want[i] {
			t.Fatalf("number %d is another", i)
		}
		w.end(stateTaken)
		q.advance(dummy, w)
	}
	if _, w := q.front(); w != nil {
		t.Fatal("somebody is left")
	}
	walk(t, q)
}

// Seeded fault 4: the last node is unlinked while an enqueuer is about to link to it.
func TestEnqueuerFindsTheLastNodeInPlaceAfterUnlink(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		q, w := links(2)
		var late *waiter
		enqueuer := s.act("enqueue: tail read", func() { late = q.link(2) })
		w[1].end(stateLeft)
		q.unlink()
		enqueuer.end()
		lists(t, q, w[0], late)
	})
}

// Seeded fault 5: a node is unlinked and severed while tail is still at it.
func TestUnlinkOfTheNodeThatTailIsAt(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		q, w := links(2)
		var late *waiter
		enqueuer := s.act("enqueue: linked", func() { late = q.link(2) })
		w[1].end(stateLeft)
		q.unlink()
		last := q.link(3)
		enqueuer.end()
		lists(t, q, w[0], late, last)
	})
}

// The same in front: the enqueuer has not moved tail, and what tail is at is removed.
func TestAdvanceOverTheNodeThatTailIsAt(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		q, _ := links(0)
		enqueuer := s.act("enqueue: linked", func() { q.link(0).end(stateTaken) })
		dummy := q.head.Load()
		w := dummy.next.Load()
		w.end(stateTaken)
		q.advance(dummy, w)
		last := q.link(1)
		enqueuer.end()
		lists(t, q, last)
	})
}

// Seeded fault 6: unlink cuts a node off that somebody has in hand to make it the head.
func TestUnlinkSeversNothingOnceHeadHasMoved(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		q, w := links(3)
		w[1].end(stateLeft)
		sweeper := s.act("unlink: tail passed", q.unlink)
		dummy, first := q.front()
		first.end(stateTaken)
		q.advance(dummy, first)
		// The next granter has read w[1], to make it the head.
		granter := s.act("advance: tail passed", func() { q.front() })
		sweeper.to("unlink: cut")
		sweeper.end()
		granter.end()
		lists(t, q, w[2])
	})
}

// The same, but head has moved to the node already when it is cut off.
func TestUnlinkOfTheNodeThatIsTheHead(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		q, w := links(3)
		w[1].end(stateLeft)
		sweeper := s.act("unlink: tail passed", q.unlink)
		w[0].end(stateTaken)
		if _, front := q.front(); front != w[2] {
			t.Fatal("front is another")
		}
		sweeper.end()
		if w[0].next.Load() != w[0] {
			t.Error("one that was severed has been linked again")
		}
		lists(t, q, w[2])
	})
}

func TestUnlinkAfterTheCutWhileHeadMoves(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		q, w := links(4)
		w[1].end(stateLeft)
		w[2].end(stateLeft)
		sweeper := s.act("unlink: cut", q.unlink)
		w[0].end(stateTaken)
		q.front()
		sweeper.end()
		lists(t, q, w[3])
	})
}

// A granter that has stalled since it served goes on when head is far away.
func TestAdvanceThatComesTooLateChangesNothing(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		q, w := links(3)
		dummy, first := q.front()
		first.end(stateTaken)
		late := s.act("advance: tail passed", func() { q.advance(dummy, first) })
		w[1].end(stateTaken)
		q.front()
		late.end()
		lists(t, q, w[2])
	})
}

// An enqueuer and a granter that have stalled with a node in hand find it severed, and
// start again.
func TestWhoHasASeveredNodeInHandStartsAgain(t *testing.T) {
	staged(t, func(t *testing.T, s *stage) {
		q, w := links(2)
		var late, front *waiter
		enqueuer := s.act("enqueue: tail read", func() { late = q.link(4) })
		granter := s.act("front: head read", func() { _, front = q.front() })
		more := q.link(2)
		last := q.link(3)
		w[0].end(stateTaken)
		w[1].end(stateTaken)
		more.end(stateTaken)
		q.front()
		enqueuer.end()
		granter.end()
		if front != last {
			t.Error("front is another than the oldest live waiter")
		}
		lists(t, q, last, late)
	})
}

// The two sides of going to sleep: the sweeper clears armed, then looks at the queue;
// a waiter links itself, then reads armed.
func TestSweeperThatGoesToSleepMissesNoWaiter(t *testing.T) {
	const ticks, none = time.Minute, -1 // MaxIdleTime: to wake at the next tick, or not at all
	for _, c := range []struct {
		place string
		idle  time.Duration
		first string
	}{
		{"disarm: nobody waits", ticks, "sweeper"}, {"disarm: nobody waits", ticks, "waiter"},
		{"disarm: disarmed", ticks, "sweeper"}, {"disarm: disarmed", ticks, "waiter"},
		{"sweep: nothing due", none, "sweeper"}, {"sweep: nothing due", none, "waiter"},
	} {
		t.Run("after the "+c.first, func(t *testing.T) {
			staged(t, func(t *testing.T, s *stage) {
				p := start(t, new(exchange).factory(), Config{MaxConnections: 1, MaxWaitTime: 50 * time.Millisecond, MaxIdleTime: c.idle})
				disarmed := s.stopNext(c.place)
				l := borrow(t, p)
				time.Sleep(130 * time.Millisecond)
				disarmed.arrived(t) // since nobody waits
				var r *request[*wire]
				if c.first == "sweeper" {
					r = ask(bg, p)
					disarmed.goOn()
				} else {
					var getter *actor
					getter, r = s.get("wait: parked", bg, p)
					disarmed.goOn()
					getter.goOn()
				}
				time.Sleep(50 * time.Millisecond)
				r.failed(t, "after MaxWaitTime", ErrExhausted)
				endWith(t, p, 1, l)
			})
		})
	}
}

// The sweeper ends a wait and somebody else serves it, both at the same time.
func TestAWaitIsEndedByTheSweeperOrAGranterNotBoth(t *testing.T) {
	for _, first := range []string{"sweeper", "granter"} {
		t.Run(first, func(t *testing.T) {
			staged(t, func(t *testing.T, s *stage) {
				p := start(t, new(exchange).factory(), Config{MaxConnections: 1, MaxWaitTime: time.Second, MaxIdleTime: -1})
				l := borrow(t, p)
				r := ask(bg, p)
				if first == "granter" {
					putter := s.put("grant: decided", p, l)
					time.Sleep(time.Second)
					r.pending(t, "while it is owed a token")
					putter.end()
					endWith(t, p, 1, r.served(t, "after the Put"))
					return
				}
				putter := s.put("settle: somebody waits", p, l)
				expiring := s.stopNext("refuse: decided")
				time.Sleep(time.Second)
				expiring.arrived(t)
				putter.end()
				expiring.goOn()
				r.failed(t, "after MaxWaitTime", ErrExhausted)
				synctest.Wait()
				endWith(t, p, 1)
			})
		})
	}
}
