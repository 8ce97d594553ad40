// Package pooltest tests a [pool.Factory] of one's own, as testing/fstest does with a file system.
//
//	wire := pooltest.NewWire(t, "tcp", server.Addr().String())
//	pooltest.TestFactory(t, factory(wire.Addr()), &pooltest.Options[*client]{
//		Wire: wire,
//		Use:  func(ctx context.Context, c *client) error { return c.Echo(ctx, "hello") },
//	})
//
// [TestFactory] runs the functions of a Factory through what a pool does to them, against a server
// that is there: it opens connections side by side, checks and cleans them, closes them while they
// are in use, and lends them in a pool. Then it looks for what was left behind. Each failure says what
// the contract is, in the words of the documentation, and where they stand.
//
// With a [Wire] between the Factory and the server it also sees what happens when the server is
// silent, or gone: most faults of real factories show only then. TestFactory writes to the log what it could
// not test.
//
// No verdict depends on how fast the machine is. A function blocks if its goroutine is seen parked again and
// again, or if it fails because a healthy server says nothing. What must happen
// has ten seconds, as in the pool, by default.
//
// It is for tests alone: it looks at the stacks of all goroutines, and at the descriptors of the
// process.
package pooltest
