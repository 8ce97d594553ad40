package main

import (
	"context"
	"testing"

	"github.com/S4AK4N/pool"
)

func TestTheDemoEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := serve(ctx, "127.0.0.1:0"); err != nil {
		t.Errorf("serve returned %v", err)
	}
	if err := serve(t.Context(), "not an address"); err == nil {
		t.Error("serve has found an address that is none")
	}
	d, err := start()
	if err != nil {
		t.Fatal(err)
	}
	d.close()
	if _, err := d.orders.Get(t.Context()); err != pool.ErrClosed {
		t.Errorf("Get of a demo that has ended returned %v", err)
	}
}
