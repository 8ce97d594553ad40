// Package prompool exports the figures of pools to Prometheus: how many connections there are
// and of which kind, who waits, how often Get failed and why, what was opened and closed, and
// how long waits, dials and leases took.
//
// Register one collector with all pools of the program:
//
//	registry.MustRegister(prompool.NewCollector(p, q))
//
// Each series has the label pool, which is the [pool.Config].Name of the pool: give each pool
// one. Pools with equal names are added up. For a [pool.Group], or a Dialer of package wsconn,
// NewCollectorFunc has series for each of its pools, within a limit:
//
//	registry.MustRegister(prompool.NewCollectorFunc(g.Sources()))
//
// And [pool.NewSource] makes one of the whole, here beside a pool:
//
//	registry.MustRegister(prompool.NewCollector(p, pool.NewSource("accounts", g)))
//
// Pools are read when Prometheus asks, and cost nothing in between. A read looks at every
// slot of every pool, and holds up nobody.
//
// Durations are histograms: classic ones, with a bucket for each power of two from 16 µs to 69 s, and at
// the same time native ones, for a Prometheus that asks for those and then, unless told otherwise, drops the classic ones. pool_use_seconds, how long leases
// last, needs [pool.Config].TimeUse.
//
// The file dashboard.json, beside this package, is a dashboard for Grafana that shows all of this, and alerts.yml has rules for
// Prometheus.
// The command in the folder example has a load to look at.
package prompool
