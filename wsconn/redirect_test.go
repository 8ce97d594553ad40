package wsconn

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"go.uber.org/atomic"
)

// redirecting starts a server that redirects each request to what target returns.
func redirecting(t *testing.T, target func(r *http.Request) string) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, target(r), http.StatusTemporaryRedirect)
	}))
	t.Cleanup(server.Close)
	return server
}

var withKey = &websocket.DialOptions{HTTPHeader: http.Header{"X-Api-Key": {"secret"}}}

func TestRedirectWithinAServerIsFollowedWithTheHeadersOfTheDial(t *testing.T) {
	accept := acceptor(func(ctx context.Context, conn accepted) {
		conn.Write(ctx, websocket.MessageText, []byte(conn.request.Header.Get("X-Api-Key")))
		conn.Read(ctx)
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/old" {
			http.Redirect(w, r, "/new", http.StatusPermanentRedirect)
			return
		}
		accept.ServeHTTP(w, r)
	}))
	defer server.Close()
	conn := open(t, newFactory(t, server.URL+"/old", &Options{DialOptions: withKey}))
	if _, key, err := conn.Read(soon(t)); err != nil || string(key) != "secret" {
		t.Errorf("the server got the key %q, %v", key, err)
	}
}

// TestRedirectToAnotherHostDoesNotGetWhatTheDialHasOfItsOwn: neither a header, nor the
// query of the dialed URL.
func TestRedirectToAnotherHostDoesNotGetWhatTheDialHasOfItsOwn(t *testing.T) {
	requests := atomic.NewInt32(0)
	other := serve(t, func(ctx context.Context, conn accepted) {
		requests.Inc()
		if got := conn.request.Header; got.Get("Referer") != "" || got.Get("X-Api-Key") != "" {
			t.Errorf("the other host got the header %v", got)
		}
		echo(ctx, conn)
	})
	server := redirecting(t, func(*http.Request) string { return other })
	conn := open(t, newFactory(t, server.URL+"/?key=secret", nil))
	if got := ask(t, conn, "hello"); got != "hello" {
		t.Errorf("without headers of the dial: reply %q, want hello", got)
	}
	for name, dial := range map[string]*websocket.DialOptions{
		"header":      withKey,
		"subprotocol": {Subprotocols: []string{"api-key.secret"}},
	} {
		before := requests.Load()
		_, err := newFactory(t, server.URL, &Options{DialOptions: dial}).Open(soon(t))
		if want := "redirect to another host, " + strings.Replace(redact(other), "ws", "http", 1) + ", is not followed"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: Open returned %v, want %q in it", name, err, want)
		}
		if got := requests.Load() - before; got != 0 {
			t.Errorf("%s: the other host got %d requests", name, got)
		}
	}
}

func TestRedirectToPlaintextIsNotFollowed(t *testing.T) {
	plain := serve(t, func(context.Context, accepted) { t.Error("the server without TLS was dialed") })
	server := httptest.NewTLSServer(http.RedirectHandler(plain, http.StatusTemporaryRedirect))
	defer server.Close()
	factory := newFactory(t, server.URL, &Options{DialOptions: &websocket.DialOptions{HTTPClient: server.Client()}})
	if _, err := factory.Open(soon(t)); err == nil || !strings.Contains(err.Error(), "without TLS") {
		t.Errorf("Open returned %v", err)
	}
}

func TestRedirectsWithoutEndAreGivenUp(t *testing.T) {
	requests := atomic.NewInt32(0)
	server := redirecting(t, func(*http.Request) string { requests.Inc(); return "/again" })
	_, err := newFactory(t, server.URL, &Options{DialOptions: withKey}).Open(soon(t))
	if !errors.Is(err, errRedirects) {
		t.Errorf("Open returned %v", err)
	}
	if got := requests.Load(); got != maxRedirects {
		t.Errorf("%d requests were made, want %d", got, maxRedirects)
	}
}

func TestClientThatDecidesAboutRedirectsDecidesAlone(t *testing.T) {
	target := serve(t, echo)
	hops := 2 * maxRedirects
	server := redirecting(t, func(*http.Request) string {
		if hops--; hops < 0 {
			return target
		}
		return "/again"
	})
	refuse := false
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
		if refuse {
			return errTest
		}
		return nil
	}}
	dial := *withKey
	dial.HTTPClient = client
	factory := newFactory(t, server.URL, &Options{DialOptions: &dial})
	conn := open(t, factory)
	if got := ask(t, conn, "hello"); got != "hello" {
		t.Errorf("reply %q, want hello", got)
	}
	refuse = true
	if _, err := factory.Open(soon(t)); !errors.Is(err, errTest) {
		t.Errorf("Open returned %v, want the error of CheckRedirect", err)
	}
}

func TestSameHost(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"http://a/x", "http://a/y", true},
		{"http://a", "http://A:80", true},
		{"https://a", "https://a:443", true},
		{"http://a", "https://a", true}, // the usual way to TLS
		{"http://a", "http://b", false},
		{"https://a", "https://sub.a", false},
		{"https://a", "https://a:444", false},
		{"http://a:1", "https://a", false},
		{"http://127.0.0.1:1", "http://127.0.0.1:2", false},
	} {
		a, err := url.Parse(test.a)
		if err != nil {
			t.Fatal(err)
		}
		b, err := url.Parse(test.b)
		if err != nil {
			t.Fatal(err)
		}
		if got := sameHost(a, b); got != test.want {
			t.Errorf("sameHost(%s, %s) = %v, want %v", a, b, got, test.want)
		}
	}
}
