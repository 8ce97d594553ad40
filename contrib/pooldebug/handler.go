package pooldebug

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"weak"

	"github.com/S4AK4N/pool"
)

// A Source is what a [Handler] shows. A [*pool.Pool] is one, and [Group] makes one of a Group.
// Its leases are shown if it has a method Leases, as a Pool has.
type Source = pool.Source

//go:embed page
var embedded embed.FS

// A file is a part of the page.
type file struct {
	name, kind, tag string
	content         []byte
}

// files are the parts of the page, by the last element of their paths.
var files = sync.OnceValue(func() map[string]file {
	all := map[string]file{}
	for name, kind := range map[string]string{
		"index.html": "text/html; charset=utf-8",
		"pool.css":   "text/css; charset=utf-8",
		"pool.js":    "text/javascript; charset=utf-8",
		"icon.svg":   "image/svg+xml",
	} {
		content, err := fs.ReadFile(embedded, "page/"+name)
		if err != nil {
			panic(err) // it is embedded
		}
		sum := sha256.Sum256(content)
		all[name] = file{name, kind, `"` + hex.EncodeToString(sum[:8]) + `"`, content}
	}
	return all
})

// policy lets a page have what comes from its own server, and nothing else.
const policy = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// handler is what [Handler] returns.
type handler struct {
	since time.Time

	mu      sync.Mutex // what is in the sources
	sources []*watched
}

// Handler returns a handler of a live page about sources, and of their figures as JSON. It may be mounted anywhere,
// with or without [http.StripPrefix], at a path that ends with a slash. Sources with equal
// names are shown one after the other. See the package documentation for what it costs and what it shows.
//
// The JSON is an object with "time" and "since", when the Handler was made, in seconds since 1970, and "pools", an array with an object for each source, in
// order: its "name"; "stats", as [pool.Stats] writes it; "window", what has changed in the last "seconds", of which there are 300 at
// most; "history", an object with arrays of equal length, one element for each snapshot; "leases", the 100
// oldest, "lease_count", all of them; and, for a Group, "keys", the 100 pools in most demand, and "key_count". With the parameter
// after=T it has only snapshots that were taken after the time T.
func Handler(sources ...Source) http.Handler {
	h := &handler{since: time.Now()}
	for _, s := range sources {
		if g, ok := s.(*group); ok {
			s = Group(g.name, g.pools) // the same one may be given to several handlers
		}
		h.sources = append(h.sources, &watched{source: s})
	}
	h.sample(h.since)
	if len(sources) > 0 {
		again(weak.Make(h), interval)
	}
	return h
}

// again takes a snapshot after d, and so on for as long as somebody has the handler.
func again(w weak.Pointer[handler], d time.Duration) {
	time.AfterFunc(d, func() {
		h := w.Value()
		if h == nil {
			return
		}
		began := time.Now()
		h.sample(began)
		again(w, max(interval, 100*time.Since(began)))
	})
}

// sample takes a snapshot of all sources.
func (h *handler) sample(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.sources {
		s.sample(now)
	}
}

// ServeHTTP is of http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Content-Security-Policy", policy)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "pooldebug only shows: GET or HEAD", http.StatusMethodNotAllowed)
		return
	}
	name := path.Base(r.URL.Path)
	switch {
	case r.URL.Path == "": // of a StripPrefix without the slash; what the page refers to is relative to it
		asked, _, _ := strings.Cut(r.RequestURI, "?")
		header.Set("Location", path.Base(asked)+"/")
		w.WriteHeader(http.StatusPermanentRedirect)
		return
	case strings.HasSuffix(r.URL.Path, "/"):
		name = "index.html"
	case name == "stats.json":
		h.serveJSON(w, r)
		return
	}
	f, ok := files()[name]
	if !ok {
		http.Error(w, "not found: the page is at a path that ends with a slash", http.StatusNotFound)
		return
	}
	header.Set("Content-Type", f.kind)
	header.Set("Cache-Control", "no-cache") // asks, and gets 304 while the program is the same
	header.Set("ETag", f.tag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.content))
}

func (h *handler) serveJSON(w http.ResponseWriter, r *http.Request) {
	var after float64
	if text := r.URL.Query().Get("after"); text != "" {
		var err error
		if after, err = strconv.ParseFloat(text, 64); err != nil {
			http.Error(w, "after is not a number of seconds", http.StatusBadRequest)
			return
		}
	}
	body, err := h.json(time.Now(), after)
	if err != nil {
		http.Error(w, "pooldebug: "+redacted(err.Error()), http.StatusInternalServerError)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// oldest returns the n leases that have lasted longest, those first, and how many there are. What the pool has not seen yet
// is youngest.
func oldest(leases []pool.LeaseInfo, n int) ([]pool.LeaseInfo, int) {
	slices.SortStableFunc(leases, func(a, b pool.LeaseInfo) int {
		if a.Since.IsZero() != b.Since.IsZero() {
			if a.Since.IsZero() {
				return 1
			}
			return -1
		}
		return a.Since.Compare(b.Since)
	})
	return leases[:min(n, len(leases))], len(leases)
}
