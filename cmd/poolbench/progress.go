package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// A progress shows how far a run is: on a terminal in one line that changes,
// elsewhere in a line every few seconds.
type progress struct {
	w     io.Writer
	live  bool
	width int // of the line that is shown
}

func newProgress(w io.Writer, live bool) *progress {
	return &progress{w: w, live: live}
}

// period is the time between two lines.
func (p *progress) period() time.Duration {
	if p.live {
		return 100 * time.Millisecond
	}
	return 2 * time.Second
}

// show shows text in place of the last one.
func (p *progress) show(text string) {
	if !p.live {
		fmt.Fprintf(p.w, "poolbench: %s\n", strings.TrimSpace(text))
		return
	}
	width := len([]rune(text))
	fmt.Fprintf(p.w, "\r%s%s", text, strings.Repeat(" ", max(0, p.width-width)))
	p.width = width
}

// note shows text on a terminal only.
func (p *progress) note(text string) {
	if p.live {
		p.show(text)
	}
}

// clear takes the line away.
func (p *progress) clear() {
	if p.live && p.width > 0 {
		fmt.Fprintf(p.w, "\r%s\r", strings.Repeat(" ", p.width+len("^C")))
		p.width = 0
	}
}

// barWidth is the width of the bar that shows the time.
const barWidth = 18

// phaseLine returns the line for a phase of the given name that is at now, and
// was at last one period before.
func phaseLine(name string, duration time.Duration, now, last soFar) string {
	share := min(1, float64(now.elapsed)/float64(duration))
	full := int(share * barWidth)
	bar := strings.Repeat("=", full) + strings.Repeat(" ", barWidth-full)
	rate := float64(now.answered-last.answered) / (now.elapsed - last.elapsed).Seconds()
	line := fmt.Sprintf("%-14s [%s] %4.1f s  %7s req/s", name, bar, now.elapsed.Seconds(), grouped(uint64(rate)))
	if now.failed > 0 {
		line += fmt.Sprintf("  %s failed", grouped(now.failed))
	}
	return line
}
