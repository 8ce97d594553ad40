package main

import (
	"errors"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// failures keeps the texts of the first few different errors of a phase.
type failures struct {
	mu    sync.Mutex
	texts []string
}

// failuresKept is how many texts are kept, and failureLength how many bytes of
// each.
const (
	failuresKept  = 3
	failureLength = 200
)

// note keeps what err says if there is room for one more.
func (f *failures) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.texts) == failuresKept {
		return
	}
	if text := describe(err); !slices.Contains(f.texts, text) {
		f.texts = append(f.texts, text)
	}
}

// localAddress is the client's end of a connection in the text of an error. It
// is another one each time, and tells nothing.
var localAddress = regexp.MustCompile(`(\[[0-9a-f:.%]+\]|[0-9.]+):[0-9]+->`)

// describe returns the text of err, on one line and without what would make it
// different for each request, or show a secret of the URL.
func describe(err error) string {
	text := err.Error()
	if handshake := (*url.Error)(nil); errors.As(err, &handshake) {
		text = handshake.Err.Error()
		if op := (*net.OpError)(nil); !errors.As(handshake.Err, &op) {
			text = "handshake: " + text
		}
	}
	text = localAddress.ReplaceAllString(text, "")
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > failureLength {
		text = strings.ToValidUTF8(text[:failureLength], "") + "..."
	}
	switch {
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		text += " (out of local ports: wait a minute, or use fewer dials)"
	case errors.Is(err, syscall.EMFILE):
		text += " (too many open files: see ulimit -n)"
	}
	return text
}
