package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// options are what the command line says.
type options struct {
	url      string   // of a foreign server, the first; empty: the embedded one
	urls     []string // of all foreign servers
	header   http.Header
	host     string // the Host header, if one is given
	clients  int
	max      int
	duration time.Duration
	size     int
	rtt      time.Duration
	rate     float64 // requests that are due in a second; 0: a closed loop
	warmup   time.Duration
	only     []string // keys of the ways; none: all
	asserts  []assertion
	html     string   // file for the page; empty: none
	http     string   // address for the live page; empty: none
	budget   string   // URL of the server of budgets to be shown
	budgets  *budgets // to be shown instead of measuring; nil: none
	json     bool
}

// Limits of the flags. They keep a slip of the finger from eating the machine.
const (
	maxClients  = 100_000
	maxPool     = 65_535 // what a pool takes
	maxSize     = 16 << 20
	minDuration = 100 * time.Millisecond
	maxDuration = time.Hour
	maxRTT      = 10 * time.Second
	minRate     = 0.01
	maxRate     = 10_000_000
)

// parseFlags reads the command line. It returns [flag.ErrHelp] if help is asked
// for, and otherwise an error that fits on one line.
func parseFlags(args []string) (options, error) {
	o := options{header: http.Header{}}
	set := flag.NewFlagSet("poolbench", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.Func("url", "", o.addURL)
	set.Func("header", "", o.addHeader)
	set.IntVar(&o.clients, "clients", 1000, "")
	set.IntVar(&o.max, "max", 100, "")
	set.DurationVar(&o.duration, "duration", 5*time.Second, "")
	set.IntVar(&o.size, "size", 64, "")
	set.DurationVar(&o.rtt, "rtt", 0, "")
	set.Float64Var(&o.rate, "rate", 0, "")
	set.DurationVar(&o.warmup, "warmup", 0, "")
	set.Func("ways", "", o.addWays)
	set.Func("assert", "", o.addAsserts)
	set.StringVar(&o.html, "html", "", "")
	set.StringVar(&o.http, "http", "", "")
	set.StringVar(&o.budget, "budget", "", "")
	set.BoolVar(&o.json, "json", false, "")
	if err := set.Parse(args); err != nil {
		return o, err
	}
	if set.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	given := map[string]bool{}
	set.Visit(func(f *flag.Flag) { given[f.Name] = true })
	return o, o.check(given)
}

// addURL adds one more server.
func (o *options) addURL(raw string) error {
	o.urls = append(o.urls, raw)
	o.url = o.urls[0]
	return nil
}

// addHeader adds "K: V" to the headers.
func (o *options) addHeader(line string) error {
	key, value, found := strings.Cut(line, ":")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	switch {
	case !found || !isToken(key):
		return errors.New("want 'Name: value'")
	case strings.ContainsFunc(value, unicode.IsControl):
		return errors.New("the value holds a control character")
	case strings.EqualFold(key, "Host"):
		o.host = value
	default:
		o.header.Add(key, value)
	}
	return nil
}

// addWays adds the ways of a list.
func (o *options) addWays(list string) error {
	for _, key := range strings.Split(list, ",") {
		key = strings.TrimSpace(key)
		if !slices.Contains(allWays, key) {
			return fmt.Errorf("there is no way %q: want some of %s", key, strings.Join(allWays, ","))
		}
		if !slices.Contains(o.only, key) {
			o.only = append(o.only, key)
		}
	}
	return nil
}

// addAsserts adds the assertions of a list.
func (o *options) addAsserts(list string) error {
	asserts, err := parseAsserts(list)
	o.asserts = append(o.asserts, asserts...)
	return err
}

// isToken reports whether s is a token of HTTP, as the name of a header must be
// (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		letterOrDigit := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !letterOrDigit && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// check says what is wrong with o, in which the flags named in given were set.
func (o *options) check(given map[string]bool) error {
	if given["budget"] {
		var err error
		if o.budgets, err = parseBudgets(o.budget); err != nil { // not the flag's own: that would repeat a password
			return fmt.Errorf("-budget: %w", err)
		}
		for _, name := range slices.Sorted(maps.Keys(given)) {
			if name != "budget" && name != "json" {
				return fmt.Errorf("-budget measures nothing: it does not go with -%s", name)
			}
		}
		return nil
	}
	switch {
	case o.clients < 1 || o.clients > maxClients:
		return fmt.Errorf("-clients must be from 1 to %d, not %d", maxClients, o.clients)
	case o.max < 1 || o.max > maxPool:
		return fmt.Errorf("-max must be from 1 to %d, not %d", maxPool, o.max)
	case o.duration < minDuration || o.duration > maxDuration:
		return fmt.Errorf("-duration must be from %v to %v, not %v", minDuration, maxDuration, o.duration)
	case o.size < 1 || o.size > maxSize:
		return fmt.Errorf("-size must be from 1 to %d, not %d", maxSize, o.size)
	case o.rtt < 0 || o.rtt > maxRTT:
		return fmt.Errorf("-rtt must be from 0s to %v, not %v", maxRTT, o.rtt)
	case given["rate"] && !(o.rate >= minRate && o.rate <= maxRate):
		return fmt.Errorf("-rate must be from %v to %d requests per second, not %v", minRate, maxRate, o.rate)
	case o.warmup < 0 || o.warmup > maxDuration:
		return fmt.Errorf("-warmup must be from 0s to %v, not %v", maxDuration, o.warmup)
	case given["html"] && o.html == "":
		return errors.New("-html names no file")
	case given["http"] && o.http == "":
		return errors.New("-http names no address, such as :6060")
	}
	for _, a := range o.asserts {
		if len(o.only) > 0 && !slices.Contains(o.only, a.way) {
			return fmt.Errorf("-assert %q: -ways leaves out %s", a.text, a.way)
		}
	}
	if !given["url"] {
		if given["header"] {
			return errors.New("-header needs -url")
		}
		return nil
	}
	if given["rtt"] {
		return errors.New("-rtt delays the embedded server only; it does not go with -url")
	}
	for i, u := range o.urls {
		if err := checkURL(u); err != nil {
			return err
		}
		if slices.Contains(o.urls[:i], u) {
			return errors.New("-url names the same server twice")
		}
	}
	return nil
}

// hostPort is what can follow ws:// directly.
var hostPort = regexp.MustCompile(`^([A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]+)?$`)

// checkURL says what is wrong with raw as the address of a WebSocket server. It
// does not repeat raw, which may hold a password.
func checkURL(raw string) error {
	if !strings.Contains(raw, "://") && raw != "" {
		// Only what is no secret is repeated: no user, path or query.
		host, _, _ := strings.Cut(raw, "/")
		host, _, _ = strings.Cut(host, "?")
		if _, after, found := strings.Cut(host, "@"); found {
			host = after
		}
		if hostPort.MatchString(host) {
			return fmt.Errorf("-url must start with ws:// or wss://: ws:// is missing, as in ws://%s", host)
		}
	}
	u, err := url.Parse(raw)
	if parse := (*url.Error)(nil); errors.As(err, &parse) {
		return fmt.Errorf("-url is malformed: %w", parse.Err)
	}
	switch u.Scheme {
	case "ws", "wss", "http", "https":
	default:
		return errors.New("-url must start with ws:// or wss://")
	}
	if u.Hostname() == "" {
		return errors.New("-url names no host")
	}
	if u.Fragment != "" {
		return errors.New("-url must not have a fragment (#...)")
	}
	return nil
}
