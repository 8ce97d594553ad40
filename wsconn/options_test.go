package wsconn

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

func TestNewFactoryRefusesBadInput(t *testing.T) {
	const good = "ws://localhost/ws"
	for name, test := range map[string]struct {
		url  string
		opts *Options
		want string
	}{
		"empty URL":             {"", nil, "URL is empty"},
		"malformed URL":         {"ws://[::1", nil, "missing ']' in host"},
		"wrong scheme":          {"ftp://localhost/", nil, `scheme "ftp"; want ws, wss, http or https`},
		"no scheme":             {"localhost:80/ws", nil, `scheme "localhost"`},
		"no host":               {"ws:///ws", nil, "names no host"},
		"port alone":            {"ws://:80/ws", nil, "names no host"},
		"fragment":              {"ws://localhost/ws#top", nil, "fragment"},
		"negative CloseTimeout": {good, &Options{CloseTimeout: -1}, "CloseTimeout is negative"},
		"negative CleanTimeout": {good, &Options{CleanTimeout: -1}, "CleanTimeout is negative"},
		"negative PongTimeout":  {good, &Options{PongTimeout: -1}, "PongTimeout is negative"},
		"negative in use":       {good, &Options{PongTimeoutInUse: -1}, "PongTimeoutInUse is negative"},
		"unknown Unsolicited":   {good, &Options{Unsolicited: 3}, "Unsolicited is none of its values"},
		"nobody to handle":      {good, &Options{Unsolicited: UnsolicitedHandle}, "OnUnsolicited is nil"},
		"keep and count":        {good, &Options{Unsolicited: UnsolicitedKeep, OneReplyPerRequest: true}, "does not go with UnsolicitedKeep"},
		"empty Endpoints":       {"", &Options{Endpoints: []string{}}, "URL is empty"},
		"a bad endpoint":        {"", &Options{Endpoints: []string{good, "ftp://localhost"}}, `Options.Endpoints: URL "ftp://localhost" has scheme`},
		"an empty endpoint":     {good, &Options{Endpoints: []string{""}}, "Options.Endpoints: URL is empty"},
		"a bad URL beside them": {"localhost", &Options{Endpoints: []string{good}}, `has scheme ""`},
		"no URL to count":       {"", &Options{Endpoint: fixedEndpoint(good), Distribution: new(Distribution)}, "URL is empty"},
		"negative interval":     {good, &Options{DiscoverInterval: -1}, "DiscoverInterval is negative"},
		"unknown Policy":        {good, &Options{Policy: 3}, "Policy is none of its values"},
		"negative Policy":       {good, &Options{Policy: -1}, "Policy is none of its values"},
		"keepalive, no time":    {good, &Options{Keepalive: &Keepalive{Message: appKeepalive.Message}}, "Interval is not positive"},
		"keepalive, no message": {good, &Options{Keepalive: &Keepalive{Interval: 1}}, "Message is nil"},
	} {
		t.Run(name, func(t *testing.T) {
			factory, err := NewFactory(test.url, test.opts)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "wsconn: ") {
				t.Errorf("error %v, want one that says %q", err, test.want)
			}
			if factory.Open != nil {
				t.Error("a factory beside the error")
			}
		})
	}
}

func TestOptionsForAServerThatPushesMeanUnsolicitedHandle(t *testing.T) {
	handler := func(*Conn, Message) (*Message, error) { return nil, nil }
	isReply := func(Message, Message) bool { return true }
	for _, test := range []struct {
		opts Options
		want Unsolicited
	}{
		{Options{}, UnsolicitedDiscard},
		{Options{OnUnsolicited: handler}, UnsolicitedHandle},
		{Options{IsReply: isReply}, UnsolicitedHandle},
		{Options{IsReply: isReply, OnUnsolicited: handler}, UnsolicitedHandle},
		{Options{IsReply: isReply, Unsolicited: UnsolicitedKeep}, UnsolicitedKeep},
		{Options{OnUnsolicited: handler, Unsolicited: UnsolicitedKeep}, UnsolicitedKeep}, // it is for exchanges then
	} {
		o, err := test.opts.normalize()
		if err != nil {
			t.Fatal(err)
		}
		if got := o.rules().unsolicited; got != test.want {
			t.Errorf("Unsolicited %d, OnUnsolicited %v, IsReply %v mean %d, want %d",
				test.opts.Unsolicited, test.opts.OnUnsolicited != nil, test.opts.IsReply != nil, got, test.want)
		}
	}
}

func TestOptionsDefaults(t *testing.T) {
	type times struct{ Handshake, Close, Clean, Ping, Pong time.Duration }
	for name, test := range map[string]struct {
		opts *Options
		want times
	}{
		"nil":      {nil, times{10 * time.Second, time.Second, time.Second, 20 * time.Second, 10 * time.Second}},
		"zero":     {&Options{}, times{10 * time.Second, time.Second, time.Second, 20 * time.Second, 10 * time.Second}},
		"set":      {&Options{HandshakeTimeout: 3, CloseTimeout: 4, CleanTimeout: 5, PingInterval: 6, PongTimeout: 7}, times{3, 4, 5, 6, 7}},
		"negative": {&Options{HandshakeTimeout: -1, PingInterval: -1}, times{-1, time.Second, time.Second, -1, 10 * time.Second}},
	} {
		o, err := test.opts.normalize()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, times{o.HandshakeTimeout, o.CloseTimeout, o.CleanTimeout, o.PingInterval, o.PongTimeout}); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
}

// TestTenderLooksFourTimesInTheShortestTime, within bounds.
func TestTenderLooksFourTimesInTheShortestTime(t *testing.T) {
	for want, opts := range map[time.Duration]*Options{
		time.Second:            nil,
		10 * time.Millisecond:  {PingInterval: 1},
		100 * time.Millisecond: {PingInterval: 400 * time.Millisecond, PongTimeoutInUse: time.Second},
		200 * time.Millisecond: {PingInterval: -1, PongTimeout: 800 * time.Millisecond},
		300 * time.Millisecond: {PongTimeoutInUse: 1200 * time.Millisecond},
	} {
		o, err := opts.normalize()
		if err != nil {
			t.Fatal(err)
		}
		r := o.rules()
		if r.tender.every != want || r.pongTimeoutInUse != o.PongTimeoutInUse {
			t.Errorf("every %v, PongTimeoutInUse %v, want every %v", r.tender.every, r.pongTimeoutInUse, want)
		}
	}
}

// TestOptionsAreCopiedAndNeverChanged covers both directions: what the caller
// does to its options later, and what a dial does to them.
func TestOptionsAreCopiedAndNeverChanged(t *testing.T) {
	headers := make(chan http.Header, 1)
	url := serve(t, func(_ context.Context, conn accepted) { headers <- conn.request.Header })
	client := &http.Client{Timeout: patience}
	dial := &websocket.DialOptions{
		HTTPClient:   client,
		HTTPHeader:   http.Header{"Token": {"one"}},
		Subprotocols: []string{"echo"},
	}
	factory := newFactory(t, url, &Options{DialOptions: dial})

	dial.HTTPHeader.Set("Token", "two")
	dial.Subprotocols[0] = "other"
	conn := open(t, factory)
	header := receive(t, headers, "handshake")
	if got := header.Get("Token"); got != "one" {
		t.Errorf("token %q was sent, want the one of the time of NewFactory", got)
	}
	if got := conn.Subprotocol(); got != "echo" {
		t.Errorf("subprotocol %q, want echo", got)
	}
	if dial.HTTPClient != client || client.Transport != nil || client.CheckRedirect != nil || client.Timeout != patience {
		t.Errorf("the caller's client was changed: %+v", client)
	}
	if diff := cmp.Diff(http.Header{"Token": {"two"}}, dial.HTTPHeader); diff != "" {
		t.Errorf("the caller's headers were changed (-want +got)\n%s", diff)
	}
}
