package core

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/S4AK4N/pool/internal/histogram"
)

// filled returns Stats whose numbers are all n, and whose histograms have n durations.
func filled(t *testing.T, n int) (s Stats) {
	v := reflect.ValueOf(&s).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Interface().(type) {
		case int:
			f.SetInt(int64(n))
		case uint64:
			f.SetUint(uint64(n))
		case time.Duration:
			f.SetInt(int64(n))
		case histogram.Snapshot:
			h := histogram.Snapshot{Count: uint64(n), Sum: time.Duration(n), Counts: make([]uint64, histogram.Buckets)}
			h.Counts[3] = uint64(n)
			f.Set(reflect.ValueOf(h))
		case error, nil:
		default:
			t.Fatalf("Stats.%s is of a new type", v.Type().Field(i).Name)
		}
	}
	return s
}

func TestNoFieldOfStatsIsForgottenInASum(t *testing.T) {
	s := filled(t, 2)
	before := s.Clone()
	s.Add(filled(t, 3))
	want := filled(t, 5)
	want.OldestWait = 3 // of the one that waits for longest
	if !reflect.DeepEqual(s, want) {
		t.Errorf("2 and 3 are %+v", s)
	}
	if !reflect.DeepEqual(before, filled(t, 2)) {
		t.Error("a Clone changes with its original")
	}
	s.AtLeast(filled(t, 4))
	if !reflect.DeepEqual(s, want) {
		t.Errorf("5 is at least 4, and has changed: %+v", s)
	}
	s.AtLeast(filled(t, 7))
	want = filled(t, 7)
	for _, g := range []*int{&want.MaxConnections, &want.ActiveConnections, &want.IdleConnections, &want.ReservedConnections, &want.OpeningConnections, &want.AwaitingBudget, &want.WaitingRequests} {
		*g = 5 // no counter
	}
	want.OldestWait = 3
	if !reflect.DeepEqual(s, want) {
		t.Errorf("at least 7 is %+v, want %+v", s, want)
	}
	var none Stats
	none.AddCounters(filled(t, 2))
	if none.MaxConnections != 0 || none.Gets != 2 || none.WaitTime.Count != 2 {
		t.Errorf("counters alone are %+v", none)
	}
	none.LastOpenError = errDiscarded
	none.Add(Stats{LastOpenError: errBroken})
	if none.LastOpenError != errDiscarded {
		t.Errorf("the last error is %v, want the first that was found", none.LastOpenError)
	}
}

func TestASumOfDurationsStopsAtTheLongest(t *testing.T) {
	s := histogram.Snapshot{Sum: 1<<63 - 10}
	if s.Include(histogram.Snapshot{Sum: 20}); s.Sum != 1<<63-1 {
		t.Errorf("the sum is %d, want the longest Duration", s.Sum)
	}
}

// One of the errors is told, whichever pool has it.
func TestASumHasTheLastErrorOfOneOfThem(t *testing.T) {
	first, second := errors.New("first"), errors.New("second")
	for _, tt := range []struct{ a, b, want error }{{nil, nil, nil}, {first, nil, first}, {nil, second, second}, {first, second, first}} {
		s := Stats{LastOpenError: tt.a}
		s.Add(Stats{LastOpenError: tt.b})
		if s.LastOpenError != tt.want {
			t.Errorf("of %v and %v the sum has %v, want %v", tt.a, tt.b, s.LastOpenError, tt.want)
		}
	}
}
