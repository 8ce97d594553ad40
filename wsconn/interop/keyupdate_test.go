package interop

import (
	"bufio"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/wsconn"
	"github.com/coder/websocket"
)

// TestKeyUpdateOnAnIdleConnection has openssl update the keys of TLS 1.3, which
// no Go server does: the records are no data, and must neither look like it nor
// hide any.
func TestKeyUpdateOnAnIdleConnection(t *testing.T) {
	program, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is missing: run ./setup")
	}
	server := httptest.NewTLSServer(nil) // for its certificate
	server.Close()
	certificate := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pem")
	blocks := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	if err := os.WriteFile(file, blocks, 0o600); err != nil {
		t.Fatal(err)
	}

	cmd := exec.Command(program, "s_server", "-accept", "127.0.0.1:0", "-cert", file, "-key", file, "-tls1_3", "-naccept", "1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
		timer.Stop()
	}()
	lines := bufio.NewReader(out)
	// line returns what follows the given words in what openssl prints, or in
	// what it has received.
	line := func(words string) string {
		for {
			s, err := lines.ReadString('\n')
			if _, rest, ok := strings.Cut(s, words); ok {
				return strings.TrimSpace(rest)
			}
			if err != nil {
				t.Errorf("openssl has not printed %q: %v", words, err)
				return ""
			}
		}
	}
	address := line("ACCEPT ")

	answered := make(chan struct{})
	go func() {
		defer close(answered)
		sum := sha1.Sum([]byte(line("Sec-Websocket-Key: ") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		fmt.Fprintf(in, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
			base64.StdEncoding.EncodeToString(sum[:]))
	}()
	client := server.Client()
	client.Transport.(*http.Transport).TLSClientConfig.MinVersion = tls.VersionTLS13
	factory, err := wsconn.NewFactory("wss://"+address, &wsconn.Options{DialOptions: &websocket.DialOptions{HTTPClient: client}})
	if err != nil {
		t.Fatal(err)
	}
	checked := make(chan struct{})
	check := factory.Check
	factory.Check = func(conn *wsconn.Conn) error {
		defer func() {
			select {
			case checked <- struct{}{}:
			default:
			}
		}()
		return check(conn)
	}
	p, err := pool.New(factory, pool.Config{MaxConnections: 1, CheckInterval: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	l, err := p.Get(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	<-answered
	if err := p.Put(l); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		io.WriteString(in, "K\n") // update the keys, and have the client do it too
		line("SSL_do_handshake ->")
	}
	// Several checks see the records. Then there is data.
	for range 3 {
		select {
		case <-checked:
		case <-time.After(patience):
			t.Fatal("no check")
		}
	}
	if l, err = p.Get(soon(t)); err != nil {
		t.Fatal(err)
	}
	if !l.Reused() {
		t.Errorf("a key update has cost the connection: %+v", p.Stats())
	}
	io.WriteString(in, "\x81\x05hello")
	if _, message, err := l.Value().Read(soon(t)); err != nil || string(message) != "hello" {
		t.Errorf("read %q, %v", message, err)
	}
	if err := l.Value().Err(); err != nil {
		t.Error(err)
	}
	p.Discard(l, nil)
}
