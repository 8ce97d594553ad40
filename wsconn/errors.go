package wsconn

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// A HandshakeError says that a server responded to a dial, but did not open a
// WebSocket. [errors.As] finds it in the error of [pool.Pool.Get].
type HandshakeError struct {
	// URL is the dialed URL, without its password.
	URL string
	// StatusCode and Status are the status of the response, such as 503 and
	// "503 Service Unavailable".
	StatusCode int
	Status     string
	// Header is the header of the response.
	Header http.Header
	// RetryAfter is the value of the Retry-After header as a duration, or zero if
	// there is none. The pool does not heed it yet.
	RetryAfter time.Duration
	// Body is the start of the response's body, at most 1024 bytes.
	Body []byte
	// Err is the error of [websocket.Dial].
	Err error
}

// newHandshakeError tells what response, the answer to a dial of url that
// failed with err, says. It reads the response's body, which websocket.Dial has
// bounded in length and time.
func newHandshakeError(url string, response *http.Response, err error) *HandshakeError {
	e := &HandshakeError{
		URL:        redact(url),
		StatusCode: response.StatusCode,
		Status:     response.Status,
		Header:     response.Header,
		RetryAfter: retryAfter(response.Header.Get("Retry-After"), time.Now()),
		Err:        err,
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
	if len(e.Body) > bodyShown {
		s += fmt.Sprintf(": %q...", e.Body[:bodyShown])
	} else if len(e.Body) > 0 {
		s += fmt.Sprintf(": %q", e.Body)
	}
	return s
}

// Unwrap returns e.Err.
func (e *HandshakeError) Unwrap() error { return e.Err }

// retryAfter reads a Retry-After header: a number of seconds, or a date. It
// returns zero for anything else, and for a date that has passed.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, date.Sub(now))
	}
	return 0
}
