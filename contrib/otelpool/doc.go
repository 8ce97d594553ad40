// Package otelpool exports the figures of pools by OpenTelemetry, and puts what they do into traces.
//
//	p, err := pool.New(factory, pool.Config{Name: "orders", Hooks: otelpool.Hooks(meter, "orders"), TimeUse: true})
//	if err != nil {
//		return err
//	}
//	registration, err := otelpool.Register(meter, p)
//
// For a [pool.Group], RegisterFunc takes its Sources, and hooks are in the Config of each of its pools. For a
// Dialer of package wsconn there is RegisterFunc alone, [WithoutHooks]: it never waits, and it dials with the caller's ctx, so the
// dial is in the caller's trace without them.
//
//	registration, err := otelpool.RegisterFunc(meter, dialer.Sources(), otelpool.WithoutHooks())
//
// # Metrics
//
// Where the semantic conventions have an instrument for a pool of connections to a database, its
// name, unit and attributes are used, whatever the connections are. The attribute
// db.client.connection.pool.name is the [pool.Config].Name of the pool: give each pool one. Pools
// with equal names are added up.
//
// Register and RegisterFunc have the following.
//
//   - db.client.connection.count: by db.client.connection.state, idle or used, which is leased or held by the pool
//   - db.client.connection.max
//   - db.client.connection.pending_requests: callers that wait
//   - db.client.connection.timeouts: calls that ended in ErrExhausted
//   - db.client.connection.use_time: with [pool.Config].TimeUse, of leases that end after the registration
//   - pool.connection.opening, reserved and awaiting_budget
//   - pool.connection.opened, open_errors and detached
//   - pool.connection.closed: by pool.connection.close.reason
//   - pool.connection.leases, waits, same_waits, leaks and abandoned_calls
//   - pool.connection.failures: by error.type, which is timeout, canceled, rejected, unavailable or gone
//   - pool.connection.oldest_wait: how long the first of those who wait has waited
//   - pool.connection.open_failing: 1 while opening fails
//
// Hooks have the following, with exemplars if the SDK is set up for them.
//
//   - db.client.connection.create_time: of connections that were opened
//   - db.client.connection.wait_time: of calls that found nothing idle, however they ended
//
// WithoutHooks RegisterFunc has these two as well.
//
// A Get that finds something idle does not wait, and is not in wait_time. The three times are histograms with bounds of
// their own, each power of two from 16 µs to 69 s: the conventions name none, and those of the SDK
// are for milliseconds.
//
// Pools are read when a reader collects. In between they do nothing for it, but for what their
// hooks and TimeUse do. There is no way to hand whole histograms to an instrument, so at each collection use_time is
// recorded once for each lease that has ended since the last one. That costs some 100 ns a lease, about what
// TimeUse itself does. Its buckets are right, and its sum too.
//
// # Traces
//
// With Hooks, a wait that took longer than 10 ms (see WaitSpans) is a span «pool.wait» in the trace of
// the request that waited: of the span in the ctx of Get, by that span's own provider. It has the error that Get
// returned. The opening of the connection that the request got is a span «pool.open» in the same trace, however
// short it was. So are the last attempts to open that failed during a wait of which there is a span. A request that is not sampled costs nothing but the
// metrics.
//
// For spans of what happens in Factory.Open, such as those of the dial, pass the request's span on to it, as
// [pool.Config].OpenContext:
//
//	spanOf := func(ctx context.Context) context.Context {
//		return trace.ContextWithSpan(context.Background(), trace.SpanFromContext(ctx))
//	}
package otelpool
