package interop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"strings"
	"syscall"
	"testing"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/netconn"
)

// newExim runs an Exim that accepts all mail and throws it away.
func newExim(t testing.TB) (*program, *netconn.Options) {
	t.Helper()
	server := find(t, "/usr/sbin/exim4")
	p := newProgram(t, "exim")
	name, group := "nobody", "nogroup"
	if os.Getuid() != 0 {
		u, err := user.Current()
		if err != nil {
			t.Fatal(err)
		}
		name, group = u.Username, u.Gid
	}
	config := p.write("conf", strings.NewReplacer("DIR", p.dir, "PORT", p.port(), "USER", name, "GROUP", group).Replace(`
primary_hostname = test.example
spool_directory = DIR
log_file_path = DIR/%slog
pid_file_path = DIR/pid
exim_user = USER
exim_group = GROUP
never_users =
keep_environment =
daemon_smtp_ports = PORT
local_interfaces = 127.0.0.1
acl_smtp_rcpt = accept
acl_smtp_data = discard
smtp_accept_max = 200
smtp_accept_queue = 0
smtp_accept_queue_per_connection = 0
queue_only = true
tls_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
`))
	p.command = []string{server, "-bdf", "-C", config}
	p.signal = syscall.SIGKILL // the daemon alone would leave the sessions to its children
	opts := &netconn.Options{
		OnConnect: func(ctx context.Context, conn net.Conn) error { // it greets
			if err := smtpReply(conn, "220"); err != nil {
				return err
			}
			return smtp(conn, "EHLO client.example", "250")
		},
		Clean:   func(ctx context.Context, conn net.Conn) error { return smtp(conn, "RSET", "250") },
		Goodbye: func(ctx context.Context, conn net.Conn) error { return smtp(conn, "QUIT", "221") },
	}
	p.ready = func(address string) error {
		f, err := netconn.NewFactory("tcp", address, opts)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		conn, err := f.Open(ctx)
		if err != nil {
			return err
		}
		return f.Close(conn, nil)
	}
	p.start()
	t.Cleanup(p.stop)
	return p, opts
}

// smtp sends a command, and reads a reply that begins with code.
func smtp(conn net.Conn, command, code string) error {
	if _, err := io.WriteString(conn, command+"\r\n"); err != nil {
		return err
	}
	return smtpReply(conn, code)
}

// smtpReply reads a reply, and not a byte more.
func smtpReply(r io.Reader, code string) error {
	for {
		var line []byte
		for b := make([]byte, 1); len(line) == 0 || line[len(line)-1] != '\n'; line = append(line, b[0]) {
			if _, err := io.ReadFull(r, b); err != nil {
				return err
			}
		}
		if len(line) < 4 || string(line[:3]) != code {
			return fmt.Errorf("want %s, got %q", code, line)
		}
		if line[3] != '-' {
			return nil
		}
	}
}

// mail sends a message.
func mail(c *client, id string) error {
	for _, step := range [][2]string{
		{"MAIL FROM:<sender@test.example>", "250"}, {"RCPT TO:<" + id + "@test.example>", "250"}, {"DATA", "354"},
		{"Subject: " + id + "\r\n\r\nhello\r\n.", "250"},
	} {
		if err := smtp(c.Conn, step[0], step[1]); err != nil {
			return err
		}
	}
	return nil
}

func TestEximIsRestartedUnderLoad(t *testing.T) {
	server, opts := newExim(t)
	restartUnderLoad(t, server, newFactory(t, server.address, opts), mail)
}

// What a lease has begun, the next one must not go on with.
func TestCleanResetsATransactionOfSMTP(t *testing.T) {
	server, opts := newExim(t)
	p := newPool(t, newFactory(t, server.address, opts), pool.Config{MaxConnections: 1})
	do(t, p, func(c *client) error { return smtp(c.Conn, "MAIL FROM:<sender@test.example>", "250") })
	if reused := do(t, p, func(c *client) error { return mail(c, "other") }); !reused {
		t.Error("the connection was not used again")
	}
}

// A server that speaks first, and nobody who has read its greeting.
func TestAGreetingThatNobodyHasReadIsUnreadData(t *testing.T) {
	server, opts := newExim(t)
	opts.OnConnect, opts.Clean, opts.Goodbye = nil, nil, nil
	f := newFactory(t, server.address, opts)
	c, err := f.Open(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	c.arrived(t)
	if err := f.Check(c); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("Check returns %v, want that bytes are there", err)
	}
	f.Close(c, nil)
}
