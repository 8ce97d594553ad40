package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
	"golang.org/x/term"
)

// A display shows how far a run is: on a terminal in one line that changes, elsewhere in a
// line every few seconds.
type display struct {
	w    io.Writer
	live bool

	// On a terminal, the line that is shown now.
	name     string
	line     *progress.Tracker // nil if there is none
	rendered chan struct{}     // closed when it has been taken away
}

// newDisplay returns a display on w, which is live if w is a terminal.
func newDisplay(w io.Writer, live bool) *display { return &display{w: w, live: live} }

// period is the time between two lines.
func (d *display) period() time.Duration {
	if d.live {
		return 100 * time.Millisecond
	}
	return 2 * time.Second
}

// phase shows that the phase of the given name is at now, and was at last one period
// before.
func (d *display) phase(name string, warmup, duration time.Duration, now, last soFar) {
	text := phaseText(name, duration, now, last)
	if !d.live {
		fmt.Fprintf(d.w, "poolbench: %s\n", text)
		return
	}
	d.start(name, int64(warmup+duration))
	d.line.SetValue(int64(min(now.elapsed, duration) + warmup))
	d.line.UpdateMessage(text)
}

// ready takes the last line away for that of a phase, which takes a moment that the phase
// does not have.
func (d *display) ready(name string, warmup, duration time.Duration) {
	if d.live {
		d.start(name, int64(warmup+duration))
	}
}

// note shows text, on a terminal only.
func (d *display) note(text string) {
	if d.live {
		d.start(text, 0)
	}
}

// start shows a line for something new, if that is another name than the last one. A total
// of 0 is not known.
func (d *display) start(name string, total int64) {
	if d.line != nil && d.name == name {
		return
	}
	d.clear()
	style := progress.StyleDefault
	style.Chars.Finished, style.Chars.Unfinished = "=", " "
	style.Chars.Finished25, style.Chars.Finished50, style.Chars.Finished75 = " ", " ", " "
	style.Visibility = progress.StyleVisibility{Tracker: true}
	style.Options.Separator = " "

	w := progress.NewWriter()
	w.SetOutputWriter(d.w) // its width is asked for again and again, and no line is longer
	w.SetStyle(style)
	w.SetUpdateFrequency(d.period())
	w.SetTrackerLength(20)
	w.SetTrackerPosition(progress.PositionLeft)
	w.SetAutoStop(true) // when the line has been taken away
	d.name = name
	d.line = &progress.Tracker{Message: name, Total: total, AutoStopDisabled: true, RemoveOnCompletion: true}
	w.AppendTracker(d.line)
	rendered := make(chan struct{})
	d.rendered = rendered
	go func() {
		defer close(rendered)
		w.Render()
	}()
}

// clear takes the line away.
func (d *display) clear() {
	if d.line == nil {
		return
	}
	d.line.MarkAsDone()
	<-d.rendered
	d.line = nil
	io.WriteString(d.w, eraseBelow) // what Ctrl-C has left there, and moved
}

// eraseBelow goes to the start of the line, and erases that and all below.
const eraseBelow = "\r\x1b[J"

// phaseText returns the text for a phase of the given name that is at now, and
// was at last one period before.
func phaseText(name string, duration time.Duration, now, last soFar) string {
	if now.elapsed <= 0 {
		return fmt.Sprintf("%-14s  warming up, %.1f s left", name, max(0, -now.elapsed.Seconds()))
	}
	rate := float64(now.answered-last.answered) / (now.elapsed - max(0, last.elapsed)).Seconds()
	line := fmt.Sprintf("%-14s %5.1f of %v  %7s req/s", name, now.elapsed.Seconds(), duration, grouped(uint64(max(0, rate))))
	if now.failed > 0 {
		line += fmt.Sprintf("  %s failed", grouped(now.failed))
	}
	return line
}

// isTerminal reports whether w is a terminal that can go back to the start of
// its line.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}
