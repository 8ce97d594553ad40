package peers

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	"github.com/S4AK4N/pool/bench/harness"
)

var databaseSQL = harness.Peer{
	Name: "database/sql",
	How:  "DB.Conn and Conn.Close, with a driver that does nothing; SetMaxOpenConns and SetMaxIdleConns are both the size; ResetSession checks where connections can die, and driver.ErrBadConn says what is dead",
	New: func(s harness.Settings) (harness.Pool, error) {
		db := sql.OpenDB(&connector{s})
		db.SetMaxOpenConns(s.Size)
		db.SetMaxIdleConns(s.Size)
		db.SetConnMaxLifetime(s.MaxLifetime)
		db.SetConnMaxIdleTime(s.MaxIdleTime)
		return &harness.Of[*sql.Conn]{
			Take: db.Conn,
			Give: func(c *sql.Conn) { _ = c.Close() },
			Back: (*sql.Conn).Close,
			Drop: func(c *sql.Conn) {
				_ = c.Raw(func(any) error { return driver.ErrBadConn })
				_ = c.Close()
			},
			Conn: func(c *sql.Conn) (conn *harness.Conn) {
				_ = c.Raw(func(dc any) error {
					conn = dc.(interface{ conn() *harness.Conn }).conn()
					return nil
				})
				return conn
			},
			End: func() { _ = db.Close() },
		}, nil
	},
}

type connector struct{ s harness.Settings }

func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.s.Open(ctx)
	if err != nil {
		return nil, err
	}
	if c.s.Check != nil {
		return &checkedConn{driverConn{conn}, c.s.Check}, nil
	}
	return &driverConn{conn}, nil
}

func (c *connector) Driver() driver.Driver { return nil }

var errNothing = errors.New("bench: the driver does nothing")

type driverConn struct{ *harness.Conn }

func (c *driverConn) conn() *harness.Conn                 { return c.Conn }
func (c *driverConn) Prepare(string) (driver.Stmt, error) { return nil, errNothing }
func (c *driverConn) Begin() (driver.Tx, error)           { return nil, errNothing }

type checkedConn struct {
	driverConn
	check func(*harness.Conn) error
}

func (c *checkedConn) ResetSession(context.Context) error {
	if c.check(c.Conn) != nil {
		return driver.ErrBadConn
	}
	return nil
}
