//go:build explore && !step

package schedules

import (
	"github.com/S4AK4N/pool/internal/explore"
)

func stopAtPoints(*explore.Run) {}
