package wsconn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/coder/websocket"
)

// processVariable makes this test binary a server at the address that it names.
const processVariable = "WSCONN_TEST_SERVER"

// A process is a server in a process of its own.
type process struct {
	t       *testing.T
	address string
	command *exec.Cmd
	stdin   io.WriteCloser
	answers *bufio.Reader

	mu      sync.Mutex
	changes int // odd: it is down, or being changed
}

// startProcess starts a server at an address of its own, or at a former one.
func startProcess(t *testing.T) *process {
	t.Helper()
	p := &process{t: t, address: "127.0.0.1:0"}
	if runtime.GOOS == "linux" {
		// Nobody else has it while the server is away.
		p.address = fmt.Sprintf("127.%d.%d.%d:0", 1+rand.IntN(250), rand.IntN(250), 1+rand.IntN(250))
	}
	p.start()
	t.Cleanup(p.kill)
	return p
}

func (p *process) url() string { return "ws://" + p.address }

func (p *process) start() {
	p.t.Helper()
	p.command = exec.Command(os.Args[0])
	p.command.Env = append(os.Environ(), processVariable+"="+p.address)
	p.command.Stderr = os.Stderr
	stdin, err := p.command.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	stdout, err := p.command.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.command.Start(); errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.ENOEXEC) {
		p.t.Skipf("the machine does not run this program by itself: %v", err) // it is emulated
	} else if err != nil {
		p.t.Fatal(err)
	}
	p.stdin, p.answers = stdin, bufio.NewReader(stdout)
	p.address = p.answer()
	p.change(false)
}

func (p *process) answer() string {
	p.t.Helper()
	line, err := p.answers.ReadString('\n')
	if err != nil {
		p.t.Fatalf("server process: %v", err)
	}
	return strings.TrimSpace(line)
}

// kill ends the process, as a crash does.
func (p *process) kill() {
	p.change(true)
	p.command.Process.Kill()
	p.command.Wait()
}

// tell makes the server behave otherwise, and returns when it does.
func (p *process) tell(what string) {
	p.t.Helper()
	p.change(true)
	if _, err := fmt.Fprintln(p.stdin, what); err != nil {
		p.t.Fatal(err)
	}
	if got := p.answer(); got != what {
		p.t.Fatalf("server process: %q in answer to %q", got, what)
	}
	if what == "serve" || strings.HasPrefix(what, "bounce") {
		p.change(false)
	}
}

// change begins a change of the server, or says that it is complete.
func (p *process) change(begins bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if odd := p.changes%2 == 1; odd != begins {
		p.changes++
	}
}

// changed returns how often the server has been changed.
func (p *process) changed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changes
}

// serverProcess is the server: it echoes, and obeys lines on its standard input.
//
//	serve       accept and echo
//	stall       cut all connections, accept others, and never answer
//	drain CODE  close all connections with that code, and accept no more
//	bounce CODE close all connections with that code, and go on
func serverProcess(address string) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var mu sync.Mutex
	stalled := false
	conns := map[*websocket.Conn]bool{}
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		silent := stalled
		mu.Unlock()
		if silent {
			<-r.Context().Done()
			return
		}
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		mu.Lock()
		if stalled {
			mu.Unlock()
			c.CloseNow()
			return
		}
		conns[c] = true
		mu.Unlock()
		echo(context.Background(), accepted{c, r})
		c.CloseNow()
		mu.Lock()
		delete(conns, c)
		mu.Unlock()
	}))
	fmt.Println(listener.Addr())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var what string
		var code int
		fmt.Sscan(in.Text(), &what, &code)
		mu.Lock()
		stalled = what == "stall"
		var ending sync.WaitGroup
		for c := range conns {
			switch what {
			case "stall":
				ending.Go(func() { c.CloseNow() })
			case "drain", "bounce":
				ending.Go(func() { c.Close(websocket.StatusCode(code), "") })
			}
		}
		if what == "drain" {
			listener.Close()
		}
		mu.Unlock()
		ending.Wait()
		fmt.Println(in.Text())
	}
}

// A crowd makes requests until it is told to stop. It fails the test for each that fails
// though its server has been well all the time.
type crowd struct {
	t            *testing.T
	pool         *pool.Pool[*Conn]
	distribution *Distribution
	servers      map[string]*process // by URL
	ctx          context.Context
	members      sync.WaitGroup

	mu     sync.Mutex
	served map[string]int
	waits  func() bool // the condition that somebody waits for
	met    chan struct{}
}

func (c *crowd) start(members int) {
	for range members {
		c.members.Go(func() {
			for c.ctx.Err() == nil {
				c.once()
			}
		})
	}
}

func (c *crowd) once() {
	before := map[string]int{}
	for url, p := range c.servers {
		before[url] = p.changed()
	}
	var last string
	err := c.pool.Retry(context.Background(), func(ctx context.Context, conn *Conn) error {
		last = conn.Endpoint()
		_, reply, err := conn.Exchange(ctx, websocket.MessageText, []byte("hello"))
		if err != nil {
			return pool.Broken(err)
		}
		if string(reply) != "hello" {
			return errors.New("another reply")
		}
		return nil
	})
	if err != nil && (last == "" || before[last]%2 == 0 && c.servers[last].changed() == before[last]) {
		c.t.Errorf("a request has failed at %q, which has been well: %v", last, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.served[last]++
	}
	if c.waits != nil && c.waits() {
		close(c.met)
		c.waits = nil
	}
}

// await waits until a condition is met. It is asked after each request, with mu held, of what
// has been served since now.
func (c *crowd) await(what string, condition func(served map[string]int) bool) {
	c.t.Helper()
	met := make(chan struct{})
	c.mu.Lock()
	clear(c.served)
	c.waits, c.met = func() bool { return condition(c.served) }, met
	c.mu.Unlock()
	select {
	case <-met:
	case <-time.After(5 * time.Minute):
		stacks := make([]byte, 1<<20)
		c.t.Fatalf("not within five minutes: %s\n%+v\n%+v\n%s", what, c.pool.Stats(), c.distribution.Endpoints(), stacks[:runtime.Stack(stacks, true)])
	}
}

// servedBy is the condition that a server has served some requests.
func servedBy(p *process) func(map[string]int) bool {
	return func(served map[string]int) bool { return served[p.url()] >= 10 }
}

func sum(served map[string]int) (n int) {
	for _, k := range served {
		n += k
	}
	return n
}

// TestNoRequestFailsWhileServersComeAndGo that a dial to a server that is well would not have
// failed: three servers, in processes of their own, of which one dies, one drains, one restarts,
// one stalls, and each returns; then one joins, and one leaves.
func TestNoRequestFailsWhileServersComeAndGo(t *testing.T) {
	for _, policy := range []Policy{LeastConnections, RoundRobin, Failover} {
		t.Run(policy.String(), func(t *testing.T) { comeAndGo(t, policy) })
	}
}

func comeAndGo(t *testing.T, policy Policy) {
	a, b, c, d := startProcess(t), startProcess(t), startProcess(t), startProcess(t)
	var mu sync.Mutex
	set := []string{a.url(), b.url(), c.url()}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	distribution := new(Distribution)
	factory := newFactory(t, a.url(), &Options{
		DialOptions: &websocket.DialOptions{HTTPClient: client},
		Endpoints:   set,
		Discover: func(context.Context) ([]string, error) {
			mu.Lock()
			defer mu.Unlock()
			return set, nil
		},
		DiscoverInterval: time.Millisecond,
		Policy:           policy,
		Distribution:     distribution,
		HandshakeTimeout: 5 * time.Minute, // a busy machine is no dead server
		moveInterval:     time.Microsecond,
	})
	p, err := pool.New(factory, pool.Config{MaxConnections: 12, FailFastAfter: -1, MaxWaitTime: -1, OpenTimeout: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, stop := context.WithCancel(context.Background())
	servers := map[string]*process{a.url(): a, b.url(): b, c.url(): c, d.url(): d}
	crowd := &crowd{t: t, pool: p, distribution: distribution, servers: servers, ctx: ctx, served: map[string]int{}}
	defer crowd.members.Wait()
	defer stop()
	crowd.start(16)
	some := func(served map[string]int) bool { return sum(served) >= 200 }
	// With Failover only the first is used, so each in its turn is the first.
	lead := func(first *process) {
		if policy != Failover {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		set = []string{first.url()}
		for _, p := range []*process{a, b, c} {
			if p != first {
				set = append(set, p.url())
			}
		}
	}

	lead(a)
	crowd.await("a serves", servedBy(a))
	a.kill()
	crowd.await("others serve when a has died", some)
	a.start()
	crowd.await("a serves again", servedBy(a))

	lead(b)
	crowd.await("b serves", servedBy(b))
	b.tell("drain 1001")
	crowd.await("others serve when b has gone away", some)
	b.kill()
	b.start()
	crowd.await("b serves again", servedBy(b))

	lead(c)
	crowd.await("c serves", servedBy(c))
	c.tell("bounce 1012")
	crowd.await("c serves again after its restart", servedBy(c))

	c.tell("stall")
	crowd.await("others serve while c stalls", some)
	c.tell("serve")
	crowd.await("c serves when it has come to itself", servedBy(c))

	mu.Lock()
	set = []string{d.url(), b.url()}
	mu.Unlock()
	crowd.await("d serves, and nobody has a connection of a and c any more", func(served map[string]int) bool {
		gone := true
		for _, e := range distribution.Endpoints() {
			gone = gone && (e.URL != a.url() && e.URL != c.url() || e.Open == 0 && e.Left)
		}
		return gone && served[d.url()] >= 10
	})
	crowd.await("and nobody gets one", func(served map[string]int) bool {
		if n := served[a.url()] + served[c.url()]; n > 16 { // those under way
			t.Errorf("%d requests were served by a or c", n)
			return true
		}
		return sum(served) >= 200
	})
}
