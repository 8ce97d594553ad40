package opentime

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

type word struct{ int }

func TestTheTimeGetsThroughOtherContexts(t *testing.T) {
	outer := In(context.WithValue(t.Context(), word{}, "value"))
	ctx, cancel := context.WithTimeout(context.WithValue(outer, word{1}, 1), time.Hour)
	defer cancel()
	if got := outer.Told(); got != 0 {
		t.Errorf("before anybody has said it, it took %v", got)
	}
	Tell(ctx, time.Second)
	if got := outer.Told(); got != time.Second {
		t.Errorf("it took %v, want 1s", got)
	}
	if got := ctx.Value(word{}); got != "value" {
		t.Errorf("a value of the ctx is %v", got)
	}
	Tell(t.Context(), time.Second) // nobody asks
}

// A ctx of a kind that package context does not know may cost each context that is derived from it a goroutine.
func TestAContextThatIsDerivedHasNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithCancel(context.Background())
		ctx, stop := context.WithCancel(In(parent))
		cancel() // with a goroutine in between, the end of ctx would come later
		if ctx.Err() != context.Canceled {
			t.Error("the derived ctx has not ended with its parent")
		}
		stop()
	})
}
