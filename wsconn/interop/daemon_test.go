package interop

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A daemon is a program that serves until it is told to end. What it prints is kept.
type daemon struct {
	cmd   *exec.Cmd
	ended chan struct{} // is closed when it has ended

	mu      sync.Mutex
	partial []byte
	printed []string
	told    chan struct{} // is closed, and replaced, for each line
}

// program returns the path of the first of these that is installed, and skips the test if
// none is.
func program(t *testing.T, name string, paths ...string) string {
	t.Helper()
	for _, path := range append(paths, name, "/usr/sbin/"+name) {
		if path, err := exec.LookPath(path); err == nil {
			return path
		}
	}
	t.Skipf("%s is missing: run ./setup", name)
	return ""
}

// run starts a program, and ends it with the test.
func run(t *testing.T, program string, args ...string) *daemon {
	t.Helper()
	d := &daemon{cmd: exec.Command(program, args...), ended: make(chan struct{}), told: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = d, d
	d.cmd.WaitDelay = time.Second // for its children, which have its output too
	home := directory(t)
	d.cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home, "XDG_CACHE_HOME="+home)
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(d.ended)
		d.cmd.Wait()
	}()
	t.Cleanup(func() {
		d.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-d.ended:
		case <-time.After(patience):
			d.cmd.Process.Kill()
			<-d.ended
		}
		if t.Failed() {
			t.Logf("%s has printed at last:\n%s", program, strings.Join(d.printed[max(0, len(d.printed)-30):], "\n"))
		}
	})
	return d
}

// directory returns a directory that ends with the test. Its name is short enough for
// that of a socket in it, which t.TempDir's may not be.
func directory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "interop")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// file writes a file in a directory of its own, and returns its path.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(directory(t), "conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Write takes what the program prints.
func (d *daemon) Write(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.partial = append(d.partial, b...)
	for {
		line, rest, ok := bytes.Cut(d.partial, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		d.printed = append(d.printed, string(line))
		d.partial = rest
		close(d.told)
		d.told = make(chan struct{})
	}
}

// says waits until the program has printed n lines with a word, and returns the last of
// these.
func (d *daemon) says(n int, word string) (string, error) { return d.saysWithin(patience, n, word) }

func (d *daemon) saysWithin(limit time.Duration, n int, word string) (string, error) {
	timeout := time.After(limit)
	for {
		line, told := d.line(n, word)
		if line != "" {
			return line, nil
		}
		select {
		case <-told:
		case <-d.ended:
			if line, _ := d.line(n, word); line != "" {
				return line, nil
			}
			return "", errors.New("the program has ended")
		case <-timeout:
			return "", fmt.Errorf("the program has not printed %q for %v", word, limit)
		}
	}
}

// count returns how many lines with a word the program has printed.
func (d *daemon) count(word string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, line := range d.printed {
		if strings.Contains(line, word) {
			n++
		}
	}
	return n
}

// line returns the nth line with a word, if there is one. told is closed when there is
// another line.
func (d *daemon) line(n int, word string) (line string, told <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, line := range d.printed {
		if strings.Contains(line, word) {
			if n--; n == 0 {
				return line, nil
			}
		}
	}
	return "", d.told
}

// freePort returns a TCP port of the loopback that was free a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
