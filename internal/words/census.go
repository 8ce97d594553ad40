package words

// The Census counts the connections of a pool in one word. Everything that opens, closes
// or limits connections decides on this one value:
//
//	63..48  max: how many connections may be open; 0 once the pool is closed
//	47..32  open: how many slots are not vacant, including those being opened
//	31..16  opening: how many of them are being opened
//	15..0   leaving: how many of them are on their way to vacant
//
// MaxConnections is limited to 65,535 because each part has 16 bits. A slot is counted as
// leaving before it is emptied. So when two connections leave after a Resize, neither is
// counted as the place of the other, and no more than the surplus leaves.
type Census uint64

// One of each kind that a Census counts.
const (
	CensusMax     Census = 1 << 48
	CensusOpen    Census = 1 << 32
	CensusOpening Census = 1 << 16
	CensusLeaving Census = 1
)

// Max returns how many connections may be open, and 0 if the pool is closed.
func (c Census) Max() int { return int(c >> 48) }

// Open returns how many slots are not vacant.
func (c Census) Open() int { return int(c >> 32 & 0xffff) }

// Opening returns how many connections are being opened.
func (c Census) Opening() int { return int(c >> 16 & 0xffff) }

// Leaving returns how many slots are on their way to vacant.
func (c Census) Leaving() int { return int(c & 0xffff) }

// Established returns how many connections are open.
func (c Census) Established() int { return c.Open() - c.Opening() }

// Usable returns how many connections are open and not leaving.
func (c Census) Usable() int { return c.Established() - c.Leaving() }

// Over reports whether more connections are open than the limit allows. Those that are
// leaving do not count.
func (c Census) Over() bool { return c.Open()-c.Leaving() > c.Max() }

// WithMax returns c with another limit.
func (c Census) WithMax(n int) Census { return c%CensusMax + Census(n)*CensusMax }
