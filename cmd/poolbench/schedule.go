package main

import (
	"math"
	"sync/atomic"
	"time"
)

// A schedule says when the requests of an open loop are due: at even distances.
type schedule struct {
	start time.Time
	rate  float64 // per second
	taken atomic.Uint64
}

// take returns when the next request is due. It may be long ago, if the clients do not
// keep up.
func (s *schedule) take() time.Time { return s.at(s.taken.Add(1) - 1) }

// at returns when the request of the given number is due, from 0 on.
func (s *schedule) at(n uint64) time.Time {
	return s.start.Add(time.Duration(float64(n) / s.rate * float64(time.Second)))
}

// due returns how many requests are due from one time on, and before another.
func (s *schedule) due(from, to time.Time) uint64 {
	before := func(t time.Time) uint64 {
		n := uint64(max(0, math.Floor(t.Sub(s.start).Seconds()*s.rate)-1))
		for s.at(n).Before(t) { // a few rounds: the floor may be off by one
			n++
		}
		return n
	}
	return before(to) - before(from)
}

// waitUntil waits until the time has come, and reports whether it has before stop was
// closed. A timer that is a little late does not make it false.
func waitUntil(t time.Time, stop <-chan struct{}) bool {
	left := time.Until(t)
	if left <= 0 {
		return true
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-stop:
		return time.Until(t) <= 0
	}
}
