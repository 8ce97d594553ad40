package harness

import "testing"

func TestACallThatWaitsIsSeenWaitingAndOneThatIsToldIsSeenEnding(t *testing.T) {
	tell := make(chan struct{})
	c := Go(func() { <-tell })
	if ended, err := c.Ends(); ended || err != nil {
		t.Errorf("a call that waits has ended: %v, %v", ended, err)
	}
	passed := make(chan struct{})
	Go(func() { <-passed; close(tell) }) // somebody else tells it, and not at once
	close(passed)
	if ended, err := c.Ends(); !ended || err != nil {
		t.Errorf("a call that is told has ended: %v, %v", ended, err)
	}
	c.Wait()
	if !c.Ended() {
		t.Error("a call that has ended has not")
	}
}
