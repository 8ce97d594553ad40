package wsconn

import (
	"net"

	"github.com/S4AK4N/pool/internal/peek"
)

// A peeker asks a socket whether bytes have arrived, or it has ended, without
// waiting and without taking anything. The zero peeker can not.
type peeker struct{ peek.Peeker }

func (p *peeker) init(conn net.Conn)  { p.Init(conn) }
func (p *peeker) able() bool          { return p.Able() }
func (p *peeker) peek() (bool, error) { return p.Peek() }
