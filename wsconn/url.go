package wsconn

import (
	"errors"
	"fmt"
	"net/url"
)

// checkURL says what is wrong with raw as the address of a WebSocket server.
// Its error does not show a password that raw may hold.
func checkURL(raw string) error {
	if raw == "" {
		return errors.New("wsconn: URL is empty")
	}
	u, err := url.Parse(raw)
	if err != nil {
		if parse := (*url.Error)(nil); errors.As(err, &parse) {
			err = parse.Err
		}
		return fmt.Errorf("wsconn: URL is malformed: %w", err)
	}
	switch u.Scheme {
	case "ws", "wss", "http", "https":
	default:
		return fmt.Errorf("wsconn: URL %q has scheme %q; want ws, wss, http or https", u.Redacted(), u.Scheme)
	}
	if u.Hostname() == "" {
		return fmt.Errorf("wsconn: URL %q names no host", u.Redacted())
	}
	if u.Fragment != "" {
		return fmt.Errorf("wsconn: URL %q has a fragment, which RFC 6455 forbids", u.Redacted())
	}
	return nil
}

// redact returns raw, a URL that has passed checkURL, without its password.
func redact(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(malformed URL)"
	}
	return u.Redacted()
}
