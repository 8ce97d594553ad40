package interop

import (
	"bufio"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/S4AK4N/pool/netconn"
)

// OpenSSL sends tickets behind the handshake, and updates the keys of TLS 1.3, which no
// server in Go does: neither is data, and neither may hide any.
func TestKeyUpdatesOnAnIdleConnectionAreNoData(t *testing.T) {
	openssl := find(t, "/usr/bin/openssl")
	p := newProgram(t, "openssl")
	cert, key, config := p.certificate()
	cmd := p.as(openssl, "s_server", "-accept", p.address, "-cert", cert, "-key", key, "-tls1_3", "-naccept", "1")
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
	printed := func(words string) {
		t.Helper()
		for {
			line, err := lines.ReadString('\n')
			if strings.Contains(line, words) {
				return
			}
			if err != nil {
				t.Fatalf("openssl has not printed %q: %v", words, err)
			}
		}
	}
	printed("ACCEPT")

	f := newFactory(t, p.address, &netconn.Options{TLS: config})
	c, err := f.Open(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.arrived(t) // the tickets
	if err := f.Check(c); err != nil {
		t.Fatalf("after the tickets: %v", err)
	}
	for range 3 {
		io.WriteString(in, "K\n") // update the keys, and have the client do it too
		c.arrived(t)
		if err := f.Check(c); err != nil {
			t.Fatalf("after an update of the keys: %v", err)
		}
	}
	// Both sides have gone on to the new keys.
	io.WriteString(c, "from the client\n")
	printed("from the client")
	io.WriteString(in, "data\n")
	c.arrived(t)
	if err := f.Check(c); err == nil || !strings.Contains(err.Error(), "nobody has read") {
		t.Errorf("Check returns %v, want that bytes are there", err)
	}
}
