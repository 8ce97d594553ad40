#!/usr/bin/env bash
# github.com/hashicorp/golang-lru/v2 v2.0.7, github.com/patrickmn/go-cache v2.1.0+incompatible,
# github.com/jellydator/ttlcache/v3 v3.4.1
#
# Expected: a map of pools by key is kept in a cache, and the cache's eviction callback
# closes the pools that leave. Each pool that is no longer in the cache has been given to
# the callback once.
# It does: with all three there are pools that leave without the callback, so nobody
# closes them. golang-lru does not call it for a value that Add replaces, and Add returns
# false. In go-cache and ttlcache an entry that has expired stays where it is until the
# next sweep. Get says it is missing. A caller then makes a new pool and stores it, with
# the methods made for this, Add («only if an item doesn't already exist») and GetOrSet,
# and the old one vanishes. So the key that is used again soon after its expiry, the usual
# one, leaks its connections.
#
# Seen on 2026-11-29 (a pool of a key is removed; expires and is made again; is replaced):
#   golang-lru:  callbacks after Remove 1; after Add over a live value 0 (evicted false)
#   go-cache:    callbacks after Delete 1; after Get (missing) and Add (<nil>) 0; the new one is in the cache
#   ttlcache:    callbacks after Delete 1; after Get (missing) and GetOrSet (stored) 0; the new one is in the cache
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get github.com/hashicorp/golang-lru/v2@v2.0.7 github.com/patrickmn/go-cache@v2.1.0+incompatible github.com/jellydator/ttlcache/v3@v3.4.1 2>log || { cat log >&2; exit 1; }
cat >main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/jellydator/ttlcache/v3"
	gocache "github.com/patrickmn/go-cache"
)

type pool struct{ number int }

// sweep is far from now, as it is for every entry that expires between two sweeps.
const expires, sweep = 50 * time.Millisecond, time.Hour

func missing(found bool) string {
	if found {
		return "found"
	}
	return "missing"
}

func main() {
	var closed atomic.Int64
	as := true
	check := func(ok bool) { as = as && ok }

	l, err := lru.NewWithEvict(10, func(string, *pool) { closed.Add(1) })
	if err != nil {
		panic(err)
	}
	l.Add("key", &pool{1})
	l.Remove("key")
	removed := closed.Swap(0)
	l.Add("key", &pool{2})
	evicted := l.Add("key", &pool{3})
	fmt.Printf("golang-lru:  callbacks after Remove %d; after Add over a live value %d (evicted %v)\n", removed, closed.Load(), evicted)
	check(removed == 1 && closed.Load() == 0 && !evicted)
	closed.Store(0)

	g := gocache.New(expires, sweep)
	g.OnEvicted(func(string, any) { closed.Add(1) })
	g.SetDefault("key", &pool{1})
	g.Delete("key")
	removed = closed.Swap(0)
	g.SetDefault("key", &pool{2})
	time.Sleep(3 * expires)
	_, found := g.Get("key")
	err = g.Add("key", &pool{3}, time.Hour)
	now, _ := g.Get("key")
	fmt.Printf("go-cache:    callbacks after Delete %d; after Get (%s) and Add (%v) %d; the new one is in the cache\n", removed, missing(found), err, closed.Load())
	check(removed == 1 && !found && err == nil && closed.Load() == 0 && now.(*pool).number == 3)
	closed.Store(0)

	t := ttlcache.New(ttlcache.WithTTL[string, *pool](expires))
	// Callbacks run in goroutines of their own: each is waited for.
	called := make(chan struct{}, 10)
	t.OnEviction(func(context.Context, ttlcache.EvictionReason, *ttlcache.Item[string, *pool]) { called <- struct{}{} })
	t.Set("key", &pool{1}, ttlcache.DefaultTTL)
	t.Delete("key")
	<-called
	t.Set("key", &pool{2}, ttlcache.DefaultTTL)
	time.Sleep(3 * expires)
	old := t.Get("key")
	item, found := t.GetOrSet("key", &pool{3}, ttlcache.WithTTL[string, *pool](time.Hour))
	// A callback that is on its way has a second to come.
	late := 0
	select {
	case <-called:
		late++
	case <-time.After(time.Second):
	}
	stored := "loaded"
	if !found {
		stored = "stored"
	}
	fmt.Printf("ttlcache:    callbacks after Delete 1; after Get (%s) and GetOrSet (%s) %d; the new one is in the cache\n", missing(old != nil), stored, late)
	check(old == nil && !found && item.Value().number == 3 && late == 0)

	if !as {
		fmt.Println("CHANGED: what leaves the cache reaches the callback")
		os.Exit(1)
	}
}
GO
go build -o finding .
timeout 60 ./finding
