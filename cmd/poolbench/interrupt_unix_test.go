//go:build unix

package main

import (
	"io"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestASecondInterruptKillsTheProgram(t *testing.T) {
	t.Parallel()
	_, url := startServer(t, 0)
	c := command(t, "-url", url, "-clients", "5", "-max", "2", "-duration", "1h")
	// The first interrupt leaves the program waiting for room to write the table.
	c.Stdout = fullPipe(t)
	stderr := started(t, c, "")
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
			if status := c.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGINT || sent < 2 {
				t.Errorf("ended with %v after %d interrupts, want to be killed by the second", c.ProcessState, sent)
			}
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// fullPipe returns a pipe that nobody reads and that has no room.
func fullPipe(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	raw, err := w.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var full error
	raw.Write(func(fd uintptr) bool {
		for full == nil || full == syscall.EINTR {
			_, full = syscall.Write(int(fd), []byte{0})
		}
		return true
	})
	if full != syscall.EAGAIN {
		t.Fatalf("filling a pipe: %v", full)
	}
	return w
}
