// Package peers has the pools that are compared: one file for each, which uses it as its own
// documentation says. vitess, which brings in a good part of a database, is in the module
// bench/vitess.
package peers

import "github.com/S4AK4N/pool/bench/harness"

// All are the peers of this module, the pool of this repository first.
var All = []harness.Peer{
	own,
	puddles,
	pgxPool,
	databaseSQL,
	commons,
	silenceperPool,
	fatihPool,
	netpoolStandard,
	netpoolBasic,
	redigoPool,
	goRedis,
	semaphoreStack,
	channelCtx,
	channelTimer,
	mutexWaiters,
	mutexCond,
	syncPool,
}

// Reasons that more than one peer has.
const (
	noCtx     = "its Get takes no ctx"
	prefilled = "it is filled at the start, and opens nothing later"
	noAges    = "it has no limit on the age of a connection"
	noIdles   = "it has no limit on how long a connection is idle"
)
