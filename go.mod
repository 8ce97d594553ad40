module github.com/S4AK4N/pool

go 1.26.0

require (
	github.com/coder/websocket v1.8.15
	github.com/google/go-cmp v0.7.0
	go.uber.org/atomic v1.12.0
)
