// Package harness has the scenarios that all pools go through, and what measures them. It
// knows no pool: package peers has one file for each.
//
// One process measures one peer in one scenario once, so that neither the heap nor the
// goroutines of one stand beside another, and one that never ends can be ended.
package harness
