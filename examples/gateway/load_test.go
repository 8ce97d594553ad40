package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A load is 200 sessions on two accounts, the API of which is restarted, and whose keys are changed. The first account
// has a connection for each session, the second has not.
type load struct {
	time       time.Duration
	lifetime   time.Duration // of a connection
	longest    time.Duration // turn
	think      time.Duration // the longest pause between two turns of a session
	pace       time.Duration // the longest pause between two events
	restarts   time.Duration // between two
	rotations  time.Duration // between two
	continuing float64       // the least part of turns that go on where the last one was, on the first account; or 0
}

const sessions = 200

var limits = map[string]int{"first": 130, "second": 60}

// TestTurnsUnderLoad has real connections and real time. What it asserts does not depend on the speed of the machine.
// GATEWAY_LOAD is how long it takes, by default 6 s:
//
//	GATEWAY_LOAD=2m go test -v -run TestTurnsUnderLoad .
func TestTurnsUnderLoad(t *testing.T) {
	duration := 6 * time.Second
	if s := os.Getenv("GATEWAY_LOAD"); s != "" {
		var err error
		if duration, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	load{
		time: duration, lifetime: min(duration/4, 20*time.Second), longest: min(duration/10, 5*time.Second),
		think: min(duration/10, 3*time.Second), pace: 20 * time.Millisecond,
		restarts: duration * 2 / 5, rotations: duration / 4,
	}.run(t, new(loopback))
}

// TestTurnsUnderLoadInABubble has connections in memory, and time that stands still while anything is to be done. So it
// can assert what takes time on a slow machine.
func TestTurnsUnderLoadInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		load{
			time: 25 * time.Second, lifetime: 8 * time.Second, longest: 2 * time.Second, think: 4 * time.Second,
			pace: 100 * time.Millisecond, restarts: 11 * time.Second, rotations: 7 * time.Second, continuing: 0.95,
		}.run(t, new(pipes))
	})
}

// A world is a gateway under load.
type world struct {
	*testing.T
	load
	api    *API
	url    string
	client *http.Client

	inForce  [2]atomic.Int64 // the key that each account has for certain; for all turns that begin
	stops    atomic.Int64    // of the API, begun
	starts   atomic.Int64    // of the API, ended
	shutdown atomic.Bool     // of the gateway has begun

	turns, completed, cancelled, failed, interrupted atomic.Int64

	// By account: turns after a completed one whose connection is still open; and those that went on there.
	could, continued [2]atomic.Int64

	mu   sync.Mutex
	took map[string]time.Duration // how long each turn took, by its last item; 0 if it was cancelled, or stopped
}

func (l load) run(t *testing.T, n network) {
	log.SetOutput(io.Discard)
	slog.SetDefault(slog.New(slog.DiscardHandler))
	w := &world{T: t, load: l, took: map[string]time.Duration{}}
	w.api = &API{Lifetime: l.lifetime, Grace: time.Minute, Think: func() time.Duration {
		if rand.N(50) == 0 {
			return l.longest * 6 / 10 // and if there are two of these in a turn, it is over its time
		}
		return rand.N(l.pace)
	}}
	accounts := []Account{{Name: "first"}, {Name: "second"}}
	var newest [2]atomic.Int64
	connections := &gauge{open: map[string]map[*gauged]bool{}, peak: map[string]int{}, base: &http.Transport{DialContext: n.dial, DisableKeepAlives: true}}
	apiServer, apiURL := w.serve(n, w.api)
	for i := range accounts {
		a := &accounts[i]
		a.Limit, a.URL, a.Client = limits[a.Name], apiURL, &http.Client{Transport: connections}
		a.Key = func() string { return key(a.Name, newest[i].Load()) }
		w.api.Allow(a.Name, a.Limit, a.Key())
	}
	gateway, err := NewGateway(accounts, l.longest, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	server, url := w.serve(n, gateway)
	transport := &http.Transport{DialContext: n.dial, MaxIdleConnsPerHost: sessions}
	w.url, w.client = url, &http.Client{Transport: transport}

	var running sync.WaitGroup
	for i := range sessions {
		running.Go(func() { w.session(i) })
	}
	restart, rotate, over := time.NewTicker(l.restarts), time.NewTicker(l.rotations), time.NewTimer(l.time)
	rotations := 0
	for run := true; run; {
		select {
		case <-restart.C:
			w.stops.Add(1)
			w.api.Stop()
			time.Sleep(300 * time.Millisecond)
			w.api.Start()
			w.starts.Add(1)
		case <-rotate.C:
			i := rotations % 2
			rotations++
			old := accounts[i].Key()
			version := newest[i].Load() + 1
			w.api.Allow(accounts[i].Name, accounts[i].Limit, old, key(accounts[i].Name, version))
			newest[i].Store(version)
			gateway.Rotate(i)
			w.inForce[i].Store(version)
			w.api.Allow(accounts[i].Name, accounts[i].Limit, key(accounts[i].Name, version))
		case <-over.C:
			run = false
		}
	}
	restart.Stop()
	rotate.Stop()

	w.shutdown.Store(true)
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	running.Wait()
	stats := gateway.pools.Stats()
	if stats.ActiveConnections != 0 {
		t.Errorf("%d connections are leased after the last turn", stats.ActiveConnections)
	}
	if err := gateway.pools.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	transport.CloseIdleConnections()
	apiServer.Close()
	w.api.mu.Lock()
	defer w.api.mu.Unlock()
	connections.mu.Lock()
	defer connections.mu.Unlock()

	// A machine on which a close takes for more than ten seconds has been stopped: it proves nothing.
	stopped := gateway.pools.Stats().Abandoned != 0
	for name, limit := range limits {
		a := w.api.accounts[name]
		t.Logf("account %s: at most %d connections at a time, of %d", name, a.peak, limit)
		switch client := connections.peak[name]; {
		case stopped && l.continuing == 0:
		case client > limit:
			t.Errorf("account %s had %d connections at a time, over its limit of %d", name, client, limit)
		case a.peak > limit || a.refused != 0:
			t.Errorf("at the server, account %s had %d connections at a time, and %d were over its limit of %d", name, a.peak, a.refused, limit)
		case connections.count(name) != 0:
			t.Errorf("account %s has %d connections after Shutdown", name, connections.count(name))
		}
	}
	// What Lifetime has cut was leased for at least the longest turn. If it was less by the clock of whoever had it, from
	// before it was leased until after it was cut, the pool has lent it too late. A slow machine makes that longer only.
	late := 0
	for _, item := range w.api.cuts {
		if took := w.took[item]; took != 0 && took < l.longest {
			t.Errorf("turn %s was cut by the lifetime of its connection after %v: it was lent too late", item, took)
		} else if took != 0 {
			late++
		}
	}
	t.Logf("%d turns in %v: %d completed, %d cancelled, %d refused with 503, %d interrupted by restarts or for their time",
		w.turns.Load(), l.time, w.completed.Load(), w.cancelled.Load(), w.failed.Load(), w.interrupted.Load())
	if w.api.errors != 0 {
		t.Errorf("the API refused %d requests", w.api.errors)
	}
	for i := range accounts {
		could, continued := w.could[i].Load(), w.continued[i].Load()
		part := float64(continued) / float64(max(1, could))
		t.Logf("account %s: %d of %d turns went on where the last one was: %.1f %%", accounts[i].Name, continued, could, 100*part)
		if i == 0 && part < l.continuing {
			t.Errorf("only %.1f %% of turns went on", 100*part)
		}
	}
	t.Logf("%d rotations, %d restarts, %d connections opened, %d closed for their age; %d turns cut after their time",
		rotations, w.stops.Load(), stats.Opened, stats.ClosedLifetime, late)
	if l.continuing > 0 && len(w.api.cuts) != 0 {
		t.Errorf("cut by the lifetime of their connections, where no machine is slow: %v", w.api.cuts)
	}
}

func (w *world) serve(n network, h http.Handler) (*http.Server, string) {
	listener, err := n.listen()
	if err != nil {
		w.Fatal(err)
	}
	server := &http.Server{Handler: h, ErrorLog: log.New(os.Stderr, "", 0)}
	go server.Serve(listener)
	w.Cleanup(func() { server.Close() })
	return server, "http://" + listener.Addr().String()
}

// A complete is a turn that was completed.
type complete struct {
	id         string
	connection int
}

// session has one turn after the other until the gateway ends.
func (w *world) session(n int) {
	random := rand.New(rand.NewPCG(1, uint64(n)))
	var input []string
	var last complete // zero if the last turn was not completed
	time.Sleep(time.Duration(random.Int64N(int64(w.think))))
	for turn := 0; ; turn++ {
		input = append(input, fmt.Sprintf("session %d turn %d", n, turn))
		cancelAt := -1 // after how many events
		if random.IntN(8) == 0 {
			cancelAt = random.IntN(6)
		}
		response, ok := w.turn(fmt.Sprint("session ", n), input, last, cancelAt)
		if !ok {
			return
		}
		last = response
		time.Sleep(time.Duration(random.Int64N(int64(w.think))))
	}
}

// turn has one turn, and checks every event. It returns the turn if it was completed, and false if the gateway
// has ended.
func (w *world) turn(session string, input []string, last complete, cancelAt int) (complete, bool) {
	item := input[len(input)-1]
	inForce := [2]int64{w.inForce[0].Load(), w.inForce[1].Load()}
	stops, starts := w.stops.Load(), w.starts.Load()
	began := time.Now()
	ctx, cancel := context.WithCancel(w.Context())
	defer cancel()
	w.turns.Add(1)
	body, _ := json.Marshal(map[string]any{"session": session, "input": input})
	request, err := http.NewRequestWithContext(ctx, "POST", w.url, bytes.NewReader(body))
	if err != nil {
		w.Error(err)
		return complete{}, false
	}
	if cancelAt == 0 {
		defer time.AfterFunc(w.pace/2, cancel).Stop()
	}
	response, err := w.client.Do(request)
	if err != nil {
		if cancelAt == 0 {
			w.cancelled.Add(1)
			return complete{}, true
		}
		if took := time.Since(began); !w.shutdown.Load() && took < w.longest {
			w.Errorf("%s ended after %v: %v", item, took, err)
		}
		return complete{}, !w.shutdown.Load()
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		w.failed.Add(1)
		if w.continuing > 0 && w.stops.Load() == stops && stops == starts {
			w.Errorf("%s: %s, where no machine is slow and the API has not been stopped", item, response.Status)
		}
		return complete{}, true
	}
	this, end := w.events(response.Body, input, last, inForce, cancelAt, cancel)
	took := time.Since(began)
	stopped := w.stops.Load() != stops || stops != starts
	switch {
	case end == nil:
		w.completed.Add(1)
	case ctx.Err() != nil:
		w.cancelled.Add(1)
	default:
		w.interrupted.Add(1)
		if took < w.longest && !stopped {
			w.Errorf("%s was interrupted after %v: %v", item, took, end)
		}
	}
	if ctx.Err() == nil && !stopped {
		w.mu.Lock()
		w.took[item] = took
		w.mu.Unlock()
	}
	return this, true
}

// events reads the events of a response, and checks that they are those of this session and no other. It returns the
// turn, or why it ended before it was complete.
func (w *world) events(body io.Reader, input []string, last complete, inForce [2]int64, cancelAt int, cancel func()) (complete, error) {
	item := input[len(input)-1]
	want := answer(input)
	var this complete
	lines := bufio.NewScanner(body)
	for n := 1; lines.Scan(); {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var e Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			w.Errorf("%s: %q: %v", item, data, err)
		}
		switch {
		case e.Type == "error":
			return complete{}, errors.New(e.Code)
		case e.Type == "response.created" && this.id == "":
			this = complete{e.ID, e.Connection}
			w.began(item, e, last, inForce)
		case e.Type == "response.delta" && e.ID == this.id && len(want) > 0 && e.Delta == want[0]:
			want = want[1:]
		case e.Type == "response.completed" && e.ID == this.id && len(want) == 0:
			return this, nil
		default:
			w.Errorf("%s: event %s, of another turn, or out of order: %q are to come of %s", item, data, want, this.id)
		}
		if n == cancelAt {
			cancel()
		}
		n++
	}
	return complete{}, cmp.Or(lines.Err(), io.ErrUnexpectedEOF)
}

// began checks the first event of a turn.
func (w *world) began(item string, e Event, last complete, inForce [2]int64) {
	w.api.mu.Lock()
	opened, lastOpened := w.api.opened[e.Connection], w.api.opened[last.connection]
	_, lastOpen := w.api.conns[last.connection]
	w.api.mu.Unlock()
	account, version := parseKey(opened)
	if version < inForce[account] {
		w.Errorf("%s began on a connection opened with %s, where the key was version %d", item, opened, inForce[account])
	}
	if last.id == "" {
		return
	}
	account, _ = parseKey(lastOpened)
	switch {
	case e.Previous == last.id:
		w.could[account].Add(1)
		w.continued[account].Add(1)
	case e.Previous != "":
		w.Errorf("%s goes on with %s instead of %s", item, e.Previous, last.id)
	case lastOpen:
		w.could[account].Add(1)
	}
}

func key(account string, version int64) string { return fmt.Sprintf("%s-%d", account, version) }

// parseKey returns the index of the account, and the version.
func parseKey(key string) (account int, version int64) {
	name, number, _ := strings.Cut(key, "-")
	version, _ = strconv.ParseInt(number, 10, 64)
	return slices.Index([]string{"first", "second"}, name), version
}
