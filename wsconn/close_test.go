package wsconn

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

var errTest = errors.New("a reason to close")

// patient returns options with client, under which only a Close that hangs meets a
// limit.
func patient(client *http.Client) *Options {
	return &Options{
		DialOptions:  &websocket.DialOptions{HTTPClient: client},
		CloseTimeout: patience,
		abandonAfter: patience,
	}
}

func TestCloseWithoutCauseSaysGoodbye(t *testing.T) {
	ends := make(chan error, 1)
	url := serve(t, func(ctx context.Context, conn accepted) {
		_, _, err := conn.Read(ctx)
		ends <- err
	})
	factory := newFactory(t, url, patient(nil))
	if err := factory.Close(open(t, factory), nil); err != nil {
		t.Errorf("Close returned %v", err)
	}
	if err := receive(t, ends, "end at the server"); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("the server saw %v, want status 1000", err)
	}
}

func TestCloseWithCauseCutsTheConnection(t *testing.T) {
	ends := make(chan error, 1)
	url := serve(t, func(ctx context.Context, conn accepted) {
		_, _, err := conn.Read(ctx)
		ends <- err
	})
	factory := newFactory(t, url, patient(nil))
	if err := factory.Close(open(t, factory), errTest); err != nil {
		t.Errorf("Close returned %v", err)
	}
	if err := receive(t, ends, "end at the server"); err == nil || websocket.CloseStatus(err) != -1 {
		t.Errorf("the server saw %v, want no closing handshake", err)
	}
}

func TestCloseIsBoundedWhenThePeerDoesNotAnswer(t *testing.T) {
	over := make(chan struct{})
	defer close(over)
	silent := func(context.Context, accepted) { <-over }
	plain := serve(t, silent)
	secure, client := serveTLS(t, silent)
	for name, test := range map[string]struct{ url string }{"ws": {plain}, "wss": {secure}} {
		t.Run(name, func(t *testing.T) {
			opts := patient(client)
			opts.CloseTimeout = 50 * time.Millisecond
			factory := newFactory(t, test.url, opts)
			conn := open(t, factory)
			start := time.Now()
			err := factory.Close(conn, nil)
			if took := time.Since(start); took < 50*time.Millisecond {
				t.Errorf("Close took %v, want at least 50ms", took)
			}
			if err == nil || !strings.Contains(err.Error(), "closing handshake within 50ms") {
				t.Errorf("Close returned %v", err)
			}
		})
	}
}

// TestCloseWithCauseDoesNotWaitForAPeerThatDoesNotRead guards abort: the Close
// of a tls.Conn writes an alert first, and waits for room to write it.
func TestCloseWithCauseDoesNotWaitForAPeerThatDoesNotRead(t *testing.T) {
	url, trusting := serveTLS(t, echo)
	client, probes := probed(trusting, nil)
	factory := newFactory(t, url, patient(client))
	conn := open(t, factory)
	receive(t, probes, "dial").stuck.Store(true)
	closed := make(chan error, 1)
	go func() { closed <- factory.Close(conn, errTest) }()
	if err := receive(t, closed, "end of Close"); err != nil {
		t.Errorf("Close returned %v", err)
	}
}

func TestCloseEndsAReadInProgress(t *testing.T) {
	client, probes := probed(nil, nil)
	factory := newFactory(t, serve(t, echo), patient(client))
	for name, cause := range map[string]error{"healthy": nil, "cause": errTest} {
		t.Run(name, func(t *testing.T) {
			conn := open(t, factory)
			ends := startReading(t, conn, receive(t, probes, "dial"))
			if err := factory.Close(conn, cause); err != nil {
				t.Errorf("Close returned %v", err)
			}
			if err := receive(t, ends, "end of the Read"); err == nil {
				t.Error("the Read returned no error")
			}
		})
	}
}

func TestCloseOfAClosedConnectionIsNoError(t *testing.T) {
	factory := newFactory(t, serve(t, echo), patient(nil))
	for name, cause := range map[string]error{"healthy": nil, "cause": errTest} {
		conn := open(t, factory)
		conn.CloseNow()
		if err := factory.Close(conn, cause); err != nil {
			t.Errorf("%s: Close returned %v", name, err)
		}
	}
}

func TestCloseIsBoundedOnATransportWhoseCloseEndsNoRead(t *testing.T) {
	for name, cause := range map[string]error{"healthy": nil, "cause": errTest} {
		t.Run(name, func(t *testing.T) {
			deaf := make(chan struct{})
			client, probes := probed(nil, deaf)
			over := make(chan struct{})
			factory := newFactory(t, serve(t, func(context.Context, accepted) { <-over }), &Options{
				DialOptions:  &websocket.DialOptions{HTTPClient: client},
				CloseTimeout: 10 * time.Millisecond,
				abandonAfter: 10 * time.Millisecond,
			})
			conn := open(t, factory)
			ends := startReading(t, conn, receive(t, probes, "dial"))
			closed := make(chan error, 1)
			go func() { closed <- factory.Close(conn, cause) }()
			if err := receive(t, closed, "end of Close"); err == nil || !strings.Contains(err.Error(), "did not end") {
				t.Errorf("Close returned %v", err)
			}
			close(deaf)
			close(over)
			receive(t, ends, "end of the Read")
		})
	}
}
