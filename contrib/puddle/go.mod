module github.com/jackc/puddle/v2

go 1.26.0

require github.com/S4AK4N/pool v0.0.0

require go.uber.org/atomic v1.12.0 // indirect

replace github.com/S4AK4N/pool => ../..
