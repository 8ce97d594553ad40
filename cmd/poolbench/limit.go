package main

import "fmt"

// spareFiles is what a process holds open besides its connections.
const spareFiles = 64

// filesNeeded is the most files that one process of a run with o has open. The
// embedded server still waits for the end of connections that their client has
// closed, so that it has more of them than there are clients: a quarter covers
// it.
func filesNeeded(o options) int {
	n := max(o.clients, o.max)
	if o.url == "" {
		n += n / 4
	}
	return n + spareFiles
}

// checkFileLimit says whether o needs more files than limit, which is what a
// process may open, or 0 if that is not known.
func checkFileLimit(o options, limit uint64) error {
	need := filesNeeded(o)
	if limit == 0 || uint64(need) <= limit {
		return nil
	}
	return fmt.Errorf("%d clients and a pool of %d need about %d open files, and the limit is %d: raise it (ulimit -n) or lower -clients and -max",
		o.clients, o.max, need, limit)
}
