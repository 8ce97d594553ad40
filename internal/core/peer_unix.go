//go:build !windows && !plan9

package core

import "syscall"

// resets are what the system returns when the peer has ended a connection.
var resets = []error{syscall.ECONNRESET, syscall.EPIPE}
