//go:build linux

package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/redis/go-redis/v9"
)

// operations returns how many scripts the server has carried out.
func (s *server) operations() (n int) {
	s.t.Helper()
	c := s.client()
	defer c.Close()
	info, err := c.Info(context.Background(), "commandstats").Result()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`cmdstat_eval(sha)?:calls=(\d+),.*failed_calls=(\d+)`).FindAllStringSubmatch(info, -1) {
		calls, _ := strconv.Atoi(m[2])
		failed, _ := strconv.Atoi(m[3]) // the server did not know the script: carried out by EVAL
		n += calls - failed
	}
	return n
}

// rig is some processes, which are not processes, in one.
type rig struct {
	*server
	sv *protected
	t  *testing.T
}

func newRig(t *testing.T) rig {
	t.Helper()
	t.Parallel()
	return rig{newServer(t), newProtected(t), t}
}

func (r rig) budget(max int, o Options) *Budget {
	r.t.Helper()
	o.Found = true
	if o.Lease == 0 {
		o.Lease = time.Minute
	}
	b, err := NewBudget(r.newClient(), "account", max, &o)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

func take(t *testing.T, p *pool.Pool[*link], n int) (leases []pool.Lease[*link]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patienceOfTests)
	defer cancel()
	for range n {
		l, err := p.Get(ctx)
		if err != nil {
			t.Fatal(err)
		}
		leases = append(leases, l)
	}
	return leases
}

func giveBack(t *testing.T, p *pool.Pool[*link], leases ...pool.Lease[*link]) {
	t.Helper()
	for _, l := range leases {
		if err := p.Put(l); err != nil {
			t.Fatal(err)
		}
	}
}

func endAll(t *testing.T, closers ...interface{ Close() error }) {
	t.Helper()
	for _, c := range closers {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestTenOpensTakeTwoRoundTripsAtMostAndWhatIsIdleTakesNone(t *testing.T) {
	r := newRig(t)
	b := r.budget(100, Options{})
	p := newPool(t, r.sv.addr, b, pool.Config{MaxConnections: 100})
	before := r.operations()
	leases := take(t, p, 10)
	if got := r.operations() - before; got > 2 {
		t.Errorf("ten opens took %d round trips, want at most 2", got)
	}
	giveBack(t, p, leases...)
	before = r.operations()
	for range 1000 {
		giveBack(t, p, take(t, p, 1)...)
	}
	if got := r.operations() - before; got > 1 { // there may be a renewal
		t.Errorf("a thousand Gets of what is idle took %d round trips, want none", got)
	}
	endAll(t, p, b)
	r.isFree("account")
}

func TestNearItsEndTheBudgetIsUsedUpToTheLastRight(t *testing.T) {
	r := newRig(t)
	b, d := r.budget(12, Options{}), r.budget(12, Options{})
	p, q := newPool(t, r.sv.addr, b, pool.Config{MaxConnections: 50}), newPool(t, r.sv.addr, d, pool.Config{MaxConnections: 50})
	some := take(t, p, 1) // some are fetched ahead
	more := take(t, q, 11)
	r.sv.mu.Lock()
	if got := len(r.sv.conns); got != 12 {
		t.Errorf("%d are open, want 12", got)
	}
	r.sv.mu.Unlock()
	giveBack(t, p, some...)
	giveBack(t, q, more...)
	endAll(t, p, q, b, d)
	r.sv.atMost(t, 12)
	r.isFree("account")
}

func TestAFleetAtRestSendsOneRenewalAProcessEachThirdOfALease(t *testing.T) {
	r := newRig(t)
	const lease = 3 * time.Second
	var budgets []*Budget
	var pools []*pool.Pool[*link]
	for range 3 {
		b := r.budget(30, Options{Lease: lease})
		p := newPool(t, r.sv.addr, b, pool.Config{MaxConnections: 9})
		giveBack(t, p, take(t, p, 3)...)
		budgets, pools = append(budgets, b), append(pools, p)
	}
	time.Sleep(lease) // what was fetched ahead goes back
	before, start := r.operations(), time.Now()
	time.Sleep(3 * lease)
	got, most := r.operations()-before, 3*(int(time.Since(start)/(lease/3))+2)
	if got > most {
		t.Errorf("there were %d operations, want at most %d", got, most)
	}
	for r.operations() == before { // they do renew
	}
	for i := range pools {
		endAll(t, pools[i], budgets[i])
	}
	r.isFree("account")
}

// Who waits while another process has something idle gets that, and that which has been idle longest.
func TestAProcessGivesUpWhatIsIdleLongest(t *testing.T) {
	r := newRig(t)
	b, d := r.budget(3, Options{}), r.budget(3, Options{})
	p, q := newPool(t, r.sv.addr, b, pool.Config{}), newPool(t, r.sv.addr, d, pool.Config{})
	leases := take(t, p, 3)
	giveBack(t, p, leases[1])
	time.Sleep(2500 * time.Millisecond) // idle times are known to within a second
	giveBack(t, p, leases[0], leases[2])
	first := leases[1].Number()
	giveBack(t, q, take(t, q, 1)...)
	for _, l := range take(t, p, 2) {
		if l.Number() == first {
			t.Error("the one that has been idle longest is still there")
		}
		giveBack(t, p, l)
	}
	if got := p.Stats(); got.ClosedBudget != 1 {
		t.Errorf("%d were closed, want 1", got.ClosedBudget)
	}
	endAll(t, p, q, b, d)
	r.sv.atMost(t, 3)
	r.isFree("account")
}

// A process whose connections are never idle gives way, too.
func TestABusyProcessDoesNotKeepItsRightsForEver(t *testing.T) {
	r := newRig(t)
	b, d := r.budget(2, Options{}), r.budget(2, Options{})
	p, q := newPool(t, r.sv.addr, b, pool.Config{MaxWaitTime: -1}), newPool(t, r.sv.addr, d, pool.Config{MaxWaitTime: -1})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	for range 4 { // more than there are connections
		go func() {
			defer func() { done <- struct{}{} }()
			for ctx.Err() == nil {
				if l, err := p.Get(ctx); err == nil {
					_ = p.Put(l)
				}
			}
		}()
	}
	for range 20 {
		giveBack(t, q, take(t, q, 1)...)
	}
	stop()
	for range 4 {
		<-done
	}
	endAll(t, p, q, b, d)
	r.sv.atMost(t, 2)
	r.isFree("account")
}

func TestAWaiterThatStopsReactingHoldsNobodyUpForItsLease(t *testing.T) {
	s, sv, p := scene(t, 1)
	p.Lease = 10 * time.Minute // not until it is over
	a, b, c := newChild(t, p), newChild(t, p), newChild(t, p)
	a.does("has 1", "get 1")
	b.does("asked", "ask 1")
	for len(s.state(p.Name).Processes) != 3 || s.waits(p.Name) != 1 {
	}
	b.stop()
	c.tells("get 1")
	for s.waits(p.Name) != 2 {
	}
	a.does("has 0", "put 1")
	c.hears("has 1")
	b.carryOn()
	c.does("has 0", "put 1")
	sv.until(t, "it is served at last", func() bool { return sv.of(b.id) == 1 })
	sv.atMost(t, 1)
	a.ends()
	b.ends()
	c.ends()
	s.isFree(p.Name)
}

// waits returns how many processes wait.
func (s *server) waits(name string) (n int) {
	for _, p := range s.state(name).Processes {
		if p.Waiting > 0 {
			n++
		}
	}
	return n
}

// The wall clock may be set. A process whose clock has run ahead may have slept: it asks before it opens, and closes nothing.
func TestAWallClockThatIsSetCostsAQuestion(t *testing.T) {
	r := newRig(t)
	var ahead atomic.Int64
	var late atomic.Bool
	clock := clockFrom(time.Now())
	b := r.budget(100, Options{clock: func() instant {
		now := clock()
		now.wall += time.Duration(ahead.Load())
		return now
	}, observe: func(q request) func(reply, error) {
		if q.late {
			late.Store(true)
		}
		return func(reply, error) {}
	}})
	p := newPool(t, r.sv.addr, b, pool.Config{})
	leases := take(t, p, 2) // more were fetched ahead
	term, err := b.store.Term()
	if err != nil {
		t.Fatal(err)
	}
	before := r.operations()
	if late.Load() {
		t.Error("it has said that its lease is over before the clock was set")
	}
	ahead.Add(int64(time.Hour))
	leases = append(leases, take(t, p, 1)...)
	if again, err := b.store.Term(); err != nil || again == term {
		t.Errorf("the term is %d after the clock was set, and was %d; %v", again, term, err)
	}
	if got := r.operations(); got == before || !late.Load() {
		t.Errorf("it has opened without a question, or has not said that its lease may be over: %v", late.Load())
	}
	ahead.Add(int64(-2 * time.Hour))
	leases = append(leases, take(t, p, 1)...)
	if got := p.Stats(); got.ActiveConnections != 4 || got.ClosedBudget != 0 || got.OpenErrors != 0 {
		t.Errorf("%d are leased, want 4; %d were closed, and %d failed, want none", got.ActiveConnections, got.ClosedBudget, got.OpenErrors)
	}
	giveBack(t, p, leases...)
	endAll(t, p, b)
	r.isFree("account")
}

func TestCloseWithConnectionsOpenLeavesTheirRightsToTheLease(t *testing.T) {
	r := newRig(t)
	b := r.budget(4, Options{})
	p := newPool(t, r.sv.addr, b, pool.Config{FailFastAfter: 1})
	leases := take(t, p, 3)
	giveBack(t, p, leases[0])
	if err := b.Close(); err == nil || !strings.Contains(err.Error(), "2 connections") || !strings.Contains(err.Error(), "close the pools before the budget") {
		t.Errorf("Close returned %v, want that 2 connections are open, and what to do", err)
	}
	if err := b.Close(); err != nil {
		t.Errorf("the second Close returned %v", err)
	}
	if st := r.state("account"); st.Used != 2 {
		t.Errorf("after Close\n%v", st)
	}
	if _, err := p.Get(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("Get returned %v, want ErrClosed", err)
	}
	giveBack(t, p, leases[1:]...)
	endAll(t, p)
}

func TestTheClientOfTheCallerIsNeitherClosedNorUsed(t *testing.T) {
	r := newRig(t)
	c := r.newClient()
	b, err := NewBudget(c, "account", 3, &Options{Found: true})
	if err != nil {
		t.Fatal(err)
	}
	p := newPool(t, r.sv.addr, b, pool.Config{})
	giveBack(t, p, take(t, p, 2)...)
	if got := c.PoolStats().Misses; got != 0 {
		t.Errorf("%d connections of the caller's client were opened, want 0", got)
	}
	endAll(t, p, b)
	if err := c.Ping(context.Background()).Err(); err != nil {
		t.Error(err)
	}
}

func TestWithoutAServerABudgetIsThereAndOpensNothing(t *testing.T) {
	s := newServer(t)
	sv := newProtected(t)
	s.kill()
	c := s.newClient()
	b, err := NewBudget(c, "account", 3, &Options{Found: true})
	if err != nil {
		t.Fatal(err)
	}
	p := newPool(t, sv.addr, b, pool.Config{FailFastAfter: 1})
	var opening *pool.OpenError
	if _, err := p.Get(context.Background()); !errors.As(err, &opening) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("Get returned %v, want an OpenError with its cause", err)
	}
	s.start()
	l, err := p.Get(context.Background())
	for err != nil { // until the pause is over
		l, err = p.Get(context.Background())
	}
	giveBack(t, p, l)
	endAll(t, p, b)
	s.isFree("account")
}

func TestWarmAndMinIdleTakeWhatIsFreeAndNothingElse(t *testing.T) {
	r := newRig(t)
	b, d := r.budget(4, Options{}), r.budget(4, Options{}) // so few that none is fetched ahead
	p, q := newPool(t, r.sv.addr, b, pool.Config{MaxConnections: 20}), newPool(t, r.sv.addr, d, pool.Config{MaxConnections: 20})
	leases := take(t, p, 2)
	ctx, cancel := context.WithTimeout(context.Background(), patienceOfTests)
	defer cancel()
	if err := q.Warm(ctx, 2); err != nil {
		t.Error(err)
	}
	giveBack(t, p, leases...)
	warm, stop := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer stop()
	if err := q.Warm(warm, 4); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Warm returned %v; what is idle elsewhere is not for it", err)
	}
	if got := p.Stats(); got.IdleConnections != 2 || got.ClosedBudget != 0 {
		t.Errorf("%d are idle, want 2", got.IdleConnections)
	}
	warmed := make(chan error, 1)
	go func() { warmed <- q.Warm(ctx, 4) }()
	endAll(t, p, b) // what it had is free
	if err := <-warmed; err != nil {
		t.Errorf("Warm returned %v", err)
	}
	endAll(t, q, d)
	r.sv.atMost(t, 4)
	r.isFree("account")
}

// What others have fetched ahead does not wait for its end.
func TestWarmGetsWhatOthersHaveInStore(t *testing.T) {
	r := newRig(t)
	b, d := r.budget(8, Options{Lease: long}), r.budget(8, Options{Lease: long})
	p, q := newPool(t, r.sv.addr, b, pool.Config{MaxConnections: 20}), newPool(t, r.sv.addr, d, pool.Config{MaxConnections: 20})
	leases := take(t, p, 1)
	if st := r.state("account"); st.Used != 2 {
		t.Errorf("one is fetched ahead; the state is\n%v", st)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patienceOfTests)
	defer cancel()
	if err := q.Warm(ctx, 7); err != nil {
		t.Error(err)
	}
	giveBack(t, p, leases...)
	endAll(t, p, q, b, d)
	r.sv.atMost(t, 8)
	r.isFree("account")
}

func TestACluster(t *testing.T) {
	s := newServer(t, "--cluster-enabled", "yes")
	sv := newProtected(t)
	ctx := context.Background()
	c := s.newClient()
	if err := c.ClusterAddSlotsRange(ctx, 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	for info := ""; !strings.Contains(info, "cluster_state:ok"); time.Sleep(10 * time.Millisecond) {
		info = c.ClusterInfo(ctx).Val()
	}
	open := func() *Budget {
		cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{s.addr}})
		t.Cleanup(func() { cluster.Close() })
		b, err := NewBudget(cluster, "account", 3, &Options{Found: true})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b, d := open(), open()
	p, q := newPool(t, sv.addr, b, pool.Config{}), newPool(t, sv.addr, d, pool.Config{})
	giveBack(t, p, take(t, p, 3)...)
	giveBack(t, q, take(t, q, 3)...)
	endAll(t, p, q, b, d)
	sv.atMost(t, 3)
	slots := map[int64]bool{}
	for _, k := range keys("account") {
		slots[c.ClusterKeySlot(ctx, k).Val()] = true
	}
	if len(slots) != 1 {
		t.Errorf("the keys are in %d slots, want 1", len(slots))
	}
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{s.addr}})
	defer cluster.Close()
	if names, err := Names(ctx, cluster); err != nil || !slices.Equal(names, []string{"account"}) {
		t.Errorf("the budgets are %q (%v), want account", names, err)
	}
	s.isFree("account")
}

func TestFencingKeepsTheBoundWhileAProcessIsStopped(t *testing.T) {
	s, sv, p := scene(t, 3)
	a := newChild(t, p.fenced())
	a.does("has 2", "get 2")
	fenced := make(chan string, 10)
	b, err := NewBudget(s.newClient(), p.Name, p.Max, &Options{Lease: long, Fence: func(_ context.Context, id string) error {
		sv.fence(id)
		sv.until(t, "it is fenced", func() bool { return sv.of(id) == 0 })
		fenced <- id
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	a.stop()
	q := newPool(t, sv.addr, b, pool.Config{MaxWaitTime: -1})
	leases := take(t, q, 3)
	if id := <-fenced; id != a.id || len(fenced) > 0 {
		t.Errorf("%q was fenced, want %q", id, a.id)
	}
	sv.atMost(t, 3)
	a.carryOn()
	giveBack(t, q, leases...)
	a.does("has 3", "get 1")
	sv.until(t, "its old ones are gone", func() bool { return len(sv.conns) == 3 || sv.of(a.id) == 1 })
	sv.atMost(t, 3)
	a.ends()
	endAll(t, q, b)
	s.isFree(p.Name)
}

// Who has heard from the server knows that there was a budget: one that is gone is no new one.
func TestFoundDoesNotCountForDataThatAreLost(t *testing.T) {
	r := newRig(t)
	b := r.budget(3, Options{})
	p := newPool(t, r.sv.addr, b, pool.Config{})
	leases := take(t, p, 1)
	r.restart() // it keeps nothing
	for len(r.state("account").Processes) == 0 {
		b.store.mu.Lock()
		b.store.need = true
		b.store.mu.Unlock()
		b.store.kick()
	}
	if st := r.state("account"); st.Grace == 0 || st.Used == 0 {
		t.Errorf("after the loss\n%v", st)
	}
	giveBack(t, p, leases...)
	endAll(t, p, b)
}

// lines is a handler that passes on what is logged.
type lines struct {
	slog.Handler
	said chan string
}

func (l lines) Enabled(context.Context, slog.Level) bool { return true }

func (l lines) Handle(_ context.Context, r slog.Record) error {
	l.said <- r.Level.String() + " " + r.Message
	return nil
}

// until waits for a line.
func (l lines) until(t *testing.T, line string) {
	t.Helper()
	for late := time.After(time.Minute); ; {
		select {
		case got := <-l.said:
			if strings.HasPrefix(got, line) {
				return
			}
		case <-late:
			t.Fatalf("within a minute nobody has logged %q", line)
		}
	}
}

// Callers see no more than that there is no right for them. On a new server, and after an outage, the log says why.
func TestTheLogSaysThatTheServerIsBackAndGrantsNothingYet(t *testing.T) {
	t.Parallel()
	s, sv := newServer(t), newProtected(t)
	log := lines{slog.DiscardHandler, make(chan string, 1000)}
	const grace = "WARN fleet: nothing is granted yet: the server knows nothing of this budget, or has been restarted"
	first, err := NewBudget(s.newClient(), "first", 3, &Options{Lease: time.Minute, Logger: slog.New(log)})
	if err != nil {
		t.Fatal(err)
	}
	log.until(t, grace)
	endAll(t, first)
	// Long enough for a busy machine to renew it.
	b, err := NewBudget(s.newClient(), "account", 3, &Options{Lease: 8 * time.Second, Logger: slog.New(log), Found: true})
	if err != nil {
		t.Fatal(err)
	}
	p := newPool(t, sv.addr, b, pool.Config{MaxWaitTime: -1})
	leases := take(t, p, 1)
	s.kill()
	log.until(t, "WARN fleet: the server cannot be reached")
	s.start()
	log.until(t, "INFO fleet: the server is reached again")
	log.until(t, grace)
	giveBack(t, p, leases...)
	endAll(t, p, b)
}

// What docs/fleet.md says that a user of the server needs is enough.
func TestAUserWithTheRightsThatTheDocumentsNameIsEnough(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	c := r.newClient()
	rule := []any{"ACL", "SETUSER", "service", "on", ">secret", "~{account}:fleet:*", "&{account}:fleet:*", "-@all"}
	for _, command := range strings.Fields("eval evalsha info publish subscribe time del hdel hexists hget hgetall hlen hmget hset hvals zadd zcard zrange zrem zscore") {
		rule = append(rule, "+"+command)
	}
	if err := c.Do(ctx, rule...).Err(); err != nil {
		t.Fatal(err)
	}
	service := redis.NewClient(&redis.Options{Addr: r.addr, Username: "service", Password: "secret"})
	defer service.Close()
	b, err := NewBudget(service, "account", 2, &Options{Found: true, Lease: long})
	if err != nil {
		t.Fatal(err)
	}
	d := r.budget(2, Options{Lease: long})
	p, q := newPool(t, r.sv.addr, b, pool.Config{}), newPool(t, r.sv.addr, d, pool.Config{})
	giveBack(t, p, take(t, p, 2)...)
	giveBack(t, q, take(t, q, 2)...) // p is told
	if _, err := Inspect(ctx, service, "account"); err != nil {
		t.Error(err)
	}
	if err := service.Set(ctx, "else", 1, 0).Err(); err == nil {
		t.Error("the user may do anything")
	}
	denied, err := c.Do(ctx, "ACL", "LOG").Slice()
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range denied { // newer servers would be told the name of the library, and are not
		if text := fmt.Sprint(entry); !strings.Contains(text, "object:set ") && !strings.Contains(text, "object:client|setinfo") {
			t.Errorf("the server has denied %v", text)
		}
	}
	endAll(t, p, q, b, d)
	r.isFree("account")
}

func TestNamesAreThoseOfAllBudgetsAndOfNothingElse(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	c := r.newClient()
	if names, err := Names(ctx, c); err != nil || len(names) != 0 {
		t.Errorf("an empty server has %q (%v)", names, err)
	}
	for i := range 3000 { // more than one round of SCAN
		c.HSet(ctx, fmt.Sprintf("{%d}:other:state", i), "a", "b")
	}
	c.Set(ctx, "{no hash}:fleet:state", "text", 0)
	c.HSet(ctx, "{a}{b}:fleet:state", "a", "b")
	want := []string{"account: 7", "models/large", "z*"}
	for _, name := range want {
		b, err := NewBudget(c, name, 3, &Options{Found: true, Lease: long})
		if err != nil {
			t.Fatal(err)
		}
		defer endAll(t, b)
	}
	if names, err := Names(ctx, c); err != nil || !slices.Equal(names, want) {
		t.Errorf("the budgets are %q (%v), want %q", names, err, want)
	}
	r.kill()
	if names, err := Names(ctx, c); err == nil {
		t.Errorf("without a server the budgets are %q", names)
	}
	r.start()
	if _, err := Names(ctx, nil); err == nil {
		t.Error("no client has names")
	}
}
