//go:build !explore

package group

import "hash/maphash"

func hash[K comparable](seed maphash.Seed, key K) uint64 { return maphash.Comparable(seed, key) }
