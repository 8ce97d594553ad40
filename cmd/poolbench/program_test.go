package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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
	stdout, stderr, status := runProgram(t, "-json", "-clients", "40", "-max", "4", "-duration", "500ms", "-size", "100")
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	r := result(t, stdout)
	if r.Clients != 40 || r.MaxConnections != 4 || r.SizeBytes != 100 || r.DurationSeconds != 0.5 || !r.Embedded || r.Interrupted {
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
	if ratio := r.Ratio["requests_per_second"]; ratio == nil || *ratio <= 1 {
		t.Errorf("pooling gains nothing: %s", stdout)
	}
}

func TestProgramShowsATable(t *testing.T) {
	t.Parallel()
	stdout, stderr, status := runProgram(t, "-clients", "10", "-max", "5", "-duration", "200ms", "-rtt", "4ms")
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	for _, part := range []string{"10 clients", "pool of 5", "round trip 4ms", "requests per second", "p99.9", "x less", "pool: "} {
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
	stdout, stderr, status := runProgram(t, "-json", "-clients", "4", "-max", "4", "-duration", "500ms", "-rtt", "20ms")
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	r := result(t, stdout)
	if r.RTTSeconds == nil || *r.RTTSeconds != 0.02 {
		t.Errorf("round trip is %v", r.RTTSeconds)
	}
	if r.Dialing.Latency == nil || r.Dialing.Latency.P50 < 60 {
		t.Fatalf("dialing, upgrading and a message cost %+v ms, want three round trips", r.Dialing.Latency)
	}
	if r.Pooled.Latency == nil || r.Pooled.Latency.P50 < 20 || r.Pooled.Latency.P50 >= r.Dialing.Latency.P50 {
		t.Errorf("a message costs %+v ms, want a round trip, and less than with dialing: %+v", r.Pooled.Latency, r.Dialing.Latency)
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
	stdout, stderr, status := runProgram(t, "-json", "-url", url, "-header", "Authorization: Bearer x", "-header", "Host: bench.example",
		"-clients", "40", "-max", "4", "-duration", "200ms")
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	r := result(t, stdout)
	checkPhase(t, "dialing", r.Dialing)
	checkPhase(t, "pooled", r.Pooled)
	if r.Embedded || r.RTTSeconds != nil || r.Dialing.PeakConnectionsServer != nil || r.Dialing.PeakConnectionsClient < 2 {
		t.Errorf("got %s", stdout)
	}
	if unauthorized.Load() {
		t.Error("a handshake without the headers")
	}
	if strings.Contains(stdout+stderr, "secret") {
		t.Errorf("shows a secret: %s%s", stdout, stderr)
	}
}

func TestProgramEndsAForeignPhaseAtTheLimitOfDials(t *testing.T) {
	t.Parallel()
	_, url := startServer(t, 0)
	o, err := parseFlags([]string{"-url", url, "-clients", "20", "-max", "2", "-duration", "200ms"})
	if err != nil {
		t.Fatal(err)
	}
	b := &benchmark{options: o, progress: newProgress(io.Discard, false), report: &report{options: o}}
	if got := dialLimit(o); got != foreignDials {
		t.Errorf("limit is %d", got)
	}
	if got := dialLimit(options{max: foreignDials}); got != 2*foreignDials {
		t.Errorf("limit for a large pool is %d", got)
	}
	b.limit = 30
	b.duration = time.Minute
	p, err := b.phase(testContext(t), "dial each time", func(n *network) (source, error) { return newDialing(o, n), nil })
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

// started runs the program until it shows the first line of progress.
func started(t *testing.T, c *exec.Cmd) (stderr io.Reader) {
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
	if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, "req/s") {
		t.Fatalf("first line of progress: %q, %v", line, err)
	}
	return lines
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
			stderr := started(t, c)
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

func TestASecondInterruptKillsTheProgram(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("one process cannot interrupt another there")
	}
	end := make(chan struct{})
	var requests atomic.Int64
	url := startReplier(t, func(b []byte) []byte {
		if requests.Add(1) > 1 { // the first one tries whether it echoes
			<-end // so that the first interrupt leaves the program waiting
		}
		return b
	})
	t.Cleanup(func() { close(end) })
	c := command(t, "-url", url, "-clients", "5", "-max", "2", "-duration", "1h")
	stderr := started(t, c)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		io.Copy(io.Discard, stderr)
		c.Wait()
	}()
	// Two that come together count as one: send another now and then.
	for sent := 1; ; sent++ {
		c.Process.Signal(os.Interrupt)
		select {
		case <-ended:
			if status := c.ProcessState.ExitCode(); status != -1 || sent < 2 {
				t.Errorf("ended with status %d after %d interrupts, want to be killed by the second", status, sent)
			}
			return
		case <-time.After(hasty / 10):
		}
	}
}

// The server holds the other end of the program's standard error, which comes to
// its end only when both are gone.
func TestTheServerDiesWithTheProgram(t *testing.T) {
	t.Parallel()
	c := command(t, "-clients", "20", "-max", "2", "-duration", "1h")
	stderr := started(t, c)
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
	case <-time.After(10 * time.Second):
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
	closed, err := listenLoopback()
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, c := range []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"bad flag", []string{"-clients", "none"}, exitUsage, "-clients"},
		{"unreachable", []string{"-url", "ws://" + closed.Addr().String()}, exitFailed, "cannot be reached: dial tcp"},
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
			conn.Close()
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
	stdout, stderr, status := runProgram(t, "-url", url, "-clients", "5", "-max", "2", "-duration", "100ms")
	if status != exitFailed || !strings.Contains(stderr, "not one request was answered") {
		t.Errorf("status %d: %s", status, stderr)
	}
	if !strings.Contains(stdout, "error (dial each time): ") || !strings.Contains(stdout, "error (pool): ") {
		t.Errorf("no errors in:\n%s", stdout)
	}
}

func TestHelpGoesToStandardOutput(t *testing.T) {
	var stdout, stderr strings.Builder
	if status := run([]string{"-h"}, &stdout, &stderr); status != 0 || stdout.String() != usage || stderr.Len() > 0 {
		t.Errorf("status %d, %d bytes, %q", status, stdout.Len(), stderr.String())
	}
}
