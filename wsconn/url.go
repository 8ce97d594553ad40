package wsconn

import (
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// checkURL says what is wrong with raw as the address of a WebSocket server.
// Its error shows no more of raw than redact does.
func checkURL(raw string) error {
	if raw == "" {
		return errors.New("wsconn: URL is empty")
	}
	u, err := url.Parse(raw)
	if err != nil {
		if parse := (*url.Error)(nil); errors.As(err, &parse) {
			err = parse.Err
		}
		// What is quoted may be part of a password that was not escaped.
		return fmt.Errorf("wsconn: URL is malformed: %s", quoted.ReplaceAllString(err.Error(), `"..."`))
	}
	switch u.Scheme {
	case "ws", "wss", "http", "https":
	default:
		return fmt.Errorf("wsconn: URL %q has scheme %q; want ws, wss, http or https", redactURL(u), u.Scheme)
	}
	if u.Hostname() == "" {
		return fmt.Errorf("wsconn: URL %q names no host", redactURL(u))
	}
	if u.Fragment != "" {
		return fmt.Errorf("wsconn: URL %q has a fragment, which RFC 6455 forbids", redactURL(u))
	}
	return nil
}

// redact returns the scheme and the host of raw. User, path and query are where keys
// and tokens stand, and errors end up in logs.
func redact(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(malformed URL)"
	}
	return redactURL(u)
}

func redactURL(u *url.URL) string {
	if u.Host == "" && u.Scheme == "" {
		return "..."
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host}).String()
}

var (
	quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

	// address is a URL within a text.
	address = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>]*`)

	// location is how net/http quotes one that cannot be parsed.
	location = regexp.MustCompile(`(Location header|parse) "(?:[^"\\]|\\.)*"`)
)

// redactText returns text with nothing of a URL in it but scheme and host. requests are
// the URLs whose parts may stand alone in it.
func redactText(text string, requests []*url.URL) string {
	text = location.ReplaceAllString(text, `$1 "..."`)
	text = address.ReplaceAllStringFunc(text, func(found string) string {
		raw := strings.TrimRight(found, ",.;:)") // the sentence around it
		return redact(raw) + found[len(raw):]
	})
	for _, u := range requests {
		for _, secret := range []struct {
			part  string
			least int // a shorter one may be part of any word
		}{
			{u.RequestURI(), 2}, {u.EscapedPath(), 2}, {u.RawQuery, 4}, {u.User.String(), 4},
		} {
			if len(secret.part) >= secret.least {
				text = strings.ReplaceAll(text, secret.part, "...")
			}
		}
	}
	return text
}

// A redacted is an error of a dial. It tells nothing of a URL but scheme and host.
//
// It has no Unwrap: an error of net/http has the whole URL in its text, and a caller who
// logs each error of a chain would log it. errors.Is and errors.As find what is wrapped
// all the same.
type redacted struct {
	text     string
	err      error
	requests []*url.URL
}

// hideURLs returns err without what is secret in the URLs of requests.
func hideURLs(err error, requests []*url.URL) error {
	text := err.Error()
	for inner := err; ; {
		var e *url.Error
		if !errors.As(inner, &e) {
			break
		}
		// That of a redirect may be relative, and is not seen to be a URL then.
		text = strings.ReplaceAll(text, strconv.Quote(e.URL), strconv.Quote(redact(e.URL)))
		inner = e.Err
	}
	return &redacted{redactText(text, requests), err, requests}
}

func (r *redacted) Error() string        { return r.text }
func (r *redacted) Is(target error) bool { return errors.Is(r.err, target) }

// As makes a *url.Error, which shows the URL, one that does not. It is also what a caller
// finds who asks for a net.Error.
func (r *redacted) As(target any) bool {
	if !errors.As(r.err, target) {
		return false
	}
	found := reflect.ValueOf(target).Elem()
	if e, ok := found.Interface().(*url.Error); ok {
		found.Set(reflect.ValueOf(&url.Error{Op: e.Op, URL: redact(e.URL), Err: hideURLs(e.Err, r.requests)}))
	}
	return true
}
