module github.com/S4AK4N/pool/cmd/poolbench

go 1.26.0

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0
	github.com/S4AK4N/pool v0.0.0
	github.com/S4AK4N/pool/contrib/fleet v0.0.0
	github.com/S4AK4N/pool/contrib/pooldebug v0.0.0
	github.com/coder/websocket v1.8.15
	github.com/go-analyze/charts v0.6.4
	github.com/jedib0t/go-pretty/v6 v6.9.1
	github.com/redis/go-redis/v9 v9.23.0
	golang.org/x/net v0.62.0
	golang.org/x/term v0.48.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/dustin/go-humanize v1.0.1 // indirect
	github.com/go-analyze/bulk v0.1.6 // indirect
	github.com/golang/freetype v0.0.0-20170609003504-e2365dfdc4a0 // indirect
	github.com/mattn/go-runewidth v0.0.16 // indirect
	github.com/rivo/uniseg v0.4.7 // indirect
	go.uber.org/atomic v1.12.0 // indirect
	golang.org/x/image v0.45.0 // indirect
	golang.org/x/sys v0.50.0 // indirect
	golang.org/x/text v0.43.0 // indirect
)

replace (
	github.com/S4AK4N/pool => ../..
	github.com/S4AK4N/pool/contrib/fleet => ../../contrib/fleet
	github.com/S4AK4N/pool/contrib/pooldebug => ../../contrib/pooldebug
)
