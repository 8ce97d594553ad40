// Command gateway is an HTTP server in front of an inference API over WebSocket: it serves turns of sessions, which go
// on with the state that the API keeps on their connection. gateway.go is what to copy; api.go stands for the API.
//
//	go run .
//	curl -N localhost:8080 -d '{"session": "a", "input": ["hello"]}'
//	curl -N localhost:8080 -d '{"session": "a", "input": ["hello", "and again"]}'
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/S4AK4N/pool"
)

func main() {
	accounts, newKeys := startAPI()
	g, err := NewGateway(accounts, time.Minute, time.Minute)
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Addr: "localhost:8080", Handler: g}
	go func() {
		if err := server.ListenAndServe(); err != http.ErrServerClosed {
			log.Fatal(err)
		}
	}()

	// For operators: who waits, for how long, on which account. SIGHUP: there are new keys.
	http.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		stats := map[string]pool.Stats{}
		for account, p := range g.pools.All() {
			stats[accounts[account].Name] = p.Stats()
		}
		json.NewEncoder(w).Encode(stats)
	})
	go func() { log.Fatal(http.ListenAndServe("localhost:8081", nil)) }()

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, os.Interrupt, syscall.SIGTERM)
	for <-signals == syscall.SIGHUP {
		newKeys() // yours come from somewhere else
		for account := range accounts {
			g.Rotate(account)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), g.longest)
	defer cancel()
	err = server.Shutdown(ctx) // waits for turns in progress
	log.Print(errors.Join(err, server.Close(), g.pools.Shutdown(ctx)))
}
