//go:build !step

// Package step marks the places in lock-free code where another goroutine may
// come in between. In an ordinary build [At] compiles to nothing. Built with
// -tags step it calls the function that a test has installed, which may yield,
// to shake the schedule, or stop a goroutine there, to build an interleaving.
package step

// Enabled reports whether the build calls what tests install.
const Enabled = false

// At marks the place called name.
func At(name string) {}
