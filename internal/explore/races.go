//go:build explore

package explore

// races calls found with the number of each step that is in a race with a later one: the
// two are by different goroutines and do not commute, and nothing between them says that
// the one had to come before the other. Vector clocks tell: each goroutine, and
// each word, knows up to which step of each goroutine it depends on what came before.
//
// That a goroutine has been started or woken in a step is known. What else happens in
// channels is not, so that some races are found which are none. They cost time only.
func races(steps []stepTaken, routines int, found func(step int)) {
	type clock []int32 // for each goroutine: 1 + the number of its last step that is known
	join := func(a, b clock) {
		for i := range b {
			a[i] = max(a[i], b[i])
		}
	}
	type last struct {
		who  int
		step int32 // 1 + its number; 0: none
		at   clock
	}
	type word struct {
		write last
		reads []last // since, the last one of each goroutine
	}
	var (
		words = map[int32]*word{}
		now   = make([]clock, routines)
		own   = make([]last, routines) // last step of each goroutine
		stop  last                     // the last point
	)
	for i := range now {
		now[i] = make(clock, routines)
	}
	for i, s := range steps {
		g := s.who.id
		c := now[g]
		after := func(l last) {
			if l.step == 0 || l.who == g {
				return
			}
			if c[l.who] < l.step {
				found(int(l.step) - 1)
			}
		}
		if s.op.word != start {
			after(stop)
		}
		if stop.step > 0 && s.op.word != start {
			join(c, stop.at)
		}
		me := last{who: g, step: int32(i) + 1}
		switch {
		case s.op.word == point:
			for _, l := range own {
				after(l)
			}
			for _, l := range own {
				if l.step > 0 {
					join(c, l.at)
				}
			}
		case s.op.word >= 0:
			w := words[s.op.word]
			if w == nil {
				w = new(word)
				words[s.op.word] = w
			}
			after(w.write)
			if s.op.writes {
				for _, l := range w.reads {
					after(l)
				}
				for _, l := range w.reads {
					join(c, l.at)
				}
			}
			if w.write.step > 0 {
				join(c, w.write.at)
			}
		}
		c[g] = me.step
		me.at = append(clock(nil), c...)
		own[g] = me
		switch {
		case s.op.word == point:
			stop = me
		case s.op.word >= 0 && s.op.writes:
			*words[s.op.word] = word{write: me}
		case s.op.word >= 0:
			w := words[s.op.word]
			k := 0
			for k < len(w.reads) && w.reads[k].who != g {
				k++
			}
			if k == len(w.reads) {
				w.reads = append(w.reads, me)
			} else {
				w.reads[k] = me
			}
		}
		for _, woken := range s.woke {
			join(now[woken.id], c)
		}
	}
}
