//go:build explore

package schedules

import (
	"context"
	"testing"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/explore"
	"github.com/S4AK4N/pool/internal/testkit"
)

// watching returns a scene with n leased connections, and what reports them as broken.
func watching(r *explore.Run, n int) (s *scene, l []pool.Lease[*testkit.Wire], broken func(number int, cause error)) {
	x := new(testkit.Exchange)
	f, broken := testkit.Watched(x)
	s = newScene(r, x, f, timeless(n))
	return s, s.lend(n), broken
}

// gone checks at the end that a connection has been closed, and none that is idle is
// marked.
func (s *scene) gone(number int) {
	s.End(func() {
		if got := len(s.x.Wires[number-1].Closes); got != 1 {
			s.Errorf("connection %d was reported broken, and closed %d times", number, got)
		}
	})
}

func TestExploreAReportAgainstAPut(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l, broken := watching(r, 1)
		s.putter("putter", l[0])
		s.Go("reporter", func() { broken(1, testkit.ErrCause) })
		s.rests(0)
		s.gone(1)
	})
}

func TestExploreAReportAgainstAPutAndAGet(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l, broken := watching(r, 1)
		s.putter("putter", l[0])
		s.Go("reporter", func() { broken(1, testkit.ErrCause) })
		s.getter("getter")
		s.rests(0)
		s.gone(1)
	})
}

func TestExploreAReportAgainstAHandOff(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l, broken := watching(r, 1)
		s.waiting("waiter", background)
		s.putter("putter", l[0])
		s.Go("reporter", func() { broken(1, testkit.ErrCause) })
		s.rests(0)
		s.gone(1)
	})
}

func TestExploreAReportAgainstAGetOfWhatIsIdle(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l, broken := watching(r, 1)
		s.mustPut(l[0])
		s.Go("reporter", func() { broken(1, testkit.ErrCause) })
		s.getter("getter")
		s.rests(0)
		s.gone(1)
	})
}

func TestExploreAReportAgainstClose(t *testing.T) {
	explore.Test(t, explore.Options{}, func(r *explore.Run) {
		s, l, broken := watching(r, 1)
		s.putter("putter", l[0])
		s.Go("reporter", func() { broken(1, testkit.ErrCause) })
		s.closer("closer")
		s.allClosed()
	})
}

// The slot is idle again, with another connection in it, after a reporter has read its word.
// No lease has ended in between, because the caller leaves: the word must be another one all
// the same.
func TestExploreAReportAgainstTheNextConnectionInTheSlot(t *testing.T) {
	explore.Test(t, explore.Options{Selects: true}, func(r *explore.Run) {
		s, l, broken := watching(r, 1)
		s.mustPut(l[0])
		ctx := s.canceler(background)
		var a asking
		s.Go("reporter", func() { broken(1, testkit.ErrCause) })
		s.Go("leaver", func() { s.ask("leaver", ctx, &a) })
		s.must("leaver", &a, context.Canceled)
		s.rests(0)
		s.gone(1)
		s.End(func() {
			for _, w := range s.x.Wires[1:] {
				if len(w.Closes) != 0 {
					s.Errorf("connection %d was closed for another", w.Number)
				}
			}
		})
	})
}
