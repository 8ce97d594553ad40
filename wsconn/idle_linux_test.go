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
	"slices"
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

// BenchmarkCheckBesideRecvfrom compares a Check with the system call that it makes, and
// with that call as package peek makes it.
func BenchmarkCheckBesideRecvfrom(b *testing.B) {
	conn, p := dial(b, modes[0], &Options{PingInterval: time.Hour})
	conn.roundTrip(p)
	var fd int
	conn.stream.peeker.Raw().Control(func(n uintptr) { fd = int(n) })
	var one [1]byte
	sideBySide(b, turns{"recvfrom", 500, func() {
		if _, _, err := syscall.Recvfrom(fd, one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT); err != syscall.EAGAIN {
			b.Fatal(err)
		}
	}}, turns{"look", 500, func() {
		if arrived, err := conn.stream.peeker.peek(); arrived || err != nil {
			b.Fatal(arrived, err)
		}
	}}, turns{"check", 500, func() {
		if err := conn.check(conn.Conn); err != nil {
			b.Fatal(err)
		}
	}})
}

// BenchmarkIdle holds 10,000 idle connections, and compares what they take of the heap with
// what others take that never saw this package. One op is a Check of each.
func BenchmarkIdle(b *testing.B) {
	const conns, batch = 10_000, 500
	raiseFileLimit(b, conns+conns/5+1000)
	url := startQuietServer(b)
	ctx := context.Background()
	factory := newFactory(b, url, nil)
	bare, held := make([]*websocket.Conn, 0, conns), make([]*Conn, 0, conns)
	openBare := func() {
		conn, _, err := websocket.Dial(ctx, url, nil)
		if err != nil {
			b.Fatal(err)
		}
		bare = append(bare, conn)
	}
	openHeld := func() {
		conn, err := factory.Open(ctx)
		if err != nil {
			b.Fatal(err)
		}
		held = append(held, conn)
	}
	var sizes, over []float64
	for range conns / batch {
		bareSize := memoryOf(batch/5, openBare)
		size := memoryOf(batch, openHeld)
		sizes, over = append(sizes, size), append(over, size-bareSize)
	}
	slices.Sort(sizes)
	slices.Sort(over)
	b.Cleanup(func() {
		for _, conn := range bare {
			conn.CloseNow()
		}
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
	b.ReportMetric(sizes[len(sizes)/2], "B/conn")
	b.ReportMetric(over[len(over)/2], "B/conn-over-bare")
}

// BenchmarkTend holds 10,000 leased connections at rest. One op is what the tender does in
// a second: a round, in which a twentieth of them is sent a ping. The five looks or so that an
// answer brings its connection are not in it.
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
	due, now := 0, since()
	second := func() {
		for range conns / 20 {
			w := &tender.streams[due].watch
			w.heard, w.said, w.worry().pinged = -time.Hour, -time.Hour, -time.Hour
			due = (due + 1) % conns
		}
		now += time.Hour // all are due
		tender.goRound(now)
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

// memoryOf returns how much of the heap each of n calls of open takes for good. Nothing
// else may be kept in them; testing.B.Cleanup, for one, keeps half a kilobyte.
func memoryOf(n int, open func()) float64 {
	used := func() uint64 {
		runtime.GC()
		runtime.GC() // what pools hold goes with the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := used()
	for range n {
		open()
	}
	return float64(int64(used()-before)) / float64(n)
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
