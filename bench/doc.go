// Package bench compares the pool with those of other projects, side by side in one
// run. It is a module of its own so that nobody who uses the pool has to download
// them. docs/benchmarks.md tells how to run it.
package bench
