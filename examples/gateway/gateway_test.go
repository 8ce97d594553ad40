package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// What is longer than a page or two is not copied.
func TestTheGatewayHasAtMost150Lines(t *testing.T) {
	source, err := os.ReadFile("gateway.go")
	if err != nil {
		t.Fatal(err)
	}
	if lines := bytes.Count(source, []byte("\n")); lines > 150 {
		t.Errorf("gateway.go has %d lines", lines)
	}
}

func TestARequestThatIsNoneIsRefused(t *testing.T) {
	gateway, err := NewGateway(make([]Account, 1), time.Minute, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	gateway.ServeHTTP(w, httptest.NewRequest("POST", "/", strings.NewReader("hello")))
	if w.Code != http.StatusBadRequest {
		t.Errorf("status %d", w.Code)
	}
}

// An error of the API is about the request. The client gets it as it is, and the connection goes on.
func TestAnErrorOfTheAPIIsPassedOn(t *testing.T) {
	api := &API{Lifetime: time.Hour, Think: func() time.Duration { return 0 }}
	api.Allow("account", 1, "key")
	server := httptest.NewServer(api)
	defer server.Close()
	account := Account{Name: "account", URL: server.URL, Limit: 1, Key: func() string { return "key" }}
	gateway, err := NewGateway([]Account{account}, time.Minute, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer gateway.pools.Close()
	ask := func(body string) string {
		w := httptest.NewRecorder()
		gateway.ServeHTTP(w, httptest.NewRequest("POST", "/", strings.NewReader(body)))
		return w.Body.String()
	}
	if got, want := ask(`{"session": "s", "input": []}`), `data: {"type":"error","code":"no_input"}`+"\n\n"; got != want {
		t.Errorf("without input: %q, want %q", got, want)
	}
	if got := ask(`{"session": "s", "input": ["hello"]}`); !strings.Contains(got, "response.completed") {
		t.Errorf("with input: %q", got)
	}
	if opened := gateway.pools.Stats().Opened; opened != 1 {
		t.Errorf("%d connections were opened, want 1", opened)
	}
}

// What the load relies on: the API has the habits that the gateway has to cope with.
func TestTheAPIRefusesKeysAndConnectionsOverTheLimit(t *testing.T) {
	api := &API{Lifetime: time.Hour}
	api.Allow("account", 1, "old", "new")
	server := httptest.NewServer(api)
	defer server.Close()
	dial := func(key string) (*websocket.Conn, int) {
		conn, response, err := websocket.Dial(t.Context(), server.URL, &websocket.DialOptions{
			HTTPHeader: http.Header{"Authorization": {"Bearer " + key}},
		})
		if err != nil && response == nil {
			t.Fatal(err)
		}
		return conn, response.StatusCode
	}
	if _, status := dial("none"); status != http.StatusUnauthorized {
		t.Errorf("an unknown key: status %d", status)
	}
	conn, status := dial("old")
	if status != http.StatusSwitchingProtocols {
		t.Fatalf("a key of the account: status %d", status)
	}
	defer conn.CloseNow()
	if _, status := dial("new"); status != http.StatusTooManyRequests {
		t.Errorf("a second connection: status %d", status)
	}
}

func TestTheAPICutsAConnectionWithoutACloseFrame(t *testing.T) {
	api := &API{Lifetime: time.Millisecond}
	api.Allow("account", 1, "key")
	server := httptest.NewServer(api)
	defer server.Close()
	conn, _, err := websocket.Dial(t.Context(), server.URL, &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Bearer key"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	_, _, err = conn.Read(t.Context())
	if err == nil || websocket.CloseStatus(err) != -1 {
		t.Errorf("Read: %v", err)
	}
}

func TestTheAPIKnowsTheLastResponseOfEachConnectionAlone(t *testing.T) {
	api := &API{Lifetime: time.Hour, Think: func() time.Duration { return 0 }}
	api.Allow("account", 2, "key")
	server := httptest.NewServer(api)
	defer server.Close()
	var conns [2]*websocket.Conn
	for i := range conns {
		var err error
		conns[i], _, err = websocket.Dial(t.Context(), server.URL, &websocket.DialOptions{
			HTTPHeader: http.Header{"Authorization": {"Bearer key"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer conns[i].CloseNow()
	}
	ask := func(conn *websocket.Conn, previous, input string) (said string, last Event) {
		if err := wsjson.Write(t.Context(), conn, Request{Type: "response.create", Previous: previous, Input: []string{input}}); err != nil {
			t.Fatal(err)
		}
		for last.Type != "response.completed" && last.Type != "error" {
			last = Event{}
			if err := wsjson.Read(t.Context(), conn, &last); err != nil {
				t.Fatal(err)
			}
			said += last.Delta
		}
		return said, last
	}
	_, first := ask(conns[0], "", "one,")
	said, second := ask(conns[0], first.ID, "two")
	if want := "2 items, the last ones: one,two"; said != want {
		t.Errorf("the second response is %q, want %q", said, want)
	}
	if _, e := ask(conns[0], first.ID, "three"); e.Code != "previous_response_not_found" {
		t.Errorf("after a response that is not the last one: %+v", e)
	}
	if _, e := ask(conns[1], second.ID, "three"); e.Code != "previous_response_not_found" {
		t.Errorf("after a response on another connection: %+v", e)
	}
}
