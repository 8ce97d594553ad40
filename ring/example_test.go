package ring_test

import (
	"fmt"

	"github.com/S4AK4N/pool/ring"
)

func Example() {
	r := ring.New(2)
	things := make([]string, r.Len()) // one for each slot; only the owner of the slot uses it

	// Put something into a slot, and make the slot idle.
	slot, word, _ := r.Claim()
	things[slot] = "a connection"
	word = r.Fill(slot, word, 0)
	r.Give(slot, word, 0)

	// Take it, use it, give it back.
	slot, word, ok := r.Take()
	fmt.Println(things[slot], ok)
	_, ok = r.Give(slot, word, 0)
	fmt.Println("given:", ok)

	// The lease has ended.
	_, ok = r.Give(slot, word, 0)
	fmt.Println("given again:", ok)
	// Output:
	// a connection true
	// given: true
	// given again: false
}

// An owner that may be late must not end a lease that now belongs to somebody else.
func ExampleRing_Give_stale() {
	r := ring.New(1)
	slot, word, _ := r.Claim()
	first := r.Fill(slot, word, 0)
	r.Give(slot, first, 0)
	slot, second, _ := r.Take()

	_, ok := r.Give(slot, first, 0)
	fmt.Println("first owner gives:", ok)
	_, ok = r.Give(slot, second, 0)
	fmt.Println("second owner gives:", ok)
	// Output:
	// first owner gives: false
	// second owner gives: true
}

// Things that have been idle for too long are removed from where they stand.
func ExampleRing_Retake() {
	r := ring.New(3)
	for now := range uint16(3) {
		slot, word, _ := r.Claim()
		r.Give(slot, r.Fill(slot, word, now), now)
	}
	const now, tooOld = 3, 2
	for slot := range r.High() {
		word := r.At(slot)
		if word.Phase() != ring.Idle || now-word.Stamp() < tooOld {
			continue
		}
		if word, ok := r.Retake(slot, word); ok { // nobody has taken it since
			word, _ = r.Reserve(slot, word)
			r.Vacate(slot, word)
		}
	}
	for slot := range r.Len() {
		fmt.Println(slot, r.At(slot).Phase() == ring.Idle)
	}
	// Output:
	// 0 false
	// 1 false
	// 2 true
}
