//go:build linux

package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// A peer is a process that says what a test wants, at the time that a test wants.
type peer struct {
	t     *testing.T
	s     *store
	seq   uint64
	named string
}

// count is a server, and a client for it, with a budget that processes of the test's use by hand.
type count struct {
	*server
	c    *redis.Client
	max  int
	opts Options
}

func newCount(t *testing.T, max int, opts Options) *count {
	t.Helper()
	t.Parallel()
	s := newServer(t)
	opts.Lease, opts.timeout = 10*time.Second, 10*time.Second
	return &count{s, s.newClient(), max, opts}
}

func (c *count) peer(id string) *peer {
	o := c.opts
	o.Label = "process " + id
	return &peer{c.t, newStore(c.c, false, "account", c.max, o), 0, id}
}

// says carries out an operation.
func (p *peer) says(r request) reply {
	p.t.Helper()
	p.seq++
	r.id, r.seq, r.founds = p.named, p.seq, p.s.options.Found
	if r.idle == 0 {
		r.idle = -1
	}
	a, err := p.s.operate(context.Background(), r)
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

// gets carries out an operation that must end with so many rights.
func (p *peer) gets(mine int, r request) reply {
	p.t.Helper()
	a := p.says(r)
	if a.status != statusDone || a.mine != mine {
		p.t.Errorf("%s has %d rights after %+v, want %d; status %d", p.named, a.mine, r, mine, a.status)
	}
	return a
}

// passes has the server's clock go on, as fast as it can.
func (c *count) passes(d time.Duration) {
	c.t.Helper()
	for d > 0 {
		step := min(d, c.opts.Lease/3)
		if err := c.c.HIncrBy(context.Background(), keys("account")[0], "wall", -step.Milliseconds()).Err(); err != nil {
			c.t.Fatal(err)
		}
		c.peer("clock").says(request{leaves: true})
		d -= step
	}
}

// is checks what everybody has: "a 2" two rights, "a 2+1" two and one that is offered, "a 2 waits 3 first" and so on.
func (c *count) is(when string, want ...string) {
	c.t.Helper()
	var got []string
	for _, p := range c.state("account").Processes {
		line := fmt.Sprintf("%s %d", p.ID, p.Rights-p.Offered)
		if p.Offered > 0 {
			line += fmt.Sprintf("+%d", p.Offered)
		}
		if p.Waiting > 0 {
			line += fmt.Sprintf(" waits %d at %d", p.Waiting, p.Place)
		}
		if p.Asked > 0 {
			line += fmt.Sprintf(" asked %d", p.Asked)
		}
		got = append(got, line)
	}
	if g, w := strings.Join(got, ", "), strings.Join(want, ", "); g != w {
		c.t.Errorf("%s: %s\nwant %s", when, g, w)
	}
}

func TestAnOperationThatIsCarriedOutLateChangesNothing(t *testing.T) {
	c := newCount(t, 5, Options{Found: true})
	a := c.peer("a")
	a.seq = 1
	a.gets(2, request{want: 2})
	a.seq = 0
	if got := a.says(request{held: 5}); got.status != statusLate {
		t.Errorf("its status is %d, want %d", got.status, statusLate)
	}
	c.is("afterwards", "a 2")
}

func TestARightWhoseAnswerIsLostIsNotCountedForEver(t *testing.T) {
	c := newCount(t, 5, Options{Found: true})
	a := c.peer("a")
	a.gets(3, request{want: 3}) // it does not hear of it
	a.gets(1, request{held: 0, want: 1})
	c.is("it wants one", "a 1")
	a.gets(0, request{held: 0})
	c.is("it wants none", "a 0")
}

func TestRightsGoToProcessesInTheOrderInWhichTheyAsked(t *testing.T) {
	c := newCount(t, 4, Options{Found: true})
	a, b, d, e := c.peer("a"), c.peer("b"), c.peer("d"), c.peer("e")
	a.gets(4, request{want: 4})
	b.gets(0, request{want: 2})
	d.gets(0, request{want: 1})
	e.gets(0, request{want: 1})
	c.is("three wait", "a 4 asked 4", "b 0 waits 2 at 1", "d 0 waits 1 at 2", "e 0 waits 1 at 3")
	a.gets(3, request{held: 3})
	c.is("one is free", "a 3 asked 3", "b 0+1 waits 1 at 3", "d 0 waits 1 at 1", "e 0 waits 1 at 2")
	a.gets(1, request{held: 1})
	c.is("two more are free", "a 1 asked 1", "b 0+1 waits 1 at 1", "d 0+1", "e 0+1")
	b.gets(1, request{held: 0, want: 2})
	d.gets(1, request{held: 0, want: 1})
	e.gets(1, request{held: 0, want: 1})
	c.is("they have answered", "a 1 asked 1", "b 1 waits 1 at 1", "d 1", "e 1")
	a.gets(0, request{held: 0})
	b.gets(2, request{held: 1, want: 1})
	c.is("in the end", "b 2", "d 1", "e 1", "a 0")
}

func TestARightThatIsNotConfirmedPassesOnAndThatProcessGoesToTheEnd(t *testing.T) {
	c := newCount(t, 1, Options{Found: true})
	a, b, d := c.peer("a"), c.peer("b"), c.peer("d")
	a.gets(1, request{want: 1})
	b.gets(0, request{want: 1})
	d.gets(0, request{want: 1})
	a.gets(0, request{})
	c.is("one is free", "b 0+1", "a 0", "d 0 waits 1 at 1")
	c.passes(patience - 100*time.Millisecond)
	d.says(request{want: 1})
	c.is("it has time", "b 0+1", "a 0", "d 0 waits 1 at 1")
	c.passes(200 * time.Millisecond)
	d.gets(1, request{want: 1})
	b.gets(0, request{want: 1})
	c.is("it came too late", "d 1 asked 1", "a 0", "b 0 waits 1 at 1")
	d.gets(0, request{})
	b.gets(1, request{want: 1})
}

func TestWhatIsHeldByAProcessThatIsNotHeardOfIsFreeAfterItsLease(t *testing.T) {
	c := newCount(t, 3, Options{Found: true})
	a, b := c.peer("a"), c.peer("b")
	a.gets(2, request{want: 2})
	b.gets(1, request{want: 2})
	c.passes(9 * time.Second)
	b.gets(1, request{held: 1, want: 1})
	a.gets(2, request{held: 2})
	c.passes(9 * time.Second)
	b.gets(1, request{held: 1, want: 1})
	c.passes(2 * time.Second)
	b.gets(2, request{held: 1, want: 1})
	// It wakes up. One is free, the other one is lost.
	if got := a.gets(1, request{held: 2, late: true}); got.lost != 1 {
		t.Errorf("%d rights are lost, want 1", got.lost)
	}
	c.is("in the end", "b 2", "a 1")
}

func TestAnEmptyServerGrantsNothingForOneLease(t *testing.T) {
	c := newCount(t, 3, Options{})
	a, b := c.peer("a"), c.peer("b")
	if got := a.gets(0, request{want: 1}); got.grace != 10*time.Second {
		t.Errorf("the grace is %v, want 10s", got.grace)
	}
	b.gets(2, request{held: 2}) // it has them from before
	c.passes(9 * time.Second)
	a.gets(0, request{want: 1})
	b.gets(2, request{held: 2, want: 1})
	c.passes(2 * time.Second)
	a.gets(1, request{want: 1})
	c.is("in the end", "b 2 waits 1 at 1", "a 1 asked 1")
}

// It was stopped, others got what it had, and then the server lost its data: it may be the first one that claims something.
func TestWhoseLeaseWasOverBeforeTheGraceClaimsNothing(t *testing.T) {
	c := newCount(t, 2, Options{Found: true})
	a, b := c.peer("a"), c.peer("b")
	a.gets(2, request{want: 2})
	c.passes(11 * time.Second)
	b.gets(2, request{want: 2})
	if err := c.c.FlushAll(context.Background()).Err(); err != nil {
		t.Fatal(err)
	}
	a.s.options.Found, b.s.options.Found = false, false
	if got := a.gets(0, request{held: 2, late: true}); got.lost != 2 {
		t.Errorf("%d rights are lost, want 2", got.lost)
	}
	if got := b.gets(2, request{held: 2}); got.lost != 0 {
		t.Errorf("%d rights of who has them are lost, want none", got.lost)
	}
}

func TestTheLeastLimitCountsAsLongAsItsProcessLives(t *testing.T) {
	c := newCount(t, 5, Options{Found: true})
	a := c.peer("a")
	a.gets(4, request{want: 4})
	c.max = 2
	b := c.peer("b")
	b.gets(0, request{want: 1})
	a.gets(2, request{held: 2, want: 1})
	c.is("two are the limit", "a 2 waits 1 at 2 asked 1", "b 0 waits 1 at 1")
	b.says(request{leaves: true})
	a.gets(3, request{held: 2, want: 1})
	c.is("b has gone", "a 3")
}

func TestAProcessWithSomethingIdleIsAskedBeforeABusyOne(t *testing.T) {
	c := newCount(t, 5, Options{Found: true})
	a, b, d := c.peer("a"), c.peer("b"), c.peer("d")
	a.gets(3, request{want: 3})
	b.gets(2, request{want: 2})
	d.gets(0, request{want: 1})
	c.is("nobody knows who has something idle", "a 3 asked 1", "b 2", "d 0 waits 1 at 1")
	if got := b.gets(2, request{held: 2, idle: 1, idleMs: 50}); got.ask != 1 {
		t.Errorf("who says that it has is asked for %d, want 1", got.ask)
	}
	c.is("it has something idle", "a 3", "b 2 asked 1", "d 0 waits 1 at 1")
	d.gets(0, request{})
	c.is("nobody waits", "a 3", "b 2", "d 0")
}

// One that was asked and has not given way is not the only hope.
func TestAnotherProcessIsAskedAfterAWhile(t *testing.T) {
	c := newCount(t, 5, Options{Found: true})
	a, b, d := c.peer("a"), c.peer("b"), c.peer("d")
	a.gets(3, request{want: 3})
	b.gets(2, request{want: 2})
	d.gets(0, request{want: 1})
	c.passes(time.Second)
	d.gets(0, request{want: 1})
	c.is("a has not given way", "a 3", "b 2 asked 1", "d 0 waits 1 at 1")
	c.passes(time.Second)
	d.gets(0, request{want: 1})
	c.is("nor has b", "a 3 asked 1", "b 2", "d 0 waits 1 at 1")
}

func TestWhatAProcessHadThatIsFencedIsFreeWhenThatIsDone(t *testing.T) {
	c := newCount(t, 3, Options{Found: true, Fence: func(context.Context, string) error { return nil }})
	a, b := c.peer("a"), c.peer("b")
	a.gets(2, request{want: 2})
	b.gets(1, request{want: 3})
	for range 6 {
		c.passes(3 * time.Second)
		if got := b.gets(1, request{held: 1, want: 2}); got.toFence != "" {
			if got.toFence != "a" || got.label != "process a" {
				t.Errorf("to be fenced: %q, %q", got.toFence, got.label)
			}
			break
		}
	}
	if got := b.gets(1, request{held: 1, want: 2}); got.toFence != "" {
		t.Errorf("to be fenced, a second time: %q", got.toFence)
	}
	if got := a.says(request{held: 2}); got.status != statusFenced {
		t.Errorf("its status is %d, want %d", got.status, statusFenced)
	}
	a = c.peer("a again")
	a.gets(0, request{want: 1})
	if st := c.state("account"); len(st.Fencing) != 1 || st.Fencing[0].Rights != 2 || st.Used != 3 {
		t.Errorf("while it is fenced\n%v", st)
	}
	b.gets(2, request{held: 1, want: 2, fenced: "a"})
	a.gets(1, request{want: 1})
	c.is("it is fenced", "b 2 waits 1 at 1", "a again 1 asked 1")
}

func TestKeysOfAnotherReleaseAreRefusedByName(t *testing.T) {
	s := newServer(t)
	c := s.newClient()
	ctx := context.Background()
	c.HSet(ctx, keys("account")[0], "format", "2", "by", "contrib/fleet v9.1.0", "used", "7")
	before := c.HGetAll(ctx, keys("account")[0]).Val()
	_, err := NewBudget(c, "account", 5, nil)
	var format *FormatError
	if !errors.As(err, &format) || format.Format != 2 || !strings.Contains(err.Error(), "contrib/fleet v9.1.0") || !strings.Contains(err.Error(), "account") {
		t.Errorf("NewBudget returned %v", err)
	}
	if _, err := Inspect(ctx, c, "account"); !errors.As(err, &format) {
		t.Errorf("Inspect returned %v", err)
	}
	if after := c.HGetAll(ctx, keys("account")[0]).Val(); fmt.Sprint(after) != fmt.Sprint(before) || c.DBSize(ctx).Val() != 1 {
		t.Errorf("the keys have changed: %v", after)
	}
}

func TestAServerWithoutMemoryStillCounts(t *testing.T) {
	c := newCount(t, 3, Options{Found: true})
	a := c.peer("a")
	a.gets(2, request{want: 2})
	if err := c.c.ConfigSet(context.Background(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if err := c.c.Set(context.Background(), "something", "else", 0).Err(); err == nil {
		t.Error("there is memory left")
	}
	a.gets(2, request{held: 2})
	a.gets(1, request{held: 1})
	c.peer("b").gets(2, request{want: 2})
	c.is("in the end", "b 2", "a 1")
}

func TestWhatIsNoBudgetIsRefused(t *testing.T) {
	c := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer c.Close()
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	defer ring.Close()
	for what, f := range map[string]func() (*Budget, error){
		"no client":     func() (*Budget, error) { return NewBudget(nil, "a", 1, nil) },
		"a ring":        func() (*Budget, error) { return NewBudget(ring, "a", 1, nil) },
		"no name":       func() (*Budget, error) { return NewBudget(c, "", 1, nil) },
		"a hash tag":    func() (*Budget, error) { return NewBudget(c, "a{b}", 1, nil) },
		"no max":        func() (*Budget, error) { return NewBudget(c, "a", 0, nil) },
		"a short lease": func() (*Budget, error) { return NewBudget(c, "a", 1, &Options{Lease: time.Millisecond}) },
	} {
		if b, err := f(); err == nil || b != nil || !strings.HasPrefix(err.Error(), "fleet: NewBudget: ") {
			t.Errorf("%s: NewBudget returned %v", what, err)
		}
	}
}
