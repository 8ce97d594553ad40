package core

import "github.com/S4AK4N/pool/internal/words"

// setGate sets a flag of the gate. clearGate clears one.
func (p *Pool) setGate(flag words.Gate) {
	for g := p.gate.Load(); g&uint64(flag) == 0; g = p.gate.Load() {
		p.gate.CompareAndSwap(g, g|uint64(flag))
	}
}

func (p *Pool) clearGate(flag words.Gate) {
	for g := p.gate.Load(); g&uint64(flag) != 0; g = p.gate.Load() {
		p.gate.CompareAndSwap(g, g&^uint64(flag))
	}
}
