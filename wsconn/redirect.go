package wsconn

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/coder/websocket"
)

// maxRedirects is how many redirects are followed, with the first request: as many as
// net/http follows by default. websocket.Dial alone would follow them for ever.
const maxRedirects = 10

// redirects returns what decides about the redirects of a dial whose client does not
// decide. What the caller sends to authenticate goes to no other host, and not in
// plaintext: net/http would strip only the headers that it knows.
func redirects(o *websocket.DialOptions) func(*http.Request, []*http.Request) error {
	// Some servers take a key as a subprotocol.
	private := len(o.HTTPHeader) > 0 || len(o.Subprotocols) > 0
	return func(next *http.Request, via []*http.Request) error {
		first, last := via[0].URL, via[len(via)-1].URL
		switch {
		case len(via) >= maxRedirects:
			return errRedirects
		case last.Scheme == "https" && next.URL.Scheme != "https":
			return fmt.Errorf("wsconn: redirect to %s, without TLS, is not followed", redactURL(next.URL))
		case sameHost(first, next.URL):
			return nil
		case private:
			return fmt.Errorf("wsconn: redirect to another host, %s, is not followed with the headers of the dial", redactURL(next.URL))
		}
		next.Header.Del("Referer") // the URL that was dialed, with its query
		return nil
	}
}

var errRedirects = errors.New("wsconn: stopped after 10 redirects")

// sameHost reports whether two URLs lead to the same server: to the same port, or from
// the port of http to that of https.
func sameHost(a, b *url.URL) bool {
	if !strings.EqualFold(a.Hostname(), b.Hostname()) {
		return false
	}
	return port(a) == port(b) || port(a) == "80" && port(b) == "443"
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}
