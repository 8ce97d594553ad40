package main

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

// A terminal shows what is written to it. When the first line is shown, somebody types
// Ctrl-C, and the terminal says so where its cursor is.
type terminal struct {
	t           *testing.T
	shown       chan struct{} // closed after the first line and the ^C behind it
	lines       [][]rune
	row, column int
}

var terminalParts = regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]|[\s\S]`)

func (m *terminal) Write(p []byte) (int, error) {
	m.show(string(p))
	select {
	case <-m.shown:
	default:
		m.show("^C")
		close(m.shown)
	}
	return len(p), nil
}

func (m *terminal) show(text string) {
	for _, part := range terminalParts.FindAllString(text, -1) {
		for len(m.lines) <= m.row {
			m.lines = append(m.lines, nil)
		}
		line := &m.lines[m.row]
		switch part {
		case "\n":
			m.row, m.column = m.row+1, 0
		case "\r":
			m.column = 0
		case "\x1b[A", "\x1b[1A":
			m.row--
		case "\x1b[K":
			*line = (*line)[:min(m.column, len(*line))]
		case "\x1b[J":
			*line = (*line)[:min(m.column, len(*line))]
			m.lines = m.lines[:m.row+1]
		default:
			if len(part) > 1 && part[0] == '\x1b' {
				m.t.Errorf("an escape sequence that the test does not know: %q", part)
			}
			for len(*line) <= m.column {
				*line = append(*line, ' ')
			}
			(*line)[m.column] = []rune(part)[0]
			m.column++
		}
	}
}

func TestProgressOnATerminalIsTakenAwayAlsoAfterCtrlC(t *testing.T) {
	m := &terminal{t: t, shown: make(chan struct{})}
	d := newDisplay(m, true)
	d.note("connecting to the server")
	<-m.shown
	d.phase("pool of 3", time.Second, 5*time.Second, soFar{elapsed: -500 * time.Millisecond}, soFar{})
	d.phase("pool of 3", time.Second, 5*time.Second, soFar{elapsed: 2 * time.Second, answered: 1000}, soFar{elapsed: time.Second})
	d.clear()
	d.clear()
	if len(m.lines) != 1 || len(m.lines[0]) != 0 || m.row != 0 || m.column != 0 {
		t.Errorf("left on the terminal: %q, with the cursor at %d, %d", m.lines, m.row, m.column)
	}
}

func TestProgressElsewhereIsOneLineEach(t *testing.T) {
	var b strings.Builder
	d := newDisplay(&b, false)
	d.phase("pool of 3", 0, 5*time.Second, soFar{elapsed: 2 * time.Second, answered: 1000}, soFar{elapsed: time.Second})
	d.note("not shown")
	d.phase("one, shared", 0, 5*time.Second, soFar{elapsed: time.Second, answered: 7}, soFar{})
	d.clear()
	want := "poolbench: pool of 3        2.0 of 5s    1,000 req/s\npoolbench: one, shared      1.0 of 5s        7 req/s\n"
	if got := b.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if d.period() < time.Second {
		t.Errorf("a line every %v", d.period())
	}
}

func TestThePhaseTextSaysHowFarItIs(t *testing.T) {
	for _, c := range []struct {
		now, last soFar
		want      string
	}{
		{soFar{elapsed: 1500 * time.Millisecond, answered: 3000}, soFar{elapsed: time.Second, answered: 1000}, "dial each time   1.5 of 6.6s    4,000 req/s"},
		{soFar{elapsed: 500 * time.Millisecond, answered: 50}, soFar{elapsed: -time.Second}, "dial each time   0.5 of 6.6s      100 req/s"},
		{soFar{elapsed: -1500 * time.Millisecond}, soFar{}, "dial each time  warming up, 1.5 s left"},
		{soFar{elapsed: 5 * time.Second, answered: 3e9, failed: 1e6}, soFar{elapsed: 4 * time.Second, answered: 3e9 - 1e6}, "dial each time   5.0 of 6.6s  1,000,000 req/s  1,000,000 failed"},
	} {
		if got := phaseText("dial each time", 6600*time.Millisecond, c.now, c.last); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
