package wsconn

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"sync"

	"github.com/coder/websocket"
)

// A dialKey is what makes the connections of two dials different: those with equal keys
// may share one.
type dialKey struct {
	url          string
	host         string
	headers      string // names and values, each with its length
	subprotocols string // likewise
	compression  websocket.CompressionMode
	transport    http.RoundTripper
	client       *http.Client // if that decides about redirects
}

// keyOf returns the key of a dial. It returns false for one that cannot share a
// connection: its callbacks would be called for others, its cookies are not known before,
// its compression depends on all that was sent before.
func keyOf(url string, o *websocket.DialOptions, ignored map[string]bool) (dialKey, bool) {
	if o == nil {
		o = &websocket.DialOptions{}
	}
	client := o.HTTPClient
	if client == nil {
		client = http.DefaultClient
	}
	if o.OnPingReceived != nil || o.OnPongReceived != nil || client.Jar != nil || o.CompressionMode == websocket.CompressionContextTakeover {
		return dialKey{}, false
	}
	key := dialKey{
		url: url, host: o.Host, compression: o.CompressionMode, transport: client.Transport,
		headers: headersOf(o.HTTPHeader, ignored), subprotocols: string(appendTexts(nil, o.Subprotocols)),
	}
	if key.transport == nil {
		key.transport = http.DefaultTransport
	}
	if client.CheckRedirect != nil {
		key.client = client
	}
	return key, reflect.ValueOf(key.transport).Comparable()
}

// headersOf returns all headers but the ignored ones, in an order of their own.
func headersOf(h http.Header, ignored map[string]bool) string {
	if len(h) == 0 {
		return ""
	}
	var b []byte
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if !ignored[http.CanonicalHeaderKey(name)] {
			b = appendTexts(appendText(b, name), h[name])
		}
	}
	return string(b)
}

// appendTexts appends texts so that no others look the same.
func appendTexts(b []byte, texts []string) []byte {
	if len(texts) == 0 {
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(texts)))
	for _, t := range texts {
		b = appendText(b, t)
	}
	return b
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// name returns what tells the pool of a key from others: scheme, host, and a hash of
// everything in the key. The hash has a secret of this process in it, so that nobody who
// reads a log can try out passwords on it.
func (k *dialKey) name() string {
	h := sha256.New()
	salt := nameSalt()
	h.Write(salt[:])
	h.Write(appendTexts(nil, []string{k.url, k.host, k.headers, k.subprotocols}))
	h.Write(binary.AppendUvarint(nil, uint64(k.compression)))
	return redact(k.url) + " " + hex.EncodeToString(h.Sum(nil)[:4])
}

var nameSalt = sync.OnceValue(func() (salt [16]byte) {
	rand.Read(salt[:]) // cannot fail
	return salt
})
