//go:build explore && !step

package pool

import "github.com/S4AK4N/pool/internal/explore"

func stopAtPoints(*explore.Run) {}
