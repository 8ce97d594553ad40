// Package puddle has the API of github.com/jackc/puddle/v2, version 2.2.3, on a pool of
// [github.com/S4AK4N/pool]. It takes the place of that module by a replace line in go.mod, with the path
// github.com/S4AK4N/pool/contrib/puddle/v2.
//
// Nothing else changes in a program that uses puddle, or pgxpool, which stands on puddle. What it
// gets by that:
//
//   - In an outage resources are constructed one at a time, with growing backoff, instead of one
//     for each caller. Callers wait for up to a second, then fail at once with the cause, until the
//     server is back.
//   - A caller gets what comes first, a resource that is released or one that is constructed, and
//     nobody overtakes. A burst of short uses does not construct one resource for each.
//   - A resource that is acquired for longer than five minutes is logged, with the place that has
//     acquired it and its callers. See [Configure] for another time, and for what else can be set.
//   - [Pools] has the figures and the leases of all pools of the process.
//
// # What differs
//
// Methods do what the documentation of puddle says, with these exceptions:
//
//   - An error of the Constructor is not that of a caller, but of the server. Acquire waits and has
//     another attempt made, until constructing has failed for a second ([pool.Config].FailFastAfter); a pool
//     that has never had a resource returns the error at once, as it is. An error that comes later
//     says that constructing keeps failing, and wraps that of the Constructor.
//   - The error of a ctx that ends during an outage also wraps the last error of the Constructor. Without an outage
//     Acquire returns ctx.Err() itself.
//   - In an outage CreateResource waits for the next attempt, as long as ctx lasts.
//   - A Constructor that has not returned after a second, or after twice the time that it usually takes if that is
//     longer, counts as failed, and another one may begin beside it. Its ctx may end for that.
//   - What is being destroyed keeps its place, but for ten seconds at most.
//   - A panic in the Constructor is an error of Acquire, and one in the Destructor is ignored. In
//     puddle both end the process.
//   - Reset ends what is being constructed as well; puddle lends it once.
//   - Close refuses callers who wait at once; in puddle they wait until a resource is released.
//   - Stat counts an Acquire that has not waited as 50 ns in AcquireDuration, without reading a clock.
//     TotalResources counts what is being destroyed no more.
//   - A MaxSize over 65,535 is 65,535, but MaxResources is what was asked for.
package puddle
