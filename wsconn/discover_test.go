package wsconn

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
)

// A registry is what Discover asks.
type registry struct {
	mu    sync.Mutex
	list  []string
	err   error
	takes time.Duration
	calls int
}

func (r *registry) discover(ctx context.Context) ([]string, error) {
	r.mu.Lock()
	r.calls++
	list, err, takes := r.list, r.err, r.takes
	r.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return list, err
}

// set makes it answer otherwise.
func (r *registry) set(list []string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list, r.err = list, err
}

func (r *registry) called() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls
}

func (n *memNet) discovering(r *registry) *Options {
	o := n.options()
	o.Discover = r.discover
	o.DiscoverInterval = 10 * time.Second
	return o
}

// TestDiscoverIsCalledWhenItIsDueByOpenAndCheck, and otherwise not.
func TestDiscoverIsCalledWhenItIsDueByOpenAndCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		r := &registry{list: []string{"ws://a"}}
		o := n.discovering(r)
		f := newFactory(t, "", o)
		conn := open(t, f)
		open(t, f)
		if r.called() != 1 {
			t.Errorf("%d calls of Discover for two Opens", r.called())
		}
		testkit.Sleep(10 * time.Second)
		r.set([]string{"ws://b"}, nil)
		if got := open(t, f).Endpoint(); got != "ws://b" || r.called() != 2 {
			t.Errorf("when it is due, Open has not waited for it: a connection of %s, %d calls", got, r.called())
		}
		testkit.Sleep(10 * time.Second)
		r.set([]string{"ws://a"}, nil)
		for range 3 {
			f.Check(conn)
			synctest.Wait()
		}
		if r.called() != 3 {
			t.Errorf("%d calls, want one more by Check", r.called())
		}
		if err := f.Check(conn); err != nil {
			t.Errorf("Check of a server that has returned: %v", err)
		}
	})
}

// TestASlowDiscoverHoldsUpNoOpenThatKnowsAServer for longer than a moment.
func TestASlowDiscoverHoldsUpNoOpenThatKnowsAServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		r := &registry{list: []string{"ws://a"}, takes: 5 * time.Second}
		f := newFactory(t, "", n.discovering(r))
		took := func() time.Duration {
			began := time.Now()
			open(t, f)
			return time.Since(began)
		}
		if got := took(); got != r.takes {
			t.Errorf("the first Open took %v, want %v: it knows no server", got, r.takes)
		}
		testkit.Sleep(10 * time.Second)
		r.set([]string{"ws://b"}, nil)
		for i, want := range []time.Duration{discoverWait, 0, 0} {
			if got := took(); got != want {
				t.Errorf("Open %d took %v, want %v", i, got, want)
			}
		}
		testkit.Sleep(5 * time.Second)
		if got := open(t, f).Endpoint(); got != "ws://b" || r.called() != 2 {
			t.Errorf("a connection of %s after %d calls", got, r.called())
		}
	})
}

// TestADiscoverThatFailsKeepsTheLastSetAndTellsItsCause, if nothing can be opened.
func TestADiscoverThatFailsKeepsTheLastSetAndTellsItsCause(t *testing.T) {
	broken := errors.New("no such zone")
	for _, test := range []struct {
		name string
		list []string
		err  error
		want string
	}{
		{"error", nil, broken, "Discover: no such zone"},
		{"empty", nil, nil, "Discover: it returned no endpoint"},
		{"bad URL", []string{"ws://b", "ftp://user:secret@host/secret"}, nil, `Discover: URL "ftp://host" has scheme`},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newMemNet(t, "a", "b")
				r := &registry{list: test.list, err: test.err}
				f := newFactory(t, "", n.discovering(r))
				if _, err := f.Open(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") || !errors.Is(err, test.err) && test.err != nil {
					t.Errorf("without a server: %v, want %q", err, test.want)
				}
				r.set([]string{"ws://a"}, nil)
				open(t, f)
				r.set(test.list, test.err)
				testkit.Sleep(10 * time.Second)
				if got := open(t, f).Endpoint(); got != "ws://a" {
					t.Errorf("the set was not kept: a connection of %s", got)
				}
				n.host("a").be(behavior{refuses: true}, false)
				_, err := f.Open(t.Context())
				if err == nil || !strings.Contains(err.Error(), test.want) || !errors.Is(err, errRefused) {
					t.Errorf("with a server that is down: %v, want %q", err, test.want)
				}
			})
		})
	}
}

// TestServersThatHaveAllMovedAreFoundAtOnce: Open asks Discover when it can reach none.
func TestServersThatHaveAllMovedAreFoundAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b", "c", "d")
		r := &registry{list: []string{"ws://a", "ws://b"}}
		f := newFactory(t, "", n.discovering(r))
		open(t, f)
		testkit.Sleep(2 * time.Second)
		n.host("a").be(behavior{refuses: true}, false)
		n.host("b").be(behavior{refuses: true}, false)
		r.set([]string{"ws://c", "ws://d"}, nil)
		began := time.Now()
		conn := open(t, f)
		if got := conn.Endpoint(); got != "ws://c" && got != "ws://d" || time.Since(began) != 0 {
			t.Errorf("a connection of %s after %v", got, time.Since(began))
		}
	})
}

// TestEndpointsAreTheServersUntilDiscoverHasAnswered.
func TestEndpointsAreTheServersUntilDiscoverHasAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		r := &registry{err: errors.New("not yet")}
		o := n.discovering(r)
		o.Endpoints = []string{"ws://a"}
		f := newFactory(t, "", o)
		if got := open(t, f).Endpoint(); got != "ws://a" {
			t.Errorf("a connection of %s", got)
		}
		r.set([]string{"ws://b"}, nil)
		testkit.Sleep(10 * time.Second)
		if got := open(t, f).Endpoint(); got != "ws://b" {
			t.Errorf("a connection of %s", got)
		}
	})
}

// TestAPanicInDiscoverIsAnError.
func TestAPanicInDiscoverIsAnError(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic("at the disco") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newMemNet(t, "a")
				o := n.options()
				o.Discover = func(context.Context) ([]string, error) { end(); return nil, nil }
				_, err := newFactory(t, "", o).Open(t.Context())
				if err == nil || name == "panic" && !strings.Contains(err.Error(), "at the disco") || name != "panic" && !errors.Is(err, errEnded) {
					t.Errorf("error %v", err)
				}
			})
		})
	}
}

// TestDiscoverEndsWithThePool.
func TestDiscoverEndsWithThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a")
		r := &registry{list: []string{"ws://a"}}
		var canceled error
		o := n.discovering(r)
		o.Discover = func(ctx context.Context) ([]string, error) {
			list, err := r.discover(ctx)
			canceled = err
			return list, err
		}
		p := newPool(t, "", o, pool.Config{MaxConnections: 1})
		if _, err := request(t.Context(), p, 0); err != nil {
			t.Fatal(err)
		}
		r.mu.Lock()
		r.takes = time.Hour
		r.mu.Unlock()
		testkit.Sleep(12 * time.Second) // and Check calls it
		began := time.Now()
		p.Close()
		synctest.Wait()
		if !errors.Is(canceled, context.Canceled) || time.Since(began) != 0 {
			t.Errorf("Discover ended with %v after %v", canceled, time.Since(began))
		}
	})
}

// TestOneThatJoinsGetsItsPart.
func TestOneThatJoinsGetsItsPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b", "c")
		r := &registry{list: []string{"ws://a", "ws://b"}}
		o := n.discovering(r)
		p := newPool(t, "", o, pool.Config{MaxConnections: 12})
		use := func(seconds int) {
			for range seconds {
				for _, l := range take(t, p, 12) {
					p.Put(l)
				}
				testkit.Sleep(time.Second)
			}
		}
		use(5)
		r.set([]string{"ws://a", "ws://b", "ws://c"}, nil)
		use(20)
		if got, want := spread(o), map[string]int{"a": 4, "b": 4, "c": 4}; !maps.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}

// TestADistributionAddsUpItsFactories, and keeps none alive.
func TestADistributionAddsUpItsFactories(t *testing.T) {
	var d Distribution
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(t, "a", "b")
		o := n.options("a", "b")
		o.Distribution = &d
		one := newFactory(t, "", o)
		o.Endpoints = []string{"ws://b/"}
		two := newFactory(t, "", o)
		openN(t, one, 2)
		openN(t, two, 3)
		if got, want := spread(o), map[string]int{"a": 1, "b": 4}; !maps.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		if e := d.Endpoints()[1]; e.Opened != 4 {
			t.Errorf("%+v", e)
		}
	})
	for _, factory := range d.all {
		if !collected(factory) {
			t.Error("a factory that is gone is kept")
		}
	}
	if got := d.Endpoints(); len(got) != 0 {
		t.Errorf("%d endpoints of factories that are gone", len(got))
	}
}

// TestEndpointOfAConnectionShowsSchemeAndHost.
func TestEndpointOfAConnectionShowsSchemeAndHost(t *testing.T) {
	url := serve(t, echo)
	if got := open(t, newFactory(t, url+"/secret?key=secret", nil)).Endpoint(); got != url {
		t.Errorf("%q, want %q", got, url)
	}
	f := newFactory(t, "", &Options{Endpoint: fixedEndpoint(url + "/secret")})
	if got := open(t, f).Endpoint(); got != url {
		t.Errorf("by Options.Endpoint %q, want %q", got, url)
	}
}
