//go:build step

package step

import "go.uber.org/atomic"

// Enabled reports whether At calls what a test has installed.
const Enabled = true

var installed atomic.Pointer[func(name string)]

// Install makes every At call f, until remove is called. One test at a time may use it.
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
