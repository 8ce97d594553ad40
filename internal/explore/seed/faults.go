package main

// A fault is a mistake that one might make. FAULT in the text of an edit stands for
// whether it is switched on.
type fault struct {
	number  int
	name    string
	code    string // the folder of its edits
	pkg     string // the package of the tests
	tests   string // that should find it
	edits   []edit
	crashes bool // it may end the process instead of failing the test
}

type edit struct{ file, old, new string }

// Where faults are seeded, and where their tests are.
const (
	rootCode     = "."
	groupCode    = "internal/group"
	coreCode     = "internal/core"
	queueCode    = "internal/queue"
	ringCode     = "ring"
	schedulesPkg = "check/schedules"
)

func one(file, old, new string) []edit { return []edit{{file, old, new}} }

// The first eleven have the numbers of the model in which they were thought of (10 has
// none).
var faults = []fault{
	{1, "a waiter does not look again after its link", coreCode, schedulesPkg, "TestExplorePutAgainst.*", one("wait.go",
		"if !before.HasParked() {",
		"if looks := !before.HasParked(); looks && !FAULT && !seededSecond(looks) {"), false},
	{2, "Put does not look again after it has published", coreCode, schedulesPkg, "TestExplorePutAgainst.*", one("pool.go",
		"if p.gate.Load() != 0 || c.notice.Load() != nil {",
		"if !FAULT && (p.gate.Load() != 0 || c.notice.Load() != nil) {"), false},
	{3, "a granter gives up when it loses a waiter", coreCode, schedulesPkg, "TestExploreCancelAgainst.*", one("settle.go",
		"		// Somebody else has decided w, or its ctx has ended: on to the next.",
		"		if FAULT {\n			p.publish(h)\n			return\n		}\n		//"), false},
	{4, "the last segment is unlinked", queueCode, queueCode, "TestExploreUnlink.*", one("queue.go",
		"		if next == nil || next == cur {\n			return // Q4",
		"		if FAULT && next == nil && cur.dead() {\n			q.last.CompareAndSwap(cur, prev)\n			prev.next.CompareAndSwap(cur, nil)\n			return\n		}\n		if next == nil || next == cur {\n			return // Q4"), false},
	{6, "unlink severs without a look at first", queueCode, queueCode, "TestExploreUnlink.*", one("queue.go",
		"if q.first.Load() != first {", "if !FAULT && q.first.Load() != first {"), false},
	{125, "front goes past a cell that nobody is written down in, and does not break it", queueCode, queueCode, "TestExploreEnqueuersAgainst.*", one("queue.go",
		"		if w.state.CompareAndSwap(empty, broken) {", "		if FAULT {\n			n++\n			continue\n		}\n		if w.state.CompareAndSwap(empty, broken) {"), false},
	{126, "front does not look who is behind a cell that nobody is written down in", queueCode, queueCode, "TestExploreAFrontThat.*", one("queue.go",
		"		case !behind:", "		case !behind || FAULT:"), false},
	{127, "who is written down does not ask whether the cell is broken", queueCode, queueCode, "TestExplore(Enqueuers|AFront).*", one("queue.go",
		"		if w.state.CompareAndSwap(empty, looking|uint32(kind)) { // the wait begins here", "		if w.state.CompareAndSwap(empty, looking|uint32(kind)) || FAULT && w.state.CompareAndSwap(broken, looking|uint32(kind)) {"), false},
	{128, "a cell is broken although somebody has been written down meanwhile", queueCode, queueCode, "TestExploreEnqueuersAgainst.*", one("queue.go",
		"		if w.state.CompareAndSwap(empty, broken) {", "		if w.state.CompareAndSwap(empty, broken) || FAULT && w.state.CompareAndSwap(looking, broken) {"), false},
	{7, "who is first is asked of the gate", coreCode, schedulesPkg, "TestExploreTwoRegistrantsAndTwoGranters", []edit{
		{"wait.go", "if words.Gate(p.gate.Add(uint64(words.GateWaiter))).Closed() {",
			"if g := words.Gate(p.gate.Add(uint64(words.GateWaiter))); FAULT && seededNote(g.Waiters() == 1) || g.Closed() {"},
		{"wait.go", "// now is the pool's clock:",
			"func seededNote(first bool) bool { noteFirst(first); return false }\nfunc seededSecond(looks bool) bool { return FAULT && !wasFirst() }\n\n// now is the pool's clock:"},
	}, false},
	{8, "a waiter does not ask whether the pool is closed", coreCode, schedulesPkg, "TestExploreCloseAgainst.*", one("wait.go",
		"if words.Gate(p.gate.Load()).Closed() {\n		p.refuseAll", "if !FAULT && words.Gate(p.gate.Load()).Closed() {\n		p.refuseAll"), false},
	{9, "who loses its cancel does not wait for its token", coreCode, schedulesPkg, "TestExploreCancelAgainst.*", one("wait.go",
		"	t := <-k.Tokens()\n	p.parkers.Put(k)", "	if FAULT {\n		p.parkers.Put(k)\n		return\n	}\n	t := <-k.Tokens()\n	p.parkers.Put(k)"), false},
	{11, "an open that failed does not offer its slot again", coreCode, schedulesPkg, "TestExploreAnOpenFails.*", one("open.go",
		"		p.ensureOpen(a.asker)\n	} else {", "		p.ensureOpen(a.asker)\n	} else if !FAULT {"), false},

	{12, "settle does not look again after it has published", coreCode, schedulesPkg, "TestExplore(PutAgainst|TwoGranters|TwoRegistrants).*", one("settle.go",
		"if !p.wanted(c) {\n				return", "if FAULT || !p.wanted(c) {\n				return"), false},
	{15, "a slot is vacated after the count is lowered", coreCode, schedulesPkg, "TestExplore.*Discard.*", one("close.go",
		"	c.ring.Vacate(c.index, busy) // before the count is lowered: see claim\n	p.conns.Sub(uint64(words.CensusOpen + words.CensusLeaving))",
		"	if !FAULT {\n		c.ring.Vacate(c.index, busy)\n	}\n	p.conns.Sub(uint64(words.CensusOpen + words.CensusLeaving))\n	if FAULT {\n		c.ring.Vacate(c.index, busy)\n	}"), false},
	{16, "who empties a slot does not open for those who wait", coreCode, schedulesPkg, "TestExplore.*Discard.*", one("close.go",
		"		p.vacate(c, word)\n		p.ensureOpen(asker)", "		p.vacate(c, word)\n		if !FAULT {\n			p.ensureOpen(asker)\n		}"), false},
	{17, "the publisher does not ask whether the pool is closed", coreCode, schedulesPkg, "TestExploreShutdown.*", one("settle.go",
		"if g.Closed() || g.Shrinking()", "if !FAULT && g.Closed() || g.Shrinking()"), false},
	{18, "who takes a held slot out of its phase does not ask for Close", coreCode, schedulesPkg, "TestExploreCloseAgainst.*", one("close.go",
		"	busy, ok := b.ring.Reserve(i, h.word)\n	if !ok {", "	busy, ok := b.ring.Reserve(i, h.word)\n	if !ok && !FAULT {"), true},
	{19, "who marks a connection does not look whether it is idle", coreCode, schedulesPkg, "TestExploreAReport.*", one("reset.go",
		"	step.At(\"spoil: marked\")", "	step.At(\"spoil: marked\")\n	if FAULT {\n		return\n	}"), false},
	{20, "the publisher does not look for a mark", coreCode, schedulesPkg, "TestExploreAReport.*", []edit{
		{"settle.go", "	if c.notice.Load() != nil {\n		return true", "	if !FAULT && c.notice.Load() != nil {\n		return true"},
	}, false},
	{21, "a claim does not begin a generation", ringCode, schedulesPkg, "TestExploreAReportAgainstTheNext.*", one("ring.go",
		"		to := w.next(Busy, w.Stamp())", "		to := w.next(Busy, w.Stamp())\n		if FAULT {\n			to = w.as(Busy)\n		}"), false},
	{22, "the sweeper disarms without a last look", coreCode, schedulesPkg, "TestExploreTheSweeperDisarms.*", one("sweep.go",
		"	if p.queue.Front() == nil {\n		if _, any := p.oldestSame(); !any {", "	if p.queue.Front() == nil || FAULT {\n		if _, any := p.oldestSame(); !any || FAULT {"), false},
	{23, "two expire or grant the same waiter", queueCode, schedulesPkg, "TestExploreExpiry.*", one("queue.go",
		"if w.state.CompareAndSwap(old, old&^phase|end) { // the end of the wait", "if FAULT {\n			return w.state.CompareAndSwap(w.state.Load(), old&^phase|end)\n		}\n		if w.state.CompareAndSwap(old, old&^phase|end) {"), true},
	{24, "the order of the queue is not kept: the granter takes the second", coreCode, schedulesPkg, "TestExploreTwoGrantersAndTwo.*|TestExplorePutAgainstTwo.*", one("settle.go",
		"		w := oldest\n		kept :=",
		"		w := oldest\n		if FAULT && w != nil {\n			if next, _ := p.queue.Behind(w); next != nil {\n				if p.grant(next, queue.Token{Slot: h.slot, Word: h.word}) {\n					return\n				}\n				continue\n			}\n		}\n		kept :="), false},

	{30, "two leavers count the same surplus", coreCode, schedulesPkg, "TestExplore(ResizeDown|TheEndOfOneResize).*", one("resize.go",
		"		if p.conns.CompareAndSwap(uint64(c), uint64(c+words.CensusLeaving)) {", "		if FAULT {\n			p.conns.Add(uint64(words.CensusLeaving))\n			return true\n		}\n		if p.conns.CompareAndSwap(uint64(c), uint64(c+words.CensusLeaving)) {"), false},
	{31, "Resize collects before it sets the flag", coreCode, schedulesPkg, "TestExploreResizeDown.*", one("resize.go",
		"		p.setGate(words.GateShrink)\n		step.At(\"Resize: flag set\")\n		p.trim()", "		if FAULT {\n			p.trim()\n		}\n		p.setGate(words.GateShrink)\n		step.At(\"Resize: flag set\")\n		if !FAULT {\n			p.trim()\n		}"), false},
	{32, "who clears the flag of Resize does not read the limit again", coreCode, schedulesPkg, "TestExploreTheEndOfOneResize.*", one("resize.go",
		"		step.At(\"shrunk: flag cleared\")", "		step.At(\"shrunk: flag cleared\")\n		if FAULT {\n			return\n		}"), false},
	{33, "a Resize that raises the limit opens for nobody", coreCode, schedulesPkg, "TestExploreResizeUp.*", one("resize.go",
		"	p.ensureOpen(nil)\n	p.config.Logger.Info(\"resized\"", "	if !FAULT {\n		p.ensureOpen(nil)\n	}\n	p.config.Logger.Info(\"resized\""), false},
	{34, "an open does not look at the era when it has stored", coreCode, schedulesPkg, "TestExploreReset.*", one("open.go",
		"	if a.era != p.era.Load() {", "	if !FAULT && a.era != p.era.Load() {"), false},
	{35, "Reset marks before it changes the era", coreCode, schedulesPkg, "TestExploreReset.*", one("reset.go",
		"	old := p.era.Swap(newEra(p.lifetime))", "	if FAULT {\n		for _, b := range *p.banks.Load() {\n			for i := range b.ring.High() {\n				if c := b.slots[i].Load(); c != nil {\n					p.spoil(c, closedByReset, errReset)\n				}\n			}\n		}\n		p.era.Swap(newEra(p.lifetime)).end(errReset)\n		return\n	}\n	old := p.era.Swap(newEra(p.lifetime))"), false},
	{36, "a stale open does not open another for its caller", coreCode, schedulesPkg, "TestExploreReset.*", one("open.go",
		"p.destroyLeaving(h, closedByReset, errReset, a.asker)", "if FAULT {\n			if c, word := p.empty(h); c != nil {\n				p.vacate(c, word)\n				go p.closeConn(c, closedByReset, errReset, func() {})\n			}\n			return\n		}\n		p.destroyLeaving(h, closedByReset, errReset, a.asker)"), false},
	{37, "who returns from an abandoned call goes on with the slot", coreCode, schedulesPkg, "TestExploreAnAbandonedCall.*", one("limit.go",
		"		case !c.call.CompareAndSwap(c.calls|1, 0):", "		case !FAULT && !c.call.CompareAndSwap(c.calls|1, 0):"), true},
	{39, "the flag of what is held back is cleared after the look", coreCode, schedulesPkg, "TestExploreTheQuota.*", []edit{
		{"quota.go", "	p.sweeper.heldBack.Store(false) // before the look", "	if !FAULT {\n		p.sweeper.heldBack.Store(false)\n	} // before the look"},
		{"quota.go", "	step.At(\"lift: looked\")\n", "	step.At(\"lift: looked\")\n	if FAULT && !held {\n		p.sweeper.heldBack.Store(false)\n	}\n"},
	}, false},
	{40, "nobody holds back: the sweeper is not told", coreCode, schedulesPkg, "TestExploreTheQuota.*", one("quota.go",
		"		p.holdBack()\n", "		if !FAULT {\n			p.holdBack()\n		}\n"), false},
	{41, "an abandoned open goes on with its slot", coreCode, schedulesPkg, "TestExploreAnAbandonedOpen.*", one("open.go",
		"		case !p.end(a, attemptEnded):", "		case !p.end(a, attemptEnded) && !FAULT:"), true},
	{42, "what is closed beyond the bound never gives up its slot", coreCode, schedulesPkg, "TestExploreADiscardWhileAnother.*", one("close.go",
		"		go p.closeConn(c, why, cause, vacate)", "		if FAULT {\n			vacate = func() {}\n		}\n		go p.closeConn(c, why, cause, vacate)"), false},
	{43, "one more is closed behind than may be", coreCode, schedulesPkg, "TestExploreADiscardWhileAnother.*", one("close.go",
		"		if n >= int32(p.maxConnections(words.Census(p.conns.Load()))) {", "		if n > int32(p.maxConnections(words.Census(p.conns.Load()))) && FAULT || !FAULT && n >= int32(p.maxConnections(words.Census(p.conns.Load()))) {"), false},
	{44, "what was set aside too late to be readmitted is opened", coreCode, schedulesPkg, "TestExploreAnAttemptIsSetAside.*", one("open.go",
		"err == nil && a.slotless:", "err == nil && a.slotless && !FAULT:"), true},
	{45, "who sets an attempt aside leaves it its slot", coreCode, schedulesPkg, "TestExploreAnAttemptIsSetAside.*", one("aside.go",
		"	b.ring.Vacate(i, word)\n	p.overdue.Dec()\n", "	if FAULT {\n		p.overdue.Dec()\n		return\n	}\n	b.ring.Vacate(i, word)\n	p.overdue.Dec()\n"), true},
	{46, "the flag of trials is cleared after the look", coreCode, schedulesPkg, "TestExploreAConnectionOnProbation.*", []edit{
		{"outage.go", "	p.sweeper.trials.Store(false) // before the look: the other side is in opened", "	if !FAULT {\n		p.sweeper.trials.Store(false)\n	} // before the look: the other side is in opened"},
		{"outage.go", "	next = p.firstTrial(o)\n", "	next = p.firstTrial(o)\n	if FAULT {\n		p.sweeper.trials.Store(false)\n	}\n"},
	}, false},
	{70, "endSoon is cleared after the look", coreCode, schedulesPkg, "TestExploreAShortLife.*", []edit{
		{"pass.go", "	s.endSoon.Store(false) // then look", "	if !FAULT {\n		s.endSoon.Store(false)\n	} // then look"},
		{"pass.go", "	p.closeDue(v)\n	if p.config.MinIdle > 0 {", "	if FAULT {\n		s.endSoon.Store(false)\n	}\n	p.closeDue(v)\n	if p.config.MinIdle > 0 {"},
	}, false},
	{71, "who has had a suspect probed does not look for its next owner", coreCode, schedulesPkg, "TestExploreProbes.*", one("probe.go",
		"		p.settle(h, true)", "		if FAULT {\n			p.publish(h)\n			return true\n		}\n		p.settle(h, true)"), false},
	{72, "who returns from an abandoned probe counts it off once more", coreCode, schedulesPkg, "TestExploreAnAbandonedProbe.*", one("probe.go",
		"		if abandoned ||", "		if !FAULT && abandoned || !FAULT &&"), false},
	{73, "settle does not look whether the life of a connection has ended", coreCode, schedulesPkg, "TestExploreTheEndOfALife.*", one("settle.go",
		"		if p.over(c) {", "		if !FAULT && p.over(c) {"), false},
	{74, "a suspect is probed where it lies", coreCode, schedulesPkg, "TestExploreProbes.*", one("probe.go",
		"			h, ok := p.collect(held{b.first + i, word})", "			h, ok := held{b.first + i, word}, true\n			if !FAULT {\n				h, ok = p.collect(h)\n			}"), true},

	{75, "an open that failed does not look whether it was the last", coreCode, schedulesPkg, "TestExploreShutdownAgainstACold.*", one("open.go",
		"	p.noteAllGone()\n", "	if !FAULT {\n		p.noteAllGone()\n	}\n"), false},
	{76, "Shutdown does not ask what is being opened", coreCode, schedulesPkg, "TestExploreShutdownAgainstACold.*", one("close.go",
		"words.Census(p.conns.Load()).Opening() == 0 &&", "(FAULT || words.Census(p.conns.Load()).Opening() == 0) &&"), false},
	{77, "a Get leaves a look that has been answered", coreCode, schedulesPkg, "TestExploreCtxEndsDuring.*", one("look.go",
		"	if k.state.CompareAndSwap(lookUnderWay, lookLeft) {", "	if FAULT && err != nil || k.state.CompareAndSwap(lookUnderWay, lookLeft) {"), false},
	{78, "who looks for a Get that has left forgets the connection", coreCode, schedulesPkg, "TestExploreCtxEndsDuring.*", one("look.go",
		"			if fit {\n				p.settle", "			if fit && !FAULT {\n				p.settle"), false},
	{79, "who abandons a call does not answer the Get", coreCode, schedulesPkg, "TestExploreAnAbandonedLook.*", one("limit.go",
		"	p.leaveLook(k)\n	if inRound", "	if !FAULT {\n		p.leaveLook(k)\n	}\n	if inRound"), false},
	{80, "who takes the slot of another attempt does not end its claim", coreCode, schedulesPkg, "TestExploreAGetFreshWhile.*", one("aside.go",
		"				p.release(b) //", "				if !FAULT {\n					p.release(b)\n				} //"), false},
	{81, "an attempt for Warm that has a slot again is not counted again", coreCode, schedulesPkg, "TestExploreASpareAttempt.*", one("aside.go",
		"		p.spares.Inc() // before the state", "		if !FAULT {\n			p.spares.Inc()\n		} // before the state"), false},
	{82, "Shutdown does not wait for an attempt that was set aside", coreCode, schedulesPkg, "TestExploreTheEndOfAPool.*", []edit{
		{"close.go", "p.unclosed.Load() == 0 &&", "(p.unclosed.Load() == 0 || FAULT && p.aside.Load() != nil) &&"},
	}, false},
	{83, "who closes a connection does not look whether Watch has reported it", coreCode, schedulesPkg, "TestExploreAReportAgainstItsOpen", one("close.go",
		"		p.judge(c, word, 0, d.why, d.cause) //", "		if !FAULT {\n			p.judge(c, word, 0, d.why, d.cause)\n		} //"), false},
	{84, "who needs the slot of an attempt gives it up while another sets it aside", coreCode, schedulesPkg, "TestExploreTwoNeed.*", []edit{
		{"aside.go", "leaving && full, oldest == aside:", "leaving && full, !FAULT && oldest == aside:"},
		{"aside.go", "a != nil && a != aside && !yield(a)", "a != nil && (FAULT || a != aside) && !yield(a)"},
	}, false},
	{65, "a fresh waiter excuses the next one", queueCode, schedulesPkg, "TestExploreAGetBehindAGetFreshWhose.*", one("queue.go",
		"return w != nil && w.in() == parked }", "return w != nil && (w.in() == parked || FAULT && w.Fresh()) }"), false},
	{66, "two make the same room for a fresh waiter", coreCode, schedulesPkg, "TestExploreAGetFreshAgainstTwoPuts", one("fresh.go",
		"	if w.Unclaimed() {\n		return true", "	if FAULT || w.Unclaimed() {\n		return true"), false},
	{67, "an attempt that has served another keeps its claim of a fresh waiter", coreCode, schedulesPkg, "TestExploreAGetFreshWhose.*", one("fresh.go",
		"		a.asker.Unclaim()", "		if !FAULT {\n			a.asker.Unclaim()\n		}"), false},
	{68, "a publisher does not ask for a fresh waiter that needs the room", coreCode, schedulesPkg, "TestExploreAGetFreshAgainst.*", one("settle.go",
		"		if w, _ = p.heir(w, c.after); w == nil {", "		rank := 0\n		if w, rank = p.heir(w, c.after); rank > 0 && FAULT {\n			return false\n		}\n		if w == nil {"), false},
	{69, "a fresh waiter does not look for what is idle", coreCode, schedulesPkg, "TestExploreAGetFreshAgainst.*", one("quota.go",
		"			if w, _ := p.needsRoom(); w != nil {", "			if w, _ := p.needsRoom(); w != nil && !FAULT {"), false},

	{60, "a Get takes whatever is in its slot after a Revoke", coreCode, schedulesPkg, "TestExploreRevokeAgainstTwoGets.*", one("pool.go",
		"c != nil && !word.Precedes(c.claimed) && ", "c != nil && (FAULT || !word.Precedes(c.claimed)) && "), false},
	{61, "a waiter takes whatever is in its slot after a Revoke", coreCode, schedulesPkg, "TestExploreRevokeOfWhatIsOnItsWay.*", one("wait.go",
		"if !h.owns(c) || c.ring.At(c.index) != h.word {", "if FAULT && c == nil || !FAULT && (!h.owns(c) || c.ring.At(c.index) != h.word) {"), false},
	{62, "Revoke lets the slot go on before it notes the word", coreCode, schedulesPkg, "TestExploreRevokeAgainstAPut.*", []edit{
		{"revoke.go", "	c.revoked.Store(", "	if FAULT {\n		p.destroy(held{c.slot, word}, why, cause)\n	}\n	c.revoked.Store("},
	}, false},
	{63, "an abandoned call gives up whatever is in its slot", coreCode, schedulesPkg, "TestExploreRevokeAgainstAnAbandonedCall", one("limit.go",
		"	k, inRound := p.leaveCall(c)\n	p.destroy(held{c.slot, c.asked}", "	k, inRound := p.leaveCall(c)\n	if FAULT {\n		c.asked = c.ring.At(c.index)\n	}\n	p.destroy(held{c.slot, c.asked}"), false},
	{64, "Revoke does not mark the connection", coreCode, schedulesPkg, "TestExploreRevokeAgainst(TwoGets|AGetWithCheck).*", one("revoke.go",
		"	c.mark(why, cause) // for whoever", "	_ = !FAULT && c.mark(why, cause) // for whoever"), false},
	{96, "a look that runtime.Goexit has ended takes a Revoke that found no call for an answer", coreCode, schedulesPkg, "TestExploreRevokeDuringALookApart", one("limit.go",
		"last == callAbandoned || last == callRevoked", "last == callAbandoned || last == callRevoked || FAULT && last == callNone"), false},
	{95, "Revoke ends a call and does not answer the Get", coreCode, schedulesPkg, "TestExploreRevokeDuringALookApart", one("revoke.go",
		"	p.leaveLook(k)", "	if !FAULT {\n		p.leaveLook(k)\n	}"), false},

	{85, "a waiter for one connection does not look at its slot", coreCode, schedulesPkg, "TestExploreAGetSameAgainst.*", one("same.go",
		"	if h, ok := p.takeOf(c); ok {\n		if _, fit", "	if FAULT {\n		return\n	}\n	if h, ok := p.takeOf(c); ok {\n		if _, fit"), false},
	{86, "the notice that somebody waits is taken down without a second look", coreCode, schedulesPkg, "TestExplore(AGetSameLeaves|.*GetSame.*APut)", one("same.go",
		"	if c.front() == nil {\n		return true", "	if c.front() == nil || FAULT {\n		return true"), false},
	{87, "those who wait for a connection are told before its slot is empty", coreCode, schedulesPkg, "TestExploreAGetSameAgainst.*", one("close.go",
		"	b.slots[i].Store(nil)\n	p.unreserve(c)\n	step.At(\"part: slot emptied\")\n	p.refuseSame(c, gone)", "	if FAULT {\n		p.refuseSame(c, gone)\n	}\n	b.slots[i].Store(nil)\n	p.unreserve(c)\n	step.At(\"part: slot emptied\")\n	if FAULT {\n		return\n	}\n	p.refuseSame(c, gone)"), false},

	{88, "who reserves a connection does not look again", coreCode, schedulesPkg, "TestExploreAPutForAgainst.*", one("reserve.go",
		"	if p.wantsBack(c) || c.ring.At(c.index) != h.word {", "	if !FAULT && (p.wantsBack(c) || c.ring.At(c.index) != h.word) {"), false},
	{89, "lapseAt is set back after the look", coreCode, schedulesPkg, "TestExploreTheEndOfAReservation", []edit{
		{"pass.go", "	p.lapseAt.Store(uint64(never)) // then look", "	if !FAULT {\n		p.lapseAt.Store(uint64(never))\n	} // then look"},
		{"reserve.go", "	if r.until < time.Duration(p.lapseAt.Load()) {", "	if r.until < time.Duration(p.lapseAt.Load()) && !(FAULT && p.lapseAt.Load() != uint64(never)) {"},
	}, false},

	{108, "a Get touches its pool before it has its lease", rootCode, schedulesPkg, "TestExploreAUseAgainstALook", []edit{
		{"group.go", "	l, err := m.Pool.core.Get(ctx)\n", "	if FAULT {\n		g.in.Touch(&m.Node)\n	}\n	l, err := m.Pool.core.Get(ctx)\n"},
		{"group.go", "	g.in.Touch(&m.Node) // after the lease has begun: see Touch", "	if !FAULT {\n		g.in.Touch(&m.Node)\n	} // after the lease has begun: see Touch"},
	}, false},
	{109, "a look clears the flags after it has looked", groupCode, schedulesPkg, "TestExploreAUseAgainstALook", []edit{
		{"tender.go", "		n.flag.Store(false) // from here on", "		if !FAULT {\n			n.flag.Store(false)\n		} // from here on"},
		{"tender.go", "	clear(found)\n", "	if !FAULT {\n		clear(found)\n	}\n"},
		{"tender.go", "	return due\n", "	if FAULT {\n		for _, n := range t.found {\n			n.flag.Store(false)\n		}\n	}\n	return due\n"},
	}, false},
	{110, "rest does not look at what was pushed", groupCode, schedulesPkg, "TestExploreAUseAgainstALook", one("tender.go",
		"	if t.touched.Load() != nil {", "	if t.touched.Load() != nil && !FAULT {"), false},
	{111, "a Get that meets Remove does not look again", rootCode, schedulesPkg, "TestExploreRemoveAgainstAGet", one("group.go",
		"		if waited, closed := core.Moved(err); closed {\n			l, _, err = g.get(ctx, key, m, waited)", "		if waited, closed := core.Moved(err); closed && !FAULT {\n			l, _, err = g.get(ctx, key, m, waited)"), false},
	{112, "a pool does not wait for those for whom it was made", groupCode, schedulesPkg, "TestExploreRemoveAgainstTwoGets", one("opening.go",
		"m.member, m.pins = m, o.askers\n", "m.member, m.pins = m, o.askers\n	if FAULT {\n		m.pins = 1\n	}\n"), false},
	{113, "who gives up just as the pool is made is waited for", groupCode, schedulesPkg, "TestExploreCtxEndsWhileAPool.*", one("group.go",
		"				o.member.pins--\n", "				if !FAULT {\n					o.member.pins--\n				}\n"), false},
	{114, "Remove leaves alone what is being made", groupCode, schedulesPkg, "TestExploreAGetAfterRemove", one("remove.go",
		"		g.cancel(o, errAgain)\n", "		if !FAULT {\n			g.cancel(o, errAgain)\n		}\n"), false},
	{115, "the end of a group leaves alone what is being made", groupCode, schedulesPkg, "TestExploreTheEndOfAGroup.*", one("close.go",
		"			g.cancel(o, core.ErrClosed)\n", "			if !FAULT {\n				g.cancel(o, core.ErrClosed)\n			}\n"), false},
	{116, "a pool says that it is awake before it is", coreCode, schedulesPkg, "TestExploreAPoolThatSleeps.*", one("wake.go",
		"	p.init(p.made())\n", "	if FAULT {\n		p.clearGate(words.GateAsleep)\n	}\n	p.init(p.made())\n"), true},
	{117, "whoever wakes a pool makes the rest", coreCode, schedulesPkg, "TestExploreAPoolThatSleeps.*", one("wake.go",
		"	p.made = nil //", "	if !FAULT {\n		p.made = nil\n	} //"), true},
	{98, "who stands in the line of a budget does not look for what is idle", coreCode, schedulesPkg, "TestExploreAPut.*Pool.*", one("rights.go",
		"		step.At(\"budget: looks\")\n", "		if FAULT {\n			return\n		}\n		step.At(\"budget: looks\")\n"), false},
	{99, "he looks before the flag is set", coreCode, schedulesPkg, "TestExploreAPut.*Pool.*", []edit{
		{"rights.go", "		h.pool.minds()\n", "		if FAULT {\n			r.look()\n		}\n		h.pool.minds()\n"},
		{"share.go", "	if n > 0 {\n		r.look()\n	}\n	r.enter()", "	if n > 0 && !FAULT {\n		r.look()\n	}\n	r.enter()"},
	}, false},
	{100, "a publisher does not read what the line wants", coreCode, schedulesPkg, "TestExploreAPut.*Pool.*", one("settle.go",
		"	if g.Asked() && p.wantedElsewhere() {", "	if g.Asked() && p.wantedElsewhere() && !FAULT {"), false},
	{101, "a pool that stands in the line does not read again how many wait", coreCode, schedulesPkg, "TestExploreAGetThatIsServedLeavesTheLine", one("budget.go",
		"		if have > 0 {\n			p.hasRights()\n		}\n", "		if have > 0 {\n			p.hasRights()\n		} else if FAULT {\n			return begun, held\n		}\n"), false},
	{102, "who ends a wait does not look whether the pool stands in a line", coreCode, schedulesPkg, "TestExploreAGetThatIsCanceledLeavesTheLine", one("budget.go",
		"	if p.budget != nil && p.budget.asks() > 0 {\n		p.ensureOpen", "	if p.budget != nil && p.budget.asks() > 0 && !FAULT {\n		p.ensureOpen"), false},
	{103, "who changes the flag does not read the line again", coreCode, schedulesPkg, "TestExploreAPutAgainstGetsOfTwoPools", one("budget.go",
		"p.asked() == asked {", "FAULT || p.asked() == asked {"), false},
	{104, "what comes while a pool asks is forgotten", coreCode, schedulesPkg, "TestExploreA(Discard|Put)AgainstGetsOfTwoPools", one("share.go",
		"	got, s.got = got+s.got, 0\n", "	if FAULT {\n		s.got = 0\n	}\n	got, s.got = got+s.got, 0\n"), false},
	{105, "a connection that is revoked stays promised to the line", coreCode, schedulesPkg, "TestExploreTheEndOfAPoolForWhich.*", one("budget.go",
		"				s.keeps()\n", "				if !FAULT {\n					s.keeps()\n				}\n"), false},
	{106, "what is taken for the line is promised before it is taken", coreCode, schedulesPkg, "TestExploreAPut.*Pool.*", []edit{
		{"budget.go", "	h, ok := p.takeOldest()\n	if !ok {\n		return\n	}\n	step.At(\"budget: taken\")\n	if p.plainWaits()", "	if FAULT {\n		if !s.yields(false, p.epoch) {\n			return\n		}\n		h, ok := p.takeOldest()\n		if !ok {\n			s.rights.enter()\n			s.rights.coming--\n			s.rights.mu.Unlock()\n			return\n		}\n		p.conns.Add(uint64(words.CensusLeaving))\n		p.closeFor(s.bit, h)\n		return\n	}\n	h, ok := p.takeOldest()\n	if !ok {\n		return\n	}\n	step.At(\"budget: taken\")\n	if p.plainWaits()"},
		{"rights.go", "		if from == nil {\n", "		if FAULT && from == nil && len(others) > 0 {\n			others[0].pool.evictFor(others[0])\n			return\n		}\n		if from == nil {\n"},
	}, false},
	{107, "who reserves a connection does not look whether another pool wants it", coreCode, schedulesPkg, "TestExploreAPutForAgainstAGetOfAnotherPool", one("reserve.go",
		"		if g.Asked() {", "		if g.Asked() && !FAULT {"), false},

	{118, "one who is refused is counted for a moment", coreCode, schedulesPkg, "TestExploreAGetSameThatIsRefused.*", []edit{
		{"same.go", "		n := p.same.Load()\n", "		n := p.same.Load()\n		if FAULT {\n			n = p.same.Inc() - 1\n		}\n"},
		{"same.go", "			p.counters.rejected.Inc()\n			return ErrRejected // without", "			if FAULT {\n				p.same.Dec()\n			}\n			p.counters.rejected.Inc()\n			return ErrRejected // without"},
		{"same.go", "		if p.same.CompareAndSwap(n, n+1) {", "		if FAULT || p.same.CompareAndSwap(n, n+1) {"},
	}, false},
	{119, "a waiter for one connection does not ask whether its life has ended", coreCode, schedulesPkg, "TestExploreTheEndOfALifeAgainstAGetSame", one("same.go",
		"	switch err := p.lostTo(c); {", "	err := p.lostTo(c)\n	if FAULT && c.defect() == nil {\n		err = nil\n	}\n	switch {"), false},
	{120, "what is being opened counts for those who wait although opening fails", coreCode, schedulesPkg, "TestExploreAPutForAgainstAnOpenThatFails", one("reserve.go",
		"	if p.outage.Load() != nil {\n		full", "	if !FAULT && p.outage.Load() != nil {\n		full"), false},

	{121, "a lapse for one who has gone does not look for a fresh waiter", coreCode, schedulesPkg, "TestExploreAGetFreshBehindOneWhoLeaves.*", one("reserve.go",
		"	if p.fresh.Load() > 0 {\n		p.evict()", "	if !FAULT && p.fresh.Load() > 0 {\n		p.evict()"), false},
	{122, "who finds no plain waiter does not look for a fresh one", coreCode, schedulesPkg, "TestExploreAGetFreshBehindOneWhoLeaves.*", one("reserve.go",
		"	if p.fresh.Load() > 0 {\n		if w, _", "	if !FAULT && p.fresh.Load() > 0 {\n		if w, _"), false},

	{123, "what another has in hand is asked for again", coreCode, schedulesPkg, "TestExploreAGetOfAPoolTakesOneOfTwo.*", one("budget.go",
		"		lacks = max(lacks-inHand, 0)\n", "		if !FAULT {\n			lacks = max(lacks-inHand, 0)\n		}\n"), false},
	{124, "who asks has not looked again since a right came", coreCode, schedulesPkg, "TestExploreAGetOfAPoolTakesOneOfTwo.*", one("share.go",
		"	if s.pool.budget.granted.Load() != granted {", "	if !FAULT && s.pool.budget.granted.Load() != granted {"), false},

	{50, "a searcher does not look again when it has cleared a hint", ringCode, ringCode, "TestExplore.*", one("search.go",
		"				step.At(\"search: cleared\")", "				step.At(\"search: cleared\")\n				if FAULT {\n					continue\n				}"), false},
	{51, "Give does not set the hint", ringCode, ringCode, "TestExplore.*", one("ring.go",
		"	// The giver's side of the race in search.go; the other is in search.\n	if !r.hinted(slot) {", "	if !FAULT && !r.hinted(slot) {"), false},
	{52, "a slot is moved by a load and a store", ringCode, ringCode, "TestExplore.*", one("ring.go",
		"	return from.Phase() == phase && r.cell(slot).CompareAndSwap(uint64(from), uint64(to))", "	if FAULT {\n		if from.Phase() != phase || r.At(slot) != from {\n			return false\n		}\n		r.cell(slot).Store(uint64(to))\n		return true\n	}\n	return from.Phase() == phase && r.cell(slot).CompareAndSwap(uint64(from), uint64(to))"), true},
	{53, "high is raised by a store", ringCode, ringCode, "TestExploreClaimers.*", one("ring.go",
		"		if r.high.CompareAndSwap(old, h) {", "		if FAULT {\n			r.high.Store(h)\n			return\n		}\n		if r.high.CompareAndSwap(old, h) {"), false},
	{54, "a hint is set by a store", ringCode, ringCode, "TestExplore.*", one("search.go",
		"		if h.CompareAndSwap(old, old|bit) {", "		if FAULT {\n			h.Store(old | bit)\n			return\n		}\n		if h.CompareAndSwap(old, old|bit) {"), false},
}
