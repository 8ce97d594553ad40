// Package pooldebug shows what the pools of a program do, on a live page for people and as JSON for
// programs.
//
//	mux := http.NewServeMux()
//	mux.Handle("/debug/pool/", pooldebug.Handler(p, pooldebug.Group("accounts", g)))
//
// The page is at /debug/pool/, the JSON at /debug/pool/stats.json. The page shows, for each pool, how
// many connections were in use and who waited in the last five minutes, what was opened and closed, and why,
// how long waits, dials and leases took, and which leases are in force, since when and where they were taken; for a
// [pool.Group], or a Dialer of package wsconn, also its pools by their demand. Leases have an age if the pool looks
// at them, and a place if [pool.Config].LeakAfter is set; how long they last is counted if TimeUse is.
//
// # Cost
//
// [Handler] takes a snapshot of each source once a second, so that the page shows what happened before somebody
// looked. A snapshot of a Pool takes some 5 µs, or 60 µs with 10,000 connections, and holds up nobody; that of a Group looks
// at each of its pools. If all of them together take more than 10 ms, they are taken less often, so that it costs at most 1 % of one
// processor. A source takes some 200 kB at most. There is no goroutine in between, and nothing more happens once nobody keeps the
// Handler.
//
// # Security
//
// It answers GET and HEAD only, and changes nothing. It has no access control: serve it where only operators come, as
// with net/http/pprof. All of it comes from the Handler itself, without inline scripts or styles, so
// it works, and is served, under Content-Security-Policy: default-src 'self'. It refuses to be framed.
//
// It shows names of pools, places in the source, and the text of the last error of opening. From these
// it takes what looks like a secret: of a URL all but scheme and host, what stands before an @, and what follows
// words such as password, token or key. That is a safety net. Do not put secrets in the names of pools. It shows no
// connection, and no key of a Group: the pools of a Group go by their names.
package pooldebug
