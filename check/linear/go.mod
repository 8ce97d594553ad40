module github.com/S4AK4N/pool/check/linear

go 1.26.0

require (
	github.com/S4AK4N/pool v0.0.0
	github.com/anishathalye/porcupine v1.3.1
	go.uber.org/atomic v1.12.0
)

require github.com/google/go-cmp v0.7.0 // indirect

replace github.com/S4AK4N/pool => ../../
