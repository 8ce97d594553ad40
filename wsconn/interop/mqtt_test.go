package interop

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/wsconn"
	"github.com/coder/websocket"
	"go.uber.org/atomic"
)

// mosquitto runs a broker that speaks MQTT over WebSocket, and returns its URL.
func mosquitto(t *testing.T) string {
	t.Helper()
	path := program(t, "mosquitto")
	user := ""
	if os.Getuid() == 0 {
		user = "user root\n" // so that it may use the directory of the test
	}
	for range attempts {
		port := freePort(t)
		// One with a WebSocket only does not start in the version of Debian 12.
		d := run(t, path, "-v", "-c", file(t, fmt.Sprintf("%sallow_anonymous true\nmax_queued_messages 0\nlistener %d 127.0.0.1\nprotocol websockets\nlistener 0 %s\n",
			user, port, filepath.Join(directory(t), "socket"))))
		if _, err := d.says(1, " running"); err == nil {
			return fmt.Sprintf("ws://127.0.0.1:%d", port)
		}
		t.Log("the port was taken, or mosquitto does not start")
	}
	t.Fatal("mosquitto does not start")
	return ""
}

// The packets of MQTT 3.1.1 that a client meets, by their first byte.
const (
	mqttConnect, mqttConnack     = 0x10, 0x20
	mqttPublish, mqttPuback      = 0x32, 0x40 // at least once
	mqttSubscribe, mqttSuback    = 0x82, 0x90
	mqttPingRequest, mqttPingAck = 0xc0, 0xd0
)

// packet returns an MQTT packet of less than 128 bytes.
func packet(kind byte, parts ...[]byte) []byte {
	b := []byte{kind, 0}
	for _, part := range parts {
		b = append(b, part...)
	}
	b[1] = byte(len(b) - 2)
	return b
}

func word(n int) []byte        { return binary.BigEndian.AppendUint16(nil, uint16(n)) }
func prefixed(s string) []byte { return append(word(len(s)), s...) }
func is(kind byte) func(m wsconn.Message) bool {
	return func(m wsconn.Message) bool { return len(m.Data) > 0 && m.Data[0]&0xf0 == kind&0xf0 }
}

// broker describes the connections of a client of MQTT: ID is the client's, where empty
// means one that the broker chooses. Each subscribes to Topic. Events counts what comes of
// it.
type broker struct {
	id, topic string
	keepalive int // s
	events    func()
}

// connect is Options.OnConnect.
func (b broker) connect(ctx context.Context, conn *wsconn.Conn) error {
	const cleanSession = 2
	_, ack, err := conn.ExchangeFunc(ctx, websocket.MessageBinary,
		packet(mqttConnect, prefixed("MQTT"), []byte{4, cleanSession}, word(b.keepalive), prefixed(b.id)), is(mqttConnack))
	if err == nil && (len(ack) != 4 || ack[3] != 0) {
		err = fmt.Errorf("refused: %x", ack)
	}
	if err != nil || b.topic == "" {
		return err
	}
	_, _, err = conn.ExchangeFunc(ctx, websocket.MessageBinary, packet(mqttSubscribe, word(1), prefixed(b.topic), []byte{1}), is(mqttSuback))
	return err
}

// options are those of connections to the broker. Each message is acknowledged.
func (b broker) options() *wsconn.Options {
	return &wsconn.Options{
		DialOptions: &websocket.DialOptions{Subprotocols: []string{"mqtt"}},
		OnConnect:   b.connect,
		IsReply: func(request, message wsconn.Message) bool { // of a PUBLISH: it has the same number
			topic := int(binary.BigEndian.Uint16(request.Data[2:]))
			return is(mqttPuback)(message) && string(message.Data[2:4]) == string(request.Data[4+topic:][:2])
		},
		OnUnsolicited: func(_ *wsconn.Conn, m wsconn.Message) (*wsconn.Message, error) {
			if !is(mqttPublish)(m) {
				return nil, fmt.Errorf("the broker has sent %x", m.Data)
			}
			topic := int(binary.BigEndian.Uint16(m.Data[2:]))
			b.events()
			return &wsconn.Message{Data: packet(mqttPuback, m.Data[4+topic:][:2])}, nil
		},
		Keepalive: &wsconn.Keepalive{
			Interval: 50 * time.Millisecond,
			Message: func() wsconn.Message {
				return wsconn.Message{Type: websocket.MessageBinary, Data: packet(mqttPingRequest)}
			},
			Reply: is(mqttPingAck),
		},
		PongTimeout:      patience,
		HandshakeTimeout: patience,
	}
}

// publish sends a message of quality 1 and waits until the broker has it.
func publish(ctx context.Context, conn *wsconn.Conn, topic string, number int) error {
	_, ack, err := conn.Exchange(ctx, websocket.MessageBinary, packet(mqttPublish, prefixed(topic), word(number), []byte("hello")))
	if err == nil && string(ack) != string(packet(mqttPuback, word(number))) {
		err = fmt.Errorf("the acknowledgement of %d is %x", number, ack)
	}
	return err
}

// TestMQTTAcknowledgementsAreToldFromMessages: each connection subscribes to what all
// publish. The messages come before the acknowledgement of one's own, after it, and while
// the connection is idle. None is lost, and each is acknowledged. PINGREQ and PINGRESP go
// in between.
func TestMQTTAcknowledgementsAreToldFromMessages(t *testing.T) {
	const callers, requests, connections = 8, 50, 3
	url := mosquitto(t)
	var events atomic.Int64
	all := make(chan struct{})
	closed := make(chan error, 100)
	b := broker{topic: "news", keepalive: 600, events: func() {
		if events.Inc() == callers*requests*connections {
			close(all)
		}
	}}
	opts := b.options()
	opts.OnClose = func(_ *wsconn.Conn, cause error) { closed <- cause }
	p := newPool(t, url, opts, pool.Config{MaxConnections: connections, MaxIdleTime: -1, MaxWaitTime: patience, OpenTimeout: patience, CheckInterval: checkInterval})
	if err := p.Warm(soon(t), connections); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() {
			for k := range requests {
				err := p.Do(soon(t), func(ctx context.Context, conn *wsconn.Conn) error {
					return publish(ctx, conn, "news", 1+i*requests+k)
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	if t.Failed() {
		return
	}
	select {
	case <-all:
	case cause := <-closed:
		t.Errorf("a connection was closed: %v", cause)
	case <-soon(t).Done():
		t.Errorf("%d messages have come, want %d", events.Load(), callers*requests*connections)
	}
}

// TestMQTTBrokerCountsItsOwnPingsOnly: the broker closes a connection on which no MQTT packet
// has come for half as long again as the client has promised, to within 5 s. Pings of
// WebSocket are answered, but do not count.
//
// A machine that stands still for as long breaks the other connection too, so one that
// survives is enough.
func TestMQTTBrokerCountsItsOwnPingsOnly(t *testing.T) {
	url := mosquitto(t)
	pair := func() (survived bool) {
		config := pool.Config{MaxConnections: 1, CheckInterval: checkInterval, OpenTimeout: patience}
		b := broker{keepalive: 2}
		with := newPool(t, url, b.options(), config)
		defer with.Close()
		opts := b.options()
		opts.Keepalive, opts.PingInterval = nil, 50*time.Millisecond
		closed := make(chan error, 100)
		opts.OnClose = func(_ *wsconn.Conn, cause error) { closed <- cause }
		without := newPool(t, url, opts, config)
		defer without.Close()
		if err := errors.Join(with.Warm(soon(t), 1), without.Warm(soon(t), 1)); err != nil {
			t.Fatal(err)
		}
		if cause := closeCause(t, closed); cause == nil || websocket.CloseStatus(cause) != -1 {
			t.Errorf("closed because of %v", cause)
		}
		err := with.Do(soon(t), func(ctx context.Context, conn *wsconn.Conn) error { return publish(ctx, conn, "news", 1) })
		if err != nil {
			t.Log(err)
		}
		return err == nil && with.Stats().Opened == 1
	}
	for range 3 {
		if pair() {
			return
		}
	}
	t.Error("no connection with PINGREQ has survived one without")
}

// TestMQTTBrokerClosesTheOtherConnectionOfAClient pins the row of the documentation: with
// a fixed client identifier a pool's second connection ends its first, without a word.
func TestMQTTBrokerClosesTheOtherConnectionOfAClient(t *testing.T) {
	opts := broker{id: "fixed", keepalive: 600}.options()
	closed := make(chan error, 100)
	opts.OnClose = func(_ *wsconn.Conn, cause error) { closed <- cause }
	p := newPool(t, mosquitto(t), opts, pool.Config{MaxConnections: 2, CheckInterval: checkInterval, OpenTimeout: patience})
	if err := p.Warm(soon(t), 1); err != nil {
		t.Fatal(err)
	}
	l, err := p.Get(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Discard(l, nil)
	other, err := p.Get(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Put(other)
	if _, _, err := l.Value().Read(soon(t)); err == nil || websocket.CloseStatus(err) != -1 || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the first connection reads %v", err)
	}
	if err := publish(soon(t), other.Value(), "news", 1); err != nil {
		t.Error(err)
	}
}

// TestMQTTBrokerIsSilentWithoutTheSubprotocol pins the row of the documentation: without it
// the handshake succeeds, and nothing is ever answered.
func TestMQTTBrokerIsSilentWithoutTheSubprotocol(t *testing.T) {
	url := mosquitto(t)
	connected := make(chan error, 1)
	opts := broker{keepalive: 600}.options()
	opts.DialOptions, opts.HandshakeTimeout = nil, 2*time.Second
	opts.OnConnect = func(ctx context.Context, conn *wsconn.Conn) error {
		err := broker{keepalive: 600}.connect(ctx, conn)
		connected <- err
		return err
	}
	p := newPool(t, url, opts, pool.Config{MaxConnections: 1})
	p.Warm(soon(t), 1)
	select {
	case err := <-connected:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("CONNECT without the subprotocol: %v", err)
		}
	case <-soon(t).Done():
		t.Error("the handshake has failed")
	}
}
