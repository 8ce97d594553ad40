package pooldebug

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
)

// serve serves h under the policy that it must live with.
func serve(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/debug/pool/", h)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Content-Security-Policy", "default-src 'self'")
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server
}

// load has callers use pools in every way, until the test has ended: a pool that is too small, one whose server is gone,
// a group, and one that nobody uses.
func load(t *testing.T) []Source {
	slow := pool.Factory[*wire]{
		Open: func(ctx context.Context) (*wire, error) {
			if rand.IntN(10) == 0 {
				return nil, errors.New("refused")
			}
			return new(wire), pause(ctx, time.Duration(rand.IntN(30))*time.Millisecond)
		},
		Check: func(*wire) error {
			if rand.IntN(50) == 0 {
				return errLost
			}
			return nil
		},
	}
	small := newPool(t, slow, pool.Config{Name: "inference", MaxConnections: 12, TimeUse: true, LeakAfter: time.Minute, MaxLifetime: 2 * time.Second, MaxWaitTime: 150 * time.Millisecond})
	gone := newPool(t, pool.Factory[*wire]{Open: func(context.Context) (*wire, error) {
		return nil, errors.New(`dial wss://user:secret@api.example.com/v1/realtime?key=secret: connection refused`)
	}}, pool.Config{Name: "a pool with a long name, as those have that are made of an address: wss://api.example.com/v1/realtime"})
	g, err := pool.NewGroup(func(account int) (pool.Factory[*wire], pool.Config, error) {
		return slow, pool.Config{Name: fmt.Sprintf("account %d", account), MaxConnections: 2, LeakAfter: time.Minute}, nil
	}, pool.GroupConfig{})
	if err != nil {
		t.Fatal(err)
	}
	unused := newPool(t, slow, pool.Config{Name: "never used"})

	ctx, cancel := context.WithCancel(context.Background())
	var callers sync.WaitGroup
	for i := range 24 {
		callers.Go(func() {
			for ctx.Err() == nil {
				l, err := small.Get(ctx)
				if err != nil {
					pause(ctx, 10*time.Millisecond)
					continue
				}
				pause(ctx, time.Duration(rand.ExpFloat64()*float64(20*time.Millisecond)))
				if rand.IntN(40) == 0 {
					small.Discard(l, errLost)
				} else {
					small.Put(l)
				}
			}
		})
		callers.Go(func() {
			for ctx.Err() == nil {
				account := int(rand.ExpFloat64() * 4)
				g.Do(ctx, account, func(ctx context.Context, _ *wire) error {
					return pause(ctx, time.Duration(rand.IntN(40))*time.Millisecond)
				})
			}
		})
		if i == 0 {
			callers.Go(func() {
				for ctx.Err() == nil {
					gone.Get(ctx)
					pause(ctx, 50*time.Millisecond)
				}
			})
		}
	}
	for range 5 { // leases that last
		if l, err := small.Get(ctx); err == nil {
			t.Cleanup(func() { small.Put(l) })
		}
	}
	t.Cleanup(func() {
		cancel()
		callers.Wait()
		g.Close()
	})
	return []Source{small, gone, Group("accounts", g), unused}
}

// pause waits, as a server lets wait.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// aged gives a handler a history of five minutes, as if it had been there for so long.
func aged(h http.Handler) http.Handler {
	in := h.(*handler)
	in.mu.Lock()
	defer in.mu.Unlock()
	now := time.Now()
	for _, w := range in.sources {
		s := w.last
		w.points, w.marks = w.points[:0], w.marks[:0]
		for i := keep - 1; i >= 0; i-- {
			at := now.Add(-time.Duration(i) * interval)
			wave := float64((i*7)%60) / 60
			p := point{at: at, max: s.MaxConnections, active: int(float64(s.MaxConnections) * wave), gets: 100 * wave, waits: 40 * wave, waiting: int(15 * wave * wave)}
			p.idle = (s.MaxConnections - p.active) / 2
			p.waited = time.Duration(wave * float64(100*time.Millisecond))
			w.points = append(w.points, p)
		}
		w.marks = append(w.marks, mark{now.Add(time.Minute - length), pool.Stats{}})
	}
	return h
}

func TestThePageIsInOrderAtEveryWidth(t *testing.T) {
	b := newBrowser(t)
	h := Handler(load(t)...)
	server := serve(t, aged(h))
	for _, width := range []int{400, 600, 800, 1200, 1600} {
		for _, dark := range []bool{false, true} {
			name := fmt.Sprintf("%d-%v", width, map[bool]string{false: "light", true: "dark"}[dark])
			b.open(server.URL+"/debug/pool/", width, dark)
			b.updates(1)
			b.shoot(name)
			if got := eval[int](b, `document.documentElement.scrollWidth`); got > width {
				t.Errorf("%s: the page is %d wide", name, got)
			}
			for _, wide := range eval[[]string](b, wider) {
				t.Errorf("%s: %s", name, wide)
			}
			for _, pale := range eval[[]string](b, contrast) {
				t.Errorf("%s: %s", name, pale)
			}
			if got, want := eval[int](b, `document.querySelectorAll("details.pool").length`), 4; got != want {
				t.Errorf("%s: %d pools, want %d", name, got, want)
			}
			if got := eval[string](b, `document.body.innerText`); strings.Contains(got, "secret") || !strings.Contains(got, "wss://api.example.com") || strings.Contains(got, "NaN") || strings.Contains(got, "undefined") {
				t.Errorf("%s: the page says\n%s", name, got)
			}
		}
	}
	for _, c := range b.complaints() {
		t.Errorf("the browser says: %s", c)
	}
	for _, url := range b.requests() {
		if !strings.HasPrefix(url, server.URL+"/debug/pool/") {
			t.Errorf("a page has asked for %s", url)
		}
	}
}

// wider finds what is cut off, or sticks out of what is around it.
const wider = `[...document.querySelectorAll("main *")].filter((e) => {
	if (e.closest(".scroll") && !e.matches(".scroll") || e.closest("svg") && e.tagName !== "svg") return false;
	const box = e.getBoundingClientRect();
	return box.width > 0 && (box.right > document.documentElement.clientWidth + 0.5 || box.left < -0.5);
}).map((e) => e.tagName + "." + e.className + " sticks out, to " + e.getBoundingClientRect().right)
.concat([...document.querySelectorAll(".tiles dd, .tiles dt, h2, h3, button, #status")].filter((e) => e.clientWidth > 0 && e.scrollWidth > e.clientWidth + 1)
	.map((e) => e.tagName + " «" + e.textContent + "» is cut off"))`

// contrast finds text that stands out from its background by less than 4.5 to 1.
const contrast = `(() => {
	const rgb = (c) => c.match(/[\d.]+/g).map(Number);
	const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
	const found = new Set();
	for (const e of document.querySelectorAll("body *")) {
		if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) || e.getClientRects().length === 0) continue;
		let back = e, c;
		for (;; back = back.parentElement) {
			if (!back) { c = [255, 255, 255]; break; }
			c = rgb(getComputedStyle(back).backgroundColor);
			if (c.length === 3 || c[3] > 0.99) break;
		}
		const style = getComputedStyle(e), a = light(rgb(e.closest("svg") ? style.fill : style.color)), b = light(c);
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) found.add(e.tagName + "." + e.getAttribute("class") + " has a contrast of " + ratio.toFixed(2));
	}
	return [...found];
})()`

func TestThePageShowsWhatThePoolSays(t *testing.T) {
	b := newBrowser(t)
	p := newPool(t, opens(), pool.Config{Name: "p", MaxConnections: 7, MaxIdleTime: -1, TimeUse: true, LeakAfter: time.Hour})
	server := serve(t, Handler(p))
	var leases []pool.Lease[*wire]
	for range 5 {
		leases = append(leases, get(t, p))
	}
	p.Put(leases[0])
	p.Discard(leases[1], errLost)
	b.open(server.URL+"/debug/pool/", 1000, false)

	tile := func(name string) string {
		return eval[string](b, `[...document.querySelectorAll(".tiles > div")].find((e) => e.firstChild.textContent === %q).lastChild.textContent`, name)
	}
	for name, want := range map[string]string{"active": "3 / 7", "idle": "1", "opening": "0", "waiting": "0", "oldest wait": "–"} {
		if got := tile(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	table := func(what string) string {
		return eval[string](b, `[...document.querySelector(%q).tBodies[0].rows].map((r) => [...r.cells].map((c) => c.textContent).join(" | ")).join("\n")`, what)
	}
	if got, want := table("table.ends"), "opened | 5 | 5\ncould not be opened | 0 | 0\nclosed | 1 | 1\ndiscard | 1 | 1"; got != want {
		t.Errorf("opened and closed:\n%s\nwant\n%s", got, want)
	}
	if got, want := table("table.calls"), "leases | 5 | 5\nwaited | 5 | 5\n"; !strings.HasPrefix(got, want) {
		t.Errorf("calls:\n%s\nwant\n%s", got, want)
	}
	got := table("table.leases")
	for _, l := range leases[2:] {
		if want := fmt.Sprintf("#%d | ", l.Number()); !strings.Contains(got, want) || !strings.Contains(got, "pooldebug.get") {
			t.Errorf("leases:\n%s\nwant one with %q, taken in pooldebug.get", got, want)
		}
	}
	if got, want := strings.Count(got, "\n")+1, 3; got != want {
		t.Errorf("%d leases, want %d", got, want)
	}
	if got, want := eval[string](b, `document.querySelector(".hist.open .reading").textContent`), "in all: 5, half ≤"; !strings.Contains(got, want) {
		t.Errorf("under the histogram of opening stands %q, want %q", got, want)
	}

	if got := eval[bool](b, `document.querySelector(".hint").hidden`); !got {
		t.Error("the page says how places are noted, though all are")
	}

	// Somebody waits: the page tells without being loaded again.
	for range 4 {
		get(t, p)
	}
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan struct{})
	go func() {
		defer close(waiting)
		p.Get(ctx)
	}()
	eval[bool](b, `new Promise((done) => {
		const look = () => { if (document.querySelector(".brief").textContent === "7 of 7 active, 1 waiting") done(true); };
		new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
		look();
	})`)
	cancel()
	<-waiting
	// A lease of a connection that was lent before: nobody knows where it was taken.
	for range 200 { // of one in 32 it is noted
		p.Put(leases[2])
		leases[2] = get(t, p)
		if at := slices.IndexFunc(p.Leases(), func(l pool.LeaseInfo) bool { return l.Number == leases[2].Number() }); p.Leases()[at].Where == "" {
			break
		}
	}
	eval[bool](b, `new Promise((done) => {
		const look = () => { if (!document.querySelector(".hint").hidden) done(true); };
		new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
		look();
	})`)
}

// «1 of 6 active, 1 waiting» looks like a fault of the pool, while its connections are with others.
func TestThePageSaysThatTheBudgetIsUsedUp(t *testing.T) {
	b := newBrowser(t)
	g, err := pool.NewGroup(func(key string) (pool.Factory[*wire], pool.Config, error) {
		return opens(), pool.Config{Name: key, MaxConnections: 3, MaxWaitTime: -1}, nil
	}, pool.GroupConfig{MaxConnections: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	if _, err := g.Get(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan struct{})
	go func() {
		defer close(waiting)
		g.Get(ctx, "b")
	}()
	b.open(serve(t, Handler(Group("accounts", g))).URL+"/debug/pool/", 1000, false)
	eval[bool](b, `new Promise((done) => {
		const look = () => { if (document.querySelector(".brief").textContent === "1 of 6 active, 1 waiting, the budget is used up") done(true); };
		new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
		look();
	})`)
	cancel()
	<-waiting
}

// focused tells what has the focus, and whether that shows.
const focused = `(() => {
	const e = document.activeElement, style = getComputedStyle(e);
	return [e.tagName + (e.id ? "#" + e.id : "") + (e.getAttribute("aria-label") ? " " + e.getAttribute("aria-label") : "") + (e.tagName === "A" ? " " + e.textContent : ""),
		String(e === document.body || style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2)];
})()`

func TestAKeyboardAloneReachesAll(t *testing.T) {
	b := newBrowser(t)
	p := newPool(t, opens(), pool.Config{Name: "p", TimeUse: true})
	p.Put(get(t, p))
	server := serve(t, aged(Handler(p)))
	b.open(server.URL+"/debug/pool/", 800, false)

	reading := func(of string) string {
		return eval[string](b, `document.querySelector(%q).textContent`, of+" .reading")
	}
	var seen []string
	for range 20 {
		b.key("Tab", 9, "")
		at := eval[[2]string](b, focused)
		if at[1] != "true" {
			t.Errorf("%s has the focus, and nobody sees it", at[0])
		}
		if at[0] == "BODY" || len(seen) > 0 && at[0] == seen[0] {
			break // around
		}
		seen = append(seen, at[0])
		switch {
		case at[0] == "BUTTON#pause":
			b.key(" ", 32, " ")
			if got, want := eval[string](b, `document.getElementById("status").textContent`), "paused"; got != want {
				t.Errorf("after a space on the button the page is %q, want %q", got, want)
			}
			b.key("Enter", 13, "\r")
			b.updates(1)
			if got, want := eval[string](b, `document.getElementById("status").textContent`), "live"; got != want {
				t.Errorf("after Enter on the button the page is %q, want %q", got, want)
			}
		case strings.HasPrefix(at[0], "SUMMARY"):
			for _, want := range []bool{false, true} {
				b.key("Enter", 13, "\r")
				if got := eval[bool](b, `document.querySelector("details").open`); got != want {
					t.Errorf("after Enter on the summary the pool is open: %v, want %v", got, want)
				}
			}
		case strings.HasPrefix(at[0], "FIGURE Connections"):
			if got := reading(".occupancy"); !strings.HasPrefix(got, "now: ") {
				t.Errorf("under the chart stands %q, want what is now", got)
			}
			b.key("Home", 36, "")
			if got := reading(".occupancy"); !strings.Contains(got, "s ago: 0 active") && !strings.Contains(got, "s ago: ") {
				t.Errorf("after Home stands %q, want what was at the beginning", got)
			}
			first := reading(".occupancy")
			b.key("ArrowRight", 39, "")
			if got := reading(".occupancy"); got == first {
				t.Errorf("after an arrow key stands %q, as before", got)
			}
			b.key("Escape", 27, "")
			if got := reading(".occupancy"); !strings.HasPrefix(got, "now: ") {
				t.Errorf("after Escape stands %q, want what is now", got)
			}
			b.key("End", 35, "")
			b.shoot("focus")
			b.key("Escape", 27, "")
		case strings.HasPrefix(at[0], "FIGURE How long opening"):
			b.key("ArrowRight", 39, "")
			if got := reading(".hist.open"); !strings.Contains(got, " to ") {
				t.Errorf("after an arrow key stands %q, want a bar of the histogram", got)
			}
			b.updates(2)
			if got := eval[[2]string](b, focused)[0]; got != at[0] {
				t.Errorf("the page has been brought up to date, and %s has the focus, want %s", got, at[0])
			}
		}
	}
	all := strings.Join(seen, "\n")
	for _, want := range []string{"BUTTON#pause", "SUMMARY", "FIGURE Connections", "FIGURE Waiting callers", "FIGURE How long they waited", "FIGURE How long opening took",
		"FIGURE How long leases lasted", "DIV Calls", "DIV Opened and closed", "DIV Leases in force", "A stats.json"} {
		if !strings.Contains(all, want) {
			t.Errorf("no Tab leads to %s, but to\n%s", want, all)
		}
	}
}

func TestThePageTellsThatNobodyAnswersAndGoesOn(t *testing.T) {
	b := newBrowser(t)
	p := newPool(t, opens(), pool.Config{Name: "before"})
	var (
		down    atomic.Bool
		current atomic.Pointer[http.Handler]
	)
	set := func(h http.Handler) { current.Store(&h) }
	set(aged(Handler(p)))
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			panic(http.ErrAbortHandler) // the connection ends
		}
		(*current.Load()).ServeHTTP(w, r)
	}))
	b.open(server.URL+"/debug/pool/", 800, false)
	says := func(what, want string) {
		t.Helper()
		eval[bool](b, `new Promise((done) => {
			const look = () => { if (document.querySelector(%q)?.textContent === %q) done(true); };
			new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
			look();
		})`, what, want)
	}
	says("#status", "live")
	down.Store(true)
	says("#status", "the server does not answer")
	// Another program is there, that has been there for long: all of it is shown, and nothing of the first.
	set(aged(Handler(newPool(t, opens(), pool.Config{Name: "after", MaxConnections: 20}))))
	down.Store(false)
	says("h2.name", "after")
	says("#status", "live")
	if got := eval[int](b, `document.querySelectorAll("details.pool").length`); got != 1 {
		t.Errorf("there are %d pools, want 1", got)
	}
	if got, want := eval[int](b, `pools[0].history.time.length`), keep-10; got < want {
		t.Errorf("there are %d snapshots, want %d at least", got, want)
	}
	if got := eval[[]int](b, `[...new Set(pools[0].history.max)]`); !slices.Equal(got, []int{20}) {
		t.Errorf("the limits in the history are %v, want those of the second program alone", got)
	}
}
