package wsconn

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// A HandshakeError says that a server responded to a dial, but did not open a
// WebSocket. [errors.As] finds it in the error of [pool.Pool.Get].
type HandshakeError struct {
	// URL is the dialed URL, of which scheme and host only: the rest may hold a key.
	URL string
	// StatusCode and Status are the status of the response, such as 503 and
	// "503 Service Unavailable".
	StatusCode int
	Status     string
	// Header is the header of the response.
	Header http.Header
	// RetryAfter is the value of the Retry-After header as a duration, at most 24 hours,
	// or zero if there is none. The pool obeys it if the status is 429 or 503: the error
	// is then marked with [pool.RetryAfter].
	RetryAfter time.Duration
	// Body is the start of the response's body, at most 1024 bytes. Like Header, it is as
	// the server sent it.
	Body []byte
	// Err is the error of [websocket.Dial]. It shows scheme and host of URLs only.
	Err error

	requests []*url.URL // that were made
}

// newHandshakeError tells what response, the answer to a dial of address that
// failed with err, says. It reads the response's body, which websocket.Dial has
// bounded in length and time.
func newHandshakeError(address string, response *http.Response, err error, requests []*url.URL) *HandshakeError {
	now := time.Now()
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		now = date // by the server's clock, as the date that it names
	}
	e := &HandshakeError{
		URL:        redact(address),
		StatusCode: response.StatusCode,
		Status:     response.Status,
		Header:     response.Header,
		RetryAfter: retryAfter(response.Header.Get("Retry-After"), now),
		Err:        err,
		requests:   requests,
	}
	if response.Body != nil {
		e.Body, _ = io.ReadAll(response.Body)
	}
	return e
}

// bodyShown is how many bytes of a body an error's text holds.
const bodyShown = 128

func (e *HandshakeError) Error() string {
	s := fmt.Sprintf("wsconn: dial %s: status %s", e.URL, e.Status)
	if e.StatusCode == http.StatusSwitchingProtocols {
		s += ": " + e.Err.Error()
	}
	if e.RetryAfter > 0 {
		s += fmt.Sprintf(", retry after %v", e.RetryAfter)
	}
	// The whole of it, and then cut: a part of a URL would not be known as one.
	if body := redactText(string(e.Body), e.requests); len(body) > bodyShown {
		s += fmt.Sprintf(": %q...", body[:bodyShown])
	} else if len(body) > 0 {
		s += fmt.Sprintf(": %q", body)
	}
	return s
}

// Unwrap returns e.Err.
func (e *HandshakeError) Unwrap() error { return e.Err }

// maxRetryAfter bounds what a server can ask for. The pool has a bound of its own.
const maxRetryAfter = 24 * time.Hour

// retryAfter reads a Retry-After header: a number of seconds, or a date. It
// returns zero for anything else, and for a date that has passed.
func retryAfter(value string, now time.Time) time.Duration {
	seconds, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
	switch {
	case err == nil && seconds <= uint64(maxRetryAfter/time.Second):
		return time.Duration(seconds) * time.Second
	case err == nil, errors.Is(err, strconv.ErrRange):
		return maxRetryAfter
	}
	if date, err := http.ParseTime(value); err == nil {
		return min(max(0, date.Sub(now)), maxRetryAfter)
	}
	return 0
}
