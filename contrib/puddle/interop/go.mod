module github.com/S4AK4N/pool/contrib/puddle/interop

go 1.26.0

require (
	github.com/S4AK4N/pool v0.0.0
	github.com/jackc/pgx/v5 v5.13.0
	github.com/jackc/puddle/v2 v2.2.3
)

require (
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	go.uber.org/atomic v1.12.0 // indirect
	golang.org/x/text v0.41.0 // indirect
)

replace (
	github.com/S4AK4N/pool => ../../..
	github.com/jackc/puddle/v2 => ..
)
