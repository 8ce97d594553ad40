package peers

import (
	"github.com/S4AK4N/pool/bench/harness"
	"github.com/jackc/puddle/v2"
)

var puddles = harness.Peer{
	Name:   "puddle",
	Module: "github.com/jackc/puddle/v2 v2.2.3",
	How:    "Acquire and Release, Destroy for what is dead; it has no place for a check",
	Lacks:  map[harness.Trait]string{harness.Ages: noAges, harness.Idles: noIdles},
	New: func(s harness.Settings) (harness.Pool, error) {
		p, err := puddle.NewPool(&puddle.Config[*harness.Conn]{
			Constructor: s.Open,
			Destructor:  func(c *harness.Conn) { _ = c.Close() },
			MaxSize:     int32(s.Size),
		})
		if err != nil {
			return nil, err
		}
		return &harness.Of[*puddle.Resource[*harness.Conn]]{
			Take: p.Acquire,
			Give: (*puddle.Resource[*harness.Conn]).Release,
			Drop: (*puddle.Resource[*harness.Conn]).Destroy,
			Conn: (*puddle.Resource[*harness.Conn]).Value,
			End:  p.Close,
		}, nil
	},
}
