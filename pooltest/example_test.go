package pooltest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/netconn"
	"github.com/S4AK4N/pool/pooltest"
)

// A client is a connection of one's own, to a server that sends back lines.
type client struct {
	net.Conn
	lines *bufio.Reader
}

// Echo is a request and its reply.
func (c *client) Echo(ctx context.Context, line string) error {
	defer netconn.Bind(ctx, c.Conn)()
	if _, err := fmt.Fprintln(c, line); err != nil {
		return err
	}
	_, err := c.lines.ReadString('\n')
	return err
}

// factory is what is tested.
func factory(address string) pool.Factory[*client] {
	conns, err := netconn.NewFactory("tcp", address, nil)
	if err != nil {
		panic(err)
	}
	return pool.Factory[*client]{
		Open: func(ctx context.Context) (*client, error) {
			c, err := conns.Open(ctx)
			if err != nil {
				return nil, err
			}
			return &client{c, bufio.NewReader(c)}, nil
		},
		Close: func(c *client, cause error) error { return conns.Close(c.Conn, cause) },
		Check: func(c *client) error { return conns.Check(c.Conn) },
		Clean: func(c *client) error {
			if n := c.lines.Buffered(); n > 0 {
				return fmt.Errorf("%d bytes were not read", n)
			}
			return conns.Clean(c.Conn)
		},
	}
}

// TestClient is a whole test of a Factory.
func TestClient(t *testing.T) {
	server, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()

	wire := pooltest.NewWire(t, "tcp", server.Addr().String())
	pooltest.TestFactory(t, factory(wire.Addr()), &pooltest.Options[*client]{
		Wire: wire,
		Use:  func(ctx context.Context, c *client) error { return c.Echo(ctx, "hello") },
	})
}

// ExampleTestFactory: TestClient in this file is a whole test.
func ExampleTestFactory() {
	test := func(t *testing.T, address string) { // of the server, which must be there
		wire := pooltest.NewWire(t, "tcp", address)
		pooltest.TestFactory(t, factory(wire.Addr()), &pooltest.Options[*client]{Wire: wire})
	}
	_ = test
	fmt.Println("called by go test")
	// Output: called by go test
}
