//go:build explore

package group

import "fmt"

const repeatable = true

func repeatableHash[K comparable](key K) (h uint64) {
	for _, b := range fmt.Append(nil, key) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return h
}
