//go:build step

package ring

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/S4AK4N/pool/internal/step"
)

// An actor is a goroutine of an exploration. It goes from one step.At to the next
// when it is told to.
type actor struct {
	name string
	do   func()
}

// explore runs the actors that setup returns in every order of their steps, up to a
// number of preemptions: times at which an actor that could go on has to let another one
// go first. After each run it calls check with the order as a list of names and steps.
func explore(t *testing.T, preemptions int, setup func() (actors []actor, check func(order string))) {
	t.Helper()
	runs := 0
	var prefix []int // the choices to repeat; the first one is made after them
	for {
		actors, check := setup()
		choices, order := runOnce(actors, prefix, preemptions)
		check(order)
		runs++
		if t.Failed() {
			t.Fatalf("in run %d: %s", runs, order)
		}
		// The next run differs in the last choice that had another way.
		last := len(choices) - 1
		for last >= 0 && choices[last].taken+1 >= len(choices[last].ways) {
			last--
		}
		if last < 0 {
			break
		}
		prefix = prefix[:0]
		for _, c := range choices[:last] {
			prefix = append(prefix, c.taken)
		}
		prefix = append(prefix, choices[last].taken+1)
	}
	t.Logf("%d orders", runs)
}

// A choice is between actors that may go next.
type choice struct {
	ways  []int
	taken int // index into ways
}

// runOnce runs the actors once. Where prefix has no more choices, it goes the first
// way, which is to go on with the same actor.
func runOnce(actors []actor, prefix []int, preemptions int) (choices []choice, order string) {
	events := make(chan string) // where the running actor has stopped; "" at its end
	proceed := make([]chan bool, len(actors))
	running := -1
	remove := step.Install(func(name string) {
		me := running // only one runs
		events <- name
		<-proceed[me]
	})
	defer remove()
	for i, a := range actors {
		proceed[i] = make(chan bool)
		go func() {
			<-proceed[i]
			a.do()
			events <- ""
		}()
	}
	var trace []string
	alive := make([]int, len(actors))
	for i := range alive {
		alive[i] = i
	}
	for len(alive) > 0 {
		ways := alive
		if i := slices.Index(alive, running); i >= 0 {
			ways = append([]int{running}, slices.Delete(slices.Clone(alive), i, i+1)...)
			if preemptions == 0 {
				ways = ways[:1]
			}
		}
		c := choice{ways: slices.Clone(ways)}
		if len(choices) < len(prefix) {
			c.taken = prefix[len(choices)]
		}
		choices = append(choices, c)
		next := ways[c.taken]
		if next != running && slices.Contains(alive, running) {
			preemptions--
		}
		running = next
		proceed[running] <- true
		name := <-events
		if name == "" {
			alive = slices.DeleteFunc(slices.Clone(alive), func(i int) bool { return i == running })
			name = "end"
		}
		trace = append(trace, fmt.Sprintf("%s to %q", actors[next].name, name))
	}
	return choices, strings.Join(trace, ", ")
}

// bound returns how many preemptions to explore: the usual number, at most two if
// -short, and one more if time has been given for it.
func bound(usual int) int {
	switch {
	case os.Getenv("POOL_STRESS") != "":
		return usual + 1
	case testing.Short():
		return min(usual, 2)
	}
	return usual
}
