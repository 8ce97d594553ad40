package puddle

import "time"

// A Stat is a snapshot of a pool.
type Stat struct {
	max                              int32
	constructing, acquired, idle     int32
	acquires, emptyAcquires          int64
	canceledAcquires                 int64
	acquireDuration, emptyAcquireFor time.Duration
}

// quick is what an Acquire takes that finds something idle: less than to read the clock twice.
const quick = 50 * time.Nanosecond

// Stat returns the figures of the pool.
func (p *Pool[T]) Stat() *Stat {
	counted := p.counted.Load()
	// First what may not be more than the leases.
	unasked, empty, waited := p.unasked.Load(), p.empty.Load(), time.Duration(p.waited.Load())
	s := p.pool.Stats()
	// Active ones include those that are being destroyed. What has been opened and has not
	// left does not.
	here := s.Opened - s.Detached
	for _, n := range s.ClosedBy() {
		here -= n
	}
	n := s.Gets - min(unasked, s.Gets)
	if p.begun.Load() != counted { // an AcquireAllIdle was under way: what that has got may be among them
		n = uint64(empty)
	}
	acquires := p.neverFalls(n)
	return &Stat{
		max:              p.max,
		constructing:     int32(s.OpeningConnections),
		idle:             int32(s.IdleConnections),
		acquired:         int32(max(min(int(int64(here))-s.IdleConnections, s.ActiveConnections), 0)),
		acquires:         acquires,
		emptyAcquires:    empty,
		canceledAcquires: p.canceled.Load(),
		acquireDuration:  waited + quick*time.Duration(max(acquires-empty, 0)),
		emptyAcquireFor:  waited,
	}
}

// neverFalls returns how many acquisitions there have been, which are n at least.
func (p *Pool[T]) neverFalls(n uint64) int64 {
	for {
		most := p.acquires.Load()
		if n <= most || p.acquires.CompareAndSwap(most, n) {
			return int64(max(n, most))
		}
	}
}

// TotalResources is ConstructingResources, AcquiredResources and IdleResources together.
func (s *Stat) TotalResources() int32 { return s.constructing + s.acquired + s.idle }

// ConstructingResources returns how many are being constructed.
func (s *Stat) ConstructingResources() int32 { return s.constructing }

// AcquiredResources returns how many are acquired.
func (s *Stat) AcquiredResources() int32 { return s.acquired }

// IdleResources returns how many are idle.
func (s *Stat) IdleResources() int32 { return s.idle }

// MaxResources returns how many there may be.
func (s *Stat) MaxResources() int32 { return s.max }

// AcquireCount returns how many acquisitions there have been, without those of AcquireAllIdle.
func (s *Stat) AcquireCount() int64 { return s.acquires }

// AcquireDuration returns how long all of them together took. One that did not wait counts as
// 50 ns.
func (s *Stat) AcquireDuration() time.Duration { return s.acquireDuration }

// EmptyAcquireCount returns how many of them have waited for a resource to be released or constructed.
func (s *Stat) EmptyAcquireCount() int64 { return s.emptyAcquires }

// EmptyAcquireWaitTime returns how long those took together.
func (s *Stat) EmptyAcquireWaitTime() time.Duration { return s.emptyAcquireFor }

// CanceledAcquireCount returns how many calls of Acquire have ended with their ctx.
func (s *Stat) CanceledAcquireCount() int64 { return s.canceledAcquires }
