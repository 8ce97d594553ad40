package peers

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"time"

	"github.com/S4AK4N/pool/bench/harness"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"
)

var pgxPool = harness.Peer{
	Name:   "pgxpool",
	Module: "github.com/jackc/pgx/v5 v5.13.0",
	How:    "Acquire and Release with its defaults, so it pings what was idle for over a second; the caller closes what is dead. The server's part of the protocol (startup and ping) is played by the connection in memory, each ping being a round trip of the connection beneath",
	Lacks: map[harness.Trait]string{
		harness.Bare: "what is idle in it is a connection of pgx, with buffers and maps of its own",
	},
	New: func(s harness.Settings) (harness.Pool, error) {
		config, err := pgxpool.ParseConfig("postgres://bench@127.0.0.1:1/bench?sslmode=disable")
		if err != nil {
			return nil, err
		}
		config.MaxConns = int32(s.Size)
		if s.MaxLifetime > 0 {
			config.MaxConnLifetime, config.HealthCheckPeriod = s.MaxLifetime, harness.Sweep
		}
		if s.MaxIdleTime > 0 {
			config.MaxConnIdleTime, config.HealthCheckPeriod = s.MaxIdleTime, harness.Sweep
		}
		config.ConnConfig.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := s.Open(ctx)
			if err != nil {
				return nil, err
			}
			return &postgres{Conn: c, startup: true}, nil
		}
		p, err := pgxpool.NewWithConfig(context.Background(), config)
		if err != nil {
			return nil, err
		}
		return &harness.Of[*pgxpool.Conn]{
			Take: p.Acquire,
			Give: (*pgxpool.Conn).Release,
			Drop: func(c *pgxpool.Conn) {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				_ = c.Conn().Close(ctx)
				c.Release()
			},
			Conn: func(c *pgxpool.Conn) *harness.Conn { return c.Conn().PgConn().Conn().(*postgres).Conn },
			End:  p.Close,
		}, nil
	},
}

// A postgres is a connection to a server that knows how to begin and how to do nothing.
type postgres struct {
	*harness.Conn
	startup bool
	in, out []byte
}

func (p *postgres) Write(b []byte) (int, error) {
	p.in = append(p.in, b...)
	for {
		switch {
		case p.startup:
			if len(p.in) < 4 || len(p.in) < int(binary.BigEndian.Uint32(p.in)) {
				return len(b), nil
			}
			p.in = p.in[binary.BigEndian.Uint32(p.in):]
			p.startup = false
			p.answer(&pgproto3.AuthenticationOk{}, &pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{0, 0, 0, 1}},
				&pgproto3.ReadyForQuery{TxStatus: 'I'})
		case len(p.in) < 5 || len(p.in) < 1+int(binary.BigEndian.Uint32(p.in[1:])):
			return len(b), nil
		default:
			kind := p.in[0]
			p.in = p.in[1+binary.BigEndian.Uint32(p.in[1:]):]
			switch kind {
			case 'Q':
				if err := p.Conn.RoundTrip(context.Background()); err != nil {
					return 0, err
				}
				p.answer(&pgproto3.EmptyQueryResponse{}, &pgproto3.ReadyForQuery{TxStatus: 'I'})
			case 'X': // the client is about to close
			default:
				return 0, errors.New("bench: the server knows no message " + string(kind))
			}
		}
	}
}

func (p *postgres) answer(messages ...pgproto3.BackendMessage) {
	for _, m := range messages {
		b, err := m.Encode(p.out)
		if err != nil {
			panic(err) // of constants
		}
		p.out = b
	}
}

// Read is only called for what has been answered: pgx reads when it has asked.
func (p *postgres) Read(b []byte) (int, error) {
	if len(p.out) == 0 {
		return 0, net.ErrClosed
	}
	n := copy(b, p.out)
	p.out = p.out[n:]
	return n, nil
}

func (p *postgres) SetDeadline(time.Time) error      { return nil }
func (p *postgres) SetReadDeadline(time.Time) error  { return nil }
func (p *postgres) SetWriteDeadline(time.Time) error { return nil }
func (p *postgres) LocalAddr() net.Addr              { return new(net.TCPAddr) }
func (p *postgres) RemoteAddr() net.Addr             { return new(net.TCPAddr) }
