package wsconn

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// delayed returns the URL of a proxy in front of the server at url. Every byte takes delay
// in each direction, and any number of bytes are on their way at a time.
func delayed(t testing.TB, url string, delay time.Duration) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", strings.TrimPrefix(url, "ws://"))
			if err != nil {
				near.Close()
				continue
			}
			all.Go(func() { convey(near, far, delay) })
			all.Go(func() { convey(far, near, delay) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		all.Wait()
	})
	return "ws://" + listener.Addr().String()
}

// convey passes on what arrives from one connection, and its end.
func convey(to, from net.Conn, delay time.Duration) {
	type parcel struct {
		data []byte
		due  time.Time
	}
	road := make(chan parcel, 1024)
	go func() {
		defer close(road)
		for {
			b := make([]byte, 4096)
			n, err := from.Read(b)
			road <- parcel{b[:n], time.Now().Add(delay)}
			if err != nil {
				return
			}
		}
	}()
	for p := range road {
		time.Sleep(time.Until(p.due))
		to.Write(p.data)
	}
	to.Close()
}

// BenchmarkDial is one Dial and its Close. With a round trip of 20 ms it shows what a
// network adds; the TCP handshake with the proxy costs nothing of that.
func BenchmarkDial(b *testing.B) {
	loopback := serve(b, echo)
	for _, network := range []struct{ name, url string }{
		{"loopback", loopback},
		{"20ms", delayed(b, loopback, 10*time.Millisecond)},
	} {
		d := newDialer(b, nil)
		for _, impl := range []struct {
			name string
			dial dialFunc
		}{{"websocket", websocket.Dial}, {"Dialer", d.Dial}} {
			b.Run("network="+network.name+"/impl="+impl.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					conn, _, err := impl.dial(context.Background(), network.url, nil)
					if err != nil {
						b.Fatal(err)
					}
					if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		d.Close()
	}
}
