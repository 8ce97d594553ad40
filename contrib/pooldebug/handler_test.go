package pooldebug

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/wsconn"
)

// told is the JSON, as far as tests read it.
type told struct {
	Since, Time float64
	Pools       []struct {
		Name  string
		Stats struct {
			Active, Idle, Max, Waiting int
			Gets, Opened               uint64
			Closed                     map[string]uint64
			LastOpenError              *string `json:"last_open_error"`
		}
		Window struct {
			Seconds  float64
			Gets     uint64
			Opened   uint64
			Closed   map[string]uint64
			OpenTime struct{ Count uint64 } `json:"open_time"`
		}
		History map[string][]float64
		Leases  []struct {
			Number uint64
			Age    *float64 `json:"age_seconds"`
			Opened float64  `json:"connection_age_seconds"`
			Where  string
		}
		LeaseCount int `json:"lease_count"`
		Keys       []key
		KeyCount   *int `json:"key_count"`
	}
}

func read(t testing.TB, h http.Handler, query string) (r told) {
	t.Helper()
	answer, body := ask(t, h, "GET", "/stats.json"+query)
	if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("got %s %s: %s", answer.Status, answer.Header.Get("Content-Type"), body)
	}
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return r
}

func TestTheHistoryIsOfTheLastFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, opens(), pool.Config{Name: "p", MaxConnections: 3, MaxIdleTime: -1})
		h := Handler(p)
		leases := []pool.Lease[*wire]{get(t, p), get(t, p)}
		time.Sleep(time.Minute + time.Millisecond)
		p.Discard(leases[0], errLost)
		time.Sleep(30 * time.Second)

		r := read(t, h, "")
		one := r.Pools[0]
		if got, want := len(one.History["time"]), 91; got != want {
			t.Errorf("got %d snapshots after 90 s, want %d", got, want)
		}
		for name, values := range one.History {
			if len(values) != len(one.History["time"]) {
				t.Errorf("%s has %d values, and there are %d snapshots", name, len(values), len(one.History["time"]))
			}
		}
		if got, want := one.History["active"][60], 2.0; got != want {
			t.Errorf("got %v active after a minute, want %v", got, want)
		}
		if got, want := one.History["active"][90], 1.0; got != want {
			t.Errorf("got %v active after 90 s, want %v", got, want)
		}
		if got, want := one.History["closed_per_second"][61], 1.0; got != want {
			t.Errorf("got %v closed per second in the second after the minute, want %v", got, want)
		}
		if got, want := one.Window.Closed["discard"], uint64(1); got != want {
			t.Errorf("got %d discarded in the window, want %d", got, want)
		}
		if got, want := one.Window.OpenTime.Count, uint64(2); got != want {
			t.Errorf("got %d in the histogram of the window, want %d", got, want)
		}

		time.Sleep(10 * time.Minute)
		p.Discard(leases[1], errLost)
		r = read(t, h, "")
		one = r.Pools[0]
		if got, want := len(one.History["time"]), keep; got != want {
			t.Errorf("got %d snapshots after a long time, want %d", got, want)
		}
		if got, want := one.History["time"][0], r.Time-300.1; got < want {
			t.Errorf("the oldest snapshot is of %v, want no older than %v", got, want)
		}
		if got, want := one.Window.Seconds, 300.1; got > want || got < want-10 {
			t.Errorf("the window has %v s, want some less than %v", got, want)
		}
		if got, want := one.Window.Closed["discard"], uint64(1); got != want {
			t.Errorf("got %d discarded in the window of now, want %d", got, want)
		}
		if got, want := one.Stats.Closed["discard"], uint64(2); got != want {
			t.Errorf("got %d discarded in all, want %d", got, want)
		}
		if got, want := one.Window.Opened, uint64(0); got != want {
			t.Errorf("got %d opened in the window of now, want %d", got, want)
		}

		after := one.History["time"][keep-4]
		if got, want := len(read(t, h, fmt.Sprintf("?after=%f", after)).Pools[0].History["time"]), 3; got != want {
			t.Errorf("got %d snapshots after the fourth from last, want %d", got, want)
		}
		p.Close()
		runtime.KeepAlive(h)
	})
}

func TestLeasesAreToldOldestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, opens(), pool.Config{MaxConnections: 200, LeakAfter: time.Hour})
		h := Handler(p)
		first := get(t, p)
		time.Sleep(9900 * time.Millisecond) // between two looks of the pool
		for range 120 {
			get(t, p)
		}
		r := read(t, h, "").Pools[0]
		if got, want := r.LeaseCount, 121; got != want {
			t.Errorf("got %d leases, want %d", got, want)
		}
		if got, want := len(r.Leases), most; got != want {
			t.Fatalf("%d leases are told, want %d", got, want)
		}
		l := r.Leases[0]
		if got, want := l.Number, first.Number(); got != want {
			t.Errorf("the first is of connection %d, want %d", got, want)
		}
		if l.Age == nil || *l.Age < 8 || *l.Age > 10 || l.Opened != 9.9 {
			t.Errorf("the first is %v s old, its connection %v; want some 9 and 9.9", l.Age, l.Opened)
		}
		if !strings.Contains(l.Where, "pooldebug.get") {
			t.Errorf("the first was taken at %q, want pooldebug.get", l.Where)
		}
		if got := r.Leases[1].Age; got != nil {
			t.Errorf("a lease that the pool has not seen is %v s old, want null", *got)
		}
		p.Close()
	})
}

func TestKeysAreToldByDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := pool.NewGroup(func(account string) (pool.Factory[*wire], pool.Config, error) {
			return opens(), pool.Config{Name: "of " + account, MaxConnections: 1, MaxWaitTime: -1}, nil
		}, pool.GroupConfig{})
		if err != nil {
			t.Fatal(err)
		}
		h := Handler(Group("accounts", g))
		use := func(account string, n int) {
			for range n {
				if err := g.Do(t.Context(), account, func(context.Context, *wire) error { return nil }); err != nil {
					t.Fatal(err)
				}
			}
		}
		use("a", 1000) // long ago
		read(t, h, "")
		time.Sleep(6 * time.Second)
		read(t, h, "")
		use("b", 20)
		use("c", 40)
		lease, err := g.Get(t.Context(), "d")
		if err != nil {
			t.Fatal(err)
		}
		go g.Get(t.Context(), "d")
		time.Sleep(2 * time.Second)

		r := read(t, h, "").Pools[0]
		var names []string
		for _, k := range r.Keys {
			names = append(names, k.Name)
		}
		if want := []string{"of d", "of c", "of b", "of a"}; !slices.Equal(names, want) {
			t.Fatalf("got %q, want %q", names, want)
		}
		if got, want := *r.KeyCount, 4; got != want {
			t.Errorf("got %d keys, want %d", got, want)
		}
		if got := r.Keys[0]; got.Waiting != 1 || got.Active != 1 || got.Oldest != 2 || got.Pools != 1 {
			t.Errorf("got %+v, want one that waits for 2 s", got)
		}
		if got, want := r.Keys[1].Rate, 5.0; got != want {
			t.Errorf("got %v leases each second, want %v: 40 in 8 s", got, want)
		}
		if got, want := r.Keys[3].Gets, uint64(1000); got != want {
			t.Errorf("got %d leases, want %d", got, want)
		}
		if got, want := r.LeaseCount, 1; got != want {
			t.Errorf("got %d leases in the group, want %d", got, want)
		}
		g.Put(lease)
		g.Close()
	})
}

// A Dialer of wsconn is shown as a Group is.
var _ Pools = (*wsconn.Dialer)(nil)

// A sum is figures alone, as they are left of pools that are gone.
type sum pool.Stats

func (s sum) Stats() pool.Stats { return pool.Stats(s) }

// Some are what a Group has.
type some []pool.Source

func (s some) Stats() pool.Stats              { return pool.Stats{} }
func (s some) Sources() iter.Seq[pool.Source] { return slices.Values(s) }

func TestAKeyIsAPoolOrWhatOneHasLent(t *testing.T) {
	g := Group("g", some{newPool(t, opens(), pool.Config{Name: "new"}), pool.NewSource("gone", sum{Gets: 7}), pool.NewSource("nothing", sum{Opened: 1})}).(*group)
	keys, n := g.keys(time.Now(), 10)
	if want := []key{{Name: "gone", Gets: 7}, {Name: "new", Pools: 1}}; n != 2 || !slices.Equal(keys, want) {
		t.Errorf("%d keys: %+v, want %+v", n, keys, want)
	}
}

// A Dialer has a Source of the dials that have failed: that is no pool, and no key.
func TestWhatIsNoPoolAndHasLentNothingIsNoKey(t *testing.T) {
	d := &wsconn.Dialer{Options: &wsconn.Options{OneReplyPerRequest: true}, Config: pool.Config{Name: "sockets"}}
	defer d.Close()
	if _, _, err := d.Dial(t.Context(), "ws://127.0.0.1:1", nil); err == nil {
		t.Fatal("there is a server on port 1")
	}
	sources := 0
	for range d.Sources() {
		sources++
	}
	g := Group("sockets", d).(*group)
	if keys, n := g.keys(time.Now(), 10); n != 0 || len(keys) != 0 || sources != 1 {
		t.Errorf("of %d Sources %d are keys: %v", sources, n, keys)
	}
	if got := g.Stats().OpenErrors; got != 1 {
		t.Errorf("%d dials have failed, want 1", got)
	}
}

func TestNothingButGetAndHeadIsAnswered(t *testing.T) {
	h := Handler()
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"} {
		answer, _ := ask(t, h, method, "/")
		if got, want := answer.StatusCode, http.StatusMethodNotAllowed; got != want {
			t.Errorf("%s: got %d, want %d", method, got, want)
		}
		if got, want := answer.Header.Get("Allow"), "GET, HEAD"; got != want {
			t.Errorf("%s: Allow is %q, want %q", method, got, want)
		}
	}
	for _, target := range []string{"/", "/stats.json", "/pool.js"} {
		answer, body := ask(t, h, "HEAD", target)
		if answer.StatusCode != 200 || body != "" {
			t.Errorf("HEAD %s: got %s and %d bytes, want 200 and none", target, answer.Status, len(body))
		}
		if got := answer.Header.Get("Content-Length"); got == "" {
			t.Errorf("HEAD %s does not say how long it is", target)
		}
	}
}

func TestItMayBeMountedAnywhere(t *testing.T) {
	h := Handler()
	for _, c := range []struct {
		name    string
		handler http.Handler
		target  string
		status  int
		has     string
	}{
		{"at the root", h, "/", 200, "<title>"},
		{"the script at the root", h, "/pool.js", 200, "use strict"},
		{"below a path", h, "/debug/pool/", 200, "<title>"},
		{"the style below a path", h, "/debug/pool/pool.css", 200, ":root"},
		{"the figures below a path", h, "/debug/pool/stats.json", 200, `"pools":[]`},
		{"stripped", http.StripPrefix("/debug/pool", h), "/debug/pool/", 200, "<title>"},
		{"stripped with its slash", http.StripPrefix("/debug/pool/", h), "/debug/pool/pool.js", 200, "use strict"},
		{"stripped, without a slash", http.StripPrefix("/debug/pool", h), "/debug/pool?x=1", 308, ""},
		{"what there is not", h, "/debug/pool/handler.go", 404, "slash"},
		{"a path that climbs", h, "/debug/pool/../../handler.go", 404, "slash"},
		{"a time that is none", h, "/stats.json?after=x", 400, "not a number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, body := ask(t, c.handler, "GET", c.target)
			if answer.StatusCode != c.status || !strings.Contains(body, c.has) {
				t.Errorf("got %s, want %d with %q: %s", answer.Status, c.status, c.has, body)
			}
			if c.status == 308 && answer.Header.Get("Location") != "pool/" {
				t.Errorf("leads to %q, want pool/", answer.Header.Get("Location"))
			}
			for name, want := range map[string]string{"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"} {
				if got := answer.Header.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestAFileThatIsThereIsNotSentAgain(t *testing.T) {
	h := Handler()
	answer, _ := ask(t, h, "GET", "/pool.js")
	w := httptest.NewRecorder()
	r, err := http.NewRequest("GET", "/pool.js", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("If-None-Match", answer.Header.Get("ETag"))
	h.ServeHTTP(w, r)
	if got, want := w.Code, http.StatusNotModified; got != want {
		t.Errorf("got %d, want %d", got, want)
	}
}

func TestSecretsAreNotTold(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "",
		"read: connection reset by peer":     "read: connection reset by peer",
		"dial tcp 10.0.0.1:443: i/o timeout": "dial tcp 10.0.0.1:443: i/o timeout",
		`Get "https://user:pw@api.example.com:8443/v1/x?key=abc#f": EOF`:             `Get "https://api.example.com:8443": EOF`,
		"dial wss://me:pw@example.com:1/a, and http://b/c: refused.":                 "dial wss://example.com:1, and http://b: refused.",
		"wss://example.com/realtime?token=abc failed":                                "wss://example.com failed",
		`parse "wss://user:hun/ter2@host/x": invalid port ":hun" after host`:         `parse "wss://…": invalid port … after host`,
		`parse "wss://user:hun?ter2@host": invalid port ":hun" after host`:           `parse "wss://…": invalid port … after host`,
		`parse "wss://user:hun": invalid port ":hun" after host`:                     `parse "wss://…": invalid port … after host`, // of wss://user:hun#ter2@host
		"dial wss://user:12/34@host: refused":                                        "dial wss://…: refused",
		"dial wss://[fe80::1%25en0]:443/a: refused":                                  "dial wss://[fe80::1%25en0]:443: refused",
		"http://host:/ and http://[::1]:":                                            "http://host: and http://[::1]:",
		"root:hunter2@tcp(db:3306)/app: refused":                                     "…@tcp(db:3306)/app: refused",
		"password=hunter2 host=db":                                                   "password=… host=db",
		`{"api_key": "abc", "n": 1}`:                                                 `{"api_key": …, "n": 1}`,
		"401: Authorization: Bearer abcdef.ghi was refused":                          "401: Authorization: … … was refused",
		"bad bearer eyJhbGciOi.x.y":                                                  "bad bearer …",
		"Incorrect API key provided: sk-proj-12345678abcd":                           "Incorrect API key provided: sk-…",
		"GET /v1/models?key=abc: 403":                                                "GET /v1/models?…: 403",
		"OPENAI_API_KEY=abc, next":                                                   "OPENAI_API_KEY=…, next",
		"main.handle /src/app/main.go:12 < net/http.HandlerFunc.ServeHTTP x.go:2220": "main.handle /src/app/main.go:12 < net/http.HandlerFunc.ServeHTTP x.go:2220",
		strings.Repeat("ä", 1200):                                                    strings.Repeat("ä", 1000) + "…",
	} {
		if got := redacted(text); got != want {
			t.Errorf("got %q of %q, want %q", got, text, want)
		}
	}
}

func TestSecretsInNamesAndErrorsDoNotLeaveTheHandler(t *testing.T) {
	const secret = "hunter2"
	failing := pool.Factory[*wire]{Open: func(context.Context) (*wire, error) {
		return nil, errors.New("dial wss://me:" + secret + "@example.com/" + secret + "?token=" + secret + ": refused")
	}}
	p := newPool(t, failing, pool.Config{Name: "wss://example.com/" + secret})
	if _, err := p.Get(t.Context()); err == nil {
		t.Fatal("Get did not fail")
	}
	g, err := pool.NewGroup(func(account string) (pool.Factory[*wire], pool.Config, error) {
		return opens(), pool.Config{Name: "token=" + account}, nil
	}, pool.GroupConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Warm(t.Context(), secret, 1); err != nil {
		t.Fatal(err)
	}
	answer, body := ask(t, Handler(p, Group("password: "+secret, g)), "GET", "/stats.json")
	if answer.StatusCode != 200 || strings.Contains(body, secret) {
		t.Errorf("got %s, and the secret at %d in %s", answer.Status, strings.Index(body, secret), body)
	}
	if !strings.Contains(body, "dial wss://example.com: refused") && !strings.Contains(body, "dial wss://example.com") {
		t.Errorf("the error is not told: %s", body)
	}
}

// A Source of somebody else's may say anything.
type odd struct{ n *int }

func (o odd) Name() string { return "<script>alert(1)</script>" }
func (o odd) Stats() pool.Stats {
	*o.n--
	return pool.Stats{Gets: uint64(1000 + *o.n), MaxConnections: -1}
}

func TestCountersThatFallDoNotOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 500
		h := Handler(odd{&n})
		time.Sleep(20*time.Second + time.Millisecond)
		answer, body := ask(t, h, "GET", "/stats.json")
		if answer.StatusCode != 200 || strings.Contains(body, "18446744073709") {
			t.Errorf("got %s: %s", answer.Status, body)
		}
		if strings.Contains(body, "<script>") {
			t.Error("a name is in the JSON as it is")
		}
		runtime.KeepAlive(h)
	})
}

func TestNothingHappensOnceNobodyHasTheHandler(t *testing.T) {
	n := 0
	h := Handler(odd{&n}).(*handler)
	w := weak.Make(h)
	h = nil
	for range 100 {
		runtime.GC()
		if w.Value() == nil {
			return
		}
	}
	t.Error("a handler that nobody has is still there")
	runtime.KeepAlive(h)
}

// Two handlers may show the same Group, each for itself.
func TestAGroupMayBeShownByTwoHandlers(t *testing.T) {
	p := newPool(t, opens(), pool.Config{Name: "p"})
	g := Group("g", some{p})
	first, second := Handler(g), Handler(g)
	if first, second := first.(*handler).sources[0].source, second.(*handler).sources[0].source; first == second {
		t.Error("both compare with what was there when either was asked, each under a mutex of its own")
	}
	var wg sync.WaitGroup
	for _, h := range []http.Handler{first, second} {
		wg.Go(func() {
			for range 20 {
				_, _ = ask(t, h, "GET", "/stats.json")
			}
		})
	}
	wg.Wait()
}
