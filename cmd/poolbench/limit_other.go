//go:build !unix

package main

// fileLimit returns 0: there is no such limit, or none that can be asked for.
func fileLimit() uint64 { return 0 }
