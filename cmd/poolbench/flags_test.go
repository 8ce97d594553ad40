package main

import (
	"errors"
	"flag"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestFlagsHaveTheirDocumentedDefaults(t *testing.T) {
	got, err := parseFlags(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := options{header: http.Header{}, clients: 1000, max: 100, duration: 5 * time.Second, size: 64}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestFlagsAreRead(t *testing.T) {
	got, err := parseFlags([]string{
		"-url", "wss://example.com/echo", "-header", "Authorization: Bearer x:y", "-header=X-A:1", "-header", "x-a: 2",
		"-header", "host: other.example", "-clients", "5", "-max", "6", "-duration", "7s", "-size", "8", "-json",
		"-rate", "2.5", "-warmup", "3s", "-ways", "pooled, shared", "-html", "a.html",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := options{
		url:     "wss://example.com/echo",
		urls:    []string{"wss://example.com/echo"},
		header:  http.Header{"Authorization": {"Bearer x:y"}, "X-A": {"1", "2"}},
		host:    "other.example",
		clients: 5, max: 6, duration: 7 * time.Second, size: 8, json: true,
		rate: 2.5, warmup: 3 * time.Second, only: []string{"pooled", "shared"}, html: "a.html",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestBadFlagsAreRefused(t *testing.T) {
	const url = "-url=ws://localhost/"
	for _, c := range []struct {
		args []string
		want string // part of the error
	}{
		{[]string{"-clients", "many"}, "-clients"},
		{[]string{"-clients", "0"}, "-clients must be from 1 to 100000, not 0"},
		{[]string{"-clients", "100001"}, "-clients must be"},
		{[]string{"-max", "0"}, "-max must be from 1 to 65535, not 0"},
		{[]string{"-max", "65536"}, "-max must be"},
		{[]string{"-duration", "5"}, "-duration"},
		{[]string{"-duration", "99ms"}, "-duration must be from 100ms to 1h0m0s, not 99ms"},
		{[]string{"-duration", "61m"}, "-duration must be"},
		{[]string{"-size", "0"}, "-size must be from 1 to 16777216, not 0"},
		{[]string{"-size", "16777217"}, "-size must be"},
		{[]string{"-rtt", "-1ms"}, "-rtt must be from 0s to 10s, not -1ms"},
		{[]string{"-rtt", "11s"}, "-rtt must be"},
		{[]string{url, url}, "-url names the same server twice"},
		{[]string{url, "-url=localhost:80"}, "-url must start with ws:// or wss://"},
		{[]string{"-rtt", "1ms", url}, "-rtt delays the embedded server only"},
		{[]string{"-header", "A: b"}, "-header needs -url"},
		{[]string{"-header", "A", url}, "want 'Name: value'"},
		{[]string{"-header", ": b", url}, "want 'Name: value'"},
		{[]string{"-header", "A b: c", url}, "want 'Name: value'"},
		{[]string{"-header", "A: b\nC: d", url}, "control character"},
		{[]string{"-url", ""}, "-url must start with ws:// or wss://"},
		{[]string{"-url", "localhost:80"}, "-url must start with ws:// or wss://"},
		{[]string{"-url", "host:1"}, "-url must start with ws:// or wss://: ws:// is missing, as in ws://host:1"},
		{[]string{"-url", "127.0.0.1:80/echo?token=secret"}, "ws:// is missing, as in ws://127.0.0.1:80"},
		{[]string{"-url", "user:secret@[::1]:80"}, "ws:// is missing, as in ws://[::1]:80"},
		{[]string{"-url", "user:secret"}, "-url must start with ws:// or wss://"},
		{[]string{"-rate", "0"}, "-rate must be from 0.01 to 10000000 requests per second, not 0"},
		{[]string{"-rate", "NaN"}, "-rate must be"},
		{[]string{"-rate", "2e7"}, "-rate must be"},
		{[]string{"-rate", "fast"}, "-rate"},
		{[]string{"-warmup", "-1s"}, "-warmup must be from 0s to 1h0m0s, not -1s"},
		{[]string{"-warmup", "61m"}, "-warmup must be"},
		{[]string{"-ways", "pool"}, `there is no way "pool": want some of dialing,shared,pooled`},
		{[]string{"-ways", ""}, `there is no way ""`},
		{[]string{"-html", ""}, "-html names no file"},
		{[]string{"-assert", "p99<50"}, `"50" is no time`},
		{[]string{"-assert", "shared:p99<50ms", "-ways", "pooled"}, "-ways leaves out shared"},
		{[]string{"-url", "ftp://localhost"}, "-url must start with ws:// or wss://"},
		{[]string{"-url", "ws:///path"}, "-url names no host"},
		{[]string{"-url", "ws://localhost/#a"}, "-url must not have a fragment"},
		{[]string{"-url", "ws://user:secret@localhost:port/"}, "-url is malformed"},
		{[]string{"-nosuch"}, "-nosuch"},
		{[]string{"go"}, `unexpected argument "go"`},
	} {
		_, err := parseFlags(c.args)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want an error with %q", c.args, err, c.want)
			continue
		}
		if text := err.Error(); strings.Contains(text, "\n") || strings.Contains(text, "secret") {
			t.Errorf("%q: error has more than one line, or a password: %q", c.args, text)
		}
	}
}

func TestHelpIsAskedFor(t *testing.T) {
	for _, arg := range []string{"-h", "-help", "--help"} {
		if _, err := parseFlags([]string{arg}); !errors.Is(err, flag.ErrHelp) {
			t.Errorf("%s: got %v", arg, err)
		}
	}
}

func TestUsageFitsATerminalAndNamesEachFlag(t *testing.T) {
	for line := range strings.Lines(usage) {
		if len(line) > 80+1 {
			t.Errorf("line of %d bytes: %s", len(line)-1, line)
		}
	}
	for _, name := range []string{"clients", "max", "duration", "size", "rtt", "url", "header", "rate", "warmup", "ways", "html", "assert", "json", "h"} {
		if !regexp.MustCompile(`(?m)^  -` + name + `\b`).MatchString(usage) {
			t.Errorf("-%s is not explained", name)
		}
	}
}

func TestFileLimitIsChecked(t *testing.T) {
	o := options{clients: 1000, max: 100}
	for _, c := range []struct {
		url   string
		limit uint64
		ok    bool
	}{
		{"", 1314, true},
		{"", 1313, false},
		{"ws://localhost/", 1064, true},
		{"ws://localhost/", 1063, false},
		{"", 0, true}, // not known
	} {
		o.url = c.url
		if err := checkFileLimit(o, c.limit); (err == nil) != c.ok {
			t.Errorf("url %q, limit %d: got %v", c.url, c.limit, err)
		}
	}
}
