package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/S4AK4N/pool/contrib/fleet"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

// budgetTimeout is how long the server of budgets may take to answer, in all.
const budgetTimeout = 10 * time.Second

// budgets says of which budgets of a fleet -budget asks, and where.
type budgets struct {
	single  *redis.Options        // a server of its own
	cluster *redis.ClusterOptions // or a cluster
	name    string                // of the budget; empty: all that the server has
	server  string                // to be shown: no user, no password
}

// parseBudgets reads what follows -budget. Its errors do not repeat it, since it may hold a
// password.
func parseBudgets(raw string) (*budgets, error) {
	u, err := url.Parse(raw)
	if parse := (*url.Error)(nil); errors.As(err, &parse) {
		return nil, fmt.Errorf("malformed: %w", parse.Err)
	}
	if !slices.Contains([]string{"redis", "rediss", "unix"}, u.Scheme) {
		return nil, errors.New("want redis://host:port, rediss://host:port or unix:///path of a server, and #name for one budget of it")
	}
	b := &budgets{name: u.Fragment, server: shownURL((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String())}
	u.Fragment = ""
	if u.Query().Has("addr") {
		b.cluster, err = redis.ParseClusterURL(u.String())
	} else {
		b.single, err = redis.ParseURL(u.String())
	}
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "redis: "))
	}
	return b, nil
}

// client returns a client of the server. What it would log is in its errors.
func (b *budgets) client() redis.UniversalClient {
	redis.SetLogger(&logging.VoidLogger{})
	if b.cluster != nil {
		return redis.NewClusterClient(b.cluster)
	}
	return redis.NewClient(b.single)
}

// show writes who has how many rights, and who waits: a table for each budget, or JSON.
func (b *budgets) show(ctx context.Context, w io.Writer, asJSON bool) error {
	ctx, cancel := context.WithTimeout(ctx, budgetTimeout)
	defer cancel()
	client := b.client()
	defer client.Close()
	names := []string{b.name}
	if b.name == "" {
		var err error
		if names, err = fleet.Names(ctx, client); err != nil {
			return b.failed(err)
		}
	}
	states := []fleet.State{}
	for _, name := range names {
		st, err := fleet.Inspect(ctx, client, name)
		if err != nil {
			return b.failed(err)
		}
		states = append(states, st)
	}
	if asJSON {
		return writeBudgets(w, states)
	}
	if len(states) == 0 {
		_, err := fmt.Fprintf(w, "%s has no budget\n", b.server)
		return err
	}
	for i, st := range states {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if _, err := io.WriteString(w, st.String()); err != nil {
			return err
		}
	}
	return nil
}

// failed says of which server err is.
func (b *budgets) failed(err error) error {
	if format := (*fleet.FormatError)(nil); errors.As(err, &format) {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s does not answer within %v", b.server, budgetTimeout)
	}
	return fmt.Errorf("%s: %s", b.server, describe(err))
}

// jsonBudget and jsonProcess are what -budget -json writes.
type jsonBudget struct {
	Name         string        `json:"name"`
	Max          int           `json:"max"`
	Used         int           `json:"used"`
	GraceSeconds float64       `json:"grace_seconds"`
	Processes    []jsonProcess `json:"processes"`
	Fencing      []jsonProcess `json:"fencing"`
}

type jsonProcess struct {
	ID             string  `json:"id"`
	Label          string  `json:"label"`
	Rights         int     `json:"rights"`
	Offered        int     `json:"offered"`
	Waiting        int     `json:"waiting"`
	Place          int     `json:"place"`
	Asked          int     `json:"asked"`
	ExpiresSeconds float64 `json:"expires_seconds"`
}

func writeBudgets(w io.Writer, states []fleet.State) error {
	processes := func(all []fleet.Process) []jsonProcess {
		out := []jsonProcess{}
		for _, p := range all {
			out = append(out, jsonProcess{p.ID, p.Label, p.Rights, p.Offered, p.Waiting, p.Place, p.Asked, p.Expires.Seconds()})
		}
		return out
	}
	out := []jsonBudget{}
	for _, s := range states {
		out = append(out, jsonBudget{s.Name, s.Max, s.Used, s.Grace.Seconds(), processes(s.Processes), processes(s.Fencing)})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(map[string][]jsonBudget{"budgets": out})
}
