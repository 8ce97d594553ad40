//go:build linux

package fleet

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/redis/go-redis/v9"
)

// A plan is what a child process is to be.
type plan struct {
	Redis, Protected, Name string
	Max                    int
	Lease                  time.Duration
	Strict, Found          bool
	Fences                 bool // has Options.Fence, which does nothing
	StopsInOpen            bool // stops itself in its first open, before it dials
	Verbose                bool
	Record                 string    // the file that operations are written to
	Mutant                 [2]string // an error that is put into the script: the second instead of the first
}

func (p plan) fenced() plan {
	p.Fences = true
	return p
}

func TestMain(m *testing.M) {
	if text := os.Getenv("FLEET_CHILD"); text != "" {
		var p plan
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			panic(err)
		}
		beChild(p)
		return
	}
	os.Exit(m.Run())
}

// beChild does what it is told on its standard input, one line each, and answers one line each.
func beChild(p plan) {
	opts := &Options{Lease: p.Lease, Strict: p.Strict, Found: p.Found}
	if p.Fences {
		opts.Fence = func(context.Context, string) error { return errors.New("not by this one") }
	}
	if p.Verbose {
		opts.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	if p.Record != "" {
		r, err := newRecorder(p.Record)
		if err != nil {
			panic(err)
		}
		opts.observe = r.observe
	}
	if p.Mutant != [2]string{} {
		script = redis.NewScript(strings.Replace(source, p.Mutant[0], p.Mutant[1], 1))
	}
	client := redis.NewClient(&redis.Options{Addr: p.Redis})
	b, err := NewBudget(client, p.Name, p.Max, opts)
	if err != nil {
		fmt.Println("error", err)
		return
	}
	open := dial(p.Protected, b)
	var stopped atomic.Bool
	q, err := pool.New(pool.Factory[*link]{
		Open: func(ctx context.Context) (*link, error) {
			if p.StopsInOpen && !stopped.Swap(true) {
				fmt.Println("stopping")
				// Sent to this thread, it is obeyed before the call returns; sent to the process, some time later.
				runtime.LockOSThread()
				_ = syscall.Tgkill(os.Getpid(), syscall.Gettid(), syscall.SIGSTOP)
				runtime.UnlockOSThread()
			}
			return open(ctx)
		},
		Close: hangUp,
	}, pool.Config{Budget: b, MaxConnections: 100, OpenTimeout: -1, FailFastAfter: -1, MaxWaitTime: -1})
	if err != nil {
		panic(err)
	}
	fmt.Println("ready", b.ID())
	var mu sync.Mutex
	var leases []pool.Lease[*link]
	load, stopLoad := context.WithCancel(context.Background())
	defer stopLoad()
	has := func() {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println("has", len(leases))
	}
	var loading sync.WaitGroup
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var command string
		var n int
		_, _ = fmt.Sscan(in.Text(), &command, &n)
		switch command {
		case "get": // so many leases; answers when it has them
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() {
					l, err := q.Get(context.Background())
					if err != nil {
						fmt.Fprintln(os.Stderr, "Get:", err)
						return
					}
					mu.Lock()
					leases = append(leases, l)
					mu.Unlock()
				})
			}
			wg.Wait()
			has()
		case "ask": // like get, without waiting for them
			for range n {
				go func() {
					l, err := q.Get(context.Background())
					if err == nil {
						mu.Lock()
						leases = append(leases, l)
						mu.Unlock()
					}
				}()
			}
			fmt.Println("asked")
		case "put":
			mu.Lock()
			some := leases[:n]
			leases = leases[n:]
			mu.Unlock()
			for _, l := range some {
				_ = q.Put(l)
			}
			has()
		case "lost": // waits until the pool knows that n rights are lost
			for lost := 0; lost < n; time.Sleep(time.Millisecond) {
				b.store.mu.Lock()
				lost = b.store.missing
				b.store.mu.Unlock()
			}
			b.store.orders.end()
			fmt.Println("lost", n)
		case "has":
			has()
		case "load": // n callers, for ever
			for range n {
				loading.Go(func() {
					for load.Err() == nil {
						l, err := q.Get(load)
						if err != nil {
							continue
						}
						time.Sleep(time.Duration(rand.IntN(2_000)) * time.Microsecond)
						if rand.IntN(10) == 0 {
							_ = q.Discard(l, nil)
						} else {
							_ = q.Put(l)
						}
					}
				})
			}
			fmt.Println("loads")
		case "end":
			stopLoad()
			loading.Wait()
			mu.Lock()
			for _, l := range leases {
				_ = q.Put(l)
			}
			mu.Unlock()
			err := q.Close()
			fmt.Println("ended", err, b.Close())
			return
		}
	}
}

// A child is a process that has a budget.
type child struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
	id  string
}

// answerless is how long a child may take for an answer. None takes as long.
const answerless = patienceOfTests

func newChild(t *testing.T, p plan) *child {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), "FLEET_CHILD="+string(text))
	c.cmd.Stderr = os.Stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.in, c.out = in, bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	c.id = strings.TrimPrefix(c.hears("ready"), "ready ")
	return c
}

// tells tells the child what to do. Its answer is still to be heard.
func (c *child) tells(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.in, format+"\n", args...); err != nil {
		c.t.Fatal(err)
	}
}

// hears waits for an answer that begins with that.
func (c *child) hears(begins string) string {
	c.t.Helper()
	late := time.AfterFunc(answerless, func() { _ = c.cmd.Process.Kill() }) // so that the read ends
	line, err := c.out.ReadString('\n')
	if line = strings.TrimSpace(line); !late.Stop() || err != nil || !strings.HasPrefix(line, begins) {
		c.t.Fatalf("the child says %q, want %q…; %v", line, begins, err)
	}
	return line
}

func (c *child) does(answer, format string, args ...any) {
	c.t.Helper()
	c.tells(format, args...)
	if got := c.hears(answer); got != answer {
		c.t.Fatalf("the child says %q, want %q", got, answer)
	}
}

func (c *child) ends() {
	c.t.Helper()
	c.does("ended <nil> <nil>", "end")
	_ = c.cmd.Wait()
}

func (c *child) kill() {
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
}

func (c *child) stop() {
	c.t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		c.t.Fatal(err)
	}
	c.isStopped()
}

// isStopped waits until the process stands still.
func (c *child) isStopped() {
	c.t.Helper()
	var info [128]byte
	_, _, e := syscall.Syscall6(syscall.SYS_WAITID, 1 /* P_PID */, uintptr(c.cmd.Process.Pid), uintptr(pointer(&info)), 2|0x01000000 /* WSTOPPED, WNOWAIT */, 0, 0)
	if e != 0 {
		c.t.Fatal(e)
	}
}

func (c *child) carryOn() { _ = c.cmd.Process.Signal(syscall.SIGCONT) }
