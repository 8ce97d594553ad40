package linear

import (
	"testing"

	"github.com/anishathalye/porcupine"
)

// at says when something happened.
type at struct {
	call, ret int64
	action
}

func explained(initial state, story []at) bool {
	var ops []porcupine.Operation
	for i, s := range story {
		ops = append(ops, porcupine.Operation{ClientId: i, Input: s.action, Call: s.call, Return: s.ret})
	}
	return porcupine.CheckOperations(spec(initial), ops)
}

// The specification says yes to what may happen and no to what may not.
func TestSpecificationTellsRightFromWrong(t *testing.T) {
	var one state // connection 0 is idle
	one.max = 1
	one.conns[0].phase = idle
	none := state{max: 1}
	for _, c := range []struct {
		name    string
		initial state
		want    bool
		story   []at
	}{
		{"lent, put, lent", one, true, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{put, 0, 1}}, {5, 6, action{lent, 0, 2}}}},
		{"lent to two", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{lent, 0, 2}}}},
		{"lent to two, with a Put under way", one, true, []at{
			{1, 2, action{lent, 0, 1}}, {3, 6, action{put, 0, 1}}, {4, 5, action{lent, 0, 2}}}},
		{"lent before the Put has begun", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {5, 6, action{put, 0, 1}}, {3, 4, action{lent, 0, 2}}}},
		{"put twice", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{put, 0, 1}}, {5, 6, action{put, 0, 1}}}},
		{"reserved, and lent", one, true, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{kept, 0, 1}}, {5, 6, action{missed, 0, 0}}, {7, 8, action{lent, 0, 2}}}},
		{"reserved twice", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{kept, 0, 1}}, {5, 6, action{kept, 0, 1}}}},
		{"reserved, and gone", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{kept, 0, 1}}, {5, 6, action{sawGone, 0, 0}}}},
		{"reserved, and another is opened", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{kept, 0, 1}}, {5, 6, action{opened, 1, 0}}, {7, 8, action{lent, 1, 2}}}},
		{"reserved, then reported and lent", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{kept, 0, 1}}, {5, 6, action{reported, 0, 0}}, {7, 8, action{lent, 0, 2}}}},
		{"reserved in a closed pool, and lent", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{kind: shut}}, {5, 6, action{kept, 0, 1}}, {7, 8, action{lent, 0, 2}}}},
		{"opened during a Reset, and seen gone while it is leased", none, true, []at{
			{1, 3, action{maybeReset, 0, 0}}, {2, 3, action{opened, 0, 0}}, {2, 3, action{lent, 0, 1}}, {4, 5, action{sawGone, 0, 0}}}},
		{"opened during a Reset, and lent twice", none, true, []at{
			{1, 3, action{maybeReset, 0, 0}}, {2, 3, action{opened, 0, 0}}, {2, 3, action{lent, 0, 1}}, {4, 5, action{put, 0, 1}}, {6, 7, action{lent, 0, 2}}}},
		{"opened during a Reset, seen gone, and lent again", none, false, []at{
			{1, 3, action{maybeReset, 0, 0}}, {2, 3, action{opened, 0, 0}}, {2, 3, action{lent, 0, 1}}, {4, 5, action{sawGone, 0, 0}},
			{6, 7, action{put, 0, 1}}, {8, 9, action{lent, 0, 2}}}},
		{"a second Put that is refused", one, true, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{put, 0, 1}}, {5, 6, action{notLeased, 0, 1}}}},
		{"a first Put that is refused", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{notLeased, 0, 1}}}},
		{"a Put that ends somebody else's lease", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{put, 0, 1}}, {5, 6, action{lent, 0, 2}}, {7, 8, action{put, 0, 1}}}},
		{"more than may be open", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{opened, 1, 0}}, {5, 6, action{lent, 1, 2}}}},
		{"opened after a Discard", one, true, []at{
			{1, 2, action{lent, 0, 1}}, {3, 6, action{discarded, 0, 1}}, {4, 5, action{opened, 1, 0}}, {7, 8, action{lent, 1, 2}}}},
		{"opened before a Discard", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {5, 6, action{discarded, 0, 1}}, {3, 4, action{opened, 1, 0}}}},
		{"opened while one is detached", one, true, []at{
			{1, 2, action{lent, 0, 1}}, {3, 6, action{detached, 0, 1}}, {4, 5, action{opened, 1, 0}}}},
		{"lent after it was reported", one, false, []at{
			{1, 2, action{reported, 0, 0}}, {3, 4, action{lent, 0, 1}}}},
		{"gone while it is idle", one, false, []at{
			{1, 2, action{sawGone, 0, 0}}}},
		{"gone while it is leased", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{sawGone, 0, 0}}}},
		{"gone while it is leased, after it was reported", one, true, []at{
			{1, 2, action{lent, 0, 1}}, {3, 6, action{reported, 0, 0}}, {4, 5, action{sawGone, 0, 0}}}},
		{"gone while it is discarded", one, true, []at{
			{1, 2, action{lent, 0, 1}}, {3, 6, action{discarded, 0, 1}}, {4, 5, action{sawGone, 0, 0}}}},
		{"over its life while it is leased, and then put", one, true, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{sawOld, 0, 0}}, {5, 6, action{put, 0, 1}}, {3, 8, action{maybeGone, 0, 0}}}},
		{"over its life while it is leased, and then lent", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{sawOld, 0, 0}}, {5, 6, action{put, 0, 1}}, {7, 8, action{lent, 0, 2}}}},
		{"gone, and then lent", one, false, []at{
			{1, 2, action{sawGone, 0, 0}}, {3, 4, action{lent, 0, 1}}}},
		{"gone in a closed pool", one, false, []at{
			{1, 2, action{shut, 0, 0}}, {3, 4, action{sawGone, 0, 0}}}},
		{"lent while it is reported", one, true, []at{
			{1, 4, action{reported, 0, 0}}, {2, 3, action{lent, 0, 1}}}},
		{"reported in use, then put and lent", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{reported, 0, 0}}, {5, 6, action{put, 0, 1}}, {7, 8, action{lent, 0, 2}}}},
		{"lent after it has grown old", one, false, []at{
			{1, 2, action{vanished, 0, 0}}, {3, 4, action{lent, 0, 1}}}},
		{"grown old in use", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{vanished, 0, 0}}}},
		{"missed while it was idle", one, false, []at{
			{1, 2, action{missed, 0, 0}}}},
		{"missed while it was given back", one, true, []at{
			{1, 2, action{lent, 0, 1}}, {3, 6, action{put, 0, 1}}, {4, 5, action{missed, 0, 0}}}},
		{"missed after it was given back", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{put, 0, 1}}, {5, 6, action{missed, 0, 0}}}},
		{"lent after Close", one, false, []at{
			{1, 2, action{kind: shut}}, {3, 4, action{lent, 0, 1}}}},
		{"lent while Close is under way, but after somebody saw it", one, false, []at{
			{1, 8, action{kind: shut}}, {2, 3, action{kind: sawClosed}}, {4, 5, action{lent, 0, 1}}}},
		{"closed before Close", one, false, []at{
			{1, 2, action{kind: sawClosed}}, {3, 4, action{kind: shut}}}},
		{"revoked by a caller, then put", one, true, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{cut, 0, 1}}, {5, 6, action{put, 0, 1}}}},
		{"revoked by a caller, then put twice", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{cut, 0, 1}}, {5, 6, action{put, 0, 1}}, {7, 8, action{put, 0, 1}}}},
		{"revoked by a caller, then lent", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{cut, 0, 1}}, {5, 6, action{lent, 0, 2}}}},
		{"revoked by a caller, and another is opened", one, true, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{cut, 0, 1}}, {5, 6, action{opened, 1, 0}}, {7, 8, action{lent, 1, 2}}, {9, 10, action{yielded, 0, 1}}, {9, 10, action{lostToRevoke, 0, 0}}}},
		{"revoked by two callers", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{cut, 0, 1}}, {3, 4, action{cut, 0, 1}}}},
		{"revoked by a caller after its Put", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{put, 0, 1}}, {5, 6, action{cut, 0, 1}}}},
		{"a lease of the same connection revoked instead", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{put, 0, 1}}, {5, 6, action{lent, 0, 2}}, {7, 8, action{cut, 0, 1}}}},
		{"revoked on its way", one, true, []at{
			{1, 2, action{cut, 0, 0}}}},
		{"lent after it was revoked on its way", one, false, []at{
			{1, 2, action{cut, 0, 0}}, {3, 4, action{lent, 0, 1}}}},
		{"in force, and not revoked", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{notCut, 0, 1}}}},
		{"detached, though revoked", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{cut, 0, 1}}, {5, 6, action{detached, 0, 1}}}},
		{"revoked, then put", one, true, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{kind: shut}}, {3, 4, action{revoked, 0, 0}}, {5, 6, action{put, 0, 1}}, {7, 8, action{notLeased, 0, 1}}}},
		{"revoked, then put twice", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{kind: shut}}, {3, 4, action{revoked, 0, 0}}, {5, 6, action{put, 0, 1}}, {7, 8, action{put, 0, 1}}}},
		{"revoked, then detached", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{kind: shut}}, {3, 4, action{revoked, 0, 0}}, {5, 6, action{detached, 0, 1}}}},
		{"detached while Close is under way", one, true, []at{
			{1, 2, action{lent, 0, 1}}, {3, 9, action{kind: shut}}, {3, 8, action{revoked, 0, 0}}, {4, 5, action{kind: sawClosed}}, {6, 7, action{detached, 0, 1}}}},
		{"opened after there may be more", one, true, []at{
			{1, 2, action{kind: resized, conn: 2}}, {3, 4, action{opened, 1, 0}}}},
		{"opened before there may be more", one, false, []at{
			{3, 4, action{kind: resized, conn: 2}}, {1, 2, action{opened, 1, 0}}}},
		{"opened after a Reset, though begun before", one, true, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{reported, 1, 0}}, {5, 6, action{opened, 1, 0}}}},
		{"lent after a Reset, though begun before", one, false, []at{
			{1, 2, action{vanished, 0, 0}}, {3, 4, action{reported, 1, 0}}, {5, 6, action{opened, 1, 0}}, {7, 8, action{lent, 1, 1}}}},
		{"lost to a Close that was not", one, false, []at{
			{1, 2, action{lent, 0, 1}}, {3, 4, action{yielded, 0, 1}}, {3, 4, action{lostToClose, 0, 0}}}},
	} {
		if got := explained(c.initial, c.story); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// What was reserved is for nobody who only looks around, unless somebody has waited since.
func TestATryGetMayHaveWhatWasReservedOnlyIfSomebodyHasWaited(t *testing.T) {
	c := &wire{number: 1}
	reserved := event{kind: kept, wire: c, lease: 1, call: 3, ret: 4}
	taken := event{kind: lent, try: true, wire: c, lease: 2, call: 7, ret: 8}
	for _, test := range []struct {
		name  string
		found bool
		other []event
	}{
		{"nobody", true, nil},
		{"a Get before", true, []event{{kind: lent, get: true, wire: c, lease: 1, call: 1, ret: 2}}},
		{"a Get after", true, []event{{kind: fruitless, get: true, call: 9, ret: 10}}},
		{"a Get in between", false, []event{{kind: fruitless, get: true, call: 5, ret: 6}}},
		{"a Get that had begun before", false, []event{{kind: fruitless, get: true, call: 1, ret: 9}}},
		{"another TryGet in between, which is as wrong", true, []event{{kind: lent, try: true, wire: c, lease: 3, call: 5, ret: 6}}},
		{"a lease of another in between", true, []event{{kind: lent, try: true, wire: &wire{number: 2}, lease: 3, call: 5, ret: 6}}},
		{"a Resize", false, []event{{kind: resized, max: 1, call: 5, ret: 6}}},
	} {
		h := &history{events: append([]event{reserved, taken}, test.other...)}
		if got := h.poached() != nil; got != test.found {
			t.Errorf("%s: found %v, want %v", test.name, got, test.found)
		}
	}
	same := taken
	same.get = true
	if h := (&history{events: []event{reserved, same}}); h.poached() != nil {
		t.Error("whoever asks by the Mark may have it")
	}
}

// Another TryGet may have had in hand what it closed in the end, also one that may not have been the only one.
func TestATryGetMayMissWhatAnotherOneClosed(t *testing.T) {
	for _, c := range []struct {
		name  string
		other event
		want  int // looks at the connection
	}{
		{"beside it", event{kind: fruitless, try: true, refused: true, call: 1, ret: 9}, 0},
		{"beside it, and beside a look", event{kind: fruitless, try: true, call: 1, ret: 9}, 0},
		{"before it", event{kind: fruitless, try: true, call: 1, ret: 4}, 1},
	} {
		w := new(wire)
		h := history{initial: []*wire{w}, closed: []*wire{w}, events: []event{{kind: fruitless, try: true, refused: true, call: 5, ret: 6}, c.other}}
		if got := len(h.looksOf(&h.events[0])); got != c.want {
			t.Errorf("%s: it must have looked at %d connections, want %d", c.name, got, c.want)
		}
	}
}
