package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/wsconn"
	"github.com/coder/websocket"
)

// shown returns the figures on the live page: the size, and how many have been opened and are in use.
func (v *live) shown(t *testing.T) (size, opened, leases int) {
	t.Helper()
	r, err := http.Get(v.url + "stats.json")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var page struct {
		Pools []struct {
			Stats struct {
				MaxConnections int `json:"max"`
				Opened         int
			}
			Leases int `json:"lease_count"`
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&page); err != nil || len(page.Pools) != 1 {
		t.Fatalf("%v, %d pools", err, len(page.Pools))
	}
	p := page.Pools[0]
	return p.Stats.MaxConnections, p.Stats.Opened, p.Leases
}

func TestTheLivePageShowsThePoolOnceThereIsOne(t *testing.T) {
	v, err := showLive("127.0.0.1:0", 7)
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	v.shows(newDialing(options{}, newNetwork(nil, 0)))
	if size, opened, leases := v.shown(t); size != 7 || opened != 0 || leases != 0 {
		t.Errorf("before: %d connections at most, %d opened, %d leased; want 7, 0, 0", size, opened, leases)
	}
	p, err := pool.New(pool.Factory[*wsconn.Conn]{
		Open:  func(context.Context) (*wsconn.Conn, error) { return &wsconn.Conn{Conn: new(websocket.Conn)}, nil },
		Close: func(*wsconn.Conn, error) error { return nil },
	}, pool.Config{MaxConnections: 7})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	v.shows(&pooled{pool: p})
	l, err := p.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if size, opened, leases := v.shown(t); size != 7 || opened != 1 || leases != 1 {
		t.Errorf("%d connections at most, %d opened, %d leased; want 7, 1, 1", size, opened, leases)
	}
	p.Put(l)
}

// It has no access control.
func TestTheLivePageIsOnLocalhostUnlessAHostIsGiven(t *testing.T) {
	v, err := showLive(":0", 7)
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	u, err := url.Parse(v.url)
	if err != nil {
		t.Fatal(err)
	}
	if ip := net.ParseIP(u.Hostname()); !ip.IsLoopback() {
		t.Errorf("it is at %s, want an address of the loopback interface", v.url)
	}
}

func TestHTTPSaysWhereThePageIs(t *testing.T) {
	t.Parallel()
	_, stderr, status := runProgram(t, "-http", "127.0.0.1:0", "-ways", "pooled", "-clients", "2", "-duration", "200ms")
	if status != 0 || !strings.HasPrefix(stderr, "the pool, live: http://127.0.0.1:") {
		t.Errorf("status %d, %q", status, stderr)
	}
}

func TestHTTPThatIsTakenIsAnError(t *testing.T) {
	t.Parallel()
	v, err := showLive("127.0.0.1:0", 7)
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	taken := strings.TrimSuffix(strings.TrimPrefix(v.url, "http://"), "/")
	stdout, stderr, status := runProgram(t, "-http", taken, "-duration", "200ms")
	if status != exitFailed || stdout != "" || !strings.Contains(stderr, "poolbench: -http: ") || !strings.Contains(stderr, "in use") {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
}
