//go:build !step

package main

// shake does nothing in a build without -tags step.
func shake(uint64) {}
