package report

import (
	"fmt"

	"github.com/S4AK4N/pool/bench/harness"
)

// A column has one metric of one scenario.
type column struct {
	head     string
	scenario string
	cpu      int
	metric   string
	aside    bool // it tells what was done, not how well
}

// A table has a row for each peer.
type table struct {
	title   string
	text    string
	columns []column
	chart   *chart
}

func cycleName(goroutines, size int, hold string) string {
	return fmt.Sprintf("cycle/goroutines=%d/size=%d/hold=%s", goroutines, size, hold)
}

// of returns columns of one scenario.
func of(scenario string, cpu int, columns ...column) []column {
	for i := range columns {
		columns[i].scenario, columns[i].cpu = scenario, cpu
	}
	return columns
}

func cat(all ...[]column) (columns []column) {
	for _, c := range all {
		columns = append(columns, c...)
	}
	return columns
}

func ns(head string, goroutines, size int, hold string, cpu int) column {
	return column{head: head, scenario: cycleName(goroutines, size, hold), cpu: cpu, metric: harness.NsOp}
}

// tables are those of the page, in its order.
func tables() []table {
	allocs := func(goroutines, size int, hold string) []column {
		return of(cycleName(goroutines, size, hold), 2,
			column{head: "allocations", metric: harness.AllocsOp}, column{head: "bytes", metric: harness.BytesOp})
	}
	waits := func(who string, goroutines, size int, hold string, cpu int) []column {
		return of(cycleName(goroutines, size, hold), cpu,
			column{head: who + ": p50", metric: harness.WaitP50}, column{head: "p99", metric: harness.WaitP99},
			column{head: "max", metric: harness.WaitMax}, column{head: "fewest turns", metric: harness.Served})
	}
	order := func(cores string, cpu int) []column {
		return of("order", cpu,
			column{head: cores + ": seen waiting", metric: harness.Waited, aside: true},
			column{head: "overtaken", metric: harness.Overtaken}, column{head: "by a returner", metric: harness.Barged})
	}
	cancel := func(cores string, cpu int) []column {
		return of("cancel", cpu, column{head: cores + ": a cancelled wait", metric: harness.CancelNs},
			column{head: "without a pool", metric: harness.BaseNs, aside: true})
	}
	return []table{
		{
			title: "A connection for every caller",
			text:  "The time of a Get and a Put, with what is between them, when something is idle for everybody. With holds the time is that of the hold, shared by those who hold at once. Allocations and bytes are those of an operation of 2 callers on 2 cores.",
			columns: cat([]column{
				ns("1 caller, 1 core", 1, 16, "0", 1),
				ns("2 callers, 2 cores", 2, 16, "0", 2),
				ns("8 callers, 1 core", 8, 16, "0", 1),
				ns("8 callers, 2 cores", 8, 16, "0", 2),
				ns("64 callers, 100 connections, 10 µs, 2 cores", 64, 100, "10us", 2),
				ns("1,000 callers, 1,000 connections, 1 ms, 2 cores", 1000, 1000, "1ms", 2),
			}, allocs(2, 16, "0")),
			chart: &chart{name: "uncontended", title: "A Get and a Put, a connection for every caller", unit: nanoseconds, series: []int{0, 1}},
		},
		{
			title: "More callers than connections",
			text:  "The same with two connections, and a hold of one runtime.Gosched. Allocations and bytes are those of an operation of 64 callers on 2 cores.",
			columns: cat([]column{
				ns("2 callers, 2 cores", 2, 2, "yield", 2),
				ns("8 callers, 1 core", 8, 2, "yield", 1),
				ns("8 callers, 2 cores", 8, 2, "yield", 2),
				ns("64 callers, 1 core", 64, 2, "yield", 1),
				ns("64 callers, 2 cores", 64, 2, "yield", 2),
				ns("1,000 callers, 1 core", 1000, 2, "yield", 1),
				ns("1,000 callers, 2 cores", 1000, 2, "yield", 2),
			}, allocs(64, 2, "yield")),
			chart: &chart{name: "overload", title: "A Get and a Put, 64 callers for two connections", unit: nanoseconds, series: []int{3, 4}},
		},
		{
			title: "Other holds and sizes",
			text:  "A hold of 10 µs computes, one of 1 ms sleeps. With two connections no pool can be faster than half the hold, or, where it computes, than the cores allow.",
			columns: []column{
				ns("64 callers, 2 connections, no hold, 1 core", 64, 2, "0", 1),
				ns("the same, 2 cores", 64, 2, "0", 2),
				ns("10 µs, 2 cores", 64, 2, "10us", 2),
				ns("1 ms, 2 cores", 64, 2, "1ms", 2),
				ns("64 callers, 16 connections, yield, 1 core", 64, 16, "yield", 1),
				ns("the same, 2 cores", 64, 16, "yield", 2),
				ns("1,000 callers, 16 connections, 10 µs, 2 cores", 1000, 16, "10us", 2),
				ns("1,000 callers, 100 connections, 1 ms, 2 cores", 1000, 100, "1ms", 2),
			},
		},
		{
			title: "How long callers wait, and how evenly they are served",
			text:  "Measured in a run of its own, since reading the clock takes time. *Fewest turns* is how many turns the caller with the fewest had, of a fair share: 1 is even, 0 is a caller who was never served.",
			columns: cat(waits("64 callers, 2 connections, yield, 1 core", 64, 2, "yield", 1),
				waits("the same, 2 cores", 64, 2, "yield", 2),
				waits("1,000 callers, 16 connections, 10 µs, 2 cores", 1000, 16, "10us", 2)),
		},
		{
			title:   "Who is served first",
			text:    "One connection is leased. 16 callers come for it one after the other, each when the one before has been seen waiting. *Overtaken* is how many of them somebody overtook who came later. *By a returner*: while one caller waits, the holder puts the connection back and gets again, without letting others run; how many times it got it again, of at most 1,000; the most of 20 tries.",
			columns: cat(order("1 core", 1), order("2 cores", 2)),
		},
		{
			title: "Waits that are cancelled",
			text:  "64 callers wait for two connections that are leased for good, and another goroutine cancels each of them. *Without a pool* is the same where callers wait for the end of their ctx alone. *Other errors* is the part of the errors that are not context.Canceled, *ended ctx* the part of the Gets that are given a connection though their ctx had ended before, *lost* how many connections could not be had any more afterwards.",
			columns: cat(cancel("1 core", 1), cancel("2 cores", 2), of("cancel", 2,
				column{head: "other errors", metric: harness.Foreign},
				column{head: "ended ctx", metric: harness.Ended},
				column{head: "lost", metric: harness.Lost})),
		},
		{
			title: "A burst of short requests",
			text:  "50 requests at once meet 5 idle connections and room for 50. A connection takes 150 ms to open. *Opened* counts the opens that began before all requests had been served.",
			columns: cat(of("spike/hold=2ms", 2, column{head: "2 ms each: opened", metric: harness.Attempts}, column{head: "last one served after", metric: harness.AllMs}),
				of("spike/hold=20ms", 2, column{head: "20 ms each: opened", metric: harness.Attempts}, column{head: "last one served after", metric: harness.AllMs})),
			chart: &chart{name: "burst", title: "Connections opened for 50 short requests (2 ms) that meet 5 idle ones", unit: count, series: []int{0}},
		},
		{
			title: "A cold start",
			text:  "100 callers at once meet an empty pool with room for 100, and keep what they get. A connection takes 50 ms to open.",
			columns: of("cold", 2, column{head: "first one served after", metric: harness.FirstMs}, column{head: "last one", metric: harness.AllMs},
				column{head: "opened", metric: harness.Attempts}),
		},
		{
			title: "A storm of deadlines",
			text:  "1,000 goroutines ask again and again, with a deadline of 1 ms, for 4 connections that are held for 0.1 ms each. *Patient* is what 16 callers without a deadline get done while 1,000 others wait for deadlines without a pool. *Lost to the storm* is the part of that which is not done in the storm; less than nothing, if more callers are quicker to be there.",
			columns: of("storm", 2, column{head: "leases a second, patient", metric: harness.PatientPS},
				column{head: "in the storm", metric: harness.StormPS}, column{head: "lost to the storm", metric: harness.StormLoss}),
		},
		{
			title: "An outage of four seconds",
			text:  "20 callers share 10 connections over TCP to a server on the loopback interface, each with a deadline of one second and a pause of a millisecond after a failure. The server goes away for four seconds: its connections are closed, and the kernel refuses new ones. *Attempts* are calls of connect in this time, counted where they are made. *Without the cause* are failures whose error does not say that the server refused. Full service is nine tenths of what was served in a second before, over 100 ms.",
			columns: of("outage", 2, column{head: "attempts to connect", metric: harness.Attempts}, column{head: "callers failed", metric: harness.Failures},
				column{head: "without the cause", metric: harness.Untold}, column{head: "first one served after", metric: harness.FirstMs}, column{head: "full service after", metric: harness.FullMs}),
			chart: &chart{name: "outage", title: "Attempts to connect in an outage of 4 s, logarithmic", unit: count, series: []int{0}, log: true},
		},
		{
			title: "A restart with 100 idle connections",
			text:  "The server closes 100 connections that have been idle for 1.2 s, and goes on accepting. Ten callers then do ten requests each. *Broken* are requests that failed because their connection was dead when it was lent. A peer that has a place for a check of idle connections is given one.",
			columns: of("restart", 2, column{head: "broken", metric: harness.Broken}, column{head: "Gets failed", metric: harness.Failures},
				column{head: "opened", metric: harness.Opened, aside: true}, column{head: "all done after", metric: harness.AllMs, aside: true}),
		},
		{
			title: "Memory",
			text:  "Heap and stacks, without the connections: a pool of 10 that has just been made, one that has lent a connection once, and for each idle connection of a pool with 10,000 (the pool itself included).",
			columns: of("memory", 1, column{head: "made", metric: harness.PoolBytes}, column{head: "used once", metric: harness.UsedBytes},
				column{head: "an idle connection", metric: harness.IdleBytes}, column{head: "goroutines", metric: harness.Goroutines}),
		},
	}
}
