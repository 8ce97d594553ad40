// Command bench runs the same cycle and the same troubles over the pool and over those of other
// projects, and makes docs/benchmarks.md of what it has measured. bench/run calls it.
//
// It is a module of its own so that nobody who uses the pool has to download the others. Package
// peers has one file for each of them, package harness the scenarios, and package report the
// tables and charts.
package main
