package ring

import (
	"runtime"
	"testing"
	"unsafe"

	"go.uber.org/atomic"
)

func TestWordsOfOneRingThatDifferentProcessorsWriteLieApart(t *testing.T) {
	var r Ring
	readOnly := unsafe.Offsetof(r.spread) + unsafe.Sizeof(r.spread)
	for name, end := range map[string]uintptr{
		"cells":  unsafe.Offsetof(r.cells) + unsafe.Sizeof(r.cells),
		"hints":  unsafe.Offsetof(r.hints) + unsafe.Sizeof(r.hints),
		"starts": unsafe.Offsetof(r.starts) + unsafe.Sizeof(r.starts),
		"size":   unsafe.Offsetof(r.size) + unsafe.Sizeof(r.size),
	} {
		if end > readOnly {
			t.Errorf("%s is not among the fields that are only read", name)
		}
	}
	if gap := unsafe.Offsetof(r.high) - readOnly; gap < pad {
		t.Errorf("high is %d bytes behind what Take and Give read, want %d", gap, pad)
	}
	if gap := unsafe.Sizeof(r) - unsafe.Offsetof(r.low) - unsafe.Sizeof(r.low); gap < pad {
		t.Errorf("low is %d bytes before the end, want %d", gap, pad)
	}
	if size := unsafe.Sizeof(start{}); size != 64 {
		t.Errorf("a start has %d bytes, want 64", size)
	}
	if size := unsafe.Sizeof(atomic.Uint64{}); size != 8 {
		t.Errorf("an atomic.Uint64 has %d bytes, want 8", size)
	}
	if size := unsafe.Sizeof(Word(0)); size != 8 {
		t.Errorf("a Word has %d bytes, want 8", size)
	}
}

func TestCellsAndHintsBeginOnLinesOfTheirOwnAndAllWordsAreAligned(t *testing.T) {
	sizes := []int{1, 2, 3, 15, 16, 17, 63, 64, 65, 100, 127, 128, 129, 255, 256, 257, 500, 511, 512, 513, 1000,
		1023, 1024, 1025, 2000, 4000, 5000, 8191, 8192, 8193, 10000, 65535, MaxSize}
	for _, size := range sizes {
		r := New(size)
		if a := uintptr(unsafe.Pointer(&r.cells[0])); a%pad != 0 {
			t.Errorf("the cells of %d slots are at %#x, which is not a multiple of %d", size, a, pad)
		}
		if a := uintptr(unsafe.Pointer(&r.hints[0])); a%pad != 0 {
			t.Errorf("the hints of %d slots are at %#x, which is not a multiple of %d", size, a, pad)
		}
		if a := uintptr(unsafe.Pointer(r.starts)); a%64 != 0 {
			t.Errorf("the starts of %d slots are at %#x, which is not a multiple of 64", size, a)
		}
		if got, want := len(r.hints), (size+63)/64; got != want {
			t.Errorf("%d slots have %d groups of hints, want %d", size, got, want)
		}
		if bytes := len(r.cells) * 8; bytes%pad != 0 {
			t.Errorf("the cells of %d slots take %d bytes, not a multiple of %d", size, bytes, pad)
		}
		if bytes := cap(r.hints) * 8; bytes%pad != 0 {
			t.Errorf("the hints of %d slots take %d bytes, not a multiple of %d", size, bytes, pad)
		}
		for slot := range size {
			if a := uintptr(unsafe.Pointer(r.cell(slot))); a%8 != 0 {
				t.Fatalf("the word of slot %d of %d is at %#x", slot, size, a)
			}
		}
		for i := range r.hints {
			if a := uintptr(unsafe.Pointer(&r.hints[i])); a%8 != 0 {
				t.Fatalf("group %d of %d slots is at %#x", i, size, a)
			}
		}
		if gap := uintptr(unsafe.Pointer(&r.starts[1])) - uintptr(unsafe.Pointer(&r.starts[0])); gap != 64 {
			t.Errorf("two starts are %d bytes apart, want 64", gap)
		}
	}
}

func TestFewSlotsLieFarApartAndManyClose(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, test := range []struct {
		procs, size, apart int // in bytes
	}{
		{1, 1, 128}, {1, 8, 128}, {1, 9, 64}, {1, 16, 64}, {1, 17, 32}, {1, 64, 16}, {1, 65, 8}, {1, MaxSize, 8},
		{2, 16, 128}, {2, 100, 16}, {2, 1000, 8},
		{64, 512, 128}, {64, 1000, 64}, {64, 10000, 8},
	} {
		runtime.GOMAXPROCS(test.procs)
		r := New(test.size)
		apart := test.apart
		if test.size > 1 {
			apart = int(uintptr(unsafe.Pointer(r.cell(1))) - uintptr(unsafe.Pointer(r.cell(0))))
		}
		if apart != test.apart {
			t.Errorf("with %d processors %d slots are %d bytes apart, want %d", test.procs, test.size, apart, test.apart)
		}
		if bytes, most := len(r.cells)*8, max(test.size*8, test.procs*1024)+pad; bytes > most {
			t.Errorf("with %d processors %d slots take %d bytes, want at most %d", test.procs, test.size, bytes, most)
		}
	}
}
