package main

import (
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/contrib/pooldebug"
	"github.com/S4AK4N/pool/wsconn"
)

// A live page shows the pool while it is measured, at -http. Looking at it takes processor
// time from what is measured.
type live struct {
	size   int
	pool   atomic.Pointer[pool.Pool[*wsconn.Conn]] // nil before the phase of the pool
	server *http.Server
	url    string
}

// showLive serves the page at address until close is called. Without a host that is localhost alone:
// the page is for whoever can reach it.
func showLive(address string, size int) (*live, error) {
	if strings.HasPrefix(address, ":") {
		address = "localhost" + address
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	v := &live{size: size, url: "http://" + l.Addr().String() + "/"}
	v.server = &http.Server{Handler: pooldebug.Handler(v), ReadHeaderTimeout: 10 * time.Second}
	go v.server.Serve(l)
	return v, nil
}

// shows has the page show p. A nil live page shows nothing to nobody.
func (v *live) shows(s source) {
	if p, ok := s.(*pooled); ok && v != nil {
		v.pool.Store(p.pool)
	}
}

func (v *live) close() {
	if v != nil {
		v.server.Close()
	}
}

// Name, Stats and Leases make it what pooldebug shows.
func (v *live) Name() string { return poolName(v.size) }

func (v *live) Stats() pool.Stats {
	if p := v.pool.Load(); p != nil {
		return p.Stats()
	}
	return pool.Stats{MaxConnections: v.size}
}

func (v *live) Leases() []pool.LeaseInfo {
	if p := v.pool.Load(); p != nil {
		return p.Leases()
	}
	return nil
}
