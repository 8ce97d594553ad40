package wsconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/atomic"
)

func TestOpenedConnectionCarriesMessages(t *testing.T) {
	plain := serve(t, echo)
	secure, client := serveTLS(t, echo)
	for name, test := range map[string]struct {
		url  string
		opts *Options
	}{
		"ws":    {plain, nil},
		"http":  {strings.Replace(plain, "ws", "http", 1), nil},
		"wss":   {secure, &Options{DialOptions: &websocket.DialOptions{HTTPClient: client}}},
		"https": {strings.Replace(secure, "wss", "https", 1), &Options{DialOptions: &websocket.DialOptions{HTTPClient: client}}},
	} {
		t.Run(name, func(t *testing.T) {
			conn := open(t, newFactory(t, test.url, test.opts))
			if got := ask(t, conn, "hello"); got != "hello" {
				t.Errorf("reply %q, want hello", got)
			}
			type message struct{ Text string }
			want := message{"in JSON"}
			if err := wsjson.Write(soon(t), conn.Conn, want); err != nil {
				t.Fatal(err)
			}
			var got message
			if err := wsjson.Read(soon(t), conn.Conn, &got); err != nil || got != want {
				t.Errorf("reply %v, error %v, want %v", got, err, want)
			}
			if got := conn.Response().StatusCode; got != http.StatusSwitchingProtocols {
				t.Errorf("Response().StatusCode = %d, want 101", got)
			}
		})
	}
}

func TestReadLimit(t *testing.T) {
	url := serve(t, echo)
	for _, test := range []struct {
		limit int64
		size  int
		ok    bool
	}{
		{0, 32768, true}, {0, 32769, false},
		{10, 10, true}, {10, 11, false},
		{100_000, 100_000, true}, {100_000, 100_001, false},
		{-1, 1 << 20, true}, {-7, 1 << 20, true},
	} {
		t.Run(fmt.Sprintf("limit=%d/size=%d", test.limit, test.size), func(t *testing.T) {
			conn := open(t, newFactory(t, url, &Options{ReadLimit: test.limit}))
			if err := conn.Write(soon(t), websocket.MessageBinary, make([]byte, test.size)); err != nil {
				t.Fatal(err)
			}
			_, message, err := conn.Read(soon(t))
			if test.ok && (err != nil || len(message) != test.size) {
				t.Errorf("read %d bytes, error %v, want %d", len(message), err, test.size)
			}
			if !test.ok && !errors.Is(err, websocket.ErrMessageTooBig) {
				t.Errorf("read %d bytes, error %v, want ErrMessageTooBig", len(message), err)
			}
		})
	}
}

func TestOnConnectPreparesTheConnection(t *testing.T) {
	url := serve(t, func(ctx context.Context, conn accepted) {
		if conn.Write(ctx, websocket.MessageText, []byte("who is there?")) != nil {
			return
		}
		echo(ctx, conn)
	})
	conn := open(t, newFactory(t, url, &Options{OnConnect: func(ctx context.Context, conn *Conn) error {
		_, greeting, err := conn.Read(ctx)
		if string(greeting) != "who is there?" {
			t.Errorf("greeting %q", greeting)
		}
		return err
	}}))
	if got := ask(t, conn, "hello"); got != "hello" {
		t.Errorf("reply %q, want hello: the context of the dial, or the greeting, reached into the lease", got)
	}
}

// TestWhatOnConnectExchangesIsNoneOfTheLease: neither its messages count, nor those that
// came beside its reply, nor what was answered to them.
func TestWhatOnConnectExchangesIsNoneOfTheLease(t *testing.T) {
	url := serve(t, func(ctx context.Context, conn accepted) {
		for _, message := range []string{"greeting", "event", "reply to login"} {
			conn.Write(ctx, websocket.MessageText, []byte(message))
		}
		for range 2 { // the login, and the answer to the greeting
			conn.Read(ctx)
		}
		echo(ctx, conn)
	})
	factory := newFactory(t, url, &Options{
		IsReply:            isReplyTo,
		OneReplyPerRequest: true,
		OnUnsolicited: func(_ *Conn, m Message) (*Message, error) {
			if string(m.Data) == "greeting" {
				return &m, nil
			}
			return nil, nil
		},
		OnConnect: func(ctx context.Context, conn *Conn) error {
			_, _, err := conn.Exchange(ctx, websocket.MessageText, []byte("login"))
			return err
		},
	})
	conn := open(t, factory)
	if got := ask(t, conn, "hello"); got != "hello" {
		t.Errorf("reply %q, want hello", got)
	}
	if err := factory.Clean(conn); err != nil {
		t.Errorf("Clean: %v", err)
	}
}

func TestOnConnectThatLeavesAReplyOwedFailsTheDial(t *testing.T) {
	factory := newFactory(t, serve(t, echo), &Options{OnConnect: func(_ context.Context, conn *Conn) error {
		conn.Begin()
		return nil
	}})
	if _, err := factory.Open(soon(t)); !errors.Is(err, errReplyOwed) {
		t.Errorf("Open returned %v", err)
	}
}

func TestFailedOnConnectFailsTheDialAndClosesTheConnection(t *testing.T) {
	refused := errors.New("no permission")
	for name, onConnect := range map[string]func(context.Context, *Conn) error{
		"error": func(context.Context, *Conn) error { return refused },
		"panic": func(context.Context, *Conn) error { panic(refused) },
		"silence": func(ctx context.Context, conn *Conn) error {
			if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > patience {
				t.Errorf("the context ends %v, %v, want within the HandshakeTimeout", deadline, ok)
			}
			ctx, cancel := context.WithDeadline(ctx, longAgo)
			defer cancel()
			_, _, err := conn.Read(ctx)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			closed := make(chan error, 1)
			url := serve(t, func(ctx context.Context, conn accepted) {
				_, _, err := conn.Read(ctx)
				closed <- err
			})
			factory := newFactory(t, url, &Options{OnConnect: onConnect, HandshakeTimeout: patience})
			conn, err := openRecovering(factory.Open)
			want := refused
			if name == "silence" {
				want = context.DeadlineExceeded
			}
			if conn != nil || !errors.Is(err, want) {
				t.Errorf("Open returned %v, %v; want an error that is %v", conn, err, want)
			}
			receive(t, closed, "end of the connection at the server")
		})
	}
}

// openRecovering calls open and returns the value of a panic as an error.
func openRecovering(open func(context.Context) (*Conn, error)) (conn *Conn, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = v.(error)
		}
	}()
	return open(context.Background())
}

func TestHandshakeErrorHoldsTheAnswer(t *testing.T) {
	long := strings.Repeat("x", 5000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/busy":
			w.Header().Set("Retry-After", "7")
			http.Error(w, "come back later", http.StatusServiceUnavailable)
		case "/later": // the server's clock is an hour ahead
			now := time.Now().Add(time.Hour)
			w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
			w.Header().Set("Retry-After", now.Add(time.Minute).UTC().Format(http.TimeFormat))
			w.WriteHeader(http.StatusTooManyRequests)
		case "/long":
			http.Error(w, long, http.StatusUnauthorized)
		case "/wrong":
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		}
	}))
	defer server.Close()
	base := "ws" + strings.TrimPrefix(server.URL, "http")

	dial := func(path string) *HandshakeError {
		t.Helper()
		_, err := newFactory(t, base+path, nil).Open(soon(t))
		var e *HandshakeError
		if !errors.As(err, &e) {
			t.Fatalf("%s: error %v is not a HandshakeError", path, err)
		}
		return e
	}

	busy := dial("/busy")
	if busy.StatusCode != 503 || busy.RetryAfter != 7*time.Second || string(busy.Body) != "come back later\n" {
		t.Errorf("status %d, retry after %v, body %q", busy.StatusCode, busy.RetryAfter, busy.Body)
	}
	want := fmt.Sprintf(`wsconn: dial %s: status 503 Service Unavailable, retry after 7s: "come back later\n"`, base)
	if diff := cmp.Diff(want, busy.Error()); diff != "" {
		t.Errorf("text (-want +got)\n%s", diff)
	}
	if got := busy.Header.Get("Retry-After"); got != "7" {
		t.Errorf("Header holds Retry-After %q", got)
	}
	if e := dial("/later"); e.StatusCode != 429 || e.RetryAfter != time.Minute {
		t.Errorf("status %d, retry after %v, want a minute by the server's clock", e.StatusCode, e.RetryAfter)
	}
	if e := dial("/long"); e.StatusCode != 401 || len(e.Body) != 1024 || len(e.Error()) > 400 {
		t.Errorf("status %d, %d bytes of body, text %q", e.StatusCode, len(e.Body), e.Error())
	}
	if e := dial("/wrong"); e.StatusCode != 101 || !strings.Contains(e.Error(), "Sec-WebSocket-Accept") {
		t.Errorf("status %d, text %q, want the violation of the protocol named", e.StatusCode, e.Error())
	}
}

// TestPoolObeysRetryAfter: of a server that has too much to do, and of no other.
func TestPoolObeysRetryAfter(t *testing.T) {
	for status, obeyed := range map[int]bool{429: true, 503: true, 401: false, 404: false} {
		requests := atomic.NewInt32(0)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests.Inc()
			w.Header().Set("Retry-After", "120")
			w.WriteHeader(status)
		}))
		defer server.Close()
		p := newPool(t, server.URL, nil, pool.Config{MaxConnections: 1, FailFastAfter: time.Nanosecond})
		var unavailable *pool.UnavailableError
		for range 2 {
			_, err := p.Get(soon(t))
			var e *HandshakeError
			if !errors.As(err, &e) || e.StatusCode != status {
				t.Fatalf("status %d: Get returned %v", status, err)
			}
			errors.As(err, &unavailable)
		}
		if got := unavailable != nil && !unavailable.RetryAt.IsZero(); got != obeyed {
			t.Errorf("status %d: after the second Get a pause is known: %v, want %v", status, got, obeyed)
		}
		if got := requests.Load(); obeyed && got != 1 {
			t.Errorf("status %d: the server was dialed %d times within the pause", status, got)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "120": 2 * time.Minute, " 7 ": 7 * time.Second, "-5": 0, "1.5": 0, "soon": 0,
		"86401": 24 * time.Hour, "99999999999999999999": 24 * time.Hour,
		"Wed, 04 Mar 2027 05:07:07 GMT": 24 * time.Hour,
		"Wed, 04 Mar 2026 05:07:07 GMT": time.Minute,
		"Wed, 04 Mar 2026 05:05:07 GMT": 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", value, got, want)
		}
	}
}

func TestHandshakeTimeoutEndsADialToASilentServer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	factory := newFactory(t, "ws://"+listener.Addr().String(), &Options{HandshakeTimeout: 50 * time.Millisecond})
	if _, err := factory.Open(soon(t)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want context.DeadlineExceeded", err)
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	factory := newFactory(t, "ws://"+listener.Addr().String(), &Options{HandshakeTimeout: -1})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := factory.Open(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}
