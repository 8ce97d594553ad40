//go:build !linux

package wsconn

// room is not known: a goroutine writes.
func (*peeker) room() (n int, known bool) { return 0, false }
