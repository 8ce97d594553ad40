package harness

import (
	"bytes"
	"errors"
	"runtime"
	"strconv"
	"time"
)

// goroutine returns the number of the calling goroutine.
func goroutine() int {
	buf := make([]byte, 64)
	buf = buf[:runtime.Stack(buf, false)]
	id, _, _ := header(buf)
	return id
}

// header reads the first line of a goroutine in a stack trace: «goroutine 7 [select, 2 minutes]:».
func header(trace []byte) (id int, state string, ok bool) {
	rest, ok := bytes.CutPrefix(trace, []byte("goroutine "))
	if !ok {
		return 0, "", false
	}
	number, rest, _ := bytes.Cut(rest, []byte(" "))
	id, err := strconv.Atoi(string(number))
	if err != nil {
		return 0, "", false
	}
	_, rest, _ = bytes.Cut(rest, []byte("["))
	words, _, _ := bytes.Cut(rest, []byte("]"))
	words, _, _ = bytes.Cut(words, []byte(","))
	return id, string(words), true
}

// blocked reports whether the goroutine waits for another one: neither ready to run, nor asleep
// for a time.
func blocked(id int) bool {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	for trace := range bytes.SplitSeq(buf, []byte("\n\n")) {
		if got, state, ok := header(trace); ok && got == id {
			switch state {
			case "running", "runnable", "sleep", "syscall", "preempted", "copystack":
				return false
			}
			return true
		}
	}
	return false // it has ended
}

// awaitBlocked waits until the goroutine is seen waiting at three looks in a row, a millisecond
// apart: a lock that is held for a moment is no wait for a connection. It gives up when ended
// says so, or after ten seconds.
func awaitBlocked(id int, ended func() bool) error {
	seen := 0
	for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(time.Millisecond) {
		if ended() {
			return errors.New("the Get returned")
		}
		if blocked(id) {
			if seen++; seen == 3 {
				return nil
			}
		} else {
			seen = 0
		}
	}
	return errors.New("the Get neither returned nor waited within ten seconds")
}
