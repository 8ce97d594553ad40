//go:build !step

// Package step marks the places in lock-free code where another goroutine may come in
// between two steps. In an ordinary build [At] compiles to nothing. Built with -tags
// step, it calls the function that a test has installed. That function may yield, to
// shake the schedule, or stop the goroutine, to build an interleaving. The package knows
// nothing of the code that it marks.
package step

// Enabled reports whether At calls what a test has installed.
const Enabled = false

// At marks the place called name.
func At(name string) {}
