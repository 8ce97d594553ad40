//go:build darwin || dragonfly || freebsd || netbsd || openbsd || (linux && !(amd64 || arm || arm64 || loong64 || mips64 || mips64le || ppc64 || ppc64le || riscv64))

package peek

import "syscall"

// recv takes a byte that has arrived, and leaves it there. It does not wait.
func recv(fd uintptr, one *[1]byte) (n int, errno syscall.Errno) {
	n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	errno, ok := err.(syscall.Errno)
	if err != nil && !ok {
		errno = syscall.EIO // cannot happen
	}
	return n, errno
}
