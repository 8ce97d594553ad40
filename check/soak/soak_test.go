package main

import (
	"math/rand/v2"
	"testing"
	"time"
)

// The short form, for go test. The long one is check/soak/run.
func TestNothingIsLostInRoughTimes(t *testing.T) {
	s := &soak{seed: rand.Uint64(), first: 1, callers: 50}
	t.Logf("seed %d", s.seed)
	s.stuck = func() { panic("stuck; see above") }
	d := 3 * time.Second
	if testing.Short() {
		d = time.Second
	}
	if err := s.run(d); err != nil {
		t.Error(err)
	}
	for _, f := range s.failures {
		t.Error(f)
	}
	if s.leases.Load() == 0 || s.opened.Load() == 0 || s.audits.Load() == 0 {
		t.Errorf("%d leases, %d opened, %d audits: not a soak", s.leases.Load(), s.opened.Load(), s.audits.Load())
	}
}

// What goes wrong, and when, is the same for the same seed.
func TestTheSeedDecidesWhatGoesWrong(t *testing.T) {
	draw := func(seed uint64) (all []fault) {
		w := newWeather(seed, 1, &new(soak).met)
		w.sky.Store(1)
		for range 1000 {
			f, _ := w.next(atOpen)
			all = append(all, f)
		}
		return all
	}
	one, same, other := draw(1), draw(1), draw(2)
	differ := 0
	for i := range one {
		if one[i] != same[i] {
			t.Fatalf("call %d: %v, then %v", i, faultNames[one[i]], faultNames[same[i]])
		}
		if one[i] != other[i] {
			differ++
		}
	}
	if differ == 0 {
		t.Error("another seed makes no difference")
	}
}
