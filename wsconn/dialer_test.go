package wsconn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/google/go-cmp/cmp"
)

// newDialer returns a Dialer that is closed when the test ends. Without options it is for
// a server of one reply for each request.
func newDialer(t testing.TB, o *Options) *Dialer {
	t.Helper()
	if o == nil {
		o = &Options{OneReplyPerRequest: true}
	}
	d := &Dialer{Options: o, Config: undisturbed}
	t.Cleanup(func() { d.Close() })
	return d
}

// undisturbed has what is idle stay idle until it is asked for: while the pool checks a
// connection, a Dial opens another one.
var undisturbed = pool.Config{CheckInterval: -1, MaxIdleTime: -1}

// A dialFunc is websocket.Dial, or what takes its place.
type dialFunc = func(context.Context, string, *websocket.DialOptions) (*websocket.Conn, *http.Response, error)

func dialOK(t testing.TB, dial dialFunc, url string, o *websocket.DialOptions) *websocket.Conn {
	t.Helper()
	conn, _, err := dial(soon(t), url, o)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func askOn(t testing.TB, conn *websocket.Conn, message string) string {
	t.Helper()
	if err := conn.Write(soon(t), websocket.MessageText, []byte(message)); err != nil {
		t.Fatal(err)
	}
	_, reply, err := conn.Read(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	return string(reply)
}

func closeOK(t testing.TB, conn *websocket.Conn) {
	t.Helper()
	if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Fatal(err)
	}
}

// serveCounted is serve, and counts the handshakes before it answers them.
func serveCounted(t *testing.T, n *atomic.Int32, serve func(context.Context, accepted)) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		acceptor(serve).ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return "ws" + strings.TrimPrefix(server.URL, "http")
}

// The programs of which one line changes.

func echoProgram(ctx context.Context, dial dialFunc, url string) (string, error) {
	conn, _, err := dial(ctx, url, &websocket.DialOptions{Subprotocols: []string{"echo"}})
	if err != nil {
		return "", err
	}
	defer conn.CloseNow()
	var said []string
	for i := range 3 {
		if err := conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, "hello %d", i)); err != nil {
			return "", err
		}
		_, reply, err := conn.Read(ctx)
		if err != nil {
			return "", err
		}
		said = append(said, string(reply))
	}
	return fmt.Sprint(conn.Subprotocol(), said), conn.Close(websocket.StatusNormalClosure, "")
}

type rpc struct {
	ID     int    `json:"id"`
	Method string `json:"method,omitempty"`
	Result string `json:"result,omitempty"`
}

// rpcServer answers calls in JSON.
func rpcServer(ctx context.Context, conn accepted) {
	for {
		var call rpc
		if wsjson.Read(ctx, conn.Conn, &call) != nil {
			return
		}
		if wsjson.Write(ctx, conn.Conn, rpc{ID: call.ID, Result: call.Method + " done"}) != nil {
			return
		}
	}
}

func rpcProgram(ctx context.Context, dial dialFunc, url string) (string, error) {
	conn, _, err := dial(ctx, url, nil)
	if err != nil {
		return "", err
	}
	defer conn.Close(websocket.StatusInternalError, "the deferred one")
	var results []string
	for id, method := range []string{"open", "read"} {
		if err := wsjson.Write(ctx, conn, rpc{ID: id, Method: method}); err != nil {
			return "", err
		}
		var answer rpc
		if err := wsjson.Read(ctx, conn, &answer); err != nil {
			return "", err
		}
		if answer.ID != id {
			return "", fmt.Errorf("answer %d to call %d", answer.ID, id)
		}
		results = append(results, answer.Result)
	}
	return fmt.Sprint(results), conn.Close(websocket.StatusNormalClosure, "done")
}

// readerProgram leaves its goroutine in Read when it closes the WebSocket.
func readerProgram(ctx context.Context, dial dialFunc, url string) (string, error) {
	conn, _, err := dial(ctx, url, nil)
	if err != nil {
		return "", err
	}
	replies, ended := make(chan string), make(chan error, 1)
	go func() {
		for {
			_, reply, err := conn.Read(context.Background())
			if err != nil {
				ended <- err
				return
			}
			replies <- string(reply)
		}
	}()
	var said []string
	for i := range 3 {
		if err := conn.Write(ctx, websocket.MessageBinary, fmt.Appendf(nil, "hello %d", i)); err != nil {
			return "", err
		}
		select {
		case reply := <-replies:
			said = append(said, reply)
		case err := <-ended:
			return "", err
		}
	}
	if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
		return "", err
	}
	switch err := <-ended; {
	case websocket.CloseStatus(err) == websocket.StatusNormalClosure, strings.Contains(err.Error(), "use of closed"):
		return fmt.Sprint(said), nil // as the scheduler likes, with websocket.Dial as well
	default:
		return "", fmt.Errorf("the reader ended with: %w", err)
	}
}

func TestProgramsDoWhatTheyDidBeforeOneLineChanged(t *testing.T) {
	for _, test := range []struct {
		name    string
		server  func(context.Context, accepted)
		program func(context.Context, dialFunc, string) (string, error)
		want    string
	}{
		{"echo client", echo, echoProgram, "echo[hello 0 hello 1 hello 2]"},
		{"JSON-RPC client", rpcServer, rpcProgram, "[open done read done]"},
		{"reader that outlives Close", echo, readerProgram, "[hello 0 hello 1 hello 2]"},
	} {
		for _, noPeek := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/noPeek=%v", test.name, noPeek), func(t *testing.T) {
				var handshakes atomic.Int32
				url := serveCounted(t, &handshakes, test.server)
				d := newDialer(t, &Options{OneReplyPerRequest: true, noPeek: noPeek})
				const rounds = 50
				for name, dial := range map[string]dialFunc{"before": websocket.Dial, "after": d.Dial} {
					handshakes.Store(0)
					for range rounds {
						got, err := test.program(soon(t), dial, url)
						if err != nil || got != test.want {
							t.Fatalf("%s: the program says %q, %v, want %q", name, got, err, test.want)
						}
					}
					if got, want := handshakes.Load(), map[string]int32{"before": rounds, "after": 1}[name]; got != want {
						t.Errorf("%s: %d handshakes in %d rounds, want %d", name, got, rounds, want)
					}
				}
			})
		}
	}
}

func TestDialsThatDifferNeverShareAConnection(t *testing.T) {
	var handshakes atomic.Int32
	url := serveCounted(t, &handshakes, echo)
	d := newDialer(t, nil)
	d.IgnoreHeaders = []string{"traceparent"}
	header := func(kv ...string) *websocket.DialOptions {
		h := http.Header{}
		for i := 0; i < len(kv); i += 2 {
			h.Add(kv[i], kv[i+1])
		}
		return &websocket.DialOptions{HTTPHeader: h}
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	follow := func(*http.Request, []*http.Request) error { return nil }
	different := []struct {
		url  string
		opts *websocket.DialOptions
	}{
		{url, nil},
		{url + "/other", nil},
		{url + "?key=1", nil},
		{url, header("Authorization", "Bearer 1")},
		{url, header("Authorization", "Bearer 2")},
		{url, header("X", "a", "X", "b")},
		{url, header("X", "a, b")},
		{url, header("X", "b", "X", "a")},
		{url, header("X", "ab")},
		{url, header("Xa", "b")},
		{url, &websocket.DialOptions{Host: "other.example"}},
		{url, &websocket.DialOptions{Subprotocols: []string{"echo"}}},
		{url, &websocket.DialOptions{Subprotocols: []string{"echo", "other"}}},
		{url, &websocket.DialOptions{CompressionMode: websocket.CompressionNoContextTakeover}},
		{url, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}}},
		{url, &websocket.DialOptions{HTTPClient: &http.Client{CheckRedirect: follow}}},
	}
	for range 2 {
		for _, one := range different {
			conn := dialOK(t, d.Dial, one.url, one.opts)
			askOn(t, conn, "x")
			closeOK(t, conn)
		}
	}
	if got, want := int(handshakes.Load()), len(different); got != want {
		t.Errorf("%d handshakes, want %d: one for each kind of dial", got, want)
	}
	// What makes no difference.
	for _, o := range []*websocket.DialOptions{
		{},
		{HTTPClient: &http.Client{}},
		{HTTPClient: &http.Client{Timeout: patience, Transport: http.DefaultTransport}},
		header("Traceparent", "00-1"),
		{CompressionThreshold: 7},
	} {
		closeOK(t, dialOK(t, d.Dial, url, o))
	}
	if got, want := int(handshakes.Load()), len(different); got != want {
		t.Errorf("%d handshakes, want %d: nothing that was left out makes a difference", got, want)
	}
}

func TestDialsWithAStateOfTheirOwnAreNotPooled(t *testing.T) {
	var handshakes atomic.Int32
	url := serveCounted(t, &handshakes, echo)
	jar, _ := cookiejar.New(nil)
	for name, o := range map[string]*websocket.DialOptions{
		"ping callback":    {OnPingReceived: func(context.Context, []byte) bool { return true }},
		"pong callback":    {OnPongReceived: func(context.Context, []byte) {}},
		"cookie jar":       {HTTPClient: &http.Client{Jar: jar}},
		"context takeover": {CompressionMode: websocket.CompressionContextTakeover},
		"odd transport":    {HTTPClient: &http.Client{Transport: oddTransport{f: http.DefaultTransport.RoundTrip}}},
	} {
		d := newDialer(t, nil)
		before := handshakes.Load()
		for range 2 {
			conn := dialOK(t, d.Dial, url, o)
			if got := askOn(t, conn, name); got != name {
				t.Errorf("%s: reply %q", name, got)
			}
			closeOK(t, conn)
		}
		if got := handshakes.Load() - before; got != 2 {
			t.Errorf("%s: %d handshakes for two dials, want 2", name, got)
		}
	}
}

// oddTransport cannot be compared.
type oddTransport struct {
	f func(*http.Request) (*http.Response, error)
}

func (o oddTransport) RoundTrip(r *http.Request) (*http.Response, error) { return o.f(r) }

func TestDialOverABoundIsNotPooledAndDoesNotWait(t *testing.T) {
	var handshakes atomic.Int32
	url := serveCounted(t, &handshakes, echo)
	for name, test := range map[string]struct {
		dialer      *Dialer
		first, then string
	}{
		"MaxConnections": {&Dialer{Config: pool.Config{MaxConnections: 1, CheckInterval: -1, MaxIdleTime: -1}}, url, url},
		"MaxPools":       {&Dialer{MaxPools: 1, Config: undisturbed}, url, url + "/other"},
	} {
		d := test.dialer
		d.Options = &Options{OneReplyPerRequest: true}
		defer d.Close()
		held := dialOK(t, d.Dial, test.first, nil)
		before := handshakes.Load()
		for range 3 {
			conn := dialOK(t, d.Dial, test.then, nil)
			askOn(t, conn, "x")
			closeOK(t, conn)
		}
		if got := handshakes.Load() - before; got != 3 {
			t.Errorf("%s: %d handshakes for three dials over the bound, want 3", name, got)
		}
		askOn(t, held, "x")
		closeOK(t, held)
		closeOK(t, dialOK(t, d.Dial, test.first, nil))
		if got := handshakes.Load() - before; got != 3 {
			t.Errorf("%s: %d handshakes, want 3: the first connection is in the pool", name, got)
		}
	}
}

func TestAPoolMoreReplacesTheOneUnusedLongest(t *testing.T) {
	var handshakes atomic.Int32
	url := serveCounted(t, &handshakes, echo)
	d := newDialer(t, nil)
	d.MaxPools = 8
	visit := func(path string) {
		conn := dialOK(t, d.Dial, url+path, nil)
		askOn(t, conn, "x")
		closeOK(t, conn)
	}
	for _, path := range "abcdefghabXY" { // X takes the place of c, Y that of d
		visit("/" + string(path))
	}
	if got := handshakes.Load(); got != 10 {
		t.Errorf("%d handshakes, want 10", got)
	}
	for _, path := range "efghabXY" {
		visit("/" + string(path))
	}
	if got := handshakes.Load(); got != 10 {
		t.Errorf("%d handshakes, want 10: the pools of these were not removed", got)
	}
	visit("/c")
	if got := d.Stats(); got.Opened != 11 || got.Gets != 21 {
		t.Errorf("Opened %d, Gets %d in Stats, want 11 and 21: what is gone counts", got.Opened, got.Gets)
	}
	if err := d.Shutdown(soon(t)); err != nil {
		t.Fatal(err)
	}
	s := d.Stats()
	if open := s.ActiveConnections + s.IdleConnections; open != 0 || s.Opened != 11 {
		t.Errorf("after Shutdown %d connections are open and %d were, want 0 and 11", open, s.Opened)
	}
}

func TestDialerSaysWhatIsWrongWithIt(t *testing.T) {
	one := &Options{OneReplyPerRequest: true}
	for want, d := range map[string]*Dialer{
		"how a connection is known to be finished: set OneReplyPerRequest, or Finished": {},
		"set OneReplyPerRequest": {Options: &Options{IsReply: func(_, _ Message) bool { return true }}},
		"DialOptions":            {Options: &Options{OneReplyPerRequest: true, DialOptions: &websocket.DialOptions{}}},
		"Endpoint": {Options: &Options{OneReplyPerRequest: true, Endpoint: func(context.Context) (string, *websocket.DialOptions, error) {
			return "", nil, nil
		}}},
		"UnsolicitedKeep":         {Options: &Options{Finished: func(_, _ []Message) bool { return true }, Unsolicited: UnsolicitedKeep}},
		"MaxPools is negative":    {Options: one, MaxPools: -1},
		"PongTimeout is negative": {Options: &Options{OneReplyPerRequest: true, PongTimeout: -1}},
		"MaxConnections":          {Options: one, Config: pool.Config{MaxConnections: -1}},
	} {
		conn, response, err := d.Dial(t.Context(), "ws://localhost/", nil)
		if conn != nil || response != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Dial returned %v, %v, %v, want an error that says %q", conn, response, err, want)
		}
		if err := d.Close(); err != nil {
			t.Errorf("Close returned %v", err)
		}
	}
}

func TestDialFailsAsWebsocketDialDoes(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Reason", "none")
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, "not you")
	}))
	defer server.Close()
	d := newDialer(t, nil)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	type seen struct {
		Status   int
		Reason   string
		Body     string
		Canceled bool
	}
	look := func(dial dialFunc, ctx context.Context, url string) seen {
		conn, response, err := dial(ctx, url, nil)
		if conn != nil || err == nil {
			t.Fatal("the dial succeeded")
		}
		s := seen{Canceled: errors.Is(err, context.Canceled)}
		if response != nil {
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Error(err)
			}
			s.Status, s.Reason, s.Body = response.StatusCode, response.Header.Get("X-Reason"), string(body)
		}
		return s
	}
	for name, test := range map[string]struct {
		ctx context.Context
		url string
	}{
		"refused":      {t.Context(), server.URL},
		"ctx ended":    {ended, server.URL},
		"no server":    {t.Context(), "ws://127.0.0.1:1/"},
		"malformed":    {t.Context(), "ws://[::1"},
		"wrong scheme": {t.Context(), "ftp://localhost/"},
	} {
		for range 6 { // more than make an outage
			if diff := cmp.Diff(look(websocket.Dial, test.ctx, test.url), look(d.Dial, test.ctx, test.url)); diff != "" {
				t.Errorf("%s: (-websocket.Dial +Dialer.Dial)\n%s", name, diff)
			}
		}
	}
	s := d.Stats()
	if s.OpenErrors < 12 || s.LastOpenError == nil {
		t.Errorf("Stats: OpenErrors %d, LastOpenError %v, want those of Dial", s.OpenErrors, s.LastOpenError)
	}
}

// The values of the caller's ctx belong to the dial: a trace sees it.
func TestDialHasTheValuesOfItsCaller(t *testing.T) {
	url := serve(t, echo)
	type key struct{}
	var got any
	d := newDialer(t, nil)
	o := &websocket.DialOptions{HTTPClient: &http.Client{Transport: &seeing{func(r *http.Request) { got = r.Context().Value(key{}) }}}}
	closeOK(t, dialOK(t, func(ctx context.Context, url string, o *websocket.DialOptions) (*websocket.Conn, *http.Response, error) {
		return d.Dial(context.WithValue(ctx, key{}, "trace"), url, o)
	}, url, o))
	if got != "trace" {
		t.Errorf("the transport saw %v in the ctx, want the caller's value", got)
	}
}

type seeing struct{ see func(*http.Request) }

func (s *seeing) RoundTrip(r *http.Request) (*http.Response, error) {
	s.see(r)
	return http.DefaultTransport.RoundTrip(r)
}

func TestResponseIsACopyForEachDial(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Session", "42")
		acceptor(echo).ServeHTTP(w, r)
	}))
	defer server.Close()
	d := newDialer(t, nil)
	o := &websocket.DialOptions{HTTPClient: server.Client(), HTTPHeader: http.Header{"Token": {"secret"}}, Subprotocols: []string{"echo"}}
	for range 3 {
		conn, response, err := d.Dial(soon(t), server.URL+"/path?query", o)
		if err != nil {
			t.Fatal(err)
		}
		closeOK(t, conn)
		if got := response.Header.Get("X-Session"); response.StatusCode != 101 || got != "42" || response.TLS == nil || !response.TLS.HandshakeComplete {
			t.Errorf("response %d, X-Session %q, TLS %v, want that of the handshake", response.StatusCode, got, response.TLS)
		}
		if r := response.Request; r.URL.String() != server.URL+"/path?query" || r.Header.Get("Token") != "secret" {
			t.Errorf("the request of the response is %v, %v, want the caller's", r.URL, r.Header)
		}
		response.Header.Set("X-Session", "mine")
		response.TLS.HandshakeComplete = false
	}
	if got := d.Stats().Opened; got != 1 {
		t.Errorf("%d connections were opened, want 1", got)
	}
}

func TestNamesShowSchemeHostAndAHash(t *testing.T) {
	url := serve(t, echo)
	d := newDialer(t, nil)
	d.Config.Name = "gateway"
	for _, token := range []string{"hunter2", "swordfish"} {
		o := &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {token}}}
		closeOK(t, dialOK(t, d.Dial, url+"/path?key="+token, o))
	}
	var names []string
	for source := range d.Sources() {
		names = append(names, source.Name())
		if got := source.Stats().Opened; got != 1 {
			t.Errorf("%s: %d opened, want 1", source.Name(), got)
		}
	}
	if len(names) != 2 || names[0] == names[1] {
		t.Fatalf("names %q, want two different ones", names)
	}
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, "gateway "+url+" ")
		if !ok || len(rest) != 8 {
			t.Errorf("name %q, want the prefix, %s, and a hash", name, url)
		}
		if strings.Contains(name, "hunter2") || strings.Contains(name, "swordfish") || strings.Contains(name, "path") {
			t.Errorf("name %q shows a secret", name)
		}
	}
}

func TestShutdownWaitsForDialsInUseAndCloseDoesNot(t *testing.T) {
	url := serve(t, echo)
	d := newDialer(t, nil)
	conn := dialOK(t, d.Dial, url, nil)
	done := make(chan error, 1)
	go func() { done <- d.Shutdown(soon(t)) }()
	for { // until it is seen to have begun
		early, _, err := d.Dial(soon(t), url, nil)
		if err == nil {
			early.CloseNow() // Shutdown would wait for it as well
			continue
		}
		if !errors.Is(err, pool.ErrClosed) {
			t.Fatalf("Dial after Shutdown: %v, want ErrClosed", err)
		}
		break
	}
	select {
	case err := <-done:
		t.Fatalf("Shutdown returned %v while a connection is in use", err)
	default:
	}
	askOn(t, conn, "still here")
	closeOK(t, conn)
	if err := receive(t, done, "end of Shutdown"); err != nil {
		t.Fatal(err)
	}

	d = newDialer(t, nil)
	conn = dialOK(t, d.Dial, url, nil)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.Read(soon(t)); err == nil {
		t.Error("a connection in use survives Close")
	}
	conn.CloseNow()
	if _, _, err := d.Dial(soon(t), url, nil); !errors.Is(err, pool.ErrClosed) {
		t.Errorf("Dial after Close: %v, want ErrClosed", err)
	}
}

func TestCloseEndsADialThatIsOpening(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(asked)
		<-release
	}))
	defer server.Close()
	defer close(release)
	d := newDialer(t, nil)
	failed := make(chan error, 1)
	go func() {
		_, _, err := d.Dial(soon(t), server.URL, nil)
		failed <- err
	}()
	receive(t, asked, "handshake")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, failed, "end of Dial"); !errors.Is(err, pool.ErrClosed) {
		t.Errorf("Dial returned %v, want ErrClosed", err)
	}
}

func TestConnectionsArePreparedAndCleanedAsTheOptionsSay(t *testing.T) {
	url := serve(t, echo)
	var connected, cleaned atomic.Int32
	refuse := errors.New("no")
	d := newDialer(t, &Options{
		OneReplyPerRequest: true,
		ReadLimit:          100,
		OnConnect: func(ctx context.Context, conn *Conn) error {
			connected.Add(1)
			_, _, err := conn.Exchange(ctx, websocket.MessageText, []byte("login"))
			return err
		},
		Clean: func(ctx context.Context, conn *Conn) error {
			if cleaned.Add(1) == 3 {
				return refuse
			}
			_, reply, err := conn.Exchange(ctx, websocket.MessageText, []byte("reset"))
			if err == nil && string(reply) != "reset" {
				err = fmt.Errorf("Clean got %q", reply)
			}
			return err
		},
	})
	for i := range 4 {
		conn := dialOK(t, d.Dial, url, nil)
		if got := askOn(t, conn, "mine"); got != "mine" {
			t.Fatalf("reply %q, want mine", got)
		}
		closeOK(t, conn)
		want := int32(1)
		if i == 3 { // the third Clean objected
			want = 2
		}
		if got := connected.Load(); got != want {
			t.Errorf("dial %d: OnConnect was called %d times, want %d", i, got, want)
		}
	}
	conn := dialOK(t, d.Dial, url, nil)
	defer conn.CloseNow()
	if err := conn.Write(soon(t), websocket.MessageText, make([]byte, 101)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.Read(soon(t)); !errors.Is(err, websocket.ErrMessageTooBig) {
		t.Errorf("a message over ReadLimit: %v, want ErrMessageTooBig", err)
	}
}

func TestManyDialsAtTheSameTimeAreEachServed(t *testing.T) {
	var handshakes atomic.Int32
	url := serveCounted(t, &handshakes, echo)
	d := newDialer(t, nil)
	for range 5 {
		const many = 40
		var all sync.WaitGroup
		for i := range many {
			all.Go(func() {
				conn, _, err := d.Dial(soon(t), url, nil)
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.CloseNow()
				if err := wsjson.Write(soon(t), conn, i); err != nil {
					t.Error(err)
				}
				var got int
				if err := wsjson.Read(soon(t), conn, &got); err != nil || got != i {
					t.Errorf("reply %d, %v, want %d", got, err, i)
				}
				if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		s := d.Stats()
		if s.ActiveConnections != 0 || s.IdleConnections > many {
			t.Errorf("at rest %d in use, %d idle, want none and at most %d", s.ActiveConnections, s.IdleConnections, many)
		}
	}
}

// In a synctest bubble a Dialer waits for nothing but channels and timers, and time that
// passes keeps its connections alive and retires them.
func TestDialerWorksInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m inMemory
		d := &Dialer{Options: &Options{OneReplyPerRequest: true}, Config: pool.Config{MaxIdleTime: time.Hour}}
		defer d.Close()
		o := &websocket.DialOptions{HTTPClient: &http.Client{Transport: &m}}
		opened := 0
		for range 40 {
			conn, _, err := d.Dial(t.Context(), "ws://example.com", o)
			if err != nil {
				t.Fatal(err)
			}
			if now := int(d.Stats().Opened); now > opened {
				opened = now
				go answer(m.peer)
			}
			ended := make(chan error, 1)
			replies := make(chan string)
			go func() {
				for {
					_, reply, err := conn.Read(context.Background())
					if err != nil {
						ended <- err
						return
					}
					replies <- string(reply)
				}
			}()
			if err := conn.Write(t.Context(), websocket.MessageText, []byte("q")); err != nil {
				t.Fatal(err)
			}
			if got := <-replies; got != "q" {
				t.Fatalf("reply %q, want q", got)
			}
			synctest.Wait() // the reader waits for more
			closeOK(t, conn)
			if err := <-ended; websocket.CloseStatus(err) != websocket.StatusNormalClosure {
				t.Errorf("the reader ended with %v, want the close frame", err)
			}
			testkit.Sleep(time.Minute + time.Millisecond)
		}
		// Half an hour of life, give or take a tenth.
		if opened != 2 {
			t.Errorf("%d connections in 40 minutes, want 2", opened)
		}
	})
}

// answer is a server that sends back each message, answers pings and closes.
func answer(conn net.Conn) {
	br := bufio.NewReader(conn)
	for {
		first, payload, err := readClientFrame(br)
		if err != nil {
			return
		}
		if first == finBit|opPing {
			first = finBit | opPong
		}
		if _, err := conn.Write(frameOf(first, []byte(payload))); err != nil {
			return
		}
	}
}
