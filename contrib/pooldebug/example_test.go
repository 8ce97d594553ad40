package pooldebug_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/contrib/pooldebug"
)

// A conn is a connection to nothing.
type conn struct{}

func (*conn) Close() error { return nil }

func Example() {
	factory := pool.Factory[*conn]{Open: func(context.Context) (*conn, error) { return new(conn), nil }}
	p, err := pool.New(factory, pool.Config{Name: "database"})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	g, err := pool.NewGroup(func(account string) (pool.Factory[*conn], pool.Config, error) {
		return factory, pool.Config{Name: account}, nil
	}, pool.GroupConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()

	mux := http.NewServeMux()
	mux.Handle("/debug/pool/", pooldebug.Handler(p, pooldebug.Group("accounts", g)))
	server := httptest.NewServer(mux) // in a program, one that listens where only operators come
	defer server.Close()

	answer, err := http.Get(server.URL + "/debug/pool/stats.json")
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	var report struct {
		Pools []struct {
			Name  string
			Stats struct{ Max, Active int }
		}
	}
	if err := json.NewDecoder(answer.Body).Decode(&report); err != nil {
		log.Fatal(err)
	}
	for _, p := range report.Pools {
		fmt.Println(p.Name, p.Stats.Max, p.Stats.Active)
	}
	// Output:
	// database 10 0
	// accounts 0 0
}
