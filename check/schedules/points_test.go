//go:build explore && step

package schedules

import (
	"slices"

	"github.com/S4AK4N/pool/internal/explore"
	"github.com/S4AK4N/pool/internal/step"
)

// points are the places between two operations in channels, or around one, at which a
// schedule may stop a goroutine too, if the steps are built in.
var points = []string{"admitFor: awake", "grant: ctx looked at", "leave: ctx ended", "sweep: awake"}

func stopAtPoints(r *explore.Run) {
	remove := step.Install(func(place string) {
		if slices.Contains(points, place) {
			r.Point(place)
		}
	})
	r.Cleanup(remove)
}
