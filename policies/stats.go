package policies

import "sync/atomic"

// stripes spread the count of hits, which every request adds to, over lines of
// the processor's cache.
const stripes = 8

// Stats counts how Sets came to their decisions. One Stats serves a whole
// program: give it to Load in Options, and every Set that takes the place of
// another counts on. Its zero value is ready to use.
type Stats struct {
	hits [stripes]struct {
		n atomic.Uint64
		_ [56]byte
	}
	misses      atomic.Uint64
	bypasses    atomic.Uint64
	compiled    atomic.Uint64
	interpreted atomic.Uint64
	differences atomic.Uint64
}

// Counts is what a Stats has counted.
type Counts struct {
	// Hits are decisions that were remembered, Misses those that were not
	// yet, Bypasses those that could not be: the policy, or the question,
	// has no key.
	Hits, Misses, Bypasses uint64
	// Compiled and Interpreted are evaluations by what ran them. One that
	// failed compiled is tried again by the interpreter and counts for both.
	Compiled, Interpreted uint64
	// Differences are evaluations on which the two did not agree. It must
	// stay 0.
	Differences uint64
}

// Counts returns what was counted so far.
func (s *Stats) Counts() Counts {
	c := Counts{
		Misses: s.misses.Load(), Bypasses: s.bypasses.Load(),
		Compiled: s.compiled.Load(), Interpreted: s.interpreted.Load(), Differences: s.differences.Load(),
	}
	for i := range s.hits {
		c.Hits += s.hits[i].n.Load()
	}
	return c
}

// hit counts a hit; the hash of its key chooses the stripe.
func (s *Stats) hit(hash uint64) { s.hits[hash>>61].n.Add(1) }
