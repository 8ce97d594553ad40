package stress

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
	"github.com/S4AK4N/pool/internal/words"
	"go.uber.org/atomic"
)

const echoAddress = "POOL_TEST_ECHO_ADDRESS"

// TestEchoServerProcess is no test, but the server of the next one: a process of its own,
// that can be killed.
func TestEchoServerProcess(t *testing.T) {
	address := os.Getenv(echoAddress)
	if address == "" {
		t.Skip("for TestAServerThatDiesWithAHundredConnectionsOpen only")
	}
	var listener net.Listener
	for began := time.Now(); listener == nil; {
		var err error
		if listener, err = net.Listen("tcp", address); err != nil && time.Since(began) > 5*time.Second {
			t.Fatal(err)
		}
	}
	fmt.Println("listening", listener.Addr())
	go func() { // until its parent is gone
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	for {
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(conn, conn) }()
	}
}

// An echoServer is a running server process.
type echoServer struct {
	cmd     *exec.Cmd
	stdin   io.Closer
	address string
}

func startEcho(t *testing.T, address string) *echoServer {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestEchoServerProcess$")
	cmd.Env = append(os.Environ(), echoAddress+"="+address)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("this machine lets a test start no process: %v", err)
	}
	s := &echoServer{cmd: cmd, stdin: stdin}
	t.Cleanup(s.kill)
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if listening, ok := strings.CutPrefix(lines.Text(), "listening "); ok {
			s.address = listening
			return s
		}
	}
	t.Fatal("the server does not listen")
	return nil
}

// kill ends the process at once, and with it all its connections.
func (s *echoServer) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	_ = s.stdin.Close()
}

// A numberedConn is a connection that counts what has failed on it.
type numberedConn struct {
	net.Conn
	failed atomic.Int32
}

func (c *numberedConn) echo() error {
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "ping"); err != nil {
		return err
	}
	var reply [4]byte
	_, err := io.ReadFull(c, reply[:])
	return err
}

// A real server, killed with a hundred connections open and started again. No request
// fails but one for each connection that was open, so no caller has more than one failed
// request for each connection that it held; the server is not stormed while it is away;
// nobody waits out a timeout; and service is full again after its return. How soon, on a
// clock that no busy machine slows down, is TestServiceIsFullWithinASecondOfTheServersReturn.
//
// pgx#1780, pgbouncer#585, #478: a dead backend is hammered; callers wait out their whole
// timeout.
func TestAServerThatDiesWithAHundredConnectionsOpen(t *testing.T) {
	const (
		size     = 100
		patience = time.Minute
	)
	address := "127.0.0.1:0"
	if runtime.GOOS == "linux" {
		// Nobody else has it while the server is away.
		address = fmt.Sprintf("127.%d.%d.%d:0", 1+rand.IntN(250), rand.IntN(250), 1+rand.IntN(250))
	}
	server := startEcho(t, address)
	var dials atomic.Int64
	var dialer net.Dialer
	p := testkit.Start(t, pool.Factory[*numberedConn]{
		Open: func(ctx context.Context) (*numberedConn, error) {
			dials.Inc()
			conn, err := dialer.DialContext(ctx, "tcp", server.address)
			if err != nil {
				return nil, err
			}
			return &numberedConn{Conn: conn}, nil
		},
		Close: func(c *numberedConn, _ error) error { return c.Close() },
	}, pool.Config{MaxConnections: size, OpenTimeout: patience, MaxWaitTime: patience})
	if err := p.Warm(t.Context(), size); err != nil {
		t.Fatal(err)
	}

	var (
		failed  atomic.Int64          // requests
		told    atomic.Int64          // calls of Get that failed
		longest atomic.Int64          // of them
		back    atomic.Time           // when the server was started again
		slowest atomic.Int64          // how long after that a caller had its first reply
		refused = make(chan struct{}) // closed when the first has failed
		stopped = make(chan struct{})
		paired  sync.WaitGroup // all callers have a connection each
		serving sync.WaitGroup // all callers have had a reply since the server's return
		callers sync.WaitGroup
	)
	paired.Add(size)
	serving.Add(size)
	kill := make(chan struct{})
	for range size {
		callers.Go(func() {
			first, err := p.Get(context.Background()) // all hold one when it is killed
			paired.Done()
			if err != nil {
				t.Errorf("Get: %v", err)
				serving.Done()
				return
			}
			<-kill
			l, held, recovered := first, true, false
			for {
				if !held {
					began := time.Now()
					l, err = p.Get(context.Background())
					if err != nil {
						if told.Inc() == 1 {
							close(refused)
						}
						longest.Store(max(longest.Load(), int64(time.Since(began))))
						var refusal *net.OpError
						if !errors.As(err, &refusal) {
							t.Errorf("Get returned %v, want the cause in it", err)
						}
						select {
						case <-stopped:
							return
						case <-time.After(20 * time.Millisecond):
							continue
						}
					}
				}
				held = false
				err := l.Value().echo()
				if err != nil {
					failed.Inc()
					if l.Value().failed.Inc() > 1 {
						t.Error("a connection on which a request has failed was lent again")
					}
					if !back.Load().IsZero() {
						t.Errorf("a request failed after the server had come back: %v", err)
					}
					_ = p.Discard(l, err)
				} else if err := p.Put(l); err != nil {
					t.Errorf("Put: %v", err)
				} else if at := back.Load(); !at.IsZero() && !recovered {
					recovered = true
					slowest.Store(max(slowest.Load(), int64(time.Since(at))))
					serving.Done()
				}
				select {
				case <-stopped:
					return
				default:
				}
			}
		})
	}
	paired.Wait()
	if got := dials.Load(); got != size {
		t.Errorf("%d dials for %d connections", got, size)
	}

	server.kill()
	dials.Store(0)
	killed := time.Now()
	close(kill)
	<-refused // after FailFastAfter, however slow the machine: before that nobody is told
	stormed, outage := dials.Load(), time.Since(killed)
	startEcho(t, server.address)
	back.Store(time.Now())
	serving.Wait() // it hangs if one of them is never served again
	close(stopped)
	callers.Wait()

	if got := failed.Load(); got != size {
		t.Errorf("%d requests failed, want one for each of %d connections", got, size)
	}
	// At most one for each connection that died, before the first was refused. Then one
	// at a time, from the fourth on after a backoff that doubles from 25 ms to 500 ms, less
	// up to half.
	if most := size + words.KeepsFailing + 5 + int64(outage/(words.BackoffMost/2)); stormed > most {
		t.Errorf("%d dials in %v without a server, want %d at the most", stormed, outage, most)
	}
	if d := time.Duration(longest.Load()); d > patience/2 {
		t.Errorf("a Get took %v to fail, want no waiting out of timeouts", d)
	}
	t.Logf("%d requests failed; %d dials in the outage; %d calls of Get were told, after %v at the most; all were served %v after the server's return",
		failed.Load(), stormed, told.Load(), time.Duration(longest.Load()), time.Duration(slowest.Load()))
}
