package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"
)

// TestMain makes the test binary the embedded server where the program would
// be, and otherwise runs the tests and fails if they leave goroutines behind.
func TestMain(m *testing.M) {
	if rtt, ok := os.LookupEnv(serverVariable); ok {
		os.Exit(serverMain(rtt, os.Stdin, os.Stdout, os.Stderr))
	}
	before := runtime.NumGoroutine()
	status := m.Run()
	os.RemoveAll(programDir)
	if status == 0 && !goroutinesEnd(before) {
		fmt.Fprintln(os.Stderr, "goroutines left behind:")
		pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		status = 1
	}
	os.Exit(status)
}

// goroutinesEnd gives the last goroutines, such as those of closed connections,
// some time to end.
func goroutinesEnd(before int) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if runtime.NumGoroutine() <= before {
			return true
		}
	}
	return false
}
