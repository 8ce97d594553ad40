// Package words gives meaning to three words that the pool's core keeps in atomics: the
// gate, the census and the outage. They are plain values: each method reads a value or
// returns another one. Only internal/core has the atomics and decides which value may
// replace which, and when. This package imports nothing of ours.
package words

// Pad is the distance in bytes between words that different processors write. x86 fetches
// lines of 64 bytes in pairs, and on some arm64 a line has 128 bytes.
const Pad = 128
