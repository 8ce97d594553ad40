package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// programDir holds the built program; TestMain removes it.
var programDir string

// program returns the path of the built program.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "poolbench")
	if err != nil {
		return "", err
	}
	programDir = dir
	name := filepath.Join(dir, "poolbench.exe")
	if out, err := exec.Command("go", "build", "-o", name, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %v\n%s", err, out)
	}
	return name, nil
})

// command returns a command that runs the program and is killed after a while.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	name, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return exec.CommandContext(testContext(t), name, args...)
}

// runProgram runs the program to its end.
func runProgram(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	c := command(t, args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	c.Run()
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

// result decodes what -json has written.
func result(t *testing.T, stdout string) (r jsonReport) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(stdout))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("%v in:\n%s", err, stdout)
	}
	if rest, _ := io.ReadAll(d.Buffered()); len(bytes.TrimSpace(rest)) > 0 {
		t.Errorf("more than JSON on standard output: %q", rest)
	}
	return r
}

// runLong runs the program with -json and longer and longer phases, until enough holds
// for what it has measured. On a busy machine a short phase ends before the first reply.
func runLong(t *testing.T, enough func(r jsonReport) bool, args ...string) (r jsonReport, stdout, stderr string) {
	t.Helper()
	for duration := 200 * time.Millisecond; ; duration *= 3 {
		stdout, stderr, status := runProgram(t, append([]string{"-json", "-duration", duration.String()}, args...)...)
		if status == 0 {
			if r := result(t, stdout); r.Dialing != nil && r.Pooled != nil && r.DurationSeconds == duration.Seconds() && enough(r) {
				return r, stdout, stderr
			}
		}
		if duration > 10*time.Second {
			t.Fatalf("with phases of %v: status %d, %s%s", duration, status, stdout, stderr)
		}
	}
}

func bothAnswered(r jsonReport) bool { return r.Dialing.Requests > 0 && r.Pooled.Requests > 0 }

func checkPhase(t *testing.T, name string, p *jsonPhase) {
	t.Helper()
	switch {
	case p == nil:
		t.Fatalf("%s: missing", name)
	case p.Requests == 0 || p.RequestsPerSecond <= 0 || p.Seconds <= 0:
		t.Errorf("%s: %d requests in %v s, %v/s", name, p.Requests, p.Seconds, p.RequestsPerSecond)
	case p.Errors != 0 || p.WrongReplies != 0:
		t.Errorf("%s: %d errors, %d wrong replies: %q", name, p.Errors, p.WrongReplies, p.FirstErrors)
	case p.Latency == nil:
		t.Errorf("%s: no latency", name)
	case p.PeakHeapBytes == 0 || p.PeakGoroutines < 40:
		t.Errorf("%s: heap %d, goroutines %d", name, p.PeakHeapBytes, p.PeakGoroutines)
	default:
		l := p.Latency
		if l.P50 <= 0 || l.P90 < l.P50 || l.P99 < l.P90 || l.P999 < l.P99 || l.Max < l.P999 {
			t.Errorf("%s: latency %+v", name, *l)
		}
	}
}

func TestProgramMeasuresItsOwnServer(t *testing.T) {
	t.Parallel()
	r, stdout, _ := runLong(t, bothAnswered, "-clients", "40", "-max", "4", "-size", "100")
	if r.Clients != 40 || r.MaxConnections != 4 || r.SizeBytes != 100 || !r.Embedded || r.Interrupted {
		t.Errorf("got %+v", r)
	}
	checkPhase(t, "dialing", r.Dialing)
	checkPhase(t, "pooled", r.Pooled)
	if d := r.Dialing; d.Dials < int64(d.Requests) || d.Pool != nil || d.PeakConnectionsServer == nil || *d.PeakConnectionsServer < 2 {
		t.Errorf("dialing: %+v", *d)
	}
	p := r.Pooled
	if p.Dials < 1 || p.Dials > 4 || p.PeakConnectionsServer == nil || *p.PeakConnectionsServer > 4 || p.PeakConnectionsClient > 4 {
		t.Errorf("a pool of 4: %+v", *p)
	}
	if p.Pool == nil || p.Pool.Gets < p.Requests || p.Pool.Opened != uint64(p.Dials) {
		t.Errorf("pool: %+v", p.Pool)
	}
	// How much pooling gains is for the machine to say.
	want := p.RequestsPerSecond / r.Dialing.RequestsPerSecond
	if ratio := r.Ratio["requests_per_second"]; ratio == nil || math.Abs(*ratio/want-1) > 0.01 {
		t.Errorf("the ratio is not %v: %s", want, stdout)
	}
}

func TestProgramShowsATable(t *testing.T) {
	t.Parallel()
	stdout, stderr, status := runProgram(t, "-clients", "10", "-max", "5", "-duration", "200ms", "-rtt", "4ms")
	// A busy machine may be too slow for one reply.
	if status != 0 && !strings.Contains(stderr, "not one request was answered") {
		t.Fatalf("status %d: %s", status, stderr)
	}
	for _, part := range []string{"10 clients", "pool of 5", "round trip 4ms", "requests per second", "p99.9", "pool: "} {
		if !strings.Contains(stdout, part) {
			t.Errorf("no %q in:\n%s", part, stdout)
		}
	}
	if strings.Contains(stdout+stderr, "\r") {
		t.Error("a carriage return where there is no terminal")
	}
}

func TestProgramDelaysItsServer(t *testing.T) {
	t.Parallel()
	// Where the program is held up a pooled message may take longer than a dial. In
	// a long phase that is not so for half of them.
	lessThanADial := func(r jsonReport) bool {
		return bothAnswered(r) && r.Pooled.Latency.P50 < r.Dialing.Latency.P50
	}
	r, _, _ := runLong(t, lessThanADial, "-clients", "4", "-max", "4", "-rtt", "20ms")
	if r.RTTSeconds == nil || *r.RTTSeconds != 0.02 {
		t.Errorf("round trip is %v", r.RTTSeconds)
	}
	if r.Dialing.Latency.P50 < 60 {
		t.Errorf("dialing, upgrading and a message cost %+v ms, want three round trips", r.Dialing.Latency)
	}
	if r.Pooled.Latency.P50 < 20 {
		t.Errorf("a message costs %+v ms, want a round trip", r.Pooled.Latency)
	}
}

func TestProgramMeasuresAForeignServer(t *testing.T) {
	t.Parallel()
	var unauthorized atomic.Bool
	url := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer x" || r.Host != "bench.example" {
			unauthorized.Store(true)
		}
		echo(w, r)
	})
	url = strings.Replace(url, "://", "://user:secret@", 1) + "/echo?token=secret"
	// The second condition says that two dials were under way at the same time.
	enough := func(r jsonReport) bool { return bothAnswered(r) && r.Dialing.PeakConnectionsClient >= 2 }
	r, stdout, stderr := runLong(t, enough, "-url", url, "-header", "Authorization: Bearer x", "-header", "Host: bench.example",
		"-clients", "40", "-max", "4")
	checkPhase(t, "dialing", r.Dialing)
	checkPhase(t, "pooled", r.Pooled)
	if r.Embedded || r.RTTSeconds != nil || r.Dialing.PeakConnectionsServer != nil {
		t.Errorf("got %s", stdout)
	}
	if unauthorized.Load() {
		t.Error("a handshake without the headers")
	}
	if strings.Contains(stdout+stderr, "secret") {
		t.Errorf("shows a secret: %s%s", stdout, stderr)
	}
}

func TestProgramShowsTheDistributionOverSeveralServers(t *testing.T) {
	t.Parallel()
	_, a := startServer(t, 0)
	_, b := startServer(t, 0)
	// A machine so busy that a dial takes a second may make it 3 and 1.
	enough := func(r jsonReport) bool {
		even := bothAnswered(r) && r.Pooled.Pool.Opened == 4
		for _, s := range r.Dialing.Servers {
			even = even && s.Replies > 0
		}
		for _, s := range r.Pooled.Servers {
			even = even && s.Opened == 2 && s.Open != nil && *s.Open == 2
		}
		return even
	}
	r, _, _ := runLong(t, enough, "-url", a, "-url", b, "-clients", "8", "-max", "4")
	if want := []string{a, b}; !slices.Equal(r.URLs, want) || r.URL != a {
		t.Errorf("urls %q, url %q, want %q", r.URLs, r.URL, want)
	}
	for name, p := range map[string]*jsonPhase{"dialing": r.Dialing, "pooled": r.Pooled} {
		if len(p.Servers) != 2 || p.Servers[0].Server != a || p.Servers[1].Server != b {
			t.Fatalf("%s: servers %+v, want %s and %s", name, p.Servers, a, b)
		}
		var replies uint64
		for _, s := range p.Servers {
			replies += s.Replies
			if name == "dialing" && (s.Opened < s.Replies || s.Open != nil) {
				t.Errorf("%s: %+v", name, s)
			}
		}
		if replies < p.Requests {
			t.Errorf("%s: %d replies of %d requests", name, replies, p.Requests)
		}
	}
}

func TestProgramEndsAForeignPhaseAtTheLimitOfDials(t *testing.T) {
	t.Parallel()
	_, url := startServer(t, 0)
	o, err := parseFlags([]string{"-url", url, "-clients", "20", "-max", "2", "-duration", "200ms"})
	if err != nil {
		t.Fatal(err)
	}
	b := &benchmark{options: o, progress: newDisplay(io.Discard, false), report: &report{options: o}}
	if got := dialLimit(o); got != foreignDials {
		t.Errorf("limit is %d", got)
	}
	if got := dialLimit(options{max: foreignDials}); got != 2*foreignDials {
		t.Errorf("limit for a large pool is %d", got)
	}
	b.limit = 30
	b.duration = time.Minute
	p, err := b.phase(testContext(t), o.ways()[0])
	if err != nil {
		t.Fatal(err)
	}
	if p.dials != 30 || p.latency.count != 30 || p.errors != 0 {
		t.Errorf("%d dials, %d replies, %d errors: %q", p.dials, p.latency.count, p.errors, p.first)
	}
	if notes := strings.Join(b.report.notes, "\n"); !strings.Contains(notes, "30 dials") {
		t.Errorf("notes: %q", notes)
	}
}

// started runs the program until it shows a line of progress that holds what is given.
func started(t *testing.T, c *exec.Cmd, progress string) (stderr io.Reader) {
	t.Helper()
	pipe, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	lines := bufio.NewReader(pipe)
	for match := regexp.MustCompile(progress); ; {
		line, err := lines.ReadString('\n')
		if err != nil || !strings.Contains(line, "req/s") {
			t.Fatalf("line of progress: %q, %v", line, err)
		}
		if match.MatchString(line) {
			return lines
		}
	}
}

func TestAnInterruptEndsTheProgramWithTheTableSoFar(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]os.Signal{"SIGINT": os.Interrupt, "SIGTERM": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if runtime.GOOS == "windows" {
				t.Skip("one process cannot interrupt another there")
			}
			var stdout bytes.Buffer
			c := command(t, "-json", "-clients", "20", "-max", "2", "-duration", "1h")
			c.Stdout = &stdout
			stderr := started(t, c, ` [0-9,]*[1-9][0-9,]* req/s`)
			if err := c.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			rest, _ := io.ReadAll(stderr)
			if err := c.Wait(); err != nil {
				t.Fatalf("%v: %s", err, rest)
			}
			r := result(t, stdout.String())
			if !r.Interrupted || r.Dialing == nil || r.Pooled != nil || r.Dialing.Requests == 0 || r.Dialing.Errors != 0 {
				t.Errorf("got %s", stdout.String())
			}
		})
	}
}

// The server holds the other end of the program's standard error, which comes to
// its end only when both are gone.
func TestTheServerDiesWithTheProgram(t *testing.T) {
	t.Parallel()
	c := command(t, "-clients", "20", "-max", "2", "-duration", "1h")
	stderr := started(t, c, "")
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		io.Copy(io.Discard, stderr)
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the server is still there")
	}
}

// startHTTP starts a server without WebSocket and returns its URL.
func startHTTP(t *testing.T, handler http.HandlerFunc) string {
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http")
}

func TestWhatCannotBeMeasuredGetsOneClearLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"bad flag", []string{"-clients", "none"}, exitUsage, "-clients"},
		{"unreachable", []string{"-url", nobody}, exitFailed, "cannot be reached: dial tcp"},
		{"not found", []string{"-url", startHTTP(t, http.NotFound) + "/?token=secret"}, exitFailed, "answers the WebSocket handshake with status 404 Not Found"},
		{"not HTTP", []string{"-url", startGreeter(t)}, exitFailed, "cannot be reached: handshake: "},
		{"other reply", []string{"-url", startReplier(t, func([]byte) []byte { return []byte("hello") })}, exitFailed, `does not echo: wrong reply: sent "`},
		{"no reply", []string{"-url", startReplier(t, func([]byte) []byte { return nil })}, exitFailed, "does not echo: failed to "},
	} {
		t.Run(c.name, func(t *testing.T) {
			stdout, stderr, status := runProgram(t, c.args...)
			if status != c.status || stdout != "" {
				t.Errorf("status %d, standard output %q", status, stdout)
			}
			if !strings.HasPrefix(stderr, "poolbench: ") || !strings.Contains(stderr, c.want) || strings.Count(stderr, "\n") != 1 || !strings.HasSuffix(stderr, "\n") {
				t.Errorf("got %q, want one line with %q", stderr, c.want)
			}
			if strings.Contains(stderr, "secret") {
				t.Errorf("shows a secret: %q", stderr)
			}
		})
	}
}

// startGreeter starts a server of another protocol.
func startGreeter(t *testing.T) string {
	l, err := listenLoopback()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "220 ready\r\n")
			go func() {
				io.Copy(io.Discard, conn) // what is not read when conn is closed would reset it
				conn.Close()
			}()
		}
	}()
	return "ws://" + l.Addr().String()
}

func TestATableOfNothingButErrorsIsAFailure(t *testing.T) {
	t.Parallel()
	var handshakes atomic.Int64
	url := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if handshakes.Add(1) == 1 {
			echo(w, r) // the request that tries whether it echoes
			return
		}
		if conn, err := websocket.Accept(w, r, nil); err == nil {
			conn.CloseNow()
		}
	})
	for duration := 100 * time.Millisecond; ; duration *= 4 {
		stdout, stderr, status := runProgram(t, "-url", url, "-clients", "5", "-max", "2", "-duration", duration.String())
		if status != exitFailed || !strings.Contains(stderr, "not one request was answered") {
			t.Fatalf("status %d: %s", status, stderr)
		}
		if strings.Contains(stdout, "error (dial each time): ") && strings.Contains(stdout, "error (pool): ") {
			return
		}
		// On a busy machine a short phase ends before the first error.
		if duration > 5*time.Second {
			t.Fatalf("no errors in:\n%s", stdout)
		}
	}
}

func TestHelpGoesToStandardOutput(t *testing.T) {
	var stdout, stderr strings.Builder
	if status := run([]string{"-h"}, &stdout, &stderr); status != 0 || stdout.String() != usage || stderr.Len() > 0 {
		t.Errorf("status %d, %d bytes, %q", status, stdout.Len(), stderr.String())
	}
}
