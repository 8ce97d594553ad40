// Command compare puts a load on pgxpool and a PostgreSQL of its own: 64 callers on 4 connections, then the server is
// away for some seconds. It prints one line of figures. ../../compare builds it with puddle and with the
// module above, and runs both in turn.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/S4AK4N/pool/contrib/puddle/interop/postgres"
	"github.com/jackc/pgx/v5/pgxpool"
)

var (
	callers     = flag.Int("callers", 64, "goroutines that query")
	connections = flag.Int("connections", 4, "MaxConns")
	load        = flag.Duration("load", 5*time.Second, "how long queries are counted")
	away        = flag.Duration("away", 4*time.Second, "how long the server is away")
	pause       = flag.Duration("pause", time.Millisecond, "how long a caller pauses after an error")
	name        = flag.String("name", "", "what is printed in front")
)

// processorTime returns how long this process has run, without PostgreSQL.
func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func main() {
	log.SetFlags(0)
	flag.Parse()
	server, err := postgres.Start()
	if err != nil {
		log.Fatal(err)
	}
	err = run(server)
	server.Remove()
	if err != nil {
		log.Fatal(err)
	}
}

func run(server *postgres.Server) error {
	config, err := pgxpool.ParseConfig(server.Conn("test"))
	if err != nil {
		return err
	}
	var dials, served, failed atomic.Int64
	config.MaxConns = int32(*connections)
	config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		dials.Add(1)
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer p.Close()
	var counting atomic.Bool
	var all sync.WaitGroup
	took := make([][]time.Duration, *callers)
	for i := range took {
		all.Go(func() {
			for ctx.Err() == nil {
				var one int
				began := time.Now()
				if err := p.QueryRow(ctx, "select 1").Scan(&one); err == nil {
					served.Add(1)
					if counting.Load() {
						took[i] = append(took[i], time.Since(began))
					}
				} else if ctx.Err() == nil {
					failed.Add(1)
					time.Sleep(*pause)
				}
			}
		})
	}
	time.Sleep(time.Second) // until all is warm
	counting.Store(true)
	queries, began, used := served.Load(), time.Now(), processorTime()
	time.Sleep(*load)
	n := float64(served.Load() - queries)
	rate := n / time.Since(began).Seconds()
	each := time.Duration(float64(processorTime()-used) / n)
	counting.Store(false)

	before, told := dials.Load(), failed.Load()
	server.Stop()
	time.Sleep(*away)
	attempts := dials.Load() - before
	told = failed.Load() - told
	if err := server.Run(); err != nil {
		return err
	}
	queries, began = served.Load(), time.Now()
	for served.Load() < queries+int64(*callers) {
		time.Sleep(time.Millisecond)
	}
	back := time.Since(began)
	cancel()
	all.Wait()
	every := slices.Concat(took...)
	slices.Sort(every)
	at := func(q float64) time.Duration {
		return every[int(q*float64(len(every)-1))].Round(10 * time.Microsecond)
	}
	fmt.Printf("%-7s %8.0f queries/s, %v of processor time each  p50 %v  p99 %v  max %v  |  away for %v: %d attempts, %d callers failed, all served again after %v\n",
		*name, rate, each.Round(100*time.Nanosecond), at(0.5), at(0.99), at(1), *away, attempts, told, back.Round(time.Millisecond))
	return nil
}
