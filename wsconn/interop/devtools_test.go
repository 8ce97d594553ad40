package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/wsconn"
	"github.com/coder/websocket"
	"go.uber.org/atomic"
)

// chromium runs a browser, and returns the URL of its DevTools.
func chromium(t *testing.T) string {
	t.Helper()
	// Debian's chromium-headless-shell is a script, which ends without the browser.
	d := run(t, program(t, "chromium", "/usr/lib/chromium/chromium-headless-shell"), "--headless", "--no-sandbox", "--disable-gpu",
		"--disable-dev-shm-usage", "--remote-debugging-port=0", "--user-data-dir="+directory(t), "about:blank")
	const words = "DevTools listening on "
	line, err := d.says(1, words)
	if err != nil {
		t.Fatal(err)
	}
	_, url, _ := strings.Cut(line, words)
	return url
}

// A call is a request to DevTools, and an answer is what comes back: a reply has the id
// of its request, an event has none.
type (
	call struct {
		ID      int            `json:"id"`
		Method  string         `json:"method"`
		Params  map[string]any `json:"params,omitempty"`
		Session string         `json:"sessionId,omitempty"`
	}
	answer struct {
		ID     int
		Method string // of an event
		Error  *struct{ Message string }
		Params struct {
			Args []struct{ Value any } // of console.log
		}
		Result struct {
			TargetID, SessionID string
			Result              struct{ Value any } // of an evaluation
		}
	}
)

// A tab is a page of the browser that belongs to one connection.
type tab struct {
	target, session string
	calls           int
}

// isAnswer is Options.IsReply.
func isAnswer(request, message wsconn.Message) bool {
	var c call
	var a answer
	return json.Unmarshal(request.Data, &c) == nil && json.Unmarshal(message.Data, &a) == nil && a.ID == c.ID
}

// request calls a method of DevTools.
func request(ctx context.Context, conn *wsconn.Conn, session, method string, params map[string]any) (answer, error) {
	p := conn.Value.(*tab)
	p.calls++
	var a answer
	err := wsconn.ExchangeJSON(ctx, conn, call{p.calls, method, params, session}, &a)
	if err == nil && a.Error != nil {
		err = pool.Keep(fmt.Errorf("%s: %s", method, a.Error.Message))
	}
	return a, err
}

// evaluate returns the value of a JavaScript expression in the tab of conn.
func evaluate(ctx context.Context, conn *wsconn.Conn, expression string) (any, error) {
	a, err := request(ctx, conn, conn.Value.(*tab).session, "Runtime.evaluate",
		map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true})
	return a.Result.Result.Value, err
}

// openTab is Options.OnConnect: each connection has a tab of its own.
func openTab(ctx context.Context, conn *wsconn.Conn) error {
	p := &tab{}
	conn.Value = p
	a, err := request(ctx, conn, "", "Target.createTarget", map[string]any{"url": "about:blank"})
	if err != nil {
		return err
	}
	p.target = a.Result.TargetID
	if a, err = request(ctx, conn, "", "Target.attachToTarget", map[string]any{"targetId": p.target, "flatten": true}); err != nil {
		return err
	}
	p.session = a.Result.SessionID
	_, err = request(ctx, conn, p.session, "Runtime.enable", nil)
	return err
}

var errTabGone = errors.New("the tab has gone")

// tabEvent is Options.OnUnsolicited: it gives log what the page says, and ends a
// connection whose page has gone, because no request in it is ever answered.
func tabEvent(log func(value any)) func(*wsconn.Conn, wsconn.Message) (*wsconn.Message, error) {
	return func(_ *wsconn.Conn, m wsconn.Message) (*wsconn.Message, error) {
		var event answer
		if err := json.Unmarshal(m.Data, &event); err != nil {
			return nil, err
		}
		switch event.Method {
		case "Runtime.consoleAPICalled":
			log(event.Params.Args[0].Value)
		case "Inspector.targetCrashed", "Target.detachedFromTarget":
			return nil, fmt.Errorf("%w: %s", errTabGone, event.Method)
		}
		return nil, nil
	}
}

// tabs returns a pool of connections to a browser, each with its own tab. cause gets why
// a connection was closed.
func tabs(t *testing.T, url string, n int, mode websocket.CompressionMode, log func(value any)) (p *pool.Pool[*wsconn.Conn], causes <-chan error) {
	t.Helper()
	closed := make(chan error, 100)
	p = newPool(t, url, &wsconn.Options{
		DialOptions:   &websocket.DialOptions{CompressionMode: mode},
		ReadLimit:     1 << 20,
		OnConnect:     openTab,
		IsReply:       isAnswer,
		OnUnsolicited: tabEvent(log),
		OnClose:       func(_ *wsconn.Conn, cause error) { closed <- cause },
		// A page may start slowly.
		HandshakeTimeout: patience,
	}, pool.Config{MaxConnections: n, MaxIdleTime: -1, MaxWaitTime: patience, OpenTimeout: patience, CheckInterval: checkInterval})
	return p, closed
}

// TestDevToolsRepliesAreToldFromEvents: each request has the page say three things before
// its reply and one after it, which comes when the connection is idle, or in the next
// lease. Every reply is that of its request, and no event is lost.
func TestDevToolsRepliesAreToldFromEvents(t *testing.T) {
	for name, mode := range map[string]websocket.CompressionMode{
		"plain": websocket.CompressionDisabled, "compressed": websocket.CompressionContextTakeover,
	} {
		t.Run(name, func(t *testing.T) {
			const callers, requests, events = 8, 20, 4
			var said atomic.Int64
			all := make(chan struct{})
			p, causes := tabs(t, chromium(t), 3, mode, func(any) {
				if said.Inc() == callers*requests*events {
					close(all)
				}
			})
			errs := make(chan error, callers)
			var group sync.WaitGroup
			for i := range callers {
				group.Go(func() {
					for k := range requests {
						want := fmt.Sprint(i, "-", k, strings.Repeat(".", 1000*k)) // the last over 16 kB
						err := p.Do(soon(t), func(ctx context.Context, conn *wsconn.Conn) error {
							got, err := evaluate(ctx, conn, `setTimeout(() => console.log("after")); for (let i = 0; i < 3; i++) console.log("before"); "`+want+`"`)
							if err == nil && got != want {
								err = fmt.Errorf("the reply %v is not that of %v", got, want)
							}
							return err
						})
						if err != nil {
							errs <- err
							return
						}
					}
				})
			}
			group.Wait()
			close(errs)
			for err := range errs {
				t.Error(err)
			}
			if t.Failed() {
				return
			}
			select {
			case <-all:
			case cause := <-causes:
				t.Errorf("a connection was closed: %v", cause)
			case <-soon(t).Done():
				t.Errorf("%d of %d events have come", said.Load(), callers*requests*events)
			}
			if opened := p.Stats().Opened; opened > 3 {
				t.Errorf("%d connections were opened for 3", opened)
			}
		})
	}
}

// TestDevToolsReplyThatNobodyWaitsForIsNotReadByTheNext: the caller gives up while the
// page works.
func TestDevToolsReplyThatNobodyWaitsForIsNotReadByTheNext(t *testing.T) {
	begun := make(chan any, 1)
	p, causes := tabs(t, chromium(t), 1, websocket.CompressionDisabled, func(value any) { begun <- value })
	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	go func() {
		<-begun
		cancel()
	}()
	err := p.Do(ctx, func(ctx context.Context, conn *wsconn.Conn) error {
		_, err := evaluate(ctx, conn, `console.log("begun"); new Promise(resolve => setTimeout(() => resolve("late"), 100))`)
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the error of a request given up is %v", err)
	}
	if cause := closeCause(t, causes); !errors.Is(cause, context.Canceled) {
		t.Errorf("closed because of %v", cause)
	}
	err = p.Do(soon(t), func(ctx context.Context, conn *wsconn.Conn) error {
		got, err := evaluate(ctx, conn, `"next"`)
		if err == nil && got != "next" {
			t.Errorf("the next reply is %v", got)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestDevToolsDoesNotAnswerRequestsOfAPageThatHasGone pins the row of the documentation,
// and its remedy: an event ends the exchange, and an idle connection.
func TestDevToolsDoesNotAnswerRequestsOfAPageThatHasGone(t *testing.T) {
	url := chromium(t)
	p, causes := tabs(t, url, 1, websocket.CompressionDisabled, func(any) {})
	in := func(f func(ctx context.Context, conn *wsconn.Conn, tab *tab) error) error {
		return p.Do(soon(t), func(ctx context.Context, conn *wsconn.Conn) error { return f(ctx, conn, conn.Value.(*tab)) })
	}
	err := in(func(ctx context.Context, conn *wsconn.Conn, tab *tab) error {
		_, err := request(ctx, conn, tab.session, "Page.crash", nil)
		return err
	})
	if !errors.Is(err, errTabGone) {
		t.Errorf("the error of a request whose page has crashed is %v", err)
	}
	if cause := closeCause(t, causes); !errors.Is(cause, errTabGone) {
		t.Errorf("closed because of %v", cause)
	}

	// The connection would go on, and the reply never come.
	err = in(func(ctx context.Context, conn *wsconn.Conn, tab *tab) error {
		if err := conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"id":1000,"method":"Page.crash","sessionId":%q}`, tab.session)); err != nil {
			return err
		}
		for asked := false; ; {
			_, b, err := conn.Read(ctx)
			if err != nil {
				return err
			}
			var a answer
			if err := json.Unmarshal(b, &a); err != nil {
				return err
			}
			switch {
			case a.Method == "Inspector.targetCrashed" && !asked:
				asked = true
				if err := conn.Write(ctx, websocket.MessageText, []byte(`{"id":1001,"method":"Browser.getVersion"}`)); err != nil {
					return err
				}
			case a.ID == 1000:
				return errors.New("CHANGED: DevTools has answered")
			case a.ID == 1001:
				return nil
			}
		}
	})
	if err != nil {
		t.Error(err)
	}
	p.Reset()
	closeCause(t, causes)

	// While the connection is idle, another closes its page.
	var target string
	err = in(func(_ context.Context, _ *wsconn.Conn, tab *tab) error {
		target = tab.target
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	other, _ := tabs(t, url, 1, websocket.CompressionDisabled, func(any) {})
	err = other.Do(soon(t), func(ctx context.Context, conn *wsconn.Conn) error {
		_, err := request(ctx, conn, "", "Target.closeTarget", map[string]any{"targetId": target})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if cause := closeCause(t, causes); !errors.Is(cause, errTabGone) {
		t.Errorf("the idle connection was closed because of %v", cause)
	}
}

// TestDevToolsDropsAConnectionForABinaryMessage pins the row of the documentation.
func TestDevToolsDropsAConnectionForABinaryMessage(t *testing.T) {
	p, causes := tabs(t, chromium(t), 1, websocket.CompressionDisabled, func(any) {})
	err := p.Do(soon(t), func(ctx context.Context, conn *wsconn.Conn) error {
		_, _, err := conn.Exchange(ctx, websocket.MessageBinary, []byte(`{"id":1000,"method":"Browser.getVersion"}`))
		return err
	})
	if err == nil || websocket.CloseStatus(err) != -1 {
		t.Errorf("the error is %v", err)
	}
	if cause := closeCause(t, causes); cause == nil || websocket.CloseStatus(cause) != -1 {
		t.Errorf("closed because of %v", cause)
	}
}
