// Package opentime lets a Factory of this module that has connections before the pool asks for
// one say how long it took to open them. It says so in the ctx of Factory.Open, and the
// pool counts that instead of the moment in which it got the connection.
package opentime

import (
	"context"
	"time"
)

type key struct{}

// A Context is what a pool gives to Factory.Open. It ends with the one that is in it, and has its values.
type Context struct {
	context.Context
	took time.Duration
}

// In returns a Context that is ctx but for what Tell says.
func In(ctx context.Context) *Context { return &Context{Context: ctx} }

// Value is of context.Context.
func (c *Context) Value(k any) any {
	if k == (key{}) {
		return c
	}
	return c.Context.Value(k)
}

// Tell says how long it took to open the connection that this call of Open returns. It must be called
// before Open returns, in its goroutine. With the ctx of anything else it does nothing.
func Tell(ctx context.Context, d time.Duration) {
	if c, ok := ctx.Value(key{}).(*Context); ok {
		c.took = d
	}
}

// Told returns what Tell has said: zero if it was not called.
func (c *Context) Told() time.Duration { return c.took }
