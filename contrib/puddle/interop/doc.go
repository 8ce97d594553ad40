// Package interop runs the test suites of puddle, pgxpool and pgx/stdlib with the module above in
// puddle's place, against a PostgreSQL, and a load through a restart of that. ./setup installs PostgreSQL. The
// command in compare measures this module beside puddle: see ../compare.
package interop
