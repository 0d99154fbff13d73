package policies

import (
	"hash/maphash"
	"math/bits"
	"math/rand/v2"
	"sync/atomic"

	"github.com/twyn/twyn/engine"
)

// DefaultMemoEntries is how many decisions a Set remembers if nothing else is
// said.
const DefaultMemoEntries = 1 << 16

// ways is how many entries share a bucket. They fill two lines of the processor's
// cache; with half of that, chance has some bucket overflow in a memo that is
// nearly empty.
const ways = 8

// memo remembers the decisions of one Set by the keys that an encoder makes. It
// holds a fixed number of entries; a new one takes the place of any other in its
// bucket. Nothing in it is ever wrong, so nothing is ever invalidated: a new
// revision, or new data, is another Set with a memo of its own.
//
// Readers take no lock. An entry never changes after it is published; a slot
// whose hash and entry were written by different goroutines only makes a reader
// compare, and miss.
type memo struct {
	seed    maphash.Seed
	mask    uint64
	buckets [][ways]slot
}

// slot is one place for an entry.
type slot struct {
	hash  atomic.Uint64
	entry atomic.Pointer[memoEntry]
}

// memoEntry is a remembered decision. The whole key is kept and compared, since
// a hash is not an identity.
type memoEntry struct {
	key       string
	judgement engine.Judgement
}

// newMemo returns a memo for that many entries, or a few more.
func newMemo(entries int) *memo {
	buckets := 1 << bits.Len(uint((max(entries, ways)-1)/ways))
	return &memo{seed: maphash.MakeSeed(), mask: uint64(buckets - 1), buckets: make([][ways]slot, buckets)}
}

func (m *memo) hash(key []byte) uint64 { return maphash.Bytes(m.seed, key) }

// find returns the entry for a key and its hash, or nil.
func (m *memo) find(hash uint64, key []byte) *memoEntry {
	bucket := &m.buckets[hash&m.mask]
	for i := range bucket {
		if bucket[i].hash.Load() != hash {
			continue
		}
		if e := bucket[i].entry.Load(); e != nil && e.key == string(key) {
			return e
		}
	}
	return nil
}

// add remembers a decision.
func (m *memo) add(hash uint64, key []byte, judgement engine.Judgement) {
	bucket := &m.buckets[hash&m.mask]
	victim := &bucket[rand.IntN(ways)] //nolint:gosec // Chooses a place; guards nothing.
	for i := range bucket {
		if e := bucket[i].entry.Load(); e == nil || bucket[i].hash.Load() == hash {
			victim = &bucket[i]
			break
		}
	}
	victim.entry.Store(&memoEntry{key: string(key), judgement: judgement})
	victim.hash.Store(hash)
}
