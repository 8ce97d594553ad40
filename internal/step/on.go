//go:build step

package step

import "go.uber.org/atomic"

// Enabled reports whether the build calls what tests install.
const Enabled = true

var installed atomic.Pointer[func(name string)]

// Install makes every At call f, until the function that it returns is called. It
// is for one test at a time.
func Install(f func(name string)) (remove func()) {
	installed.Store(&f)
	return func() { installed.Store(nil) }
}

// At marks the place called name.
func At(name string) {
	if f := installed.Load(); f != nil {
		(*f)(name)
	}
}
