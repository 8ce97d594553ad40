//go:build linux

package fleet

import "unsafe"

func pointer(b *[128]byte) unsafe.Pointer { return unsafe.Pointer(b) }
