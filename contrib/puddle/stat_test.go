package puddle

import (
	"context"
	"testing"
)

// A counter that falls is taken for that of a program that was started anew.
func TestAcquireCountIsTrueWhileAllIdleAreAcquired(t *testing.T) {
	construct := func(context.Context) (int, error) { return 0, nil }
	p, err := NewPool(&Config[int]{Constructor: construct, Destructor: func(int) {}, MaxSize: 2})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		res, err := p.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		res.Release()
	}
	is := func(when string) {
		t.Helper()
		if got := p.Stat().AcquireCount(); got != 3 {
			t.Errorf("%s %d were acquired, want 3", when, got)
		}
	}
	is("before")
	// AcquireAllIdle, step by step.
	p.begun.Add(1)
	leases := p.pool.TryGetAll()
	is("when all idle ones are taken")
	p.unasked.Add(uint64(len(leases)))
	is("when they are known")
	p.counted.Add(1)
	is("afterwards")
	if len(leases) != 1 {
		t.Errorf("%d were idle, want 1", len(leases))
	}
	for _, l := range leases {
		acquire(l).Release()
	}
	for range 2 {
		for _, res := range p.AcquireAllIdle() {
			res.Release()
		}
	}
	is("after two calls")
	p.Close()
}
