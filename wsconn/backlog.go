package wsconn

import "sync"

// A backlog holds bytes that have been received and not been read yet: always
// the last byte of a frame, sometimes more. Small ones lie in the backlog
// itself, which is the rule, larger ones in a chunk.
type backlog struct {
	buf   []byte // the bytes are buf[r:w]
	r, w  int
	chunk *[chunkSize]byte // what buf is of, if it is one
	small [16]byte

	// What is known of the frames in it, for sort. Both count from the first byte.
	sorted int // these bytes are whole data frames
	final  int // the last final one of them ends here; 0: there is none

	controls int // control frames that the check in progress has taken out
}

// chunkSize is how much is read at a time: as much as the WebSocket layer reads.
const chunkSize = 4096

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

func (b *backlog) len() int      { return b.w - b.r }
func (b *backlog) bytes() []byte { return b.buf[b.r:b.w] }

// drop removes the first n bytes.
func (b *backlog) drop(n int) {
	b.r += n
	if b.r == b.w {
		b.release()
		return
	}
	b.sorted, b.final = max(0, b.sorted-n), max(0, b.final-n)
}

// cut removes n bytes that begin at position at, counted from the first.
func (b *backlog) cut(at, n int) {
	if at == 0 {
		b.drop(n)
		return
	}
	b.sorted -= min(n, max(0, b.sorted-at))
	b.final -= min(n, max(0, b.final-at))
	at += b.r
	b.w = at + copy(b.buf[at:], b.buf[at+n:b.w])
}

// add appends p, which is no part of the backlog.
func (b *backlog) add(p []byte) {
	copy(b.space(len(p)), p)
	b.w += len(p)
}

// space returns room for at least n bytes behind those that are there. What is
// written there becomes part of the backlog by grow.
func (b *backlog) space(n int) []byte {
	if b.buf == nil && n <= len(b.small) {
		b.buf = b.small[:]
	}
	if len(b.buf)-b.w >= n {
		return b.buf[b.w:]
	}
	old, oldChunk := b.bytes(), b.chunk
	need := len(old) + n
	if need <= chunkSize {
		if b.chunk == nil {
			b.chunk = chunks.Get().(*[chunkSize]byte)
			oldChunk = nil
		}
		b.buf = b.chunk[:]
	} else {
		b.chunk = nil
		b.buf = make([]byte, 2*need)
	}
	b.r, b.w = 0, copy(b.buf, old)
	if oldChunk != nil && oldChunk != b.chunk {
		chunks.Put(oldChunk)
	}
	return b.buf[b.w:]
}

func (b *backlog) grow(n int) {
	b.w += n
	b.drop(0) // releases the space if it is empty
}

// release gives the memory back: an idle connection holds none.
func (b *backlog) release() {
	if b.chunk != nil {
		chunks.Put(b.chunk)
		b.chunk = nil
	}
	b.buf, b.r, b.w = nil, 0, 0
	b.sorted, b.final = 0, 0
}
