package wsconn

// Messages for which nobody has asked, while the connection is lent to a view. A server of one
// reply for each request that sends one twice, or before its request, is found out by counting if
// it is read before the next request. If not, the program takes it for the reply to that, and
// the numbers come out even with a reply still to come. So it is looked for where nothing is owed.

// messageBehind reports whether a message, or the beginning of one, has been received behind what
// Read has given out, which is the end of a frame. The reader calls it.
func (s *stream) messageBehind() bool {
	if s.enter(oneRead, tendsRead) != nil {
		return false
	}
	defer s.busy.Add(-oneRead)
	return !s.held && s.dataInBacklog()
}

// messageArrived reports whether a message, or the beginning of one, has arrived that nobody has
// read. It does not look below TLS, where it might have to wait, and finds nothing while a Read is
// in progress, which takes it. The writer calls it, between two messages; it takes in what has
// arrived as the tender does, so that pings are no messages.
func (s *stream) messageArrived() bool {
	if !s.peeker.able() || s.secure {
		return false
	}
	took := s.seize()
	if took == 0 {
		return false
	}
	defer s.yield(took)
	if took&tendsRead == 0 || took&tendsWrite == 0 || s.held || !s.in.between() {
		return false
	}
	if arrived, _ := s.peeker.peek(); arrived {
		s.readAhead()
	}
	return s.dataInBacklog()
}

// dataInBacklog reports whether there is more than control frames in the backlog, which begins
// at the start of a frame.
func (s *stream) dataInBacklog() bool {
	for b := s.backlog.bytes(); len(b) > 0; {
		f, err := parseFrame(b, s.compressed)
		switch {
		case err != nil || !f.control():
			return true
		case !f.whole:
			return false
		}
		b = b[f.length:]
	}
	return false
}
