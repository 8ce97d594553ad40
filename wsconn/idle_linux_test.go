package wsconn

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// quietServerEnv makes of the test's program the server of BenchmarkIdle: one
// process may not have as many descriptors as both ends need.
const quietServerEnv = "WSCONN_QUIET_SERVER"

func init() {
	if os.Getenv(quietServerEnv) != "" {
		quietServer()
		os.Exit(0)
	}
}

// quietServer prints its address, and accepts WebSockets until its standard
// input ends. It keeps them without a goroutine for each.
func quietServer() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	all := make(map[net.Conn]bool)
	buf := make([]byte, 4096)
	for {
		c, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		all[c] = true // or the collector would close it
		got := 0
		for got < 4 || string(buf[got-4:got]) != "\r\n\r\n" {
			n, err := c.Read(buf[got:])
			if err != nil {
				break
			}
			got += n
		}
		if key, ok := headerValue(string(buf[:got]), "Sec-Websocket-Key: "); ok {
			io.WriteString(c, switching(key))
		}
	}
}

func startQuietServer(b *testing.B) (url string) {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), quietServerEnv+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return "ws://" + strings.TrimSpace(address)
}

// BenchmarkIdle holds 10,000 idle connections. One op is a Check of each.
func BenchmarkIdle(b *testing.B) {
	const conns = 10_000
	raiseFileLimit(b, conns+conns/10+1000)
	url := startQuietServer(b)
	ctx := context.Background()
	bareSize := memoryOf(b, conns/10, func() any {
		conn, _, err := websocket.Dial(ctx, url, nil)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.CloseNow() })
		return conn
	})
	factory := newFactory(b, url, nil)
	var held []*Conn
	size := memoryOf(b, conns, func() any {
		conn, err := factory.Open(ctx)
		if err != nil {
			b.Fatal(err)
		}
		held = append(held, conn)
		return conn
	})
	b.Cleanup(func() {
		for _, conn := range held {
			conn.CloseNow()
		}
	})
	sweep := func() {
		for _, conn := range held {
			if err := factory.Check(conn); err != nil {
				b.Fatal(err)
			}
		}
	}
	sweep()
	b.ReportAllocs()
	for b.Loop() {
		sweep()
	}
	b.ReportMetric(100*b.Elapsed().Seconds()/float64(b.N), "%-of-a-core")
	b.ReportMetric(size, "B/conn")
	b.ReportMetric(size-bareSize, "B/conn-over-bare")
}

// BenchmarkTend holds 10,000 leased connections at rest. One op is what the tender does in
// a second: a round, in which a twentieth of them is sent a ping.
func BenchmarkTend(b *testing.B) {
	const conns = 10_000
	raiseFileLimit(b, conns+1000)
	factory := newFactory(b, startQuietServer(b), &Options{noTend: true})
	tender := newTender(&Options{PongTimeout: defaultPongTimeout})
	tender.stop = make(chan struct{}) // no goroutine but this one
	for range conns {
		conn, err := factory.Open(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		defer conn.CloseNow()
		tender.add(conn.stream)
	}
	due := 0
	second := func() {
		for range conns / 20 {
			w := &tender.streams[due].watch
			w.heard, w.said, w.pinged = -time.Hour, -time.Hour, -time.Hour
			due = (due + 1) % conns
		}
		tender.goRound()
	}
	for range leasedAfter + 1 {
		second()
	}
	b.ReportAllocs()
	for b.Loop() {
		second()
	}
	b.ReportMetric(100*b.Elapsed().Seconds()/float64(b.N), "%-of-a-core")
}

// memoryOf returns how much heap and stack one of n things takes.
func memoryOf(b *testing.B, n int, open func() any) float64 {
	all := make([]any, n)
	used := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	before := used()
	for i := range all {
		all[i] = open()
	}
	after := used()
	runtime.KeepAlive(all)
	return float64(int64(after-before)) / float64(n)
}

func raiseFileLimit(b *testing.B, n uint64) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		b.Fatal(err)
	}
	if limit.Cur >= n {
		return
	}
	limit.Max = max(n, limit.Max) // which only some may
	limit.Cur = n
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		b.Skipf("%d open files are needed: %v", n, err)
	}
}

// headerValue returns what follows name in a request.
func headerValue(request, name string) (string, bool) {
	_, rest, ok := strings.Cut(request, name)
	value, _, _ := strings.Cut(rest, "\r\n")
	return value, ok
}
