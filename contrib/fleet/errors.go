package fleet

import (
	"errors"
	"fmt"
)

// ErrClosed is the cause when a pool opens nothing because its Budget has been closed.
var ErrClosed = errors.New("fleet: the budget is closed")

// A FormatError is returned by [NewBudget] and [Inspect], and is the cause of a failed open, when the keys
// of a budget are those of a release of this module that reads them differently. Nothing has been changed.
type FormatError struct {
	Budget string // the name of the budget
	Format int    // the number of its format; that of this release is 1
	By     string // the release that wrote it
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("fleet: budget %q is in format %d, of %s; this is %s", e.Budget, e.Format, e.By, release)
}
