package pool_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/S4AK4N/pool"
)

// The second example of the README. The first is in wsconn.
func Example_netConn() {
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		log.Fatal(err)
	}
	defer listener.Close()
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
	if err := greet(context.Background(), listener.Addr().String()); err != nil {
		log.Fatal(err)
	}
	// Output: hello
}

func greet(ctx context.Context, address string) error {
	p, err := pool.New(pool.Factory[net.Conn]{
		Open: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		},
	}, pool.Config{MaxConnections: 20, MaxWaitTime: time.Second})
	if err != nil {
		return err
	}
	defer p.Close()

	return p.Do(ctx, func(ctx context.Context, conn net.Conn) error {
		deadline, _ := ctx.Deadline() // zero: none
		conn.SetDeadline(deadline)
		if _, err := io.WriteString(conn, "hello\n"); err != nil {
			return pool.Broken(err) // close this connection, do not lend it again
		}
		reply := make([]byte, 6)
		if _, err := io.ReadFull(conn, reply); err != nil {
			return pool.Broken(err)
		}
		fmt.Printf("%s", reply)
		return nil
	})
}
