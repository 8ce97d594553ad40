package core

import (
	"reflect"
	"testing"
	"unsafe"

	"github.com/S4AK4N/pool/internal/histogram"
	"github.com/S4AK4N/pool/internal/queue"
	"github.com/S4AK4N/pool/internal/sight"
	"github.com/S4AK4N/pool/internal/words"
	"go.uber.org/atomic"
)

func TestWordsThatManyWriteLieApart(t *testing.T) {
	var p Pool
	type field struct {
		name string
		at   uintptr
	}
	fields := []field{
		{"gate", unsafe.Offsetof(p.gate)},
		{"conns", unsafe.Offsetof(p.conns)},
		{"tick, the first that is mostly read", unsafe.Offsetof(p.tick)},
	}
	for i, f := range fields {
		if i > 0 && f.at < fields[i-1].at+words.Pad {
			t.Errorf("%s is at %d, less than %d after %s", f.name, f.at, words.Pad, fields[i-1].name)
		}
		if f.at/words.Pad != uintptr(i) {
			t.Errorf("%s is at %d, want it in block %d", f.name, f.at, i)
		}
	}
	for name, at := range map[string]uintptr{
		"fitTicks": unsafe.Offsetof(p.fitTicks), "idleTicks": unsafe.Offsetof(p.idleTicks), "ring": unsafe.Offsetof(p.ring), "slots": unsafe.Offsetof(p.slots),
		"factory": unsafe.Offsetof(p.factory),
	} {
		if at/words.Pad != uintptr(len(fields)-1) {
			t.Errorf("%s is at %d, want it in the block of what is mostly read", name, at)
		}
	}
	// The queue goes from one processor to the other with the gate.
	if end := unsafe.Offsetof(p.queue) + unsafe.Sizeof(p.queue); end > 64 {
		t.Errorf("the queue ends at %d, want it in the line of the gate", end)
	}
}

// On 386 the compiler aligns 64-bit fields to 4 bytes, and an atomic operation on one
// that is not aligned to 8 panics. Only the first word of what is allocated is sure to
// be.
func TestAtomicWordsOf64BitsAreAligned(t *testing.T) {
	for _, v := range []any{Pool{}, rest{}, budget{}, Rights{}, conn{}, counters{}, histogram.Recorder{}, sight.Sight{}, attempt{}, queue.Queue{}, queue.Parker{}, queue.Waiter{}} {
		typ := reflect.TypeOf(v)
		found := 0
		aligned(t, typ, typ.String(), 0, &found)
		t.Logf("%v: %d words", typ, found)
		if (typ == reflect.TypeFor[Pool]() || typ == reflect.TypeFor[counters]()) && found == 0 {
			t.Errorf("%v: no words have been found", typ)
		}
	}
}

func aligned(t *testing.T, typ reflect.Type, name string, at uintptr, found *int) {
	t.Helper()
	switch typ.Kind() {
	case reflect.Array:
		for i := range typ.Len() {
			aligned(t, typ.Elem(), name, at+uintptr(i)*typ.Elem().Size(), found)
		}
	case reflect.Struct:
		if typ.PkgPath() == reflect.TypeFor[atomic.Uint64]().PkgPath() && typ.Size() == 8 && hasWord(typ) {
			*found++
			if at%8 != 0 {
				t.Errorf("%s is at %d, want a multiple of 8", name, at)
			}
			return
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			aligned(t, f.Type, name+"."+f.Name, at+f.Offset, found)
		}
	}
}

// hasWord reports whether an atomic has a plain 64-bit integer in it.
func hasWord(typ reflect.Type) bool {
	for i := range typ.NumField() {
		switch typ.Field(i).Type.Kind() {
		case reflect.Int64, reflect.Uint64:
			return true
		}
	}
	return false
}

func TestSizes(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		t.Skip("sizes are given for 64 bits")
	}
	for name, s := range map[string]struct{ got, want uintptr }{
		"Lease":  {unsafe.Sizeof(Lease{}), 16},        // passed in registers
		"token":  {unsafe.Sizeof(queue.Token{}), 32},  // what a waiter's channel holds
		"waiter": {unsafe.Sizeof(queue.Waiter{}), 16}, // the garbage of a wait
	} {
		if s.got != s.want {
			t.Errorf("a %s has %d bytes, want %d", name, s.got, s.want)
		}
	}
}
