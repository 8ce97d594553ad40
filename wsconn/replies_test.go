package wsconn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/coder/websocket"
	"go.uber.org/atomic"
)

// isReplyTo is an IsReply for messages such as "reply to X" and "event".
func isReplyTo(request, message Message) bool {
	return string(message.Data) == "reply to "+string(request.Data)
}

// exchanged is what an exchange returns, in a form that can be compared.
func exchanged(kind websocket.MessageType, reply []byte, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	return fmt.Sprintf("%v %s", kind, reply)
}

// TestExchangeReadsUntilTheReply: an event comes before it, a greeting after the
// handshake.
func TestExchangeReadsUntilTheReply(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		var events []string
		for name, opts := range map[string]*Options{
			"dropped": {IsReply: isReplyTo, OneReplyPerRequest: true},
			"handled": {IsReply: isReplyTo, OneReplyPerRequest: true, OnUnsolicited: func(_ *Conn, m Message) (*Message, error) {
				events = append(events, string(m.Data))
				return nil, nil
			}},
		} {
			conn, p := dial(t, m, opts)
			p.send(text("greeting"))
			for _, who := range []string{"alice", "bob"} {
				p.send(append(text("event"), ping("p")...))
				p.send(append(text("reply to nobody"), text("reply to "+who)...))
				got := exchanged(conn.Exchange(soon(t), websocket.MessageBinary, []byte(who)))
				if want := "MessageText reply to " + who; got != want {
					t.Fatalf("%s: Exchange returned %q, want %q", name, got, want)
				}
				p.wantNext(finBit|opBinary, who)
				p.wantNext(finBit|opPong, "p")
				if err := conn.clean(conn.Conn); err != nil {
					t.Fatalf("%s: Clean: %v", name, err)
				}
			}
		}
		if want := []string{"greeting", "event", "reply to nobody", "event", "reply to nobody"}; !slices.Equal(events, want) {
			t.Errorf("handled %q, want %q", events, want)
		}
	})
}

// TestEventBetweenLeasesClosesNoConnection: whether it comes behind the reply, or later.
func TestEventBetweenLeasesClosesNoConnection(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		conn, p := dial(t, m, &Options{IsReply: isReplyTo})
		for range 3 {
			p.together(func() { p.send(append(text("reply to me"), text("event")...)) })
			if got := exchanged(conn.Exchange(soon(t), websocket.MessageText, []byte("me"))); got != "MessageText reply to me" {
				t.Fatalf("Exchange returned %q", got)
			}
			if err := conn.clean(conn.Conn); err != nil {
				t.Fatalf("Clean: %v", err)
			}
			answered := &conn.stream.watch.speaks
			answered.Store(false)
			p.send(append(text("event"), ping("p")...))
			for !answered.Load() { // until the ping is taken in
				if err := conn.checkAfter(answered.Load); err != nil {
					t.Fatalf("Check: %v", err)
				}
			}
			if got := conn.stream.backlog.len(); got != 0 {
				t.Fatalf("%d bytes are kept", got)
			}
		}
	})
}

func TestExchangeWithoutIsReplyTakesTheFirstMessage(t *testing.T) {
	conn, p := dial(t, modes[0], nil)
	p.send(text("first"))
	if got := exchanged(conn.Exchange(soon(t), websocket.MessageText, nil)); got != "MessageText first" {
		t.Errorf("Exchange returned %q", got)
	}
	p.send(text("second"))
	if got := exchanged(conn.ExchangeFunc(soon(t), websocket.MessageText, nil, nil)); got != "MessageText second" {
		t.Errorf("ExchangeFunc without isReply returned %q", got)
	}
}

// TestExchangeFuncDecidesAlone: not together with Options.IsReply.
func TestExchangeFuncDecidesAlone(t *testing.T) {
	conn, p := dial(t, modes[0], &Options{IsReply: func(Message, Message) bool { t.Error("Options.IsReply was called"); return true }})
	p.send(slices.Concat(text("1"), frameOf(finBit|opBinary, []byte("2")), text("3")))
	var seen []Message
	got := exchanged(conn.ExchangeFunc(soon(t), websocket.MessageText, []byte("x"), func(m Message) bool {
		seen = append(seen, m)
		return len(seen) == 3
	}))
	if got != "MessageText 3" {
		t.Errorf("ExchangeFunc returned %q", got)
	}
	if len(seen) != 3 || seen[0].Type != websocket.MessageText || seen[1].Type != websocket.MessageBinary || string(seen[1].Data) != "2" {
		t.Errorf("isReply saw %v", seen)
	}
}

// TestReplyOfOnUnsolicitedIsSent: while idle, and within an exchange. It is no request.
func TestReplyOfOnUnsolicitedIsSent(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		for _, size := range []int{0, 1, 125, 126, 65_535, 65_536, 200_000} {
			payload := strings.Repeat("0123456789", size/10+1)[:size]
			conn, p := dial(t, m, &Options{
				OneReplyPerRequest: true, IsReply: isReplyTo, ReadLimit: -1,
				OnUnsolicited: func(_ *Conn, m Message) (*Message, error) {
					if string(m.Data) == "text" {
						return &Message{Data: []byte(payload)}, nil
					}
					return &Message{websocket.MessageBinary, []byte(payload)}, nil
				},
			})
			read := make(chan string, 10)
			go func() {
				for {
					first, payload, err := readClientFrame(p.br)
					if err != nil {
						return
					}
					read <- string([]byte{first}) + payload
				}
			}()
			want := func(first byte) {
				t.Helper()
				if got := receive(t, read, "reply"); got != string([]byte{first})+payload {
					t.Fatalf("size %d: the peer got %d bytes, %.20q", size, len(got)-1, got)
				}
			}
			p.send(text("text"))
			if err := conn.checkAfter(func() bool { return len(read) > 0 }); err != nil {
				t.Fatal(err)
			}
			want(finBit | opText)
			p.send(append(text("binary"), text("reply to me")...))
			if got := exchanged(conn.Exchange(soon(t), websocket.MessageText, []byte("me"))); got != "MessageText reply to me" {
				t.Fatalf("Exchange returned %q", got)
			}
			if got := receive(t, read, "request"); got != string([]byte{finBit | opText})+"me" {
				t.Fatalf("the peer got %q", got)
			}
			want(finBit | opBinary)
			if err := conn.clean(conn.Conn); err != nil {
				t.Fatalf("Clean: %v", err)
			}
		}
	})
}

func TestReplyOfAnUnknownTypeFailsCheckAndExchange(t *testing.T) {
	opts := &Options{IsReply: isReplyTo, OnUnsolicited: func(*Conn, Message) (*Message, error) {
		return &Message{Type: 8}, nil
	}}
	conn, p := dial(t, modes[0], opts)
	p.send(text("x"))
	if err := conn.failsCheck(); err == nil || !strings.Contains(err.Error(), "unknown type 8") {
		t.Errorf("Check returned %v", err)
	}
	conn, p = dial(t, modes[0], opts)
	p.send(text("x"))
	if got := exchanged(conn.Exchange(soon(t), websocket.MessageText, nil)); !strings.Contains(got, "unknown type 8") {
		t.Errorf("Exchange returned %q", got)
	}
	if conn.clean(conn.Conn) == nil {
		t.Error("Clean returned nil")
	}
}

// TestReplyThatFindsNoRoomIsPutAside: the peer does not read, and Check does not wait for
// it. After PongTimeout it ends the connection.
func TestReplyThatFindsNoRoomIsPutAside(t *testing.T) {
	client, probes := probed(nil, nil)
	n := newNetwork(t, modes[0])
	n.client = client
	answered := false
	conn, p := n.dial(&Options{PongTimeout: time.Hour, OnUnsolicited: func(_ *Conn, m Message) (*Message, error) {
		answered = true
		return &m, nil
	}})
	receive(t, probes, "dial").stuck.Store(true)
	p.send(text("are you there?"))
	if err := conn.checkAfter(func() bool { return answered }); err != nil {
		t.Errorf("Check returned %v", err)
	}
	forward(t, time.Hour)
	if err := conn.missesAnswer(); !errors.Is(err, errNoRoom) {
		t.Errorf("an hour later Check returned %v", err)
	}
	conn.close(conn.Conn, errTest)
}

func TestExchangeWithACtxThatHasEndedSendsNothing(t *testing.T) {
	conn, p := dial(t, modes[0], nil)
	if got := exchanged(conn.Exchange(canceled(), websocket.MessageText, nil)); got != "error: wsconn: nothing was sent: context canceled" {
		t.Errorf("Exchange returned %q", got)
	}
	if err := conn.clean(conn.Conn); err != nil {
		t.Errorf("Clean: %v", err)
	}
	conn.roundTrip(p)
}

// TestReplyOfAnExchangeThatWasGivenUpIsReadByNobody: neither by a further exchange of
// the same lease, nor by the next one.
func TestReplyOfAnExchangeThatWasGivenUpIsReadByNobody(t *testing.T) {
	for name, giveUp := range map[string]func(conn *dialed) (err error){
		"ctx": func(conn *dialed) error {
			ctx, cancel := context.WithCancel(soon(conn.t))
			_, _, err := conn.ExchangeFunc(ctx, websocket.MessageText, []byte("me"), func(Message) bool { cancel(); return false })
			return err
		},
		"panic": func(conn *dialed) (err error) {
			defer func() { err = recover().(error) }()
			_, _, err = conn.ExchangeFunc(soon(conn.t), websocket.MessageText, []byte("me"), func(Message) bool { panic(errTest) })
			return err
		},
		"Goexit": func(conn *dialed) error {
			var done sync.WaitGroup
			done.Go(func() {
				conn.ExchangeFunc(soon(conn.t), websocket.MessageText, []byte("me"), func(Message) bool { runtime.Goexit(); return false })
			})
			done.Wait()
			return errTest
		},
		"OnUnsolicited": func(conn *dialed) error {
			_, _, err := conn.ExchangeFunc(soon(conn.t), websocket.MessageText, []byte("me"), func(Message) bool { return false })
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachMode(t, func(t *testing.T, m mode) {
				conn, p := dial(t, m, &Options{OnUnsolicited: func(*Conn, Message) (*Message, error) { return nil, errTest }})
				p.send(text("event"))
				if err := giveUp(conn); err == nil {
					t.Fatal("the exchange did not fail")
				}
				p.Write(text("reply to me")) // may fail: the connection has ended already
				if got := exchanged(conn.Exchange(soon(t), websocket.MessageText, []byte("other"))); !strings.HasPrefix(got, "error: ") {
					t.Errorf("a further exchange returned %q", got)
				}
				if err := conn.clean(conn.Conn); err == nil {
					t.Error("Clean returned nil")
				}
			})
		})
	}
}

// A call and an answer are those of JSON-RPC; a notification is a call without an id.
type rpcCall struct {
	ID     int    `json:"id,omitempty"`
	Method string `json:"method"`
	Params string `json:"params,omitempty"`
}

type rpcAnswer struct {
	ID     int    `json:"id"`
	Result string `json:"result"`
}

// serveRPC greets, and answers each call with its Params. It sends notifications before,
// after and, from a goroutine of its own, at any time.
func serveRPC(ctx context.Context, conn accepted) {
	send := func(v any) bool {
		data, _ := json.Marshal(v)
		return conn.Write(ctx, websocket.MessageText, data) == nil
	}
	push := make(chan struct{}, 100)
	var pushing sync.WaitGroup
	pushing.Go(func() {
		for range push {
			if !send(rpcCall{Method: "event"}) {
				return
			}
		}
	})
	defer pushing.Wait()
	defer close(push)
	for ok := send(rpcCall{Method: "greeting"}); ok; {
		var call rpcCall
		_, data, err := conn.Read(ctx)
		if err != nil || json.Unmarshal(data, &call) != nil {
			return
		}
		select {
		case push <- struct{}{}:
		default:
		}
		for range rand.IntN(3) {
			send(rpcCall{Method: "event"})
		}
		ok = send(rpcAnswer{call.ID, call.Params})
		for range rand.IntN(3) {
			send(rpcCall{Method: "event"})
		}
	}
}

// TestExchangeJSON: of a server that speaks JSON-RPC, with notifications in between.
func TestExchangeJSON(t *testing.T) {
	url := serve(t, serveRPC)
	sameID := func(request, message Message) bool {
		var call, answer rpcAnswer
		return json.Unmarshal(request.Data, &call) == nil && json.Unmarshal(message.Data, &answer) == nil && answer.ID == call.ID
	}
	p := newPool(t, url, &Options{IsReply: sameID, Unsolicited: UnsolicitedKeep}, pool.Config{MaxConnections: 1})
	for id := 1; id <= 50; id++ {
		err := p.Do(soon(t), func(ctx context.Context, conn *Conn) error {
			var answer rpcAnswer
			params := fmt.Sprint("request ", id)
			if err := ExchangeJSON(ctx, conn, rpcCall{id, "echo", params}, &answer); err != nil {
				return err
			}
			if answer.ID != id || answer.Result != params {
				t.Errorf("request %d: answer %v", id, answer)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := p.Stats().Opened; got != 1 {
		t.Errorf("%d connections were opened, want 1", got)
	}
}

// TestExchangeJSONLeavesTheConnectionFitForUse: when it cannot encode or decode.
func TestExchangeJSONLeavesTheConnectionFitForUse(t *testing.T) {
	conn, p := dial(t, modes[0], nil)
	if err := ExchangeJSON(soon(t), conn.Conn, func() {}, nil); err == nil || !strings.Contains(err.Error(), "encoding the request") {
		t.Errorf("ExchangeJSON of a function returned %v", err)
	}
	for _, reply := range []any{nil, new(int)} {
		p.send(append(frameOf(opText, []byte("{")), frameOf(finBit|opContinuation, nil)...)) // ends with an empty frame
		err := ExchangeJSON(soon(t), conn.Conn, "x", reply)
		if refused := err != nil && strings.Contains(err.Error(), "decoding the reply"); refused != (reply != nil) {
			t.Errorf("ExchangeJSON into %T returned %v", reply, err)
		}
		p.wantNext(finBit|opText, `"x"`)
	}
	if err := conn.clean(conn.Conn); err != nil {
		t.Errorf("Clean: %v", err)
	}
	conn.roundTrip(p)
}

// TestEachCallerGetsItsOwnReplyUnderLoad: on one connection and on fifty. A reply is any
// message with a result, so that only the connection tells whose it is. Some callers give
// up when an event comes; others wait for their connection.
func TestEachCallerGetsItsOwnReplyUnderLoad(t *testing.T) {
	url := serve(t, serveRPC)
	for _, size := range []int{1, 50} {
		t.Run(fmt.Sprintf("connections=%d", size), func(t *testing.T) {
			hasResult := func(_, message Message) bool { return strings.Contains(string(message.Data), `"result"`) }
			p := newPool(t, url, &Options{
				IsReply: hasResult,
				OnUnsolicited: func(conn *Conn, _ Message) (*Message, error) {
					if giveUp, ok := conn.Value.(context.CancelFunc); ok {
						giveUp()
					}
					return nil, nil
				},
			}, pool.Config{MaxConnections: size, MaxWaitTime: -1, CheckInterval: -1})
			var ok, given atomic.Int32
			var callers sync.WaitGroup
			for caller := range 4 + 2*size {
				callers.Go(func() {
					for i := range 20 {
						ctx, cancel := context.WithCancel(soon(t))
						impatient := i%4 == 3
						err := p.Do(ctx, func(ctx context.Context, conn *Conn) error {
							if impatient {
								conn.Value = cancel
								defer func() { conn.Value = nil }()
							}
							var answer rpcAnswer
							params := fmt.Sprintf("caller %d, request %d", caller, i)
							if err := ExchangeJSON(ctx, conn, rpcCall{1, "echo", params}, &answer); err != nil {
								return err
							}
							if answer.Result != params {
								t.Errorf("%s: answer %q", params, answer.Result)
							}
							return nil
						})
						cancel()
						switch {
						case err == nil:
							ok.Inc()
						case impatient && errors.Is(err, context.Canceled):
							given.Inc()
						default:
							t.Errorf("caller %d, request %d: %v", caller, i, err)
						}
					}
				})
			}
			callers.Wait()
			if ok.Load() == 0 || given.Load() == 0 {
				t.Errorf("%d requests were answered, %d given up: want some of both", ok.Load(), given.Load())
			}
			if err := p.Shutdown(soon(t)); err != nil {
				t.Errorf("a connection is still in use: %v", err)
			}
		})
	}
}
