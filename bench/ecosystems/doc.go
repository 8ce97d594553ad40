// Package ecosystems has pools of Java, Python and Node.js go through scenarios of package harness,
// beside the pool of this repository. For each language there is a runner, a program that runs one
// scenario with one pool and prints what it saw; this package starts the runners and writes what
// they print into the page of the benchmarks.
//
// Nobody needs it but for these tables, so CI does not run it: it installs a Java and a Node.js.
package ecosystems
