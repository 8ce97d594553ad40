//go:build explore

package group

import (
	"fmt"
	"hash/maphash"
)

// hash is the same in each repetition of a schedule.
func hash[K comparable](_ maphash.Seed, key K) (h uint64) {
	for _, b := range fmt.Append(nil, key) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return h
}
