package wsconn

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
)

type userOf struct{}

// A changing transport does something to each request, and hands it on.
type changing struct {
	change func(*http.Request) *http.Request
}

func (c *changing) RoundTrip(r *http.Request) (*http.Response, error) {
	return http.DefaultTransport.RoundTrip(c.change(r))
}

// What a transport sends may depend on the ctx of the dial: the user in it, for example.
func TestDialsWhoseTransportSendsHeadersOfItsOwnShareNothing(t *testing.T) {
	setting := func(name string) func(*http.Request) *http.Request {
		return func(r *http.Request) *http.Request {
			r = r.Clone(r.Context())
			r.Header.Set(name, fmt.Sprint(r.Context().Value(userOf{})))
			return r
		}
	}
	for name, test := range map[string]struct {
		change func(*http.Request) *http.Request
		opts   websocket.DialOptions
		shared bool
	}{
		"a token of the user": {setting("Authorization"), websocket.DialOptions{}, false},
		"another than in the options": {setting("Authorization"),
			websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"nobody"}}}, false},
		"in place": {func(r *http.Request) *http.Request {
			r.Header.Set("Authorization", fmt.Sprint(r.Context().Value(userOf{})))
			return r
		}, websocket.DialOptions{}, false},
		"one more value": {func(r *http.Request) *http.Request {
			r = r.Clone(r.Context())
			r.Header.Add("Tenant", fmt.Sprint(r.Context().Value(userOf{})))
			return r
		}, websocket.DialOptions{HTTPHeader: http.Header{"Tenant": {"a"}}}, false},
		"Host": {func(r *http.Request) *http.Request {
			r = r.Clone(r.Context())
			r.Host = fmt.Sprint(r.Context().Value(userOf{}))
			return r
		}, websocket.DialOptions{}, false},
		"User-Agent":          {setting("User-Agent"), websocket.DialOptions{}, false},
		"one that is ignored": {setting("traceparent"), websocket.DialOptions{}, true},
		"nothing": {func(r *http.Request) *http.Request { return r.Clone(r.Context()) }, websocket.DialOptions{
			Host: "other.example", HTTPHeader: http.Header{"Authorization": {" Bearer 1 "}, "tenant": {"a", "b"}, "User-Agent": {"mine"}},
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			var handshakes atomic.Int32
			var last atomic.Pointer[string]
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				handshakes.Add(1)
				who := r.Header.Get("Authorization") + r.Header.Get("Tenant") + r.Host + r.UserAgent()
				last.Store(&who)
				acceptor(echo).ServeHTTP(w, r)
			}))
			t.Cleanup(server.Close)
			url := "ws" + strings.TrimPrefix(server.URL, "http")
			d := newDialer(t, nil)
			d.IgnoreHeaders = []string{"Traceparent"}
			o := test.opts
			o.HTTPClient = &http.Client{Transport: &changing{test.change}}
			for _, user := range []string{"alice", "bob", "alice"} {
				conn, _, err := d.Dial(context.WithValue(soon(t), userOf{}, user), url, &o)
				if err != nil {
					t.Fatal(err)
				}
				askOn(t, conn, user)
				closeOK(t, conn)
			}
			if got, want := handshakes.Load(), map[bool]int32{true: 1, false: 3}[test.shared]; got != want {
				t.Errorf("%d handshakes in three Dials, want %d; the server was told %q", got, want, *last.Load())
			}
		})
	}
}

// What is opened for MinIdle has no user.
func TestMinIdleOpensNothingWithATransportThatSendsHeadersOfItsOwn(t *testing.T) {
	url := serve(t, echo)
	d := newDialer(t, nil)
	client := &http.Client{Transport: &changing{func(r *http.Request) *http.Request {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "of somebody")
		return r
	}}}
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	o := &websocket.DialOptions{HTTPClient: client}
	key, _ := keyOf(url, o, nil)
	if conn, err := d.pools.open(soon(t), key, o); conn != nil || err != errAltered {
		t.Errorf("it opened %v, %v; want that the transport sends headers of its own", conn, err)
	}
}
