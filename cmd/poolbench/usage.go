package main

const usage = `Usage: poolbench [flags]
       poolbench compare a.json b.json
       poolbench -budget redis://host:6379 [-json]

Poolbench drives a WebSocket echo server with many clients at once, in three
ways: first each client dials a connection for every request (dial, write, read
the echo, close), then all of them share one connection behind a mutex, then
they share a pool of a few connections. It ends with a table of the three.
Without flags it starts a server of its own, in a second process, on the
loopback interface. The second form compares two results of -json. The third one
measures nothing: it shows who has how many connections of the budgets that
processes share by contrib/fleet, and who waits.

The load:
  -clients n     clients that send requests at the same time (1000)
  -rate r        requests that are due in a second, whether the server keeps up
                 or not; without it each client sends its next request when it
                 has the reply to the last one
  -duration d    how long each of the phases lasts (5s)
  -warmup d      how long each phase runs before that, uncounted (0s)
  -size n        bytes in a message (64)
  -ways list     only some of dialing,shared,pooled

The pool and the server:
  -max n         connections in the pool (100)
  -rtt d         network round trip to add to the embedded server (0s), exact to
                 about a millisecond: opening the TCP connection, the upgrade
                 and each message cost one each
  -url u         drive the server at u (ws:// or wss://) instead; it must echo.
                 Repeatable: dials go to the servers in turn, the pool has
                 connections to all, and the result says how both are spread
  -header 'K: V' send a header with each handshake to -url; repeatable

The result:
  -json          print the result as JSON, and nothing else, to standard output
  -html file     write a page with charts as well; it needs nothing from outside
  -http addr     show the pool on a live page at addr, such as :6060, as long as
                 the program runs. Without a host it is on localhost. The page,
                 and timing each lease for it, take time from what is measured
  -assert list   end with status 3 unless all of the list holds, such as
                 'p99<50ms,errors<0.1%'; see below
  -h             print this text

A fleet:
  -budget u      show the budgets on the Redis or Valkey server at u, such as
                 redis://localhost:6379, rediss://user:password@host:6379/2 or,
                 of a cluster, redis://a:6379?addr=b:6379; one of them alone if
                 its name follows: redis://localhost:6379#account-7

Examples:
  poolbench -rtt 20ms
  poolbench -rtt 20ms -rate 2000 -warmup 2s -html report.html
  poolbench -url wss://example.com/echo -header 'Authorization: Bearer x'
  poolbench -ways pooled -rate 500 -assert 'p99<50ms,errors<0.1%' -json >b.json
  poolbench compare a.json b.json

How it measures:
  - Without -rate the load is a closed loop. When the server stalls, the clients
    stop asking, so that the percentiles tell less of a stall than a fixed rate
    of requests would (coordinated omission). Compare the columns; do not read
    them as what users of a site with a given rate of requests would see.
  - With -rate it is an open loop: requests are due at even distances, and a
    client that is free takes the next one. Latency and wait run from when the
    request was due, so they hold what it waited for a free client too. Requests
    that were due, and had no client or no turn when the phase ended, are
    unserved. Go's timers are up to about 1 ms late, which the latency includes.
  - Latency runs from the moment a client wants a connection (dials it, or asks
    for its turn or the pool) until it has the whole reply. Closing is part of
    the loop but not of the latency. It is the sum of
      wait        for its turn, for the pool, and with -rate for a client
      dial        until the connection can be used; the pool dials on its own,
                  so what a request waits for a dial of the pool is wait
      round trip  from the write to the whole reply
    A percentile is at most 0.8 % above the true one; the maximum is exact.
  - What ends in the warm-up counts for nothing, and with -rate what was due in
    it. Without -warmup the connections that the pool opens at first count.
  - Each reply is compared with its request. A different one is a wrong reply,
    and is counted neither as an answer nor as an error. After a failure a
    client of a closed loop waits 10 ms.
  - All phases use the same dialer, payload and options, without compression.
  - Heap and goroutines are those of the client process, which holds the clients
    too: each is one goroutine in all columns. The heap includes what is not
    yet collected, and 0.6 MiB of histograms. The server runs in a process of
    its own but shares the CPUs.
  - At a foreign server, 12,000 dials at most are made for each phase (or twice
    -max, if that is more), so as not to run out of local ports. A phase that
    comes to its limit ends early, and the result says so.

The recommended MaxConnections is what the measured demand needs. With -rate:
the requests per second times the time that each holds a connection are the
connections in use on average (Little's law), and the least size is taken with
which less than 1 % of requests that come at random wait (Erlang C). Without:
the requests per second that were reached times the round trip of a request
that has the server for itself (the median of "one, shared"), and a quarter
more, at least 2. Further connections would only wait for each other at the
server.

Assertions are about the pool; "dialing:" or "shared:" before one makes it about
another way. All that are separated by commas must hold:
  p50 p99 p99.9 (any), max, mean         of the latency: p99<50ms
  wait.p99, dial.p99, round_trip.p99     of its parts, in the same way
  errors, wrong, unserved                a number, or a share: errors<0.1%
                                         errors include wrong replies
  requests, rps, dials, connections      a number: rps>=5000
The comparison is one of < <= > >= =. What is not known does not hold, nor does
anything after Ctrl-C.

Ctrl-C ends it early with the result so far; a second one kills it. Exit status:
0 if there is a result, 1 if nothing could be measured (the server cannot be
reached, does not echo), 2 if the flags make no sense, 3 if an assertion does
not hold.

JSON fields. Latencies are in milliseconds; null is what is not known or was not
run:
  clients max_connections size_bytes duration_seconds rtt_seconds url urls[]
  rate warmup_seconds                         null, 0: a closed loop, no warm-up
  started embedded go_version os arch cpus interrupted notes[]
  dialing, shared, pooled: one object each, with
    seconds, requests, requests_per_second   within the phase's time
    latency_ms {p50 p90 p99 p99_9 max mean}   of all replies, late ones included
    wait_ms, dial_ms, round_trip_ms           the same of its parts
    latency_curve[] {percentile ms}
    errors, wrong_replies, unserved, first_errors[]
    dials, peak_connections_client, peak_connections_server
    peak_heap_bytes, peak_goroutines          of the client process
    pool {gets waits timeouts canceled rejected opened open_errors}
    servers[] {server replies opened open}    connections opened, and of a pool
                                              open at the end; null for one -url
    series[] {seconds requests errors dials in_use waiting open}
                                              parts of the phase, each until
                                              then; the last three are means
  ratio: pooled divided by dialing, for each of requests_per_second, latency_p50
    latency_p90 latency_p99 latency_p99_9 latency_max errors wrong_replies dials
    peak_connections peak_heap_bytes peak_goroutines wait_p50 wait_p99 dial_p50
    dial_p99 round_trip_p50 round_trip_p99 unserved
  recommended {max_connections at_least demand reason}
    demand: connections in use on average; at_least: the pool was the limit
  assertions[] {assertion value holds}        value: milliseconds, percent or a
                                              number, as in the assertion
and with -budget:
  budgets[] {name max used grace_seconds processes[] fencing[]}
    processes[], fencing[] {id label rights offered waiting place asked
    expires_seconds}
`
