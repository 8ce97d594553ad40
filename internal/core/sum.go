package core

import (
	"slices"

	"github.com/S4AK4N/pool/internal/histogram"
)

// Sums of Stats, for groups of pools.

// counters returns all counters of s, of calls and of connections.
func (s *Stats) counters() [26]*uint64 {
	return [...]*uint64{
		&s.Gets, &s.Waits, &s.SameWaits, &s.Timeouts, &s.Canceled, &s.Rejected, &s.Unavailable, &s.Gone, &s.Leaked,
		&s.Opened, &s.OpenErrors, &s.Detached, &s.ClosedIdle, &s.ClosedLifetime, &s.ClosedCheck, &s.ClosedClean,
		&s.ClosedWatch, &s.ClosedDiscard, &s.ClosedRevoke, &s.ClosedReset, &s.ClosedResize, &s.ClosedFresh, &s.ClosedBudget,
		&s.ClosedAbandoned, &s.ClosedShutdown, &s.Abandoned,
	}
}

func (s *Stats) durations() [3]*histogram.Snapshot {
	return [...]*histogram.Snapshot{&s.WaitTime, &s.OpenTime, &s.UseTime}
}

// Clone returns a copy of s that shares nothing with it.
func (s Stats) Clone() Stats {
	for _, h := range s.durations() {
		h.Counts = slices.Clone(h.Counts)
	}
	return s
}

// AddCounters adds to s what t has counted.
func (s *Stats) AddCounters(t Stats) {
	of := t.counters()
	for i, n := range s.counters() {
		*n += *of[i]
	}
	add := t.durations()
	for i, h := range s.durations() {
		h.Include(*add[i])
	}
}

// Add adds t to s. The oldest wait is that of the one that has waited longest, and the last error
// is that of any of them.
func (s *Stats) Add(t Stats) {
	s.AddCounters(t)
	s.MaxConnections += t.MaxConnections
	s.ActiveConnections += t.ActiveConnections
	s.IdleConnections += t.IdleConnections
	s.ReservedConnections += t.ReservedConnections
	s.OpeningConnections += t.OpeningConnections
	s.AwaitingBudget += t.AwaitingBudget
	s.WaitingRequests += t.WaitingRequests
	s.OldestWait = max(s.OldestWait, t.OldestWait)
	if s.LastOpenError == nil {
		s.LastOpenError = t.LastOpenError
	}
}

// AtLeast makes no counter of s less than that of t.
func (s *Stats) AtLeast(t Stats) {
	of := t.counters()
	for i, n := range s.counters() {
		*n = max(*n, *of[i])
	}
	least := t.durations()
	for i, h := range s.durations() {
		h.AtLeast(*least[i])
	}
}
