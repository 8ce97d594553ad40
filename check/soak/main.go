package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"go.uber.org/atomic"
)

// A soak is one run of the program.
type soak struct {
	// First, as in the other types here: on 32-bit processors words of 64 bits are aligned only there.
	met                       [places][faults]atomic.Int64
	leases, misses, refusals  atomic.Int64
	opened, openErrors, waits atomic.Int64
	unavailable, abandoned    atomic.Int64
	leaked, resizes, resets   atomic.Int64
	revoked                   atomic.Int64
	samples, audits, lives    atomic.Int64
	longest                   atomic.Duration // call of Get

	seed    uint64
	first   uint64 // number of the first life
	callers int
	verbose bool
	peer    *peer

	mu       sync.Mutex // guards failures: anybody may fail
	failures []string
	stuck    func() // what to do when nothing can go on
}

func (s *soak) fail(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = append(s.failures, fmt.Sprintf(format, args...))
	if len(s.failures) <= 20 {
		fmt.Printf("FAILED: %s\n", s.failures[len(s.failures)-1])
	}
}

// giveUp is for when waiting any longer makes no sense.
func (s *soak) giveUp() { s.stuck() }

// noteWait keeps the longest time that a Get took.
func (s *soak) noteWait(d time.Duration) {
	for old := s.longest.Load(); d > old && !s.longest.CompareAndSwap(old, d); old = s.longest.Load() {
	}
}

// run lives one life after the other.
func (s *soak) run(total time.Duration) error {
	var err error
	if s.peer, err = newPeer(); err != nil {
		return err
	}
	defer s.peer.Close()
	// The first connection makes the poller of the runtime, which keeps descriptors.
	s.warmUp()
	shake(s.seed)
	began := time.Now()
	each := min(max(total/8, 400*time.Millisecond), 6*time.Second)
	for n := s.first; time.Since(began) < total; n++ {
		rough, patience := min(each, total-time.Since(began)), 3*time.Second
		if n%12 == 0 && total >= 5*time.Minute {
			// Long enough for the pool to give up Check, Clean and Close.
			rough, patience = 40*time.Second, 25*time.Second
		}
		s.live(n, rough, patience)
		if len(s.failures) > 100 {
			break
		}
	}
	fmt.Printf("%d lives in %v: %d leases, %d waits, longest Get %v, %d calls of Get refused, %d of TryGet; %d connections opened, %d openings failed; %d times unavailable, %d calls abandoned, %d leaks; %d calls of Resize, %d of Reset, %d leases revoked; %d samples of Stats, %d audits\n",
		s.lives.Load(), time.Since(began).Round(time.Second), s.leases.Load(), s.waits.Load(), s.longest.Load().Round(time.Millisecond),
		s.refusals.Load(), s.misses.Load(), s.opened.Load(), s.openErrors.Load(), s.unavailable.Load(), s.abandoned.Load(), s.leaked.Load(),
		s.resizes.Load(), s.resets.Load(), s.revoked.Load(), s.samples.Load(), s.audits.Load())
	for at := range s.met {
		var b strings.Builder
		for f := range s.met[at] {
			if n := s.met[at][f].Load(); n > 0 {
				fmt.Fprintf(&b, " %s %d", faultNames[f], n)
			}
		}
		fmt.Printf("  %s:%s\n", placeNames[at], b.String())
	}
	if len(s.failures) > 0 {
		return fmt.Errorf("%d failures, with seed %d", len(s.failures), s.seed)
	}
	return nil
}

// descriptors returns how many the process has open, or 0 where that cannot be told.
func descriptors() int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(list)
}

func stacks() []byte {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			return buf[:n]
		}
		buf = make([]byte, 2*len(buf))
	}
}

// goroutines returns the stacks of all but the calling goroutine that have a function of
// the named package on them, or were started by one.
func goroutines(name string) (left []string) {
	for i, s := range strings.Split(string(stacks()), "\n\n") {
		if i > 0 && strings.Contains(s, name) {
			left = append(left, s)
		}
	}
	return left
}

func main() {
	total := flag.Duration("time", 45*time.Second, "how long to go on")
	seed := flag.Uint64("seed", rand.Uint64(), "of what goes wrong, and when")
	first := flag.Uint64("first", 1, "number of the first life, to see one again that has failed")
	callers := flag.Int("callers", 200, "how many use the pool")
	verbose := flag.Bool("v", false, "tell of each life")
	keys := flag.Int("keys", 0, "instead of the lives of one pool: so many keys of a Group that come and go")
	flag.Parse()
	fmt.Printf("seed %d\n", *seed)
	s := &soak{seed: *seed, first: *first, callers: *callers, verbose: *verbose, stuck: func() { os.Exit(1) }}
	run := s.run
	if *keys > 0 {
		run = func(total time.Duration) error { return s.keys(total, *keys) }
	}
	if err := run(*total); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("nothing was lost")
}
