package testkit

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Logbook keeps what is logged, one line of text for each record, with the time of the
// bubble left out.
type Logbook struct {
	Mu    sync.Mutex // guards what follows
	Lines []string
	Times []time.Time
}

func (b *Logbook) Write(line []byte) (int, error) {
	b.Mu.Lock()
	defer b.Mu.Unlock()
	b.Lines = append(b.Lines, strings.TrimSpace(string(line)))
	b.Times = append(b.Times, time.Now())
	return len(line), nil
}

func (b *Logbook) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

// All returns the lines, and when they were logged.
func (b *Logbook) All() ([]string, []time.Time) {
	b.Mu.Lock()
	defer b.Mu.Unlock()
	return slices.Clone(b.Lines), slices.Clone(b.Times)
}

// With returns the lines of a level.
func (b *Logbook) With(level slog.Level) (lines []string) {
	all, _ := b.All()
	for _, line := range all {
		if rest, ok := strings.CutPrefix(line, "level="+level.String()+" "); ok {
			lines = append(lines, rest)
		}
	}
	return lines
}
