package wsconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/coder/websocket"
)

// openN opens n connections, which stay open until the test ends.
func openN(t *testing.T, f pool.Factory[*Conn], n int) (conns []*Conn) {
	t.Helper()
	for range n {
		conns = append(conns, open(t, f))
	}
	return conns
}

func endpointsOf(conns []*Conn) (names []string) {
	for _, c := range conns {
		names = append(names, strings.TrimPrefix(c.Endpoint(), "ws://"))
	}
	return names
}

func TestLeastConnectionsOpensToTheServerWithTheFewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b", "c")
		o := n.options("a", "b", "c")
		f := newFactory(t, "", o)
		conns := openN(t, f, 9)
		if got, want := spread(o), map[string]int{"a": 3, "b": 3, "c": 3}; !maps.Equal(got, want) {
			t.Errorf("9 connections are spread as %v, want %v", got, want)
		}
		var closed int
		for _, c := range conns {
			if c.Endpoint() == "ws://b" && closed < 2 {
				f.Close(c, nil)
				closed++
			}
		}
		if got := endpointsOf(openN(t, f, 2)); got[0] != "b" || got[1] != "b" {
			t.Errorf("the next two, after the end of two of b, are of %v", got)
		}
	})
}

func TestRoundRobinTakesTurnsWhateverIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b", "c")
		o := n.options("a", "b", "c")
		o.Policy = RoundRobin
		f := newFactory(t, "", o)
		got := endpointsOf(openN(t, f, 3))
		if sorted := slices.Sorted(slices.Values(got)); !slices.Equal(sorted, []string{"a", "b", "c"}) {
			t.Fatalf("the first three are of %v", got)
		}
		for i := range 6 {
			c := open(t, f)
			if name := strings.TrimPrefix(c.Endpoint(), "ws://"); name != got[i%3] {
				t.Errorf("connection %d is of %s, want %s", 3+i, name, got[i%3])
			}
			f.Close(c, nil)
		}
	})
}

func TestFailoverUsesTheFirstServerThatCanBeReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b", "c")
		o := n.options("a", "b", "c")
		o.Policy = Failover
		f := newFactory(t, "", o)
		if got := endpointsOf(openN(t, f, 2)); !slices.Equal(got, []string{"a", "a"}) {
			t.Errorf("connections are of %v, want of the first", got)
		}
		n.host("a").be(behavior{refuses: true}, false)
		if got := endpointsOf(openN(t, f, 2)); !slices.Equal(got, []string{"b", "b"}) {
			t.Errorf("connections are of %v, want of the second", got)
		}
	})
}

// TestTheFirstServerIsNotTheSameInEachProcess: a thousand processes with one connection each
// would all be at the first.
func TestTheFirstServerIsNotTheSameInEachProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		first := map[string]bool{}
		for range 200 { // the same one each time: once in 2^199
			first[open(t, newFactory(t, "", n.options("a", "b"))).Endpoint()] = true
		}
		if len(first) != 2 {
			t.Errorf("200 factories began with %v", first)
		}
	})
}

// TestAServerThatSwallowsWhatIsSentCostsOneSecondOnce, of one caller: those who come then
// are not held up.
func TestAServerThatSwallowsWhatIsSentCostsOneSecondOnce(t *testing.T) {
	for _, policy := range []Policy{LeastConnections, RoundRobin, Failover} {
		t.Run(policy.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newMemNet(t, "a", "b")
				n.host("a").be(behavior{swallows: true}, false)
				o := n.options("a", "b")
				o.Policy = policy
				p := newPool(t, "", o, pool.Config{MaxConnections: 50})
				var waited time.Duration
				var leases []pool.Lease[*Conn]
				for range 50 {
					began := time.Now()
					lease, err := p.Get(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					leases = append(leases, lease)
					waited += time.Since(began)
				}
				if waited != headStart {
					t.Errorf("50 Gets have waited for %v, want %v", waited, headStart)
				}
				if s := p.Stats(); s.OpenErrors != 0 || s.LastOpenError != nil {
					t.Errorf("%d failed opens, %v: the pool saw an outage", s.OpenErrors, s.LastOpenError)
				}
				for _, l := range leases {
					p.Put(l)
				}
			})
		})
	}
}

// TestWhoDialsAServerThatIsFoundToBeSilentGoesOnAtOnce: it costs each of a burst what is
// left of the second, and not a second of its own.
func TestWhoDialsAServerThatIsFoundToBeSilentGoesOnAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		n.host("a").be(behavior{swallows: true}, false)
		o := n.options("a", "b")
		o.Policy = Failover
		f := newFactory(t, "", o)
		began := time.Now()
		var opening sync.WaitGroup
		for i := range 10 {
			testkit.Sleep(headStart / 20)
			opening.Go(func() {
				c, err := f.Open(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				defer f.Close(c, nil)
				if took := time.Since(began); took != headStart+headStart/20 {
					t.Errorf("Open %d ended after %v, want when the first did, after %v", i, took, headStart+headStart/20)
				}
			})
		}
		opening.Wait()
	})
}

// TestALoserIsClosed: the slow server answers after the other one has won.
func TestALoserIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		o := n.options("a", "b")
		o.Policy = Failover
		o.OnConnect = func(ctx context.Context, conn *Conn) error {
			if conn.Endpoint() == "ws://a" {
				time.Sleep(headStart) // both answer at the same moment
			}
			return nil
		}
		for range 20 { // who wins is a matter of luck
			f := newFactory(t, "", o)
			c, err := f.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := spread(o); got["a"]+got["b"] != 1 {
				t.Errorf("spread %v beside one connection", got)
			}
			f.Close(c, nil)
			synctest.Wait()
			_, a := n.host("a").count()
			_, b := n.host("b").count()
			if a+b != 0 {
				t.Errorf("%d and %d connections are open at the servers, want none", a, b)
			}
		}
	})
}

func TestOpenFailsOnlyIfAllServersDoAndTellsWhatEachHasSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b", "c")
		o := n.options()
		o.Endpoints = []string{"ws://user:secret@a/secret?key=secret", "ws://b/secret", "ws://c?secret=secret"}
		n.host("a").be(behavior{refuses: true}, false)
		n.host("b").be(behavior{status: 403}, false)
		n.host("c").be(behavior{status: 500}, false)
		f := newFactory(t, "", o)
		_, err := f.Open(t.Context())
		if err == nil {
			t.Fatal("Open succeeded")
		}
		for _, want := range []string{"none of 3 endpoints", "ws://a: ", "connection refused", "ws://b: status 403", "ws://c: status 500"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q does not say %q", err, want)
			}
		}
		if strings.Contains(fmt.Sprintf("%+v", err), "secret") {
			t.Errorf("error %q tells a secret", err)
		}
		if e := (*HandshakeError)(nil); !errors.Is(err, errRefused) || !errors.As(err, &e) {
			t.Errorf("error %q hides what it wraps", err)
		}
		for _, e := range o.Distribution.Endpoints() {
			if strings.Contains(e.URL+fmt.Sprint(e.LastError), "secret") || e.LastError == nil || e.AsideUntil.IsZero() || e.Failed != 1 {
				t.Errorf("endpoint %+v", e)
			}
		}
		n.host("c").be(behavior{}, false)
		if got := open(t, f).Endpoint(); got != "ws://c" {
			t.Errorf("with c back, though set aside, the connection is of %s", got)
		}
	})
}

// TestAServerThatIsBackIsFoundByAProbe, while the other one serves: no caller waits for it,
// and one that does not answer to the probe is not dialed by anybody else.
func TestAServerThatIsBackIsFoundByAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		o := n.options("a", "b")
		p := newPool(t, "", o, pool.Config{MaxConnections: 4})
		if err := p.Warm(t.Context(), 4); err != nil {
			t.Fatal(err)
		}
		n.host("a").be(behavior{swallows: true}, true)
		var longest time.Duration
		for range 600 { // five minutes, in which the probes never succeed
			began := time.Now()
			leases := take(t, p, 4)
			longest = max(longest, time.Since(began))
			for _, l := range leases {
				p.Put(l)
			}
			testkit.Sleep(time.Second / 2)
		}
		// A probe lasts for 10 s, a pause in the end for at most that.
		if dials, _ := n.host("a").count(); dials < 15 || dials > 40 || longest > headStart {
			t.Errorf("%d dials in five minutes, the longest request took %v", dials, longest)
		}
		n.host("a").be(behavior{}, false)
		testkit.Sleep(20 * time.Second)
		for range 10 {
			request(t.Context(), p, 0)
			testkit.Sleep(time.Second)
		}
		if e := o.Distribution.Endpoints()[0]; !e.AsideUntil.IsZero() || e.LastError != nil {
			t.Errorf("20 s after its return a is %+v", e)
		}
	})
}

// TestAPauseThatOneServerAsksForIsNoneOfThePool: it is that server's alone, for as long as it
// has asked.
func TestAPauseThatOneServerAsksForIsNoneOfThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		o := n.options("a", "b")
		o.Policy = Failover
		n.host("a").be(behavior{status: 429, after: "60"}, false)
		n.host("b").be(behavior{refuses: true}, false)
		p := newPool(t, "", o, pool.Config{MaxConnections: 1})
		began := time.Now()
		if _, err := p.Get(t.Context()); err == nil || !strings.Contains(err.Error(), "status 429") {
			t.Errorf("error %v", err)
		}
		n.host("b").be(behavior{}, false)
		testkit.Sleep(time.Second)
		for time.Since(began) < 59*time.Second {
			before := time.Now()
			lease, err := p.GetFresh(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(before); took > time.Second || lease.Value().Endpoint() != "ws://b" {
				t.Errorf("a connection of %s after %v", lease.Value().Endpoint(), took)
			}
			p.Put(lease)
			testkit.Sleep(time.Second)
		}
		if dials, _ := n.host("a").count(); dials != 1 {
			t.Errorf("%d dials of a within the minute that it has asked for", dials)
		}
		n.host("a").be(behavior{}, false)
		for range 10 {
			request(t.Context(), p, 0)
			testkit.Sleep(time.Second)
		}
		if got, err := request(t.Context(), p, 0); got != "ws://a" || err != nil {
			t.Errorf("after the pause a connection of %s, %v", got, err)
		}
	})
}

// TestIfAllServersAskForAPauseThePoolWaitsForTheShortest.
func TestIfAllServersAskForAPauseThePoolWaitsForTheShortest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		o := n.options("a", "b")
		n.host("a").be(behavior{status: 503, after: "100"}, false)
		n.host("b").be(behavior{status: 429, after: "20"}, false)
		f := newFactory(t, "", o)
		_, err := f.Open(t.Context())
		if d, ok := pool.RetryAfterOf(err); !ok || d != 20*time.Second {
			t.Errorf("error %v, which asks for a pause of %v, %v", err, d, ok)
		}
		n.host("a").be(behavior{}, false)
		n.host("b").be(behavior{}, false)
		testkit.Sleep(20 * time.Second)
		if got := open(t, f).Endpoint(); got != "ws://b" {
			t.Errorf("after 20 s the connection is of %s", got)
		}
	})
}

func TestAPauseThatOnConnectAsksForIsThatServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		o := n.options("a", "b")
		o.Policy = Failover
		o.OnConnect = func(ctx context.Context, conn *Conn) error {
			if conn.Endpoint() == "ws://a" {
				return pool.RetryAfter(errors.New("too many sessions"), time.Minute)
			}
			return nil
		}
		f := newFactory(t, "", o)
		began := time.Now()
		if got := open(t, f).Endpoint(); got != "ws://b" {
			t.Errorf("the connection is of %s", got)
		}
		if got := o.Distribution.Endpoints()[0].AsideUntil.Sub(began); got != time.Minute {
			t.Errorf("a is set aside for %v", got)
		}
	})
}

// TestAServerThatAcceptsAndClosesAttractsNoMoreConnections: it has the fewest.
func TestAServerThatAcceptsAndClosesAttractsNoMoreConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		n.host("a").be(behavior{closes: 1013}, false)
		o := n.options("a", "b")
		p := newPool(t, "", o, pool.Config{MaxConnections: 10})
		for range 60 {
			lease, err := p.GetFresh(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			p.Put(lease)
			testkit.Sleep(time.Second)
		}
		// 0.5, 1, 2, 4, 8, 10, 10 … seconds, less a fifth at most; a probe each.
		if dials, _ := n.host("a").count(); dials > 12 {
			t.Errorf("%d dials in a minute", dials)
		}
	})
}

// TestAServerThatGoesAwayIsSetAsideBeforeADialFails.
func TestAServerThatGoesAwayIsSetAsideBeforeADialFails(t *testing.T) {
	for _, code := range []websocket.StatusCode{1001, 1012, 1013} {
		t.Run(fmt.Sprint(int(code)), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newMemNet(t, "a", "b")
				o := n.options("a", "b")
				f := newFactory(t, "", o)
				conns := openN(t, f, 4)
				testkit.Sleep(time.Minute)
				go n.host("a").end(code)
				for _, c := range conns {
					if c.Endpoint() == "ws://a" {
						if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != code {
							t.Errorf("Read: %v", err)
						}
					}
				}
				e := o.Distribution.Endpoints()[0]
				if e.AsideUntil.IsZero() || e.Open != 0 || websocket.CloseStatus(e.LastError) != code {
					t.Errorf("a is %+v", e)
				}
				if left := time.Until(e.AsideUntil); left > leastAside {
					t.Errorf("two connections that end at the same time have set it aside for %v", left)
				}
				if got := endpointsOf(openN(t, f, 2)); !slices.Equal(got, []string{"b", "b"}) {
					t.Errorf("new connections are of %v", got)
				}
			})
		})
	}
}

// TestAnEndLikeAnyOtherSetsNoServerAside.
func TestAnEndLikeAnyOtherSetsNoServerAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		o := n.options("a", "b")
		f := newFactory(t, "", o)
		conns := openN(t, f, 4)
		f.Close(conns[0], nil) // within a second, but not by its peer
		testkit.Sleep(time.Minute)
		for _, h := range []string{"a", "b"} {
			go n.host(h).end(1000)
		}
		for _, c := range conns[1:] {
			c.Read(t.Context())
		}
		for _, e := range o.Distribution.Endpoints() {
			if !e.AsideUntil.IsZero() || e.Open != 0 {
				t.Errorf("%+v", e)
			}
		}
	})
}

func TestWhatEndpointSaysIsNoServersFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		o := n.options("a", "b")
		var url string
		broken := errors.New("no token")
		failing := broken
		o.Endpoint = func(context.Context) (string, *websocket.DialOptions, error) {
			return url, nil, failing
		}
		f := newFactory(t, "", o)
		if _, err := f.Open(t.Context()); !errors.Is(err, broken) || strings.Contains(err.Error(), "none of") {
			t.Errorf("error %v", err)
		}
		failing, url = nil, "ws://c"
		if _, err := f.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "Endpoint returned a URL") {
			t.Errorf("error %v", err)
		}
		for _, e := range o.Distribution.Endpoints() {
			if !e.AsideUntil.IsZero() || e.Failed != 0 {
				t.Errorf("%+v", e)
			}
		}
		url = ""
		open(t, f)
	})
}

// TestAPanicInOnConnectIsAnErrorOfOpen, though it runs in a goroutine that is not the pool's.
func TestAPanicInOnConnectIsAnErrorOfOpen(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic("at the disco") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newMemNet(t, "a", "b")
				o := n.options("a", "b")
				o.OnConnect = func(ctx context.Context, conn *Conn) error { end(); return nil }
				f := newFactory(t, "", o)
				_, err := f.Open(t.Context())
				if err == nil || name == "panic" && !strings.Contains(err.Error(), "at the disco") || name != "panic" && !errors.Is(err, errEnded) {
					t.Errorf("error %v", err)
				}
				if got := spread(o); got["a"]+got["b"] != 0 {
					t.Errorf("spread %v", got)
				}
			})
		})
	}
}

// TestTheEndOfOpensContextTellsWhoHasNotAnswered.
func TestTheEndOfOpensContextTellsWhoHasNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		for _, h := range n.hosts {
			h.be(behavior{swallows: true}, false)
		}
		f := newFactory(t, "", n.options("a", "b"))
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := f.Open(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "ws://a: no answer in ") || !strings.Contains(err.Error(), "ws://b: no answer in ") {
			t.Errorf("error %v", err)
		}
	})
}

// TestAProbeEndsWithThePool.
func TestAProbeEndsWithThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		n.host("a").be(behavior{swallows: true}, false)
		o := n.options("a", "b")
		p := newPool(t, "", o, pool.Config{MaxConnections: 2})
		if err := p.Warm(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		probing := func() bool { return o.Distribution.Endpoints()[0].Dialing > 0 }
		for range 20 {
			request(t.Context(), p, 0)
			testkit.Sleep(time.Second / 4)
			if probing() {
				break
			}
		}
		if !probing() {
			t.Fatal("no probe")
		}
		p.Close()
		synctest.Wait()
		if probing() {
			t.Error("a probe goes on after the end of the pool")
		}
	})
}

// TestTheFarewellOfAProbeEndsWithThePool: of one that has succeeded and closes its connection,
// whose peer does not read.
func TestTheFarewellOfAProbeEndsWithThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		n.host("a").be(behavior{refuses: true}, false)
		o := n.options("a", "b")
		o.Policy = Failover
		o.PingInterval = -1 // a dial is a probe
		o.CloseTimeout = time.Minute
		p := newPool(t, "", o, pool.Config{MaxConnections: 1})
		p.Put(take(t, p, 1)[0])
		n.host("a").be(behavior{deaf: true}, false)
		testkit.Sleep(time.Second)
		l := take(t, p, 1)[0]
		synctest.Wait()
		if live := n.live.Load(); live != 2 {
			t.Fatalf("%d connections, beside that of a probe", live-1)
		}
		p.Discard(l, errRefused)
		p.Close()
		synctest.Wait()
		if live := n.live.Load(); live != 0 {
			t.Errorf("%d connections after Close", live)
		}
	})
}

// TestAPoolThatIsNotUsedLeavesItsServersAlone: none is probed for it, or asked for.
func TestAPoolThatIsNotUsedLeavesItsServersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		n.host("a").be(behavior{refuses: true}, false)
		o := n.options("a", "b")
		r := &registry{list: []string{"ws://a", "ws://b"}}
		o.Discover = r.discover
		p := newPool(t, "", o, pool.Config{MaxConnections: 2, MaxIdleTime: 10 * time.Second})
		for range 2 {
			l, err := p.GetFresh(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			p.Put(l)
		}
		testkit.Sleep(time.Minute)
		before, _ := n.host("a").count()
		was := r.called()
		testkit.Sleep(time.Hour)
		if after, _ := n.host("a").count(); after != before || r.called() != was {
			t.Errorf("%d dials and %d calls of Discover in an hour without use", after-before, r.called()-was)
		}
	})
}

func TestTheURLIsOneOfTheEndpointsAndEachCountsOnce(t *testing.T) {
	for _, test := range []struct {
		url       string
		endpoints []string
		want      []string
	}{
		{"ws://a", []string{"ws://a", "ws://b"}, []string{"ws://a", "ws://b"}},
		{"", []string{"ws://a", "ws://b"}, []string{"ws://a", "ws://b"}},
		{"ws://b", []string{"ws://a", "ws://b"}, []string{"ws://b", "ws://a"}},
		{"ws://c", []string{"ws://a", "ws://b"}, []string{"ws://c", "ws://a", "ws://b"}},
		{"ws://c", nil, []string{"ws://c"}},
		{"", []string{"ws://a", "http://A:80/", "ws://a/x", "wss://a", "ws://a:81"}, []string{"ws://a", "ws://a", "wss://a", "ws://a:81"}},
	} {
		o := &Options{Endpoints: test.endpoints, Distribution: new(Distribution)}
		newFactory(t, test.url, o)
		var got []string
		for _, e := range o.Distribution.Endpoints() {
			got = append(got, e.URL)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%q with %q: %q, want %q", test.url, test.endpoints, got, test.want)
		}
	}
}

// TestNetHTTPGoesOnWithADialWhoseRequestWasCanceled, and keeps what comes of it. The documentation
// says so, and what to do about it.
func TestNetHTTPGoesOnWithADialWhoseRequestWasCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := make(chan struct{})
		dialing, theirs := make(chan context.Context, 1), make(chan net.Conn, 1)
		transport := &http.Transport{IdleConnTimeout: time.Minute, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			dialing <- ctx
			<-answers
			ours, peer := net.Pipe()
			theirs <- peer
			return ours, nil
		}}
		f := newFactory(t, "ws://a", &Options{HandshakeTimeout: time.Second, DialOptions: &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}}})
		if _, err := f.Open(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		testkit.Sleep(time.Hour)
		if ctx := <-dialing; ctx.Err() != nil {
			t.Errorf("the ctx of the dial has ended: %v", ctx.Err())
		}
		close(answers)
		began := time.Now()
		if n, err := (<-theirs).Read(make([]byte, 1)); n != 0 || err != io.EOF || time.Since(began) != time.Minute {
			t.Errorf("the peer reads %d bytes, %v, after %v; want the end after IdleConnTimeout", n, err, time.Since(began))
		}
	})
}

// TestServersThatAreAllSlowAreAllInService: each takes longer than the head start, so two are
// dialed each time, and none is set aside for it, or kept from coming back.
func TestServersThatAreAllSlowAreAllInService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slow = headStart * 3 / 2
		n := newMemNet(t, "a", "b", "c")
		o := n.options("a", "b", "c")
		o.OnConnect = func(context.Context, *Conn) error { time.Sleep(slow); return nil }
		f := newFactory(t, "", o)
		for range 6 {
			began := time.Now()
			open(t, f)
			if took := time.Since(began); took != slow {
				t.Errorf("Open took %v, want %v", took, slow)
			}
			for _, e := range o.Distribution.Endpoints() {
				if !e.AsideUntil.IsZero() {
					t.Errorf("%+v", e)
				}
			}
		}
		n.host("a").be(behavior{refuses: true}, false)
		for range 3 {
			open(t, f)
		}
		n.host("a").be(behavior{}, false)
		before := spread(o)["a"]
		for range 10 {
			testkit.Sleep(time.Second)
			open(t, f)
		}
		if got := spread(o)["a"] - before; got < 3 {
			t.Errorf("%d of ten connections are of a, which is back", got)
		}
	})
}

// TestAServerThatIsSlowerThanTheOthersStaysAside, in place of coming back to cost the next
// caller its head start.
func TestAServerThatIsSlowerThanTheOthersStaysAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		o := n.options("a", "b")
		o.OnConnect = func(ctx context.Context, conn *Conn) error {
			if conn.Endpoint() == "ws://a" {
				time.Sleep(2 * headStart)
			}
			return nil
		}
		f := newFactory(t, "", o)
		var waited time.Duration
		for range 60 {
			began := time.Now()
			open(t, f)
			waited += time.Since(began)
			testkit.Sleep(time.Second)
		}
		if waited > headStart {
			t.Errorf("60 Opens have waited for %v", waited)
		}
		if e := o.Distribution.Endpoints()[0]; e.AsideUntil.IsZero() || e.LastError == nil {
			t.Errorf("a is in service: %+v", e)
		}
	})
}

// TestDialsThatFailTogetherAreOneFailure: the pause of a server is not longer for them.
func TestDialsThatFailTogetherAreOneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		o := n.options("a", "b")
		o.Policy = Failover
		o.OnConnect = func(ctx context.Context, conn *Conn) error {
			if conn.Endpoint() == "ws://a" {
				time.Sleep(headStart / 2)
				return errors.New("refused")
			}
			return nil
		}
		f := newFactory(t, "", o)
		var opening sync.WaitGroup
		for range 10 {
			opening.Go(func() {
				if c, err := f.Open(t.Context()); err != nil {
					t.Error(err)
				} else {
					f.Close(c, nil)
				}
			})
		}
		opening.Wait()
		e := o.Distribution.Endpoints()[0]
		if left := time.Until(e.AsideUntil); left > leastAside || left <= 0 {
			t.Errorf("after %d failures a is set aside for %v", e.Failed, left)
		}
	})
}

// TestAServerThatComesBackOnlyToFailIsSetAsideForLonger: a success does not make its next
// failure the first.
func TestAServerThatComesBackOnlyToFailIsSetAsideForLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		n.host("a").be(behavior{closes: 1011}, false)
		o := n.options("a", "b")
		o.PingInterval = -1 // so a probe does not see it
		p := newPool(t, "", o, pool.Config{MaxConnections: 10})
		for range 300 {
			for _, l := range take(t, p, 10) {
				p.Put(l)
			}
			testkit.Sleep(time.Second)
		}
		// Each return costs a probe and some dials: after 0.5 s, 1 s and so on, and after 10 s
		// at last.
		if dials, _ := n.host("a").count(); dials > 260 {
			t.Errorf("%d dials in five minutes", dials)
		}
	})
}

// TestAServerThatHasAskedForAPauseHasItAlsoWhenOthersFail.
func TestAServerThatHasAskedForAPauseHasItAlsoWhenOthersFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		n.host("a").be(behavior{status: 429, after: "60"}, false)
		n.host("b").be(behavior{refuses: true}, false)
		f := newFactory(t, "", n.options("a", "b"))
		for range 5 {
			_, err := f.Open(t.Context())
			if _, asked := pool.RetryAfterOf(err); err == nil || asked {
				t.Errorf("error %v, which asks for a pause of the pool: %v", err, asked)
			}
			testkit.Sleep(time.Second)
		}
		if dials, _ := n.host("a").count(); dials != 1 {
			t.Errorf("%d dials of a within its pause", dials)
		}
	})
}
