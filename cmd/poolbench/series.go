package main

import "time"

// An occupancy is what a source has in use at one moment.
type occupancy struct {
	inUse   int // connections that carry a request
	waiting int // requests that wait for one
	open    int // connections, those in use included
	dials   int64
}

// A sample is what has happened in one part of a phase.
type sample struct {
	end              time.Duration // of the part, since the phase began to count
	answered, failed uint64
	dials            int64
	inUse, waiting   float64 // mean of the looks
	open             float64
}

// A series is the parts of a phase, in order.
type series struct {
	period time.Duration // of a part
	parts  []sample

	last  soFar // at the end of the part before
	dials int64
	looks int
	sum   occupancy
}

// samplesKept is how many parts a phase has that runs its time.
const samplesKept = 40

func newSeries(duration time.Duration) *series {
	return &series{period: max(duration/samplesKept, 10*samplePeriod)}
}

// look adds what is in use now. total, which costs a look at each client, is asked at
// the end of a part only.
func (s *series) look(u occupancy, elapsed time.Duration, total func() soFar) {
	s.looks++
	s.sum.inUse += u.inUse
	s.sum.waiting += u.waiting
	s.sum.open += u.open
	s.sum.dials = u.dials
	if elapsed >= s.last.elapsed+s.period {
		s.close(total())
	}
}

// close ends a part.
func (s *series) close(now soFar) {
	if s.looks == 0 {
		return
	}
	n := float64(s.looks)
	s.parts = append(s.parts, sample{
		end:      now.elapsed,
		answered: now.answered - s.last.answered,
		failed:   now.failed - s.last.failed,
		dials:    s.sum.dials - s.dials,
		inUse:    float64(s.sum.inUse) / n,
		waiting:  float64(s.sum.waiting) / n,
		open:     float64(s.sum.open) / n,
	})
	s.last, s.dials, s.looks, s.sum = now, s.sum.dials, 0, occupancy{}
}

// samples ends the last part, if it is long enough to tell something, and returns all.
func (s *series) samples(now soFar) []sample {
	if now.elapsed-s.last.elapsed >= s.period/2 {
		s.close(now)
	}
	return s.parts
}
