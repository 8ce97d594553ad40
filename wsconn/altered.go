package wsconn

import (
	"errors"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
)

// A transport of the program may send headers that the options of the dial do not have: a
// token of the user in ctx, for example. Those of the next Dial would be others, and nobody
// would know. So what net/http has sent is compared with what it was given, and a connection
// whose transport has added headers, or changed them, is for one Dial. [http.Transport] itself
// does neither. A transport that does without it, or drops the ctx of the request, is believed to
// send what it is given.

var errAltered = errors.New("wsconn: the transport of the HTTP client sends headers of its own, so its connections are for one Dial each")

// A sent is what net/http tells of the headers that it has sent with one request.
type sent struct {
	given http.Header // before the transport had the request
	host  string

	mu      sync.Mutex // guards headers: net/http tells in a goroutine of its own
	headers map[string][]string
}

// watchSent has trace tell what is sent with request. It returns nil if that need not be known.
func (u *upgrader) watchSent(request *http.Request, trace *httptrace.ClientTrace) *sent {
	if _, plain := u.transport.(*http.Transport); plain || !u.rules.views {
		return nil
	}
	s := &sent{given: request.Header.Clone(), host: request.Host, headers: map[string][]string{}}
	if s.host == "" {
		s.host = request.URL.Host
	}
	trace.WroteHeaderField = func(name string, values []string) {
		s.mu.Lock()
		s.headers[name] = values
		s.mu.Unlock()
	}
	return s
}

// altered reports whether the transport has added or changed a header that is not ignored.
func (s *sent) altered(ignored map[string]bool) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, values := range s.headers {
		canonical := http.CanonicalHeaderKey(name)
		given := s.given[name]
		switch {
		case ignored[canonical]:
			continue
		case canonical == "Host":
			given = []string{s.host}
		case given != nil:
		case canonical == "Accept-Encoding", canonical == "Connection", canonical == "Proxy-Authorization",
			canonical == "User-Agent" && strings.HasPrefix(values[0], "Go-http-client/"):
			continue // of net/http
		}
		if !slices.EqualFunc(values, given, func(a, b string) bool { return a == strings.TrimSpace(b) }) {
			return true
		}
	}
	return false
}
