package fleet

import (
	"context"
	"fmt"
)

// fence has Options.Fence called for another process.
func (s *store) fence(id, label string) {
	ctx, end := context.WithCancelCause(context.Background())
	defer end(nil)
	ctx, cancel := context.WithTimeout(ctx, s.options.Lease)
	defer cancel()
	go func() {
		select {
		case <-s.quit:
			end(ErrClosed)
		case <-ctx.Done():
		}
	}()
	err := func() (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("fleet: Options.Fence panicked: %v", v)
			}
		}()
		return s.options.Fence(ctx, id)
	}()
	if err != nil {
		s.options.Logger.Warn("fleet: a process could not be fenced", "budget", s.name, "id", id, "label", label, "error", err)
		return
	}
	s.mu.Lock()
	s.fenced = id
	s.need = true
	s.mu.Unlock()
	s.kick()
}
