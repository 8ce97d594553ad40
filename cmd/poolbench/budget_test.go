//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/contrib/fleet"
	"github.com/redis/go-redis/v9"
)

// redisServer starts a real server on a socket in the file system, and returns its URL.
func redisServer(t *testing.T) string {
	t.Helper()
	name, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("INTEROP_MUST") != "" {
			t.Fatal(err)
		}
		t.Skip("redis-server is not installed: netconn/interop/setup does that")
	}
	dir, err := os.MkdirTemp("", "pb") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	c := exec.Command(name, "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
		os.RemoveAll(dir)
	})
	// It says so once it accepts connections.
	var log []byte
	for buffer := make([]byte, 1024); !bytes.Contains(log, []byte("now ready to accept connections")); {
		n, err := out.Read(buffer)
		if log = append(log, buffer[:n]...); err != nil {
			t.Fatalf("redis-server has ended: %s", log)
		}
	}
	return "unix://" + socket
}

// holding makes a process of a fleet that has n connections open.
func holding(t *testing.T, url, name, label string, max, n int) {
	t.Helper()
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(o)
	b, err := fleet.NewBudget(client, name, max, &fleet.Options{Label: label, Found: true, Lease: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	p, err := pool.New(pool.Factory[int]{
		Open:  func(context.Context) (int, error) { return 1, nil },
		Close: func(int, error) error { return nil },
	}, pool.Config{Budget: b, MaxConnections: n, MaxIdleTime: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		b.Close()
		client.Close()
	})
	for range n {
		if _, err := p.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBudgetShowsWhoHasHowMany(t *testing.T) {
	t.Parallel()
	url := redisServer(t)
	if stdout, stderr, status := runProgram(t, "-budget", url); status != 0 || stdout != url+" has no budget\n" || stderr != "" {
		t.Errorf("of none: status %d, %q, %q", status, stdout, stderr)
	}
	holding(t, url, "account-7", "web-1", 4, 3)
	holding(t, url, "database", "batch", 5, 5)
	stdout, stderr, status := runProgram(t, "-budget", url)
	if status != 0 || stderr != "" {
		t.Fatalf("status %d, %q", status, stderr)
	}
	first, second, _ := strings.Cut(stdout, "\n\n")
	for _, want := range []struct{ in, text string }{
		{first, "budget account-7: "}, {first, " of 4 rights used, 1 processes"}, {first, "web-1 "},
		{second, "budget database: 5 of 5 rights used, 1 processes"}, {second, "batch "},
	} {
		if !strings.Contains(want.in, want.text) {
			t.Errorf("%q is not in\n%s", want.text, want.in)
		}
	}
	stdout, _, _ = runProgram(t, "-budget", url+"#database", "-json")
	var got struct{ Budgets []jsonBudget }
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || len(got.Budgets) != 1 {
		t.Fatalf("%v in %s", err, stdout)
	}
	if b := got.Budgets[0]; b.Name != "database" || b.Max != 5 || b.Used != 5 || len(b.Processes) != 1 || b.Processes[0].Label != "batch" || b.Processes[0].Rights != 5 {
		t.Errorf("%+v", b)
	}
}

func TestBudgetSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args   []string
		want   string
		status int
	}{
		{[]string{"-budget", "localhost:6379"}, "want redis://host:port", exitUsage},
		{[]string{"-budget", "redis://user:secret@localhost:6379/x"}, "invalid", exitUsage},
		{[]string{"-budget", "redis://localhost:6379", "-clients", "5"}, "does not go with -clients", exitUsage},
		{[]string{"-budget", "unix:///does/not/exist"}, "unix:///does/not/exist: ", exitFailed},
	} {
		stdout, stderr, status := runProgram(t, c.args...)
		if status != c.status || stdout != "" || !strings.Contains(stderr, c.want) || strings.Contains(stderr, "secret") {
			t.Errorf("%q: status %d, %q, %q; want status %d and %q", c.args, status, stdout, stderr, c.status, c.want)
		}
	}
}
