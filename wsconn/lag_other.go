//go:build !linux

package wsconn

import "time"

type lag struct {
	pending bool
	tries   uint8
	atLeast time.Duration
}

// lag is not known.
func (*peeker) lag() (l lag, known bool) { return l, false }
