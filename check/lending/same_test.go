package lending

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
	"github.com/S4AK4N/pool/internal/testkit"
	"go.uber.org/atomic"
)

// marked opens a connection, leases it once, and returns the Mark of that lease.
func marked(t *testing.T, p *pool.Pool[*testkit.Wire]) pool.Mark {
	t.Helper()
	l := testkit.Borrow(t, p)
	testkit.GiveBack(t, p, l)
	return l.Mark()
}

// markedAll opens n connections, and returns leases of them, and Marks of earlier ones.
func markedAll(t *testing.T, p *pool.Pool[*testkit.Wire], n int) (leases []pool.Lease[*testkit.Wire], marks []pool.Mark) {
	t.Helper()
	for range n {
		leases = append(leases, testkit.Borrow(t, p))
	}
	for i, l := range leases {
		testkit.GiveBack(t, p, l)
		marks, leases[i] = append(marks, l.Mark()), testkit.Borrow(t, p)
	}
	return leases, marks
}

func TestGetSameLendsTheIdleConnectionOfTheMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), still(3))
		a, b, c := testkit.Borrow(t, p), testkit.Borrow(t, p), testkit.Borrow(t, p)
		for _, l := range []pool.Lease[*testkit.Wire]{a, b, c} {
			testkit.GiveBack(t, p, l)
		}
		l := numbered(t, "the second of three idle ones", testkit.AskSame(t.Context(), p, b.Mark()), 2)
		if !l.Follows(b.Mark()) || l.Follows(a.Mark()) {
			t.Errorf("it follows its own mark: %v, another: %v; want true, false", l.Follows(b.Mark()), l.Follows(a.Mark()))
		}
		m, ok := p.TryGetSame(c.Mark())
		if !ok || m.Value() != c.Value() || m.Number() != 3 {
			t.Errorf("TryGetSame returned %v, connection %d; want the third", ok, m.Number())
		}
		if _, ok := p.TryGetSame(b.Mark()); ok {
			t.Error("TryGetSame lent what somebody else has")
		}
		if s := p.Stats(); s.Waits != 3 || s.SameWaits != 0 { // each open
			t.Errorf("%d waits, %d of GetSame; want 3, 0", s.Waits, s.SameWaits)
		}
		rests(t, p, l, m)
	})
}

func TestGetSameWaitsUntilItsConnectionComesBackAndLeavesOthersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), still(2))
		m := marked(t, p)
		a, b := testkit.Borrow(t, p), testkit.Borrow(t, p)
		r := testkit.AskSame(t.Context(), p, m)
		testkit.GiveBack(t, p, b)
		r.Pending(t, "another is idle")
		if s := p.Stats(); s.WaitingRequests != 1 || s.SameWaits != 1 || s.Waits != 3 || s.IdleConnections != 1 {
			t.Errorf("while one waits: %+v", s)
		}
		l, ok := p.TryGet()
		if !ok {
			t.Error("TryGet does not lend what is idle while somebody waits for another")
		}
		testkit.GiveBack(t, p, a)
		got := numbered(t, "its own is back", r, 1)
		if got.Follows(m) || !got.Follows(a.Mark()) {
			t.Errorf("it follows the lease before the last: %v, the last: %v; want false, true", got.Follows(m), got.Follows(a.Mark()))
		}
		rests(t, p, l, got)
	})
}

// Of those who could use a connection, whoever came first gets it.
func TestWhoCameFirstGetsTheConnectionWhetherHeWaitsForThisOneOrForAny(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), still(1))
		m := marked(t, p)
		l := testkit.Borrow(t, p)
		any1 := testkit.Ask(t.Context(), p)
		same1 := testkit.AskSame(t.Context(), p, m)
		same2 := testkit.AskSame(t.Context(), p, m)
		any2 := testkit.Ask(t.Context(), p)
		same3 := testkit.AskSame(t.Context(), p, m)
		for i, r := range []*testkit.Request[*testkit.Wire]{any1, same1, same2, any2, same3} {
			r.Pending(t, "before the Put")
			testkit.GiveBack(t, p, l)
			l = r.Served(t, "number "+string(rune('1'+i)))
		}
		rests(t, p, l)
	})
}

// What waits for one connection is not in the way of what waits for any.
func TestGetIsServedWithOthersWhileAnEarlierGetSameWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), still(2))
		m := marked(t, p)
		a, b := testkit.Borrow(t, p), testkit.Borrow(t, p)
		same := testkit.AskSame(t.Context(), p, m)
		plain := testkit.Ask(t.Context(), p)
		testkit.GiveBack(t, p, b)
		b = numbered(t, "another is back", plain, 2)
		testkit.GiveBack(t, p, a)
		a = numbered(t, "its own is back", same, 1)
		rests(t, p, a, b)
	})
}

// A fresh waiter needs the room of what comes back, if it came first; if not, GetSame has it.
func TestAGetFreshThatCameFirstTakesTheRoomOfWhatGetSameWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), still(1))
		m := marked(t, p)
		l := testkit.Borrow(t, p)
		same1 := testkit.AskSame(t.Context(), p, m)
		fresh := testkit.AskFresh(t.Context(), p)
		same2 := testkit.AskSame(t.Context(), p, m)
		testkit.GiveBack(t, p, l)
		l = numbered(t, "who came before the fresh one", same1, 1)
		testkit.GiveBack(t, p, l)
		l = numbered(t, "the fresh one", fresh, 2)
		same2.Failed(t, "who came behind it", pool.ErrGone)
		rests(t, p, l)
	})
}

func TestGetSameIsToldAtOnceWhatHasBecomeOfAConnectionThatIsGone(t *testing.T) {
	for way, c := range map[string]struct {
		end   func(*testing.T, *pool.Pool[*testkit.Wire], pool.Lease[*testkit.Wire])
		cause error
		says  string
	}{
		"discarded": {func(t *testing.T, p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) {
			_ = p.Discard(l, testkit.ErrCause)
		}, testkit.ErrCause, "pool: the connection is gone: discard: my cause"},
		"detached": {func(t *testing.T, p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) {
			if _, err := p.Detach(l); err != nil {
				t.Error(err)
			}
		}, nil, "pool: the connection is gone: detached"},
		"revoked": {func(t *testing.T, p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) {
			p.Revoke(p.Leases()[0])
		}, pool.ErrRevoked, "pool: the connection is gone: revoke: pool: lease revoked"},
		"reset while leased": {func(t *testing.T, p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) {
			p.Reset()
		}, nil, "pool: the connection is gone: reset: pool: reset"},
		"reset while idle": {func(t *testing.T, p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) {
			testkit.GiveBack(t, p, l)
			p.Reset()
		}, nil, "pool: the connection is gone: reset: pool: reset"},
	} {
		for _, waits := range []bool{true, false} {
			if waits && way == "reset while idle" {
				continue // nobody waits for what is idle
			}
			testkit.Bubble(t, way+map[bool]string{true: ", while somebody waits", false: ", before"}[waits], func(t *testing.T) {
				p := testkit.Start(t, new(testkit.Exchange).Factory(), still(2))
				m := marked(t, p)
				l := testkit.Borrow(t, p)
				var r *testkit.Request[*testkit.Wire]
				if waits {
					r = testkit.AskSame(t.Context(), p, m)
					r.Pending(t, "before the end")
					c.end(t, p, l)
				} else {
					c.end(t, p, l)
					r = testkit.AskSame(t.Context(), p, m)
				}
				r.Failed(t, "after the end", pool.ErrGone)
				if c.cause != nil && !errors.Is(r.Err, c.cause) {
					t.Errorf("the error is %v, want the cause %v in it", r.Err, c.cause)
				}
				if r.Err.Error() != c.says {
					t.Errorf("the error says %q, want %q", r.Err, c.says)
				}
				if _, ok := p.TryGetSame(m); ok {
					t.Error("TryGetSame lent a connection that is gone")
				}
				if s := p.Stats(); s.Gone != 2 || s.SameWaits != map[bool]uint64{true: 1}[waits] {
					t.Errorf("%d ended in ErrGone, %d waited; want 2, and 1 if it waited", s.Gone, s.SameWaits)
				}
				_ = p.Put(l)
				rests(t, p)
			})
		}
	}
}

func TestGetSameIsToldWhenItsConnectionGrowsTooOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := still(2)
		c.MaxLifetime = time.Minute
		p := testkit.Start(t, new(testkit.Exchange).Factory(), c)
		m := marked(t, p)
		l := testkit.Borrow(t, p)
		r := testkit.AskSame(t.Context(), p, m)
		testkit.Sleep(time.Minute + 10*time.Second)
		r.Failed(t, "after MaxLifetime, while it is leased", pool.ErrGone)
		if r.Took > 67*time.Second {
			t.Errorf("it was told after %v, want at most MaxLifetime and a tenth", r.Took)
		}
		rests(t, p, l)
	})
}

func TestAConnectionThatCheckRefusesIsGoneForGetSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := new(testkit.Exchange).Factory()
		refuse := false
		f.Check = func(*testkit.Wire) error {
			if refuse {
				return testkit.ErrUnfit
			}
			return nil
		}
		c := still(2)
		c.CheckInterval = -1
		p := testkit.Start(t, f, c)
		m := marked(t, p)
		refuse = true
		r := testkit.AskSame(t.Context(), p, m)
		r.Failed(t, "idle", pool.ErrGone)
		if !errors.Is(r.Err, testkit.ErrUnfit) {
			t.Errorf("the error is %v, want what Check has said in it", r.Err)
		}
		refuse = false
		l := testkit.Borrow(t, p)
		r = testkit.AskSame(t.Context(), p, l.Mark())
		if !r.Returned() || errors.Is(r.Err, pool.ErrGone) {
			t.Errorf("the lease of the mark is in force: %v", r.Err)
		}
		testkit.GiveBack(t, p, l)
		m = l.Mark()
		l = testkit.Borrow(t, p)
		r = testkit.AskSame(t.Context(), p, m)
		refuse = true
		testkit.GiveBack(t, p, l)
		r.Failed(t, "handed on", pool.ErrGone)
		rests(t, p)
	})
}

func TestGetSameRefusesMarksThatItCannotServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), still(2))
		other := testkit.Start(t, new(testkit.Exchange).Factory(), still(2))
		m := marked(t, p)
		testkit.AskSame(t.Context(), p, pool.Mark{}).Failed(t, "the zero Mark", pool.ErrGone)
		testkit.AskSame(t.Context(), other, m).Failed(t, "a Mark of another pool", pool.ErrNotLeased)
		if p.Stats().Gone != 0 {
			t.Error("the zero Mark counts as a connection that is gone")
		}
		l := testkit.Borrow(t, p)
		r := testkit.AskSame(t.Context(), p, l.Mark())
		if !r.Returned() || r.Err == nil || errors.Is(r.Err, pool.ErrGone) || errors.Is(r.Err, pool.ErrNotLeased) {
			t.Errorf("while the lease of the Mark is in force: %v, want an error of its own", r.Err)
		}
		if _, ok := p.TryGetSame(l.Mark()); ok {
			t.Error("TryGetSame lent a connection to its holder")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		testkit.AskSame(ctx, p, m).Failed(t, "a ctx that has ended", context.Canceled)
		testkit.GiveBack(t, p, l)
		p.Close()
		testkit.AskSame(t.Context(), p, m).Failed(t, "a closed pool", pool.ErrClosed)
		testkit.AskSame(t.Context(), p, pool.Mark{}).Failed(t, "the zero Mark, in a closed pool", pool.ErrClosed)
		testkit.AskSame(t.Context(), p, marked(t, other)).Failed(t, "another's, in a closed pool", pool.ErrNotLeased)
	})
}

func TestGetSameEndsAsAGetEnds(t *testing.T) {
	for name, c := range map[string]struct {
		wait time.Duration
		end  func(cancel func(), p *pool.Pool[*testkit.Wire])
		want error
	}{
		"with its ctx":      {-1, func(cancel func(), _ *pool.Pool[*testkit.Wire]) { cancel() }, context.Canceled},
		"after MaxWaitTime": {time.Second, func(func(), *pool.Pool[*testkit.Wire]) { testkit.Sleep(time.Second + 1) }, pool.ErrExhausted},
		"with the pool":     {-1, func(_ func(), p *pool.Pool[*testkit.Wire]) { go p.Shutdown(context.Background()) }, pool.ErrClosed},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			config := still(2)
			config.MaxWaitTime = c.wait
			var waits []pool.WaitInfo
			config.Hooks.Waited = func(i pool.WaitInfo) { waits = append(waits, i) }
			p := testkit.Start(t, new(testkit.Exchange).Factory(), config)
			m := marked(t, p)
			l := testkit.Borrow(t, p)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r := testkit.AskSame(ctx, p, m)
			r.Pending(t, "before the end")
			c.end(cancel, p)
			r.Failed(t, "after the end", c.want)
			if n := len(waits); n != 2 || waits[1].Ctx != ctx || !errors.Is(waits[1].Err, c.want) {
				t.Errorf("the hook was told of %d waits, want 2, the second with the ctx and the error of GetSame", n)
			}
			testkit.GiveBack(t, p, l)
			if c.want != pool.ErrClosed {
				rests(t, p, numbered(t, "it is idle again", testkit.AskSame(t.Context(), p, m), 1))
			}
		})
	}
}

func TestMaxWaitersCountsThoseWhoWaitForOneConnectionAsWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := still(1)
		c.MaxWaiters = 2
		var refused []error
		c.Hooks.Rejected = func(i pool.RejectInfo) { refused = append(refused, i.Err) }
		p := testkit.Start(t, new(testkit.Exchange).Factory(), c)
		m := marked(t, p)
		l := testkit.Borrow(t, p)
		same, plain := testkit.AskSame(t.Context(), p, m), testkit.Ask(t.Context(), p)
		testkit.AskSame(t.Context(), p, m).Failed(t, "the third", pool.ErrRejected)
		testkit.Ask(t.Context(), p).Failed(t, "the third", pool.ErrRejected)
		if s := p.Stats(); s.Rejected != 2 || len(refused) != 2 {
			t.Errorf("%d are counted as refused, the hook was told of %d; want 2, 2", s.Rejected, len(refused))
		}
		testkit.GiveBack(t, p, l)
		testkit.GiveBack(t, p, same.Served(t, "the first"))
		rests(t, p, plain.Served(t, "the second"))
	})
}

func TestWithNegativeMaxWaitersGetSameNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := still(3)
		c.MaxWaiters = -1
		p := testkit.Start(t, new(testkit.Exchange).Factory(), c)
		m := marked(t, p)
		l := numbered(t, "idle", testkit.AskSame(t.Context(), p, m), 1)
		testkit.AskSame(t.Context(), p, m).Failed(t, "leased", pool.ErrRejected)
		rests(t, p, l)
	})
}

func TestFollowsIsFalseAfterAnythingElseWasDoneWithTheConnection(t *testing.T) {
	type use = func(*testing.T, *pool.Pool[*testkit.Wire], pool.Lease[*testkit.Wire])
	put := func(t *testing.T, p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) {
		testkit.GiveBack(t, p, l)
	}
	for name, c := range map[string]struct {
		use     use
		factory func(*pool.Factory[*testkit.Wire])
		want    bool
	}{
		"Put": {put, nil, true},
		"PutUnused": {func(t *testing.T, p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) {
			if err := p.PutUnused(l); err != nil {
				t.Error(err)
			}
		}, nil, false},
		"another lease": {func(t *testing.T, p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) {
			testkit.GiveBack(t, p, l)
			testkit.GiveBack(t, p, testkit.Borrow(t, p))
		}, nil, false},
		"a lease that was not used": {func(t *testing.T, p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) {
			testkit.GiveBack(t, p, l)
			if err := p.PutUnused(testkit.Borrow(t, p)); err != nil {
				t.Error(err)
			}
		}, nil, false},
		"Clean": {put, func(f *pool.Factory[*testkit.Wire]) { f.Clean = func(*testkit.Wire) error { return nil } }, false},
		"Clean that only looks": {put, func(f *pool.Factory[*testkit.Wire]) {
			f.Clean, f.CleanOnlyLooks = func(*testkit.Wire) error { return nil }, true
		}, true},
		"checks": {func(t *testing.T, p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) {
			testkit.GiveBack(t, p, l)
			testkit.Sleep(10 * time.Second)
		}, func(f *pool.Factory[*testkit.Wire]) { f.Check = func(*testkit.Wire) error { return nil } }, true},
		"handed on to one who has gone": {func(t *testing.T, p *pool.Pool[*testkit.Wire], l pool.Lease[*testkit.Wire]) {
			r := testkit.Ask(testkit.NewEnding(), p)
			testkit.GiveBack(t, p, l)
			r.Failed(t, "after the Put", context.Canceled)
		}, nil, true},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			f := new(testkit.Exchange).Factory()
			if c.factory != nil {
				c.factory(&f)
			}
			p := testkit.Start(t, f, still(1))
			l := testkit.Borrow(t, p)
			m := l.Mark()
			c.use(t, p, l)
			l = numbered(t, "the same again", testkit.AskSame(t.Context(), p, m), 1)
			if got := l.Follows(m); got != c.want {
				t.Errorf("the lease follows the marked one: %v, want %v", got, c.want)
			}
			if l.Follows(l.Mark()) || l.Follows(pool.Mark{}) || (pool.Lease[*testkit.Wire]{}).Follows(m) || (pool.Lease[*testkit.Wire]{}).Follows(pool.Mark{}) {
				t.Error("a lease follows itself, nothing follows, or nothing is followed")
			}
			rests(t, p, l)
		})
	}
}

func TestAMarkCanBeComparedAndKeepsNothingAlive(t *testing.T) {
	var none pool.Lease[*testkit.Wire]
	if none.Mark() != (pool.Mark{}) || none.Number() != 0 {
		t.Error("the zero Lease has a Mark or a number")
	}
	p := testkit.Start(t, new(testkit.Exchange).Factory(), still(2))
	a, b := testkit.Borrow(t, p), testkit.Borrow(t, p)
	again := a
	if a.Mark() != again.Mark() || a.Mark() == b.Mark() {
		t.Error("Marks of one lease differ, or those of two are equal")
	}
	testkit.GiveBack(t, p, a)
	testkit.GiveBack(t, p, b)
	var pointers func(typ reflect.Type) bool
	pointers = func(typ reflect.Type) bool {
		if typ.Kind() != reflect.Struct {
			return typ.Kind() > reflect.Float64
		}
		for i := range typ.NumField() {
			if pointers(typ.Field(i).Type) {
				return true
			}
		}
		return false
	}
	if typ := reflect.TypeFor[pool.Mark](); pointers(typ) || typ.Size() > 32 {
		t.Errorf("%v has pointers, or %d bytes: want none, and at most 32", typ, typ.Size())
	}
}

// The slot of a connection that is gone has another one: that is not lent for it, and its end is
// not told as that of the first.
func TestGetSameDoesNotTakeTheNextConnectionInTheSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), still(1))
		m := marked(t, p)
		_ = p.Discard(testkit.Borrow(t, p), testkit.ErrCause)
		testkit.GiveBack(t, p, testkit.Borrow(t, p))
		r := testkit.AskSame(t.Context(), p, m)
		r.Failed(t, "another is in the slot", pool.ErrGone)
		if !errors.Is(r.Err, testkit.ErrCause) {
			t.Errorf("the error is %v, want the cause in it", r.Err)
		}
		_ = p.Discard(testkit.Borrow(t, p), testkit.ErrCause)
		r = testkit.AskSame(t.Context(), p, m)
		r.Failed(t, "another has come and gone", pool.ErrGone)
		if errors.Is(r.Err, testkit.ErrCause) {
			t.Errorf("the error is %v: the cause is another connection's", r.Err)
		}
		if got := p.Stats().Gone; got != 2 {
			t.Errorf("%d calls are counted as ended by ErrGone, want 2", got)
		}
		rests(t, p)
	})
}

// go#76784: cancelled waiters are cleaned only at the front.
func TestThoseWhoHaveLeftAreRemovedBehindAPatientGetSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := still(1)
		c.MaxWaitTime = time.Hour
		p := testkit.Start(t, new(testkit.Exchange).Factory(), c)
		m := marked(t, p)
		l := testkit.Borrow(t, p)
		patient := testkit.AskSame(t.Context(), p, m)
		for range 1000 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			r := testkit.AskSame(ctx, p, m)
			testkit.Sleep(time.Millisecond)
			r.Failed(t, "after a millisecond", context.DeadlineExceeded)
			cancel()
		}
		for _, s := range testkit.Inside(p).Slots() {
			if n := s.Same.Listed(); n > 200 {
				t.Errorf("%d are linked of which one waits, want at most 200", n)
			}
		}
		testkit.GiveBack(t, p, l)
		rests(t, p, patient.Served(t, "after all others have gone"))
	})
}

// A Check that is slow does not keep a GetSame beyond its ctx.
func TestAGetSameThatIsInCheckReturnsWhenItsCtxEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := new(testkit.Exchange).Factory()
		f.Check = func(*testkit.Wire) error {
			time.Sleep(5 * time.Second)
			return nil
		}
		c := still(1)
		c.CheckInterval = -1
		p := testkit.Start(t, f, c)
		m := marked(t, p)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := testkit.AskSame(ctx, p, m)
		testkit.Sleep(time.Second + 10*time.Millisecond)
		r.Failed(t, "after a second", context.DeadlineExceeded)
		if _, ok := p.TryGetSame(m); ok {
			t.Error("TryGetSame lent what is being checked")
		}
		same := testkit.AskSame(t.Context(), p, m) // while the pool has it
		testkit.Sleep(10 * time.Second)
		rests(t, p, same.Served(t, "after the check"))
	})
}

// Each of many sessions has its own connection for itself and the next.
func TestManyGetSameOfOneConnectionAreServedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), still(1))
		m := marked(t, p)
		l := testkit.Borrow(t, p)
		var got []int
		done := make(chan struct{})
		for i := range 20 {
			go func() {
				l, err := p.GetSame(context.Background(), m)
				if err != nil {
					t.Error(err)
				}
				got = append(got, i)
				time.Sleep(time.Second)
				_ = p.Put(l)
				done <- struct{}{}
			}()
			synctest.Wait()
		}
		testkit.GiveBack(t, p, l)
		for range 20 {
			<-done
		}
		if !slices.IsSorted(got) {
			t.Errorf("they were served in the order %v, want that in which they came", got)
		}
		rests(t, p)
	})
}

// Whoever comes while the connection is asked for its health comes second, and gets it when the
// first one is done with it.
func TestAGetSameThatIsInCheckIsNotOvertaken(t *testing.T) {
	for name, ask := range map[string]func(*testing.T, *pool.Pool[*testkit.Wire], pool.Mark) *testkit.Request[*testkit.Wire]{
		"GetSame": func(t *testing.T, p *pool.Pool[*testkit.Wire], m pool.Mark) *testkit.Request[*testkit.Wire] {
			return testkit.AskSame(t.Context(), p, m)
		},
		"TryGetSame": func(t *testing.T, p *pool.Pool[*testkit.Wire], m pool.Mark) *testkit.Request[*testkit.Wire] {
			r := &testkit.Request[*testkit.Wire]{Done: make(chan struct{})}
			go func() {
				defer close(r.Done)
				var ok bool
				if r.Lease, ok = p.TryGetSame(m); !ok {
					r.Err = errors.New("it returned false")
				}
			}()
			synctest.Wait()
			return r
		},
	} {
		for _, apart := range []bool{false, true} {
			testkit.Bubble(t, name+map[bool]string{true: ", apart", false: ""}[apart], func(t *testing.T) {
				f := new(testkit.Exchange).Factory()
				var slow atomic.Bool
				f.Check = func(*testkit.Wire) error {
					if slow.Load() {
						time.Sleep(time.Second)
					}
					return nil
				}
				c := still(1)
				c.CheckInterval = -1
				p := testkit.Start(t, f, c)
				m := marked(t, p)
				testkit.Inside(p).Wary.Store(map[bool]uint32{true: core.Suspicion}[apart])
				slow.Store(true)
				first := ask(t, p, m)
				first.Pending(t, "in Check")
				second := testkit.AskSame(t.Context(), p, m)
				testkit.Sleep(time.Second)
				l := first.Served(t, "after Check")
				slow.Store(false)
				second.Pending(t, "the first has it")
				testkit.GiveBack(t, p, l)
				rests(t, p, second.Served(t, "it is back"))
			})
		}
	}
}

// Put would close it: so nobody is kept waiting for that.
func TestGetSameIsToldAtTheEndOfALifeWhoeverHasTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := new(testkit.Exchange).Factory()
		f.Expires = func(*testkit.Wire) time.Time { return time.Now().Add(time.Minute + 300*time.Millisecond) }
		p := testkit.Start(t, f, still(2))
		m := marked(t, p)
		l := testkit.Borrow(t, p)
		waits := testkit.AskSame(t.Context(), p, m)
		testkit.Sleep(time.Minute + 300*time.Millisecond - 1)
		waits.Pending(t, "just before the end")
		testkit.Sleep(time.Nanosecond)
		waits.Failed(t, "at the end", pool.ErrGone)
		late := testkit.AskSame(t.Context(), p, m)
		late.Failed(t, "after the end", pool.ErrGone)
		for _, err := range []error{waits.Err, late.Err} {
			if want := "pool: the connection is gone: lifetime"; err.Error() != want {
				t.Errorf("the error says %q, want %q", err, want)
			}
		}
		if s := p.Stats(); s.Gone != 2 || s.ActiveConnections != 1 {
			t.Errorf("%d ended in ErrGone, %d are leased; want 2, 1", s.Gone, s.ActiveConnections)
		}
		rests(t, p, l)
	})
}

func TestGetSameWithACtxThatHasEndedTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), still(1))
		l := testkit.Borrow(t, p)
		testkit.GiveBack(t, p, l)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if l, err := p.GetSame(ctx, l.Mark()); !errors.Is(err, context.Canceled) || l != (pool.Lease[*testkit.Wire]{}) {
			t.Errorf("GetSame returned (%v, %v), want no lease and the end of ctx", l.Value(), err)
		}
		rests(t, p)
	})
}

func TestALeaseDoesNotFollowOneOfAnotherPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var marks [2]pool.Mark
		var leases [2]pool.Lease[*testkit.Wire]
		for i := range marks {
			p := testkit.Start(t, new(testkit.Exchange).Factory(), still(1))
			marks[i], leases[i] = marked(t, p), testkit.Borrow(t, p)
			defer testkit.GiveBack(t, p, leases[i])
		}
		for i, m := range marks {
			for k, l := range leases {
				if got := l.Follows(m); got != (i == k) {
					t.Errorf("whether the lease of pool %d follows the mark of pool %d is %v", k, i, got)
				}
			}
		}
	})
}

func TestTryGetSameDoesNotLendWhatCheckRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := new(testkit.Exchange).Factory()
		f.Check = func(*testkit.Wire) error { return testkit.ErrUnfit }
		c := still(1)
		c.CheckInterval = -1
		p := testkit.Start(t, f, c)
		if l, ok := p.TryGetSame(marked(t, p)); ok {
			t.Errorf("TryGetSame lent connection %d", l.Number())
		}
		rests(t, p)
	})
}

// Somebody waits for a connection that is being opened. That is no reason to keep a reserved one
// from who asks for it.
func TestGetSameOfWhatIsReservedDoesNotWaitForThoseWhoWaitForAny(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opens, open := testkit.Obstacle(t)
		x := &testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			if attempt > 1 {
				<-opens
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), still(2))
		m := putFor(t, p, testkit.Borrow(t, p), time.Hour)
		other := testkit.Ask(t.Context(), p)
		other.Pending(t, "while a connection is opened for it")
		l := testkit.AskSame(t.Context(), p, m).Served(t, "at once")
		open()
		rests(t, p, l, other.Served(t, "by the other one"))
	})
}

// The reservation is over before its end: the connection was asked for by its Mark and put back.
func TestAReservationThatWasTakenSaysNothingWhenTheConnectionComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testkit.Start(t, new(testkit.Exchange).Factory(), still(1))
		m := putFor(t, p, testkit.Borrow(t, p), time.Hour)
		l, err := p.GetSame(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		first := testkit.Ask(t.Context(), p)
		second := testkit.AskSame(t.Context(), p, m)
		testkit.GiveBack(t, p, l)
		testkit.GiveBack(t, p, first.Served(t, "who came first"))
		rests(t, p, second.Served(t, "who came second"))
	})
}

func TestWhoWaitsGetsWhatWasReservedWhenItsTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opens, open := testkit.Obstacle(t)
		x := &testkit.Exchange{Open: func(_ context.Context, attempt int) error {
			if attempt > 1 {
				<-opens
			}
			return nil
		}}
		p := testkit.Start(t, x.Factory(), still(2))
		putFor(t, p, testkit.Borrow(t, p), 500*time.Millisecond)
		other := testkit.Ask(t.Context(), p)
		other.Pending(t, "while a connection is opened for it")
		testkit.Sleep(501 * time.Millisecond)
		l := numbered(t, "when the time is over", other, 1)
		open()
		rests(t, p, l)
	})
}

// Those who wait for different connections each end in time, though nothing else wakes the pool.
func TestGetSameOfSeveralConnectionsEndsAfterMaxWaitTime(t *testing.T) {
	for name, end := range map[string]struct {
		f    func(p *pool.Pool[*testkit.Wire])
		want error
	}{
		"MaxWaitTime": {func(*pool.Pool[*testkit.Wire]) { testkit.Sleep(time.Second + 300*time.Millisecond) }, pool.ErrExhausted},
		"Shutdown":    {func(p *pool.Pool[*testkit.Wire]) { go func() { _ = p.Shutdown(context.Background()) }() }, pool.ErrClosed},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			c := still(3)
			c.MaxWaitTime = time.Second
			p := testkit.Start(t, new(testkit.Exchange).Factory(), c)
			leases, marks := markedAll(t, p, 3)
			testkit.Sleep(time.Hour) // the sweeper has nothing to do
			var waits []*testkit.Request[*testkit.Wire]
			for _, m := range marks[:2] {
				waits = append(waits, testkit.AskSame(t.Context(), p, m))
			}
			if got := p.Stats(); got.WaitingRequests != 2 {
				t.Errorf("%d wait, want 2", got.WaitingRequests)
			}
			end.f(p)
			for _, w := range waits {
				w.Failed(t, "in the end", end.want)
			}
			rests(t, p, leases...)
		})
	}
}

func TestTheOldestWaitMayBeOneForASingleConnection(t *testing.T) {
	for first := range 2 {
		testkit.Bubble(t, fmt.Sprint("slot ", first), func(t *testing.T) {
			p := testkit.Start(t, new(testkit.Exchange).Factory(), still(3))
			leases, marks := markedAll(t, p, 3)
			waits := []*testkit.Request[*testkit.Wire]{testkit.AskSame(t.Context(), p, marks[first])}
			testkit.Sleep(time.Second)
			waits = append(waits, testkit.AskSame(t.Context(), p, marks[1-first]))
			// Nobody waits for the third any more.
			ctx, cancel := context.WithCancel(t.Context())
			left := testkit.AskSame(ctx, p, marks[2])
			cancel()
			left.Failed(t, "after its cancel", context.Canceled)
			testkit.Sleep(time.Second)
			if got := p.Stats().OldestWait; got != 2*time.Second {
				t.Errorf("the oldest wait has lasted for %v, want 2s", got)
			}
			for _, l := range leases {
				testkit.GiveBack(t, p, l)
			}
			rests(t, p, waits[0].Served(t, "in the end"), waits[1].Served(t, "in the end"))
		})
	}
}
