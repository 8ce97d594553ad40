package netconn

// records follows the records of TLS in what is read from a socket. Their headers are not
// encrypted: a type, a version, and the length of what follows.
type records struct {
	header [5]byte
	have   int // bytes of the header that have come
	left   int // bytes of the record that have not
}

func (r *records) feed(p []byte) {
	for len(p) > 0 {
		if r.left > 0 {
			n := min(r.left, len(p))
			r.left -= n
			p = p[n:]
			continue
		}
		n := copy(r.header[r.have:], p)
		p = p[n:]
		if r.have += n; r.have == len(r.header) {
			r.have, r.left = 0, int(r.header[3])<<8|int(r.header[4])
		}
	}
}

// within reports whether what was fed ends in the middle of a record.
func (r *records) within() bool { return r.have > 0 || r.left > 0 }
