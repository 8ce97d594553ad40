package group

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// A meter is a Source with a name and figures of its own.
type meter struct {
	name  string
	stats pool.Stats
}

func (m *meter) Name() string      { return m.name }
func (m *meter) Stats() pool.Stats { return m.stats }

// leases has this many leases of as many connections.
func leases(name string, n uint64) *meter {
	return &meter{name, pool.Stats{Gets: n, Opened: n, ActiveConnections: int(n)}}
}

// meters yields the sources that are in it at the time.
type meters []*meter

func (m *meters) all(yield func(pool.Source) bool) {
	for _, s := range *m {
		if !yield(s) {
			return
		}
	}
}

// gets returns the names of sources and their leases, and those in force.
func gets(sources func(func(pool.Source) bool)) string {
	var b strings.Builder
	for s := range sources {
		fmt.Fprintf(&b, "%s %d %d, ", s.Name(), s.Stats().Gets, s.Stats().ActiveConnections)
	}
	return strings.TrimSuffix(b.String(), ", ")
}

// filled returns figures of which each is another one than those of any other field and n.
func filled(n int) pool.Stats {
	var s pool.Stats
	v := reflect.ValueOf(&s).Elem()
	for i := range v.NumField() {
		f, figure := v.Field(i), 1000*n+i
		switch f.Interface().(type) {
		case int, time.Duration:
			f.SetInt(int64(figure))
		case uint64:
			f.SetUint(uint64(figure))
		case pool.Histogram:
			counts := make([]uint64, 122)
			counts[i], counts[i+n] = uint64(figure), uint64(2*figure)
			f.Set(reflect.ValueOf(pool.Histogram{Count: uint64(3 * figure), Sum: time.Duration(figure), Counts: counts}))
		}
	}
	s.LastOpenError = fmt.Errorf("error %d", n)
	return s
}

func TestByNamePassesOnEveryFieldAndAddsThoseOfEqualNames(t *testing.T) {
	equal := cmpopts.EquateErrors()
	one, two := filled(1), filled(2)
	single := meters{{"a", one}}
	for s := range pool.ByName(single.all, 0) {
		if diff := cmp.Diff(one, s.Stats(), equal); diff != "" {
			t.Errorf("a single source (-want +got):\n%s", diff)
		}
	}
	both := meters{{"a", one}, {"b", pool.Stats{}}, {"a", two}}
	n := 0
	for s := range pool.ByName(both.all, 0) {
		if n++; s.Name() != "a" {
			continue
		}
		sum, a, b := reflect.ValueOf(s.Stats()), reflect.ValueOf(one), reflect.ValueOf(two)
		for i := range sum.NumField() {
			got, want := sum.Field(i).Interface(), any(nil)
			name := sum.Type().Field(i).Name
			switch x := a.Field(i).Interface().(type) {
			case int:
				want = x + b.Field(i).Interface().(int)
			case uint64:
				want = x + b.Field(i).Interface().(uint64)
			case time.Duration:
				want = max(x, b.Field(i).Interface().(time.Duration))
			case error:
				want = x
			case pool.Histogram:
				y := b.Field(i).Interface().(pool.Histogram)
				h := pool.Histogram{Count: x.Count + y.Count, Sum: x.Sum + y.Sum, Counts: slices.Clone(x.Counts)}
				for j := range h.Counts {
					h.Counts[j] += y.Counts[j]
				}
				want = h
			}
			if !cmp.Equal(got, want, equal) {
				t.Errorf("%s of both is %v, want %v", name, got, want)
			}
		}
	}
	if n != 2 {
		t.Errorf("two names are %d sources", n)
	}
	if diff := cmp.Diff(filled(1), one, cmp.Comparer(func(a, b error) bool { return a.Error() == b.Error() })); diff != "" {
		t.Errorf("a source has been changed (-want +got):\n%s", diff)
	}
}

func TestByNameKeepsOnlySoManyNamesApart(t *testing.T) {
	m := meters{leases("d", 4), leases("b", 2), leases("a", 1), leases("c", 3), leases("b", 20)}
	sources := pool.ByName(m.all, 2)
	are := func(when, want string) {
		t.Helper()
		if got := gets(sources); got != want {
			t.Errorf("%s: %s; want %s", when, got, want)
		}
	}
	are("at first", "a 1 1, b 22 22, others 7 7")
	m = append(meters{leases("0", 100)}, m...)
	are("with a new name before all others", "a 1 1, b 22 22, others 107 107")
	m = meters{leases("a", 2), leases("d", 5), leases("c", 3)}
	are("b and 0 are gone", "a 2 2, others 108 8")
	m = append(m, leases("e", 9))
	are("a new name where one has gone", "a 2 2, e 9 9, others 108 8")
	m = meters{leases("a", 2), leases("e", 9)}
	are("all others are gone", "a 2 2, e 9 9, others 108 0")
	m = meters{leases("others", 1), leases("c", 1), leases("d", 2)}
	are("names that have been there", "c 1 1, d 2 2, others 109 1")
	m[0] = leases("others", 1)
	m[0].stats.ClosedIdle = 3
	are("the name of the others", "c 1 1, d 2 2, others 109 1")
	m = meters{leases("others", 1), leases("x", 2), leases("y", 3)}
	sources = pool.ByName(m.all, 1)
	are("a pool that has the name of the others", "x 2 2, others 4 4")
}

func TestWhatByNameHasForTheOthersNeverFalls(t *testing.T) {
	m := meters{leases("apart", 1), leases("b", 10), leases("c", 5)}
	sources := pool.ByName(m.all, 1)
	others := func() (s pool.Stats) {
		for o := range sources {
			if o.Name() == "others" {
				s = o.Stats()
			}
		}
		return s
	}
	if got := others().Gets; got != 15 {
		t.Errorf("at first %d leases, want 15", got)
	}
	m[1] = leases("b", 3) // of another pool, the one before is gone
	if got := others(); got.Gets != 18 || got.ActiveConnections != 8 {
		t.Errorf("with another pool of the name: %d leases, %d in force; want 18 and 8", got.Gets, got.ActiveConnections)
	}
	m[1] = &meter{"b", pool.Stats{Gets: 4, Opened: 3, Timeouts: 9}}
	if got := others(); got.Gets != 19 || got.Timeouts != 9 {
		t.Errorf("one lease more: %d leases, %d timeouts; want 19 and 9", got.Gets, got.Timeouts)
	}
	m[1].stats.Timeouts = 8 // it lags
	if got := others(); got.Gets != 19 || got.Timeouts != 9 {
		t.Errorf("a counter that lags: %d leases, %d timeouts; want 19 and 9", got.Gets, got.Timeouts)
	}
	m[1] = &meter{"b", pool.Stats{Gets: 2, Opened: 3}} // another pool, with as many connections
	if got := others(); got.Gets != 21 {
		t.Errorf("with a third pool of the name: %d leases, want 21", got.Gets)
	}
	m = m[:1]
	if got := others(); got.Gets != 21 || got.Timeouts != 9 || got.ActiveConnections != 0 {
		t.Errorf("gone: %d leases, %d timeouts, %d in force; want 21, 9 and none", got.Gets, got.Timeouts, got.ActiveConnections)
	}
}

func TestByNameServesSeveralLoops(t *testing.T) {
	m := meters{leases("a", 1), leases("b", 2), leases("c", 3)}
	sources := pool.ByName(m.all, 1)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if got, want := gets(sources), "a 1 1, others 5 5"; got != want {
					t.Errorf("%s; want %s", got, want)
				}
			}
		})
	}
	wg.Wait()
	for range sources {
		break // the loop may end early
	}
	m[0].name = "panics"
	panics := func(yield func(pool.Source) bool) { panic(errors.New("of a source")) }
	sources = pool.ByName(panics, 1)
	for range 2 { // the second one would hang if the first had kept something
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic of a source is not passed on")
				}
			}()
			gets(sources)
		}()
	}
}

func TestAGroupIsOneSourceByItsSum(t *testing.T) {
	a := new(accounts)
	g := start(t, a, pool.GroupConfig{})
	for _, key := range []string{"a", "b", "a"} {
		visit(t, g, key)
	}
	s := pool.NewSource("accounts", g)
	if s.Name() != "accounts" || s.Stats().Gets != 3 {
		t.Errorf("%s has %d leases, want accounts and 3", s.Name(), s.Stats().Gets)
	}
}
