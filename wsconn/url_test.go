package wsconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/coder/websocket"
)

// secrets are parts of the URLs in these tests.
var secrets = []string{"pass", "/path-k", "query-key", "other-path", "other-key"}

// reveals returns the secrets that err shows, itself or an error that can be got from it.
func reveals(err error) (found []string) {
	var texts []string
	for e := err; e != nil; e = errors.Unwrap(e) {
		texts = append(texts, e.Error(), fmt.Sprintf("%+v %#v", e.Error(), e.Error()))
	}
	var asURL *url.Error
	if errors.As(err, &asURL) {
		texts = append(texts, asURL.Error(), asURL.URL, asURL.Err.Error())
	}
	var asNet net.Error
	if errors.As(err, &asNet) {
		texts = append(texts, asNet.Error())
	}
	var asHandshake *HandshakeError
	if errors.As(err, &asHandshake) {
		texts = append(texts, asHandshake.Error(), asHandshake.URL, asHandshake.Err.Error())
	}
	all := strings.Join(texts, "\n")
	for _, secret := range secrets {
		if strings.Contains(all, secret) {
			found = append(found, secret+" in "+all)
		}
	}
	return found
}

const (
	secretPart = "/path-key?token=query-key"
	otherPart  = "/other-path?token=other-key" // of a URL that was not dialed
)

// TestErrorsShowSchemeAndHostOnly: whatever a dial fails of.
func TestErrorsShowSchemeAndHostOnly(t *testing.T) {
	handler := func(f http.HandlerFunc) string {
		server := httptest.NewServer(f)
		t.Cleanup(server.Close)
		return strings.TrimPrefix(server.URL, "http://")
	}
	redirect := func(location string) string {
		return handler(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", location)
			w.WriteHeader(http.StatusFound)
		})
	}
	plain := httptest.NewServer(nil)
	defer plain.Close()
	secure := httptest.NewUnstartedServer(http.RedirectHandler(plain.URL+secretPart, http.StatusFound))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // a client does not trust it
	secure.StartTLS()
	defer secure.Close()
	for name, test := range map[string]struct {
		host   string // a server's, or a whole URL
		opts   *Options
		says   string // in the text
		status int
	}{
		"nobody there":           {host: "127.0.0.1:1", says: "wsconn: dial ws://127.0.0.1:1: "},
		"an answer":              {host: handler(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403) }), says: "403", status: 403},
		"an answer with the URL": {host: handler(func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no "+r.RequestURI, 404) }), says: `"no ...\n"`, status: 404},
		"a URL, cut in the text": {host: handler(func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, strings.Repeat("x", bodyShown-len(" /path-k"))+" "+r.RequestURI, 404)
		}), says: "404", status: 404},
		"an answer with a URL":  {host: handler(func(w http.ResponseWriter, r *http.Request) { http.Error(w, "see https://host"+otherPart, 404) }), says: `"see https://host\n"`, status: 404},
		"redirects without end": {host: redirect(secretPart), says: errRedirects.Error()},
		"redirects, each to another place": {host: handler(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, fmt.Sprint(otherPart, time.Now().UnixNano()), http.StatusFound)
		}), says: errRedirects.Error()},
		"redirect to no path": {host: redirect("/other-path/%zz?token=other-key"), says: "Location header"},
		"redirect to nowhere": {host: redirect("http://127.0.0.1:1" + secretPart), says: "127.0.0.1:1"},
		"redirect to no URL":  {host: redirect("http://[" + secretPart), says: "Location header"},
		"redirect to no port": {host: redirect("http://user:pass@a:b" + secretPart), says: "Location header"},
		"redirect to plaintext": {host: "wss" + strings.TrimPrefix(secure.URL, "https") + secretPart,
			opts: &Options{DialOptions: &websocket.DialOptions{HTTPClient: secure.Client()}}, says: "without TLS"},
		"no certificate": {host: "wss" + strings.TrimPrefix(secure.URL, "https") + secretPart, says: "certificate"},
		"client's limit": {host: handler(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
			opts: &Options{DialOptions: &websocket.DialOptions{HTTPClient: &http.Client{Timeout: time.Millisecond}}}, says: "deadline"},
		"Endpoint's URL": {opts: &Options{Endpoint: func(context.Context) (string, *websocket.DialOptions, error) {
			return "ws://user:pass@127.0.0.1:1" + secretPart, nil, nil
		}}, says: "wsconn: dial ws://127.0.0.1:1: "},
		"bad URL of Endpoint": {opts: &Options{Endpoint: func(context.Context) (string, *websocket.DialOptions, error) {
			return "ws://user:pass/path-key@127.0.0.1:1" + secretPart, nil, nil
		}}, says: "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			address := test.host
			if address != "" && !strings.Contains(address, "://") {
				address = "ws://user:pass@" + address + secretPart
			}
			_, err := newFactory(t, address, test.opts).Open(soon(t))
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("Open returned %v, want %q in it", err, test.says)
			}
			for _, secret := range reveals(err) {
				t.Errorf("the error shows %s", secret)
			}
			var h *HandshakeError
			if got := errors.As(err, &h); got != (test.status != 0) || got && h.StatusCode != test.status {
				t.Errorf("Open returned the HandshakeError %v", h)
			}
		})
	}
}

// TestErrorOfADialKeepsItsCauses: what the text hides can be told from it all the same.
func TestErrorOfADialKeepsItsCauses(t *testing.T) {
	_, err := newFactory(t, "ws://user:pass@127.0.0.1:1"+secretPart, nil).Open(soon(t))
	var op *net.OpError
	var timeout net.Error
	var asURL *url.Error
	if !errors.As(err, &op) || !errors.As(err, &timeout) || timeout.Timeout() || !errors.As(err, &asURL) || asURL.URL != "http://127.0.0.1:1" {
		t.Errorf("Open returned %v, a *net.OpError %v, a *url.Error %v", err, op, asURL)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := newFactory(t, "ws://127.0.0.1:1", nil).Open(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("with a ctx that has ended Open returned %v", err)
	}
}

// TestLogShowsSchemeAndHostOnly: of a pool that cannot dial.
func TestLogShowsSchemeAndHostOnly(t *testing.T) {
	var written strings.Builder
	p := newPool(t, "ws://user:pass@127.0.0.1:1"+secretPart, nil, pool.Config{
		Logger: slog.New(slog.NewTextHandler(&written, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	_, err := p.Get(soon(t))
	p.Close()
	if err == nil || written.Len() == 0 {
		t.Errorf("Get returned %v, and the log says %q", err, written.String())
	}
	for _, secret := range append(reveals(err), reveals(errors.New(written.String()))...) {
		t.Errorf("seen: %s", secret)
	}
}

func TestBadURLShowsNoSecret(t *testing.T) {
	for _, url := range []string{
		"ftp://user:pass@localhost/path-key", "ws://user:pass@localhost:port/path-key", "ws://user:pass@/path-key",
		"ws://user:pass/word@localhost", "ws://user:pa ss@localhost/%zz", "ws://user:pass@localhost/path-key?token=query-key#x",
	} {
		_, err := NewFactory(url, nil)
		if err == nil {
			t.Errorf("%s: no error", url)
		}
		for _, secret := range reveals(err) {
			t.Errorf("%s: the error shows %s", url, secret)
		}
	}
}
