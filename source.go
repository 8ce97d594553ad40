package pool

// A Source is what exporters of metrics need of a pool: [Pool] has it for each type of
// connection.
type Source interface {
	// Name tells the pool from others.
	Name() string
	// Stats returns a snapshot of the pool.
	Stats() Stats
}
