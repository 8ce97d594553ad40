package wsconn

import "time"

// rules say what is done while nobody uses a connection, and beside whoever does. Those of a factory are
// made once; a dial has a copy of its own only for its ping callbacks.
type rules struct {
	unsolicited      Unsolicited
	onUnsolicited    func(conn *Conn, message Message) (*Message, error)
	isReply          func(request, message Message) bool
	keepalive        *Keepalive
	pingInterval     time.Duration // negative: never
	pongTimeout      time.Duration
	pongTimeoutInUse time.Duration // 0: none
	tender           *tender       // nil: leases are not tended
	onePerRequest    bool
	onPing           func(payload []byte) bool // nil: answer every ping
	onPong           func(payload []byte)
	views            bool            // leases are views, which interrupt reads
	ignored          map[string]bool // headers that make no connection different; with views
	fallback         bool            // do without the peeker
	url              string          // that is dialed; empty for views
	server           *server         // nil: there is no choice of servers
}
