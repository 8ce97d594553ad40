package testkit

import (
	"reflect"
	"testing/synctest"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/group"
)

// Group returns what is inside a group.
func Group[K comparable, T any](g *pool.Group[K, T]) *group.Group[K, pool.Pool[T]] {
	return (*group.Group[K, pool.Pool[T]])(reflect.ValueOf(g).Elem().FieldByName("in").Addr().UnsafePointer())
}

// Looks returns how often a group has looked at its pools, in a bubble: the last look is over.
func Looks[K comparable, T any](g *pool.Group[K, T]) uint64 {
	synctest.Wait()
	return reflect.ValueOf(g).Elem().FieldByName("in").FieldByName("Tender").FieldByName("looks").Uint()
}
