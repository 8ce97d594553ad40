package fleet

import "time"

// An instant is one by both clocks of the process.
type instant struct{ mono, wall time.Duration }

// since returns how much time has passed between two instants at most. The monotonic clock stands still while
// the machine sleeps, the wall clock is set.
func (i instant) since(o instant) time.Duration { return max(i.mono-o.mono, i.wall-o.wall) }

// less returns the instant that was d before.
func (i instant) less(d time.Duration) instant { return instant{i.mono - d, i.wall - d} }

func clockFrom(epoch time.Time) func() instant {
	return func() instant {
		now := time.Now()
		return instant{now.Sub(epoch), now.Round(0).Sub(epoch.Round(0))}
	}
}
