package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
)

// options are what the command line says.
type options struct {
	url      string   // of a foreign server, the first; empty: the embedded one
	urls     []string // of all foreign servers
	header   http.Header
	host     string // the Host header, if one is given
	clients  int
	max      int
	duration time.Duration
	size     int
	rtt      time.Duration
	json     bool
}

// Limits of the flags. They keep a slip of the finger from eating the machine.
const (
	maxClients  = 100_000
	maxPool     = 65_535 // what a pool takes
	maxSize     = 16 << 20
	minDuration = 100 * time.Millisecond
	maxDuration = time.Hour
	maxRTT      = 10 * time.Second
)

const usage = `Usage: poolbench [flags]

Poolbench drives a WebSocket echo server with many clients at once, twice: first
each client dials a connection for every request (dial, write, read the echo,
close), then all of them share a pool of a few connections. It ends with a table
of both. Without flags it starts a server of its own, in a second process, on
the loopback interface.

  -clients n     clients that send requests at the same time (1000)
  -max n         connections in the pool (100)
  -duration d    how long each of the two phases lasts (5s)
  -size n        bytes in a message (64)
  -rtt d         network round trip to add to the embedded server (0s), exact to
                 about a millisecond: opening the TCP connection, the upgrade
                 and each message cost one each
  -url u         drive the server at u (ws:// or wss://) instead; it must echo.
                 Repeatable: dials go to the servers in turn, the pool has
                 connections to all, and the result says how both are spread
  -header 'K: V' send a header with each handshake to -url; repeatable
  -json          print the result as JSON, and nothing else, to standard output
  -h             print this text

Examples:
  poolbench -rtt 20ms
  poolbench -url wss://example.com/echo -header 'Authorization: Bearer x'

How it measures:
  - The load is a closed loop: a client sends its next request when it has the
    reply to the last one. When the server stalls, the clients stop asking, so
    that the percentiles tell less of a stall than a fixed rate of requests
    would (coordinated omission). Compare the columns; do not read them as what
    users of a site with a given rate of requests would see.
  - Latency runs from the moment a client wants a connection (dials it, or asks
    the pool) until it has the whole reply. Closing is part of the loop but not
    of the latency. A percentile is at most 1.6 % above the true one.
  - Nothing is warmed up: the connections that the pool opens at first count.
  - Each reply is compared with its request. A different one is a wrong reply,
    and is counted neither as an answer nor as an error. After a failure a
    client waits 10 ms.
  - Both phases use the same dialer, payload and options, without compression.
  - Heap and goroutines are those of the client process, which holds the clients
    too: each is one goroutine in both columns. The heap includes what is not
    yet collected. The server runs in a process of its own but shares the CPUs.
  - At a foreign server, 12,000 dials at most are made for each phase (or twice
    -max, if that is more), so as not to run out of local ports. A phase that
    comes to its limit ends early, and the result says so.

Ctrl-C ends it early with the result so far; a second one kills it. Exit status:
0 if there is a result, 1 if nothing could be measured (the server cannot be
reached, does not echo), 2 if the flags make no sense.

JSON fields. Latencies are in milliseconds; null is what is not known or was not
run:
  clients max_connections size_bytes duration_seconds rtt_seconds url urls[]
  embedded go_version os arch cpus interrupted notes[]
  dialing, pooled: one object each, with
    seconds, requests, requests_per_second   within the phase's time
    latency_ms {p50 p90 p99 p99_9 max}        of all replies, late ones included
    errors, wrong_replies, first_errors[]
    dials, peak_connections_client, peak_connections_server
    peak_heap_bytes, peak_goroutines          of the client process
    pool {gets waits timeouts canceled rejected opened open_errors}
    servers[] {server replies opened open}    connections opened, and of a pool
                                              open at the end; null for one -url
  ratio: pooled divided by dialing, for each of requests_per_second, latency_p50
    latency_p90 latency_p99 latency_p99_9 latency_max errors wrong_replies dials
    peak_connections peak_heap_bytes peak_goroutines
`

// parseFlags reads the command line. It returns [flag.ErrHelp] if help is asked
// for, and otherwise an error that fits on one line.
func parseFlags(args []string) (options, error) {
	o := options{header: http.Header{}}
	set := flag.NewFlagSet("poolbench", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.Func("url", "", o.addURL)
	set.Func("header", "", o.addHeader)
	set.IntVar(&o.clients, "clients", 1000, "")
	set.IntVar(&o.max, "max", 100, "")
	set.DurationVar(&o.duration, "duration", 5*time.Second, "")
	set.IntVar(&o.size, "size", 64, "")
	set.DurationVar(&o.rtt, "rtt", 0, "")
	set.BoolVar(&o.json, "json", false, "")
	if err := set.Parse(args); err != nil {
		return o, err
	}
	if set.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	given := map[string]bool{}
	set.Visit(func(f *flag.Flag) { given[f.Name] = true })
	return o, o.check(given)
}

// addURL adds one more server.
func (o *options) addURL(raw string) error {
	o.urls = append(o.urls, raw)
	o.url = o.urls[0]
	return nil
}

// addHeader adds "K: V" to the headers.
func (o *options) addHeader(line string) error {
	key, value, found := strings.Cut(line, ":")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	switch {
	case !found || !isToken(key):
		return errors.New("want 'Name: value'")
	case strings.ContainsFunc(value, unicode.IsControl):
		return errors.New("the value holds a control character")
	case strings.EqualFold(key, "Host"):
		o.host = value
	default:
		o.header.Add(key, value)
	}
	return nil
}

// isToken reports whether s is a token of HTTP, as the name of a header must be
// (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		letterOrDigit := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !letterOrDigit && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// check says what is wrong with o, in which the flags named in given were set.
func (o *options) check(given map[string]bool) error {
	switch {
	case o.clients < 1 || o.clients > maxClients:
		return fmt.Errorf("-clients must be from 1 to %d, not %d", maxClients, o.clients)
	case o.max < 1 || o.max > maxPool:
		return fmt.Errorf("-max must be from 1 to %d, not %d", maxPool, o.max)
	case o.duration < minDuration || o.duration > maxDuration:
		return fmt.Errorf("-duration must be from %v to %v, not %v", minDuration, maxDuration, o.duration)
	case o.size < 1 || o.size > maxSize:
		return fmt.Errorf("-size must be from 1 to %d, not %d", maxSize, o.size)
	case o.rtt < 0 || o.rtt > maxRTT:
		return fmt.Errorf("-rtt must be from 0s to %v, not %v", maxRTT, o.rtt)
	}
	if !given["url"] {
		if given["header"] {
			return errors.New("-header needs -url")
		}
		return nil
	}
	if given["rtt"] {
		return errors.New("-rtt delays the embedded server only; it does not go with -url")
	}
	for i, u := range o.urls {
		if err := checkURL(u); err != nil {
			return err
		}
		if slices.Contains(o.urls[:i], u) {
			return errors.New("-url names the same server twice")
		}
	}
	return nil
}

// checkURL says what is wrong with raw as the address of a WebSocket server. It
// does not repeat raw, which may hold a password.
func checkURL(raw string) error {
	u, err := url.Parse(raw)
	if parse := (*url.Error)(nil); errors.As(err, &parse) {
		return fmt.Errorf("-url is malformed: %w", parse.Err)
	}
	switch u.Scheme {
	case "ws", "wss", "http", "https":
	default:
		return errors.New("-url must start with ws:// or wss://")
	}
	if u.Hostname() == "" {
		return errors.New("-url names no host")
	}
	if u.Fragment != "" {
		return errors.New("-url must not have a fragment (#...)")
	}
	return nil
}
