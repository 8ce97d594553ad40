package pooltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// A call is a function of a Factory that runs in a goroutine of its own.
type call struct {
	id    chan string // of its goroutine, once
	name  string      // of the goroutine, after that
	ended chan struct{}
	err   error
	panic string // with its stack; empty if there was none
}

// start calls f. A panic, or an end of the goroutine, stays in the call.
func start(f func() error) *call {
	c := &call{id: make(chan string, 1), ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		c.id <- goroutine()
		returned := false
		defer func() {
			if r := recover(); r != nil {
				c.panic = fmt.Sprintf("%v\n%s", r, debug.Stack())
			} else if !returned {
				c.panic = "it has ended its goroutine, as t.FailNow does"
			}
			if c.panic != "" {
				c.err = errors.New("panicked")
			}
		}()
		c.err = f()
		returned = true
	}()
	c.name = <-c.id
	return c
}

// goroutine returns the text that begins the stack of the calling goroutine.
func goroutine() string {
	buf := make([]byte, 64)
	line, _, _ := strings.Cut(string(buf[:runtime.Stack(buf, false)]), "[")
	return line
}

// stacks returns the stacks of all goroutines but the calling one.
func stacks() []string {
	for buf := make([]byte, 1<<20); ; buf = make([]byte, 2*len(buf)) {
		n := runtime.Stack(buf, true)
		if n == len(buf) {
			continue
		}
		var all []string
		for i, s := range bytes.Split(bytes.TrimSpace(buf[:n]), []byte("\n\n")) {
			if i > 0 {
				all = append(all, string(s))
			}
		}
		return all
	}
}

// parkedIn are the states of a goroutine that waits for the network, for time, or for another
// goroutine. A mutex is not among them: it is free again in a moment.
var parkedIn = []string{"IO wait", "sleep", "select", "chan receive", "chan send", "sync.Cond.Wait", "sync.WaitGroup.Wait"}

// parked returns the stack of the call's goroutine if that waits for something, else "".
func (c *call) parked() string {
	for _, s := range stacks() {
		if rest, ok := strings.CutPrefix(s, c.name+"["); ok {
			for _, state := range parkedIn {
				if strings.HasPrefix(rest, state) {
					return s
				}
			}
		}
	}
	return ""
}

// over reports whether the call has ended.
func (c *call) over() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// await waits until the call has ended, for d at most.
func (c *call) await(d time.Duration) bool {
	limit := time.NewTimer(d)
	defer limit.Stop()
	select {
	case <-c.ended:
		return true
	case <-limit.C:
		return false
	}
}

// until asks again and again whether something is so, for d at most: of what tells nobody.
func until(d time.Duration, so func() bool) bool {
	for began, pause := time.Now(), 10*time.Microsecond; ; pause = min(2*pause, 10*time.Millisecond) {
		if so() {
			return true
		}
		if time.Since(began) > d {
			return so()
		}
		time.Sleep(pause)
	}
}

// untilParked waits until the call has ended or waits for something, and returns its stack if it
// waits.
func (c *call) untilParked(d time.Duration) (stack string) {
	until(d, func() bool {
		stack = c.parked()
		return stack != "" || c.over()
	})
	if c.over() {
		return ""
	}
	return stack
}

// readerOf returns a function that reads from conn until that fails; nil if conn cannot be read.
func readerOf[T any](conn T) func() error {
	if r, ok := any(conn).(io.Reader); ok {
		return func() error {
			for buf := make([]byte, 4096); ; {
				if _, err := r.Read(buf); err != nil {
					return err
				}
			}
		}
	}
	m := reflect.ValueOf(conn).MethodByName("Read")
	if !m.IsValid() || m.Type().NumIn() != 1 || m.Type().In(0) != reflect.TypeFor[context.Context]() {
		return nil
	}
	last := m.Type().NumOut() - 1
	if last < 0 || m.Type().Out(last) != reflect.TypeFor[error]() {
		return nil
	}
	ctx := []reflect.Value{reflect.ValueOf(context.Background())}
	return func() error {
		for {
			if err, _ := m.Call(ctx)[last].Interface().(error); err != nil {
				return err
			}
		}
	}
}
