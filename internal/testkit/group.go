package testkit

import (
	"reflect"

	"github.com/S4AK4N/pool"
)

// Looks returns how often a group has looked at its pools.
func Looks[K comparable, T any](g *pool.Group[K, T]) uint64 {
	return reflect.ValueOf(g).Elem().FieldByName("in").FieldByName("Tender").FieldByName("looks").Uint()
}
