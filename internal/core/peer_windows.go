package core

import "syscall"

// resets are what the system returns when the peer has ended a connection.
var resets = []error{syscall.WSAECONNRESET, syscall.WSAECONNABORTED, syscall.ERROR_BROKEN_PIPE}
