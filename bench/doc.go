// Package bench compares the pool with those of other projects, side by side in one
// run. It is a module of its own so that nobody who uses the pool has to download
// them. See BENCHMARKS.md in the project's root for how to run it.
package bench
