package testkit

import (
	"reflect"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/internal/core"
)

// Core returns the core of a pool.
func Core[T any](p *pool.Pool[T]) *core.Pool {
	return (*core.Pool)(reflect.ValueOf(p).Elem().FieldByName("core").Addr().UnsafePointer())
}

// CoreLease returns what the core has of a lease.
func CoreLease[T any](l pool.Lease[T]) core.Lease {
	return *(*core.Lease)(reflect.ValueOf(&l).Elem().FieldByName("lease").Addr().UnsafePointer())
}

// Inside returns what tests may see of the inside of a pool.
func Inside[T any](p *pool.Pool[T]) core.Inside { return Core(p).Inside() }
