module github.com/S4AK4N/pool/bench

go 1.26.0

require (
	github.com/S4AK4N/pool v0.0.0
	github.com/jackc/puddle/v2 v2.2.3
)

require (
	go.uber.org/atomic v1.12.0 // indirect
	golang.org/x/sync v0.7.0 // indirect
)

replace github.com/S4AK4N/pool => ../
