package words

// The Census is one word, so that everything that opens, closes or limits decides on
// one value:
//
//	63..48  max: how many connections may be open; 0 once the pool is closed
//	47..32  open: how many slots are not vacant, those being opened included
//	31..16  opening: how many of them are being opened
//	15..0   leaving: how many of them are on their way to vacant
//
// MaxConnections is limited to 65,535 because each part has sixteen bits. A slot is
// counted as leaving before it is emptied. So when two leave after a Resize, neither
// takes the other's place for its own, and no more leave than there are too many.
type Census uint64

// One of each kind that a Census counts.
const (
	CensusMax     Census = 1 << 48
	CensusOpen    Census = 1 << 32
	CensusOpening Census = 1 << 16
	CensusLeaving Census = 1
)

// Max returns how many connections may be open. It is 0 if the pool is closed.
func (c Census) Max() int { return int(c >> 48) }

// Open returns how many slots are not vacant.
func (c Census) Open() int { return int(c >> 32 & 0xffff) }

// Opening returns how many connections are being opened.
func (c Census) Opening() int { return int(c >> 16 & 0xffff) }

// Leaving returns how many slots are on their way to vacant.
func (c Census) Leaving() int { return int(c & 0xffff) }

// Established returns how many connections are open.
func (c Census) Established() int { return c.Open() - c.Opening() }

// Usable returns how many connections are open and not on their way out.
func (c Census) Usable() int { return c.Established() - c.Leaving() }

// Over reports whether more connections are open than may be, without those that are on
// their way out.
func (c Census) Over() bool { return c.Open()-c.Leaving() > c.Max() }

// WithMax returns c with another limit.
func (c Census) WithMax(n int) Census { return c%CensusMax + Census(n)*CensusMax }
