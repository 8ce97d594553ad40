package lending

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/testkit"
)

type retryPool = *pool.Pool[*testkit.Wire]

// retriers are Retry and RetryLease, as functions of a connection.
var retriers = map[string]func(p retryPool, ctx context.Context, f func(*testkit.Wire) error) error{
	"Retry": func(p retryPool, ctx context.Context, f func(*testkit.Wire) error) error {
		return p.Retry(ctx, func(_ context.Context, w *testkit.Wire) error { return f(w) })
	},
	"RetryLease": func(p retryPool, ctx context.Context, f func(*testkit.Wire) error) error {
		return p.RetryLease(ctx, func(_ context.Context, l pool.Lease[*testkit.Wire]) error { return f(l.Value()) })
	},
}

// tries runs one Retry against n idle connections, and returns the numbers of the connections
// that f was called with. Each call of f returns the next of the errors.
func tries(t *testing.T, retry func(retryPool, context.Context, func(*testkit.Wire) error) error, p retryPool, errs ...error) (got []int, err error) {
	t.Helper()
	err = retry(p, t.Context(), func(w *testkit.Wire) error {
		got = append(got, w.Number)
		if len(got) > len(errs) {
			return nil
		}
		return errs[len(got)-1]
	})
	return got, err
}

// agroal#182, rostam#37: three tries met three dead connections after a restart.
func TestRetryDoesNotMeetTheNextDeadConnectionAfterARestart(t *testing.T) {
	for name, retry := range retriers {
		testkit.Bubble(t, name, func(t *testing.T) {
			x := &testkit.Exchange{Open: testkit.Slow(testkit.OpenTime)}
			p := testkit.Start(t, x.Factory(), still(5))
			testkit.Fill(t, p, 5)
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					tried := 0
					err := retry(p, t.Context(), func(w *testkit.Wire) error {
						tried++
						time.Sleep(time.Duration(i) * time.Millisecond)
						if w.Number <= 5 { // the server has been restarted
							return pool.Broken(testkit.ErrCause)
						}
						return nil
					})
					if err != nil {
						t.Errorf("Retry returned %v after %d tries", err, tried)
					}
				})
			}
			wg.Wait()
			testkit.Sleep(testkit.OpenTime) // for what was opened for those who got another one
			rests(t, p)
			if s := p.Stats(); s.ClosedDiscard != 5 {
				t.Errorf("%d dead connections were met, want each once, 5: %+v", s.ClosedDiscard, s)
			}
		})
	}
}

func TestRetryTriesAgainOnlyForADeadConnectionThatWasReused(t *testing.T) {
	broken := pool.Broken(testkit.ErrCause)
	for name, retry := range retriers {
		for _, tt := range []struct {
			name  string
			errs  []error
			bad   bool // Check objects
			want  []int
			error error
		}{
			{"no error", nil, false, []int{1}, nil},
			{"no error, and Check would object", nil, true, []int{1}, nil},
			{"Broken", []error{broken}, false, []int{1, 2}, nil},
			{"Broken, wrapped", []error{fmt.Errorf("query: %w", broken)}, false, []int{1, 2}, nil},
			{"Broken around Keep", []error{pool.Broken(pool.Keep(testkit.ErrCause))}, false, []int{1, 2}, nil},
			{"Keep around Broken", []error{pool.Keep(broken)}, true, []int{1}, testkit.ErrCause},
			{"Broken beside an error", []error{errors.Join(broken, testkit.ErrUnfit)}, false, []int{1, 2}, nil},
			{"an error beside Broken", []error{errors.Join(testkit.ErrUnfit, broken)}, false, []int{1, 2}, nil},
			{"Keep", []error{pool.Keep(testkit.ErrCause)}, true, []int{1}, testkit.ErrCause},
			{"an error, and Check does not object", []error{testkit.ErrCause}, false, []int{1}, testkit.ErrCause},
			{"an error, and Check objects", []error{testkit.ErrCause}, true, []int{1, 2}, nil},
			{"twice Broken", []error{broken, broken}, false, []int{1, 2}, testkit.ErrCause},
		} {
			testkit.Bubble(t, name+" "+tt.name, func(t *testing.T) {
				x := new(testkit.Exchange)
				f := x.Factory()
				checks := false
				f.Check = func(w *testkit.Wire) error {
					if checks && tt.bad && w.Number == 1 {
						return testkit.ErrUnfit
					}
					return nil
				}
				p := testkit.Start(t, f, still(2))
				testkit.Fill(t, p, 1)
				got, err := tries(t, func(p retryPool, ctx context.Context, f func(*testkit.Wire) error) error {
					return retry(p, ctx, func(w *testkit.Wire) error { checks = true; return f(w) })
				}, p, tt.errs...)
				if fmt.Sprint(got) != fmt.Sprint(tt.want) {
					t.Errorf("it was tried with connections %v, want %v", got, tt.want)
				}
				if err != tt.error {
					t.Errorf("Retry returned %v, want %v, without its mark", err, tt.error)
				}
				synctest.Wait()
				testkit.AtRest(t, p, 0)
			})
		}
		testkit.Bubble(t, name+" a new connection", func(t *testing.T) {
			p := testkit.Start(t, new(testkit.Exchange).Factory(), still(2))
			if got, err := tries(t, retry, p, broken); fmt.Sprint(got) != "[1]" || err != testkit.ErrCause {
				t.Errorf("it was tried with connections %v and returned %v, want one try", got, err)
			}
			rests(t, p)
		})
		testkit.Bubble(t, name+" Watch reports it", func(t *testing.T) {
			f, report := testkit.Watched(new(testkit.Exchange))
			p := testkit.Start(t, f, still(2))
			testkit.Fill(t, p, 1)
			var got []int
			err := retry(p, t.Context(), func(w *testkit.Wire) error {
				if got = append(got, w.Number); len(got) == 1 {
					report(1, testkit.ErrCause)
					return testkit.ErrUnfit
				}
				return nil
			})
			if fmt.Sprint(got) != "[1 2]" || err != nil {
				t.Errorf("it was tried with connections %v and returned %v, want two tries", got, err)
			}
			rests(t, p)
		})
		testkit.Bubble(t, name+" a Reset says nothing of it", func(t *testing.T) {
			p := testkit.Start(t, new(testkit.Exchange).Factory(), still(2))
			testkit.Fill(t, p, 1)
			var got []int
			err := retry(p, t.Context(), func(w *testkit.Wire) error {
				got = append(got, w.Number)
				p.Reset()
				return testkit.ErrUnfit
			})
			if fmt.Sprint(got) != "[1]" || err != testkit.ErrUnfit {
				t.Errorf("it was tried with connections %v and returned %v, want one try", got, err)
			}
			rests(t, p)
		})
		testkit.Bubble(t, name+" ctx has ended", func(t *testing.T) {
			f := new(testkit.Exchange).Factory()
			checked := 0
			f.Check = func(*testkit.Wire) error { checked++; return nil }
			p := testkit.Start(t, f, still(2))
			testkit.Fill(t, p, 1)
			for _, mark := range []func(error) error{pool.Broken, func(err error) error { return err }} {
				ctx, cancel := context.WithCancel(t.Context())
				n := 0
				err := retry(p, ctx, func(*testkit.Wire) error { n++; cancel(); return mark(ctx.Err()) })
				if n != 1 || err != context.Canceled {
					t.Errorf("it was tried %d times and returned %v, want once and %v", n, err, context.Canceled)
				}
				testkit.Fill(t, p, 1)
			}
			if want := 2; checked != want { // each time it was lent
				t.Errorf("Check was called %d times, want %d", checked, want)
			}
			rests(t, p)
		})
	}
}

func TestRetryDoesNotTryAgainAfterAPanic(t *testing.T) {
	for name, retry := range retriers {
		for how, end := range map[string]func(){"panic": func() { panic(testkit.ErrCause) }, "Goexit": runtime.Goexit} {
			testkit.Bubble(t, name+" "+how, func(t *testing.T) {
				p := testkit.Start(t, new(testkit.Exchange).Factory(), still(2))
				testkit.Fill(t, p, 1)
				n, recovered := 0, any(nil)
				var wg sync.WaitGroup
				wg.Go(func() {
					defer func() { recovered = recover() }()
					_ = retry(p, t.Context(), func(*testkit.Wire) error { n++; end(); return nil })
				})
				wg.Wait()
				if n != 1 {
					t.Errorf("it was tried %d times, want once", n)
				}
				if how == "panic" && recovered != testkit.ErrCause {
					t.Errorf("the panic became %v", recovered)
				}
				rests(t, p)
				if got := p.Stats().ClosedDiscard; got != 1 {
					t.Errorf("%d were closed, want 1", got)
				}
			})
		}
	}
}

// The second try ends as the one of Do does, and is the last.
func TestTheSecondTryOfRetryEndsAsDoDoes(t *testing.T) {
	for name, retry := range retriers {
		testkit.Bubble(t, name, func(t *testing.T) {
			p := testkit.Start(t, new(testkit.Exchange).Factory(), still(2))
			testkit.Fill(t, p, 1)
			if _, err := tries(t, retry, p, pool.Broken(testkit.ErrCause), pool.Keep(testkit.ErrUnfit)); err != testkit.ErrUnfit {
				t.Errorf("Retry returned %v, want the error of the second try", err)
			}
			if s := p.Stats(); s.IdleConnections != 1 {
				t.Errorf("after a Keep %+v, want the second connection back", s)
			}
			rests(t, p)
		})
	}
}

func TestRetryWithoutASecondConnectionTellsBothErrors(t *testing.T) {
	for name, retry := range retriers {
		testkit.Bubble(t, name, func(t *testing.T) {
			x := new(testkit.Exchange)
			p := testkit.Start(t, x.Factory(), still(1))
			testkit.Fill(t, p, 1)
			x.Open = func(context.Context, int) error { return testkit.ErrDial }
			got, err := tries(t, retry, p, pool.Broken(testkit.ErrCause))
			if len(got) != 1 || !errors.Is(err, testkit.ErrDial) || !errors.Is(err, testkit.ErrCause) {
				t.Errorf("Retry returned %v after %d tries, want both errors", err, len(got))
			}
			var open *pool.OpenError
			if !errors.As(err, &open) || !strings.Contains(err.Error(), "wrong password; the first try: my cause") {
				t.Errorf("Retry returned %q", err)
			}
			// It says nothing to a Do around it.
			x.Open = nil
			p.Reset() // ends the outage
			_ = p.Do(t.Context(), func(context.Context, *testkit.Wire) error { return pool.Keep(err) })
			testkit.IdleIs(t, p, "after a Keep of that error", 1)
			rests(t, p)
		})
		testkit.Bubble(t, name+" without a first one", func(t *testing.T) {
			p := testkit.Start(t, new(testkit.Exchange).Factory(), still(1))
			p.Close()
			if got, err := tries(t, retry, p); got != nil || !errors.Is(err, pool.ErrClosed) {
				t.Errorf("Retry returned %v after %d tries, want ErrClosed", err, len(got))
			}
		})
	}
}

// The function has ended the lease itself; its mark still says what it wants.
func TestRetryLeaseOfALeaseThatHasEnded(t *testing.T) {
	for mark, want := range map[string]int{"Broken": 2, "none": 1} {
		testkit.Bubble(t, mark, func(t *testing.T) {
			f := new(testkit.Exchange).Factory()
			f.Check = func(*testkit.Wire) error { return nil }
			p := testkit.Start(t, f, still(2))
			testkit.Fill(t, p, 1)
			n := 0
			err := p.RetryLease(t.Context(), func(_ context.Context, l pool.Lease[*testkit.Wire]) error {
				if n++; n > 1 {
					if l.Reused() {
						t.Error("the second connection is reused")
					}
					return nil
				}
				if !l.Reused() {
					t.Error("the first connection is not reused")
				}
				_ = p.Discard(l, testkit.ErrCause)
				if mark == "Broken" {
					return pool.Broken(testkit.ErrCause)
				}
				return testkit.ErrCause
			})
			if n != want || (err == nil) != (want == 2) {
				t.Errorf("it was tried %d times and returned %v, want %d", n, err, want)
			}
			rests(t, p)
		})
	}
}

func TestLeasesTellWhereGetFreshAndRetryWereCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := still(1)
		c.LeakAfter = time.Hour
		p := testkit.Start(t, new(testkit.Exchange).Factory(), c)
		testkit.Inside(p).NoteEveryLease()
		here := func(what string) {
			t.Helper()
			l := p.Leases()
			if len(l) != 1 || !strings.Contains(l[0].Where, "TestLeasesTellWhereGetFreshAndRetryWereCalled") {
				t.Errorf("%s: the leases are %+v, want one of this test", what, l)
			}
		}
		l, err := p.GetFresh(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		here("GetFresh")
		testkit.GiveBack(t, p, l)
		n := 0
		_ = p.Retry(t.Context(), func(context.Context, *testkit.Wire) error {
			n++
			here(fmt.Sprintf("Retry, try %d", n))
			return pool.Broken(testkit.ErrCause)
		})
		if n != 2 {
			t.Errorf("it was tried %d times, want twice", n)
		}
	})
}
