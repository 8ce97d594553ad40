package wsconn

import "sync"

// A backlog holds bytes that have been received and not been read yet: always
// the last byte of a frame, sometimes more. A few lie in the backlog itself, which
// is the rule, more in a chunk.
type backlog struct {
	chunk *chunk  // that holds the bytes; nil: they are small[r:w]
	small [6]byte // with r and w, no more than a pointer
	r, w  uint8
}

// A chunk is memory for what is received: that of a backlog, or of a poller's read.
type chunk struct {
	buf  []byte // the bytes are buf[r:w]
	r, w int

	// What is known of the frames in it, for sort. Both count from the first byte.
	sorted int // these bytes are whole data frames
	final  int // the last final one of them ends here; 0: there is none

	array [chunkSize]byte // what buf is of, unless more was needed
}

// chunkSize is how much is read at a time: as much as the WebSocket layer reads.
const chunkSize = 4096

var chunks = sync.Pool{New: func() any { return new(chunk) }}

func getChunk() *chunk { return chunks.Get().(*chunk) }

// free gives c back to be used by others.
func (c *chunk) free() {
	c.buf, c.r, c.w = nil, 0, 0
	c.sorted, c.final = 0, 0
	chunks.Put(c)
}

func (b *backlog) len() int {
	if c := b.chunk; c != nil {
		return c.w - c.r
	}
	return int(b.w - b.r)
}

func (b *backlog) bytes() []byte {
	if c := b.chunk; c != nil {
		return c.buf[c.r:c.w]
	}
	return b.small[b.r:b.w]
}

// drop removes the first n bytes.
func (b *backlog) drop(n int) {
	c := b.chunk
	if c == nil {
		b.r += uint8(n)
		if b.r == b.w {
			b.r, b.w = 0, 0
		}
		return
	}
	c.r += n
	if c.r == c.w {
		b.release()
		return
	}
	c.sorted, c.final = max(0, c.sorted-n), max(0, c.final-n)
}

// cut removes n bytes that begin at position at, counted from the first.
func (b *backlog) cut(at, n int) {
	if at == 0 {
		b.drop(n)
		return
	}
	c := b.chunk
	if c == nil {
		rest := b.small[b.r:b.w]
		b.w = b.r + uint8(at+copy(rest[at:], rest[at+n:]))
		return
	}
	c.sorted -= min(n, max(0, c.sorted-at))
	c.final -= min(n, max(0, c.final-at))
	at += c.r
	c.w = at + copy(c.buf[at:], c.buf[at+n:c.w])
}

// add appends p, which is no part of the backlog.
func (b *backlog) add(p []byte) {
	copy(b.space(len(p)), p)
	b.grow(len(p))
}

// space returns room for at least n bytes behind those that are there. What is
// written there becomes part of the backlog by grow.
func (b *backlog) space(n int) []byte {
	c := b.chunk
	if c == nil {
		if n <= len(b.small)-int(b.w) {
			return b.small[b.w:]
		}
		c = b.inChunk()
	}
	if len(c.buf)-c.w >= n {
		return c.buf[c.w:]
	}
	old := c.buf[c.r:c.w]
	if need := len(old) + n; need > chunkSize {
		c.buf = make([]byte, 2*need)
	} else {
		c.buf = c.array[:]
	}
	c.r, c.w = 0, copy(c.buf, old)
	return c.buf[c.w:]
}

// inChunk returns the chunk that holds the bytes from now on.
func (b *backlog) inChunk() *chunk {
	c := b.chunk
	if c == nil {
		c = getChunk()
		c.buf = c.array[:]
		c.w = copy(c.buf, b.bytes())
		b.chunk, b.r, b.w = c, 0, 0
	}
	return c
}

func (b *backlog) grow(n int) {
	if c := b.chunk; c != nil {
		c.w += n
	} else {
		b.w += uint8(n)
	}
	b.drop(0) // releases the space if it is empty
}

// release gives the memory back: an idle connection holds none.
func (b *backlog) release() {
	b.chunk.free()
	b.chunk = nil
}

// sorted returns how many bytes at the start are known to be whole data frames.
func (b *backlog) sorted() int {
	if b.chunk == nil {
		return 0
	}
	return b.chunk.sorted
}

// final returns where the last final one of those frames ends, or 0.
func (b *backlog) final() int {
	if b.chunk == nil {
		return 0
	}
	return b.chunk.final
}

// noteFrame says that another n bytes are a whole data frame, and whether it is a final
// one.
func (b *backlog) noteFrame(n int, fin bool) {
	c := b.inChunk()
	c.sorted += n
	if fin {
		c.final = c.sorted
	}
}
