package main

import (
	"reflect"
	"strings"
	"time"

	"github.com/S4AK4N/pool"
)

// A sampler looks at Stats again and again.
type sampler struct {
	life *life
	last pool.Stats
}

// sample checks what every snapshot promises, and that counters never go back.
func (s *sampler) sample() {
	now := s.life.p.Stats()
	s.life.samples.Inc()
	fail := func(what string) { s.life.fail("%s: %+v, after %+v", what, now, s.last) }
	if now.ActiveConnections < 0 || now.IdleConnections < 0 || now.OpeningConnections < 0 || now.WaitingRequests < 0 {
		fail("Stats has something negative")
	}
	if now.WaitTime.Count < s.last.WaitTime.Count || now.OpenTime.Count < s.last.OpenTime.Count {
		fail("a histogram went back")
	}
	if !s.life.plan.resizes {
		if now.VacantConnections() < 0 {
			fail("there are more than MaxConnections")
		}
		if now.MaxConnections != s.life.plan.config.MaxConnections {
			fail("MaxConnections has changed")
		}
	}
	if now.ActiveConnections+now.IdleConnections+now.OpeningConnections+now.VacantConnections() != now.MaxConnections {
		fail("Stats does not add up")
	}
	// An audit has as many callers as there may be connections.
	if now.WaitingRequests > max(s.life.plan.callers, now.MaxConnections)+extraCallers {
		fail("more wait than there are callers")
	}
	if now.OldestWait < 0 {
		fail("somebody waits for a negative time")
	}
	counters(now, func(name string, n uint64) {
		if before := reflect.ValueOf(s.last).FieldByName(name).Uint(); n < before {
			fail("counter " + name + " went back")
		}
	})
	if now.Opened < ends(now) {
		fail("more connections have ended than were opened")
	}
	s.last = now
}

// counters calls f for each counter of Stats, whichever there are.
func counters(s pool.Stats, f func(name string, n uint64)) {
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		if v.Field(i).Kind() == reflect.Uint64 {
			f(v.Type().Field(i).Name, v.Field(i).Uint())
		}
	}
}

// ends is how many connections have ended, for all reasons.
func ends(s pool.Stats) (n uint64) {
	counters(s, func(name string, k uint64) {
		if strings.HasPrefix(name, "Closed") || name == "Detached" {
			n += k
		}
	})
	return n
}

// watch takes samples until end.
func (s *sampler) watch(end <-chan struct{}) {
	for {
		s.sample()
		if !pause(end, 500*time.Microsecond) {
			s.sample()
			return
		}
	}
}
