// Poolbench shows what pooling WebSocket connections gains: it drives a server
// with many clients at once, first with a connection dialed for each request,
// then over one connection that all share, then through a pool, and prints the
// three side by side. Without arguments it brings its own server. "poolbench -h"
// tells the rest.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if rtt, ok := os.LookupEnv(serverVariable); ok {
		os.Exit(serverMain(rtt, os.Stdin, os.Stdout, os.Stderr))
	}
	// net/http logs what a server of another protocol says unasked. The error says it too.
	log.SetOutput(io.Discard)
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// Exit statuses.
const (
	exitDone   = 0 // also after Ctrl-C, once a table is shown
	exitFailed = 1 // nothing could be measured
	exitUsage  = 2 // the command line makes no sense
	exitAssert = 3 // an assertion does not hold
)

// run is the command: it returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "compare" {
		return compareMain(args[1:], stdout, stderr)
	}
	o, err := parseFlags(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		return exitDone
	}
	if err != nil {
		fmt.Fprintf(stderr, "poolbench: %v (-h shows the flags)\n", err)
		return exitUsage
	}
	if err := checkFileLimit(o, fileLimit()); err != nil {
		fmt.Fprintf(stderr, "poolbench: %v\n", err)
		return exitUsage
	}

	if o.html != "" {
		if err := checkWritable(o.html); err != nil {
			fmt.Fprintf(stderr, "poolbench: -html: %v\n", err)
			return exitUsage
		}
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.budgets != nil {
		if err := o.budgets.show(ctx, stdout, o.json); err != nil {
			fmt.Fprintf(stderr, "poolbench: -budget: %v\n", err)
			return exitFailed
		}
		return exitDone
	}
	var page *live
	if o.http != "" {
		if page, err = showLive(o.http, o.max); err != nil {
			fmt.Fprintf(stderr, "poolbench: -http: %v\n", describe(err))
			return exitFailed
		}
		defer page.close()
		fmt.Fprintf(stderr, "the pool, live: %s\n", page.url)
	}
	// The first signal asks for the table so far. With the handler gone, the
	// second one kills.
	context.AfterFunc(ctx, stop)

	r, err := bench(ctx, o, newDisplay(stderr, isTerminal(stderr)), page)
	if err != nil {
		fmt.Fprintf(stderr, "poolbench: %v\n", err)
		return exitFailed
	}
	for _, a := range o.asserts {
		r.verdicts = append(r.verdicts, a.check(r))
	}
	if o.json {
		err = r.writeJSON(stdout)
	} else {
		err = r.writeTable(stdout)
	}
	if err != nil {
		fmt.Fprintf(stderr, "poolbench: writing the result: %v\n", err)
		return exitFailed
	}
	if o.html != "" {
		if err := r.writeHTMLFile(o.html); err != nil {
			fmt.Fprintf(stderr, "poolbench: -html: %v\n", err)
			return exitFailed
		}
	}
	if !r.interrupted && !r.answered() {
		fmt.Fprintln(stderr, "poolbench: not one request was answered")
		return exitFailed
	}
	if failed := r.failed(); len(failed) > 0 {
		for _, v := range failed {
			fmt.Fprintf(stderr, "poolbench: assert: %s\n", v)
		}
		return exitAssert
	}
	return exitDone
}
