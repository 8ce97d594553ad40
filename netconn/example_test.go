package netconn_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/netconn"
)

// echo is a server that sends back what it gets.
func echo() net.Listener {
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)
			}()
		}
	}()
	return listener
}

// The second example of the README, and the first of the package documentation.
func Example() {
	server := echo()
	defer server.Close()
	if err := greet(context.Background(), server.Addr().String()); err != nil {
		log.Fatal(err)
	}
	// Output: hello
}

func greet(ctx context.Context, address string) error {
	factory, err := netconn.NewFactory("tcp", address, nil)
	if err != nil {
		return err
	}
	p, err := pool.New(factory, pool.Config{MaxConnections: 20})
	if err != nil {
		return err
	}
	defer p.Close()

	reply := make([]byte, 6)
	err = p.Do(ctx, func(ctx context.Context, conn net.Conn) error {
		defer netconn.Bind(ctx, conn)() // the end of ctx ends a call in progress
		if _, err := io.WriteString(conn, "hello\n"); err != nil {
			return err // the pool closes conn
		}
		_, err := io.ReadFull(conn, reply)
		return err
	})
	fmt.Printf("%s", reply)
	return err
}

// A server that does not answer: the end of ctx ends the Read, and the connection.
func ExampleBind() {
	listener, err := net.Listen("tcp", "localhost:0") // nobody accepts
	if err != nil {
		log.Fatal(err)
	}
	defer listener.Close()
	factory, err := netconn.NewFactory("tcp", listener.Addr().String(), nil)
	if err != nil {
		log.Fatal(err)
	}
	conn, err := factory.Open(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	release := netconn.Bind(ctx, conn)
	_, err = conn.Read(make([]byte, 1))
	release()
	fmt.Println(errors.Is(err, context.DeadlineExceeded))
	fmt.Println(errors.Is(netconn.Check(conn), context.DeadlineExceeded))
	// Output:
	// true
	// true
}

// A client is a connection with its reader, which may have read ahead.
type client struct {
	net.Conn
	lines *bufio.Reader
}

// A pool of clients of one's own: its Factory calls the functions of this package's.
func ExampleNewFactory() {
	server := echo()
	defer server.Close()
	conns, err := netconn.NewFactory("tcp", server.Addr().String(), nil)
	if err != nil {
		log.Fatal(err)
	}
	p, err := pool.New(pool.Factory[*client]{
		Open: func(ctx context.Context) (*client, error) {
			conn, err := conns.Open(ctx)
			if err != nil {
				return nil, err
			}
			return &client{conn, bufio.NewReader(conn)}, nil
		},
		Close: func(c *client, cause error) error { return conns.Close(c.Conn, cause) },
		Check: func(c *client) error { return conns.Check(c.Conn) },
		Clean: func(c *client) error {
			if n := c.lines.Buffered(); n > 0 {
				return fmt.Errorf("%d bytes were not read", n)
			}
			return conns.Clean(c.Conn)
		},
	}, pool.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()

	err = p.Do(context.Background(), func(ctx context.Context, c *client) error {
		defer netconn.Bind(ctx, c.Conn)()
		fmt.Fprintln(c, "hello")
		line, err := c.lines.ReadString('\n')
		fmt.Print(line)
		return err
	})
	fmt.Println(err, p.Stats().IdleConnections)
	// Output:
	// hello
	// <nil> 1
}

// TLS, and a protocol that begins without it, here that of PostgreSQL.
func ExampleOptions() {
	_, err := netconn.NewFactory("tcp", "db.example.com:5432", &netconn.Options{
		TLS: &tls.Config{ClientSessionCache: tls.NewLRUClientSessionCache(0)},
		StartTLS: func(ctx context.Context, conn net.Conn) error {
			if _, err := conn.Write([]byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}); err != nil {
				return err
			}
			answer := make([]byte, 1)
			if _, err := io.ReadFull(conn, answer); err != nil {
				return err
			}
			if answer[0] != 'S' {
				return errors.New("the server has no TLS")
			}
			return nil
		},
		OnConnect: func(ctx context.Context, conn net.Conn) error { return nil /* log in */ },
		Goodbye: func(ctx context.Context, conn net.Conn) error {
			_, err := conn.Write([]byte{'X', 0, 0, 0, 4})
			return err
		},
	})
	fmt.Println(err)
	// Output: <nil>
}
