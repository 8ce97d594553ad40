//go:build unix

package main

import "syscall"

// fileLimit returns how many files this process may have open. Go has raised
// the soft limit to the hard one before main began, and does the same in the
// process of the embedded server.
func fileLimit() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur <= 0 {
		return 0
	}
	return uint64(limit.Cur)
}
