package pooltest

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// A socket is one that the process has open.
type socket struct {
	name string
	fd   int
}

// sockets returns all of them.
func sockets() (all []socket) {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if to, failed := os.Readlink(dir + "/" + e.Name()); err == nil && failed == nil && strings.HasPrefix(to, "socket:") {
			all = append(all, socket{to, fd})
		}
	}
	return all
}

// end has s read the end of the stream, as if the peer had closed it. It reports whether it has.
func (s socket) end() bool {
	to, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(s.fd))
	return err == nil && to == s.name && syscall.Shutdown(s.fd, syscall.SHUT_RD) == nil
}

// descriptors returns the sockets, pipes and files that the process has open, each with a name that no other
// one has: a socket's is socket:[inode].
func descriptors() (names []string) {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		to, err := os.Readlink(dir + "/" + e.Name())
		if err != nil || strings.HasPrefix(to, "anon_inode:") || strings.HasSuffix(to, "/fd") {
			continue // closed meanwhile; or without a name of its own; or the folder itself
		}
		names = append(names, to)
	}
	return names
}
