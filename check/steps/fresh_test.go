//go:build step

package steps

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/stage"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
)

// freshTo is getTo for GetFresh.
func freshTo(s *stage.Stage, place string, p *pool.Pool[*testkit.Wire]) (*stage.Actor, *testkit.Request[*testkit.Wire]) {
	s.T.Helper()
	r := new(testkit.Request[*testkit.Wire])
	a := s.Act(place, func() { r.Lease, r.Err = p.GetFresh(bg) })
	r.Done = a.Done
	return a, r
}

// fresh fails the test unless r was lent what was opened as the nth, and n-1 were closed to
// make room at most.
func fresh(t *testing.T, p *pool.Pool[*testkit.Wire], when string, r *testkit.Request[*testkit.Wire], n int) pool.Lease[*testkit.Wire] {
	t.Helper()
	l := r.Served(t, when)
	if l.Value().Number != n {
		t.Errorf("%s: connection %d was lent, want %d", when, l.Value().Number, n)
	}
	if got := p.Stats().ClosedFresh; got != 1 {
		t.Errorf("%s: %d were closed to make room, want 1", when, got)
	}
	return l
}

// A slot is published in a full pool, while somebody comes who needs its room: the publisher
// has gone before that one is linked, or publishes when it has looked.
func TestGetFreshAgainstAPublisher(t *testing.T) {
	for _, first := range []string{"put: gate read", "settle: nobody waits"} {
		t.Run("the waiter looks last, "+first, func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				p, l := lent(t, new(testkit.Exchange), 1)
				var putter, getter *stage.Actor
				var r *testkit.Request[*testkit.Wire]
				if first == "put: gate read" {
					putter = putTo(s, first, p, l[0])
					getter, r = freshTo(s, "wait: registered", p)
				} else {
					getter, r = freshTo(s, "wait: registered", p)
					putter = putTo(s, first, p, l[0])
				}
				putter.End()
				getter.GoOn()
				endWith(t, p, 1, fresh(t, p, "after it was linked", r, 2))
			})
		})
		t.Run("the publisher looks last, "+first, func(t *testing.T) {
			stage.Staged(t, func(t *testing.T, s *stage.Stage) {
				p, l := lent(t, new(testkit.Exchange), 1)
				var putter *stage.Actor
				var r *testkit.Request[*testkit.Wire]
				if first == "put: gate read" {
					putter = putTo(s, first, p, l[0])
					r = testkit.AskFresh(bg, p)
				} else {
					var getter *stage.Actor
					getter, r = freshTo(s, "wait: registered", p)
					putter = putTo(s, first, p, l[0])
					getter.GoOn()
				}
				r.Pending(t, "before the slot is published")
				putter.End()
				endWith(t, p, 1, fresh(t, p, "after the Put", r, 2))
			})
		})
	}
}

// Seeded fault 66. Two would make the room. One does, and the census is as it was when the
// other one goes on.
func TestRoomForGetFreshIsMadeOnceThoughTheCensusIsAsItWas(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lent(t, new(testkit.Exchange), 2)
		r := testkit.AskFresh(bg, p)
		late := putTo(s, "yield: census read", p, l[0])
		testkit.GiveBack(t, p, l[1])
		got := fresh(t, p, "after the other Put", r, 3)
		late.End()
		endWith(t, p, 2, got)
		if got := p.Stats().ClosedFresh; got != 1 {
			t.Errorf("%d were closed, want 1", got)
		}
	})
}

// Nobody is to be closed: then a Resize does not count on the room.
func TestAGetFreshCountsOnNoRoomWithoutASlotInHand(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lent(t, new(testkit.Exchange), 2)
		evicting := s.StopNext("evict: looked in vain")
		ctx, cancel := context.WithCancel(bg)
		r := testkit.AskFresh(ctx, p)
		evicting.Arrived(t)
		if err := p.Resize(1); err != nil {
			t.Fatal(err)
		}
		if !words.Gate(testkit.Inside(p).Gate.Load()).Shrinking() {
			t.Error("Resize has not seen that too many are open")
		}
		evicting.GoOn()
		cancel()
		r.Failed(t, "after its cancel", context.Canceled)
		testkit.GiveBack(t, p, l[0])
		endWith(t, p, 1, l[1])
	})
}

// What is in hand for a GetFresh that has an attempt by then is idle again.
func TestWhatAGetFreshDoesNotNeedAnyMoreIsGivenBack(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lent(t, new(testkit.Exchange), 2)
		testkit.GiveBack(t, p, l[0])
		evicting := s.StopNext("yield: counted")
		r := testkit.AskFresh(bg, p)
		evicting.Arrived(t)
		if err := p.Discard(l[1], testkit.ErrCause); err != nil {
			t.Fatal(err)
		}
		got := r.Served(t, "in the room of the other one")
		evicting.GoOn()
		if s := p.Stats(); s.IdleConnections != 1 || s.ClosedFresh != 0 {
			t.Errorf("want the old one to be idle: %+v", s)
		}
		endWith(t, p, 2, got)
	})
}

// A Resize counts on room that is taken back: then what is in hand has to go.
func TestAResizeCountsOnRoomThatIsTakenBack(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		p, l := lent(t, new(testkit.Exchange), 2)
		testkit.GiveBack(t, p, l[0])
		evicting := s.StopNext("yield: counted")
		ctx, cancel := context.WithCancel(bg)
		r := testkit.AskFresh(ctx, p)
		evicting.Arrived(t)
		if err := p.Resize(1); err != nil {
			t.Fatal(err)
		}
		if words.Gate(testkit.Inside(p).Gate.Load()).Shrinking() {
			t.Fatal("too many are open: the test has lost its point")
		}
		cancel()
		r.Failed(t, "after its cancel", context.Canceled)
		evicting.GoOn()
		endWith(t, p, 1, l[1])
		if s := p.Stats(); s.ClosedResize != 1 || s.ClosedFresh != 0 {
			t.Errorf("want one closed for the Resize: %+v", s)
		}
	})
}

// Seeded fault 65. It has not looked for anybody else, so it excuses nobody.
func TestAGetBehindGetFreshFindsWhatWasPublishedBeforeItWasLinked(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		x, result := dialing(t)
		p := testkit.Start(t, x.Factory(), pool.Config{MaxConnections: 2, MaxWaitTime: -1, MaxIdleTime: -1, OpenTimeout: -1, MaxOpening: 1})
		old := testkit.Ask(bg, p)
		result(1, nil)
		r := testkit.AskFresh(bg, p)
		getter, plain := getTo(s, "wait: registered", bg, p)
		testkit.GiveBack(t, p, old.Served(t, "at first"))
		getter.GoOn()
		got := plain.Served(t, "beside an idle slot")
		r.Pending(t, "while its connection is being opened")
		result(2, nil)
		endWith(t, p, 2, got, r.Served(t, "when that is open"))
	})
}

// Whoever is about to open for it finds the room taken: it lets go, and looks for another.
func TestAClaimThatIsLetGoIsTakenUpAgain(t *testing.T) {
	stage.Staged(t, func(t *testing.T, s *stage.Stage) {
		x, result := dialing(t)
		p := empty(t, x, 2)
		first := testkit.Ask(bg, p)
		result(1, nil)
		getter, r := freshTo(s, "ensureOpen: census read", p) // it is claimed
		l := first.Served(t, "at first")
		go p.Warm(bg, 2) // takes the room
		synctest.Wait()
		testkit.GiveBack(t, p, l)
		getter.GoOn()
		result(2, nil)
		result(3, nil)
		got := r.Served(t, "in the room of another, or by what was opened since")
		if got.Value().Number == 1 {
			t.Error("it was lent what was open before")
		}
		testkit.GiveBack(t, p, got)
		endWith(t, p, p.Stats().IdleConnections)
	})
}
