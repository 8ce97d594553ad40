// Command example is a program with pools of all kinds under a small load on the loopback
// interface, and their metrics for Prometheus at /metrics:
//
//	go run . -addr localhost:9099
//
// Let a Prometheus scrape that, and import ../dashboard.json into Grafana. It ends with an
// interrupt.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/S4AK4N/pool"
	"github.com/S4AK4N/pool/contrib/prompool"
	"github.com/S4AK4N/pool/netconn"
	"github.com/S4AK4N/pool/wsconn"
	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func main() {
	addr := flag.String("addr", "localhost:9099", "where to serve /metrics")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := serve(ctx, *addr); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, addr string) error {
	d, err := start()
	if err != nil {
		return err
	}
	defer d.close()
	mux := http.NewServeMux()
	mux.Handle("/metrics", d.metrics())
	server := http.Server{Addr: addr, Handler: mux}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	log.Printf("metrics are at http://%s/metrics", addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// A demo is pools of all kinds, with a server and with users for them.
type demo struct {
	orders   *pool.Pool[net.Conn]          // too few connections for its users
	down     *pool.Pool[net.Conn]          // its server is down
	accounts *pool.Group[string, net.Conn] // one busy account, and some that are not
	dialer   *wsconn.Dialer

	server, sockets, nobody net.Listener
	ctx                     context.Context // ends with close
	stop                    context.CancelFunc
	running                 sync.WaitGroup
}

// start makes the pools, and has them used until close.
func start() (*demo, error) {
	d := new(demo)
	d.ctx, d.stop = context.WithCancel(context.Background())
	if err := d.listen(); err != nil {
		d.close()
		return nil, err
	}
	tcp := func(l net.Listener, name string, config pool.Config) (pool.Factory[net.Conn], pool.Config, error) {
		factory, err := netconn.NewFactory("tcp", l.Addr().String(), nil)
		config.Name, config.TimeUse = name, true
		return factory, config, err
	}
	made := func(factory pool.Factory[net.Conn], config pool.Config, err error) (*pool.Pool[net.Conn], error) {
		if err != nil {
			return nil, err
		}
		return pool.New(factory, config)
	}
	var err error
	if d.orders, err = made(tcp(d.server, "orders", pool.Config{MaxConnections: 4, MaxWaitTime: 100 * time.Millisecond})); err != nil {
		d.close()
		return nil, err
	}
	if d.down, err = made(tcp(d.nobody, "down", pool.Config{})); err != nil {
		d.close()
		return nil, err
	}
	d.accounts, err = pool.NewGroup(func(account string) (pool.Factory[net.Conn], pool.Config, error) {
		return tcp(d.server, account, pool.Config{MaxConnections: 3})
	}, pool.GroupConfig{MaxConnections: 6})
	if err != nil {
		d.close()
		return nil, err
	}
	d.dialer = &wsconn.Dialer{Options: &wsconn.Options{OneReplyPerRequest: true}, Config: pool.Config{Name: "sockets", TimeUse: true}}

	for i := range 12 {
		d.use(20*time.Millisecond, func() error {
			return d.orders.Do(d.ctx, func(ctx context.Context, conn net.Conn) error {
				if err := exchange(ctx, conn, 8*time.Millisecond); err != nil || i > 0 {
					return err
				}
				return errors.New("a user that closes its connection each time")
			})
		})
	}
	d.use(100*time.Millisecond, func() error {
		return d.down.Do(d.ctx, func(context.Context, net.Conn) error { return nil })
	})
	for i := range 8 {
		account := fmt.Sprint("account-", 1+i/3)
		d.use(10*time.Millisecond, func() error {
			return d.accounts.Do(d.ctx, account, func(ctx context.Context, conn net.Conn) error {
				return exchange(ctx, conn, 4*time.Millisecond)
			})
		})
	}
	for range 3 {
		d.use(30*time.Millisecond, d.talk)
	}
	return d, nil
}

// metrics serves the figures of all pools. Two of the accounts are kept apart.
func (d *demo) metrics() http.Handler {
	r := prometheus.NewRegistry()
	accounts := pool.ByName(d.accounts.Sources(), 2)
	r.MustRegister(prompool.NewCollectorFunc(func(yield func(pool.Source) bool) {
		for s := range accounts {
			if !yield(s) {
				return
			}
		}
		for s := range d.dialer.Sources() {
			if !yield(s) {
				return
			}
		}
		_ = yield(d.orders) && yield(d.down)
	}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// use calls f again and again, with such a pause in between, until the demo ends. Errors are what some
// of the metrics are for.
func (d *demo) use(pause time.Duration, f func() error) {
	d.running.Go(func() {
		for d.ctx.Err() == nil {
			_ = f()
			rest(d.ctx, pause)
		}
	})
}

// exchange sends a byte, has it back, and keeps the connection for a while.
func exchange(ctx context.Context, conn net.Conn, while time.Duration) error {
	defer netconn.Bind(ctx, conn)()
	b := []byte{1}
	if _, err := conn.Write(b); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, b); err != nil {
		return err
	}
	rest(ctx, while)
	return nil
}

// talk is one request by a WebSocket.
func (d *demo) talk() error {
	conn, _, err := d.dialer.Dial(d.ctx, "ws://"+d.sockets.Addr().String(), nil)
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	if err := conn.Write(d.ctx, websocket.MessageText, []byte("hello")); err != nil {
		return err
	}
	if _, _, err := conn.Read(d.ctx); err != nil {
		return err
	}
	return conn.Close(websocket.StatusNormalClosure, "")
}

// listen starts the servers: both send back what they get. Where nobody listens, connections are refused.
func (d *demo) listen() (err error) {
	for _, l := range []*net.Listener{&d.server, &d.sockets, &d.nobody} {
		if *l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return err
		}
	}
	_ = d.nobody.Close()
	d.running.Go(func() {
		for {
			conn, err := d.server.Accept()
			if err != nil {
				return
			}
			d.running.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(d.ctx, func() { _ = conn.Close() })()
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	d.running.Go(func() { _ = http.Serve(d.sockets, http.HandlerFunc(d.answer)) })
	return nil
}

// answer serves one WebSocket.
func (d *demo) answer(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	for {
		kind, message, err := conn.Read(d.ctx)
		if err != nil || conn.Write(d.ctx, kind, message) != nil {
			return
		}
	}
}

// close ends the users, the pools and the servers.
func (d *demo) close() {
	d.stop()
	if d.orders != nil {
		_ = d.orders.Close()
	}
	if d.down != nil {
		_ = d.down.Close()
	}
	if d.accounts != nil {
		_ = d.accounts.Close()
	}
	if d.dialer != nil {
		_ = d.dialer.Close()
	}
	for _, l := range []net.Listener{d.server, d.sockets} {
		if l != nil {
			_ = l.Close()
		}
	}
	d.running.Wait()
}

// rest returns after d, or when ctx ends.
func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
