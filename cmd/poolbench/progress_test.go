package main

import (
	"strings"
	"testing"
	"time"
)

func TestProgressOnATerminalIsOneLine(t *testing.T) {
	var b strings.Builder
	p := newProgress(&b, true)
	p.show("a longer line")
	p.note("short")
	p.clear()
	p.clear()
	want := "\ra longer line\rshort        \r       \r"
	if got := b.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestProgressElsewhereIsOneLineEach(t *testing.T) {
	var b strings.Builder
	p := newProgress(&b, false)
	p.show("one ")
	p.note("not shown")
	p.show("two")
	p.clear()
	if got, want := b.String(), "poolbench: one\npoolbench: two\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if p.period() < time.Second {
		t.Errorf("a line every %v", p.period())
	}
}

func TestThePhaseLineFitsATerminal(t *testing.T) {
	last := soFar{elapsed: time.Second, answered: 1000}
	now := soFar{elapsed: 1500 * time.Millisecond, answered: 3000}
	want := "dial each time [====              ]  1.5 s    4,000 req/s"
	if got := phaseLine("dial each time", 6600*time.Millisecond, now, last); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	now = soFar{elapsed: time.Hour, answered: 3e9, failed: 1e6}
	got := phaseLine("pool of 65535", time.Hour, now, soFar{elapsed: time.Hour - time.Second, answered: 3e9 - 1e6})
	if want := "pool of 65535  [==================] 3600.0 s  1,000,000 req/s  1,000,000 failed"; got != want || len(got) > 79 {
		t.Errorf("got %q (%d columns), want %q", got, len(got), want)
	}
}
