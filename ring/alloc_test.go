package ring

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

func TestNothingIsAllocatedAfterNew(t *testing.T) {
	r := full(200)
	held := drain(r)
	for _, l := range held[100:] {
		r.Give(l.slot, l.w, 0)
	}
	slot := held[0].slot
	w := held[0].w
	for name, f := range map[string]func(){
		"Take, Give":         func() { slot, w, _ := r.Take(); r.Give(slot, w, 0) },
		"Take with a search": func() { at(r, 0); slot, w, _ := r.Take(); r.Give(slot, w, 0) },
		"Scan, Publish":      func() { slot, w, _ := r.Scan(); r.Publish(slot, w) },
		"Scan, Give":         func() { slot, w, _ := r.Scan(); r.Give(slot, w, 0) },
		"Publish, Retake":    func() { w, _ = r.Publish(slot, w); w, _ = r.Retake(slot, w) },
		"Renew":              func() { w, _ = r.Renew(slot, w, 0) },
		"a Give that fails":  func() { r.Give(slot, 0, 0) },
		"Reserve, ..., Fill": func() {
			b, _ := r.Reserve(slot, w)
			r.Vacate(slot, b)
			s, b, _ := r.Claim()
			w = r.Fill(s, b, 0)
			slot = s
		},
		"Give with a new hint": func() { slot, w, _ := r.Scan(); r.clearHint(slot); r.Give(slot, w, 0) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// What the compiler says, which holds for every caller and not only for those of
// the test above.
func TestNothingEscapesToTheHeapButWhatNewReturns(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the compiler")
	}
	out, err := exec.Command("go", "build", "-gcflags=-m", ".").CombinedOutput()
	if err != nil {
		t.Skipf("cannot run the compiler: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "can inline Word.Phase") {
		t.Fatalf("not what the compiler is expected to say:\n%s", out)
	}
	ofNew := regexp.MustCompile(`&Ring{\.\.\.}|make\(\[\]atomic\.Uint64|new\(\[64\]start\)|"ring: .*" escapes`)
	for line := range strings.Lines(string(out)) {
		if (strings.Contains(line, "escapes to heap") || strings.Contains(line, "moved to heap")) && !ofNew.MatchString(line) {
			t.Errorf("%s", line)
		}
	}
}
