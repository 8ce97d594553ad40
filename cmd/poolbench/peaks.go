package main

import (
	"runtime/metrics"
	"time"
)

// peaks are the largest values seen of what this process uses.
type peaks struct {
	heap       uint64 // bytes of objects, those that are not yet collected included
	goroutines uint64
}

// samplePeriod is the time between two looks.
const samplePeriod = 10 * time.Millisecond

// watchPeaks looks every samplePeriod until the function that it returns is
// called, which returns the peaks.
func watchPeaks() (stop func() peaks) {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/sched/goroutines:goroutines"},
	}
	var p peaks
	look := func() {
		metrics.Read(samples)
		p.heap = max(p.heap, samples[0].Value.Uint64())
		p.goroutines = max(p.goroutines, samples[1].Value.Uint64())
	}
	end, ended := make(chan struct{}), make(chan struct{})
	look()
	go func() {
		defer close(ended)
		ticker := time.NewTicker(samplePeriod)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				look()
			case <-end:
				return
			}
		}
	}()
	return func() peaks {
		close(end)
		<-ended
		look()
		return p
	}
}
