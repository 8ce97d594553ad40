package pooldebug

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/S4AK4N/pool"
)

// A wire is a connection to nothing.
type wire struct{}

func (*wire) Close() error { return nil }

// opens is a Factory of wires.
func opens() pool.Factory[*wire] {
	return pool.Factory[*wire]{Open: func(context.Context) (*wire, error) { return new(wire), nil }}
}

func newPool(t testing.TB, factory pool.Factory[*wire], config pool.Config) *pool.Pool[*wire] {
	t.Helper()
	p, err := pool.New(factory, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func get(t testing.TB, p *pool.Pool[*wire]) pool.Lease[*wire] {
	t.Helper()
	l, err := p.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// ask returns the answer to a request.
func ask(t testing.TB, h http.Handler, method, target string) (*http.Response, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Result(), string(body)
}

var errLost = errors.New("lost")
