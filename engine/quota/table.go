package quota

import (
	"fmt"
	"hash/maphash"
	"math"
	"math/bits"
	"sync"
	"time"
)

// Options bound a ledger.
type Options struct {
	// MaxCounters is how many counters are kept in process at most; 0 means
	// DefaultMaxCounters. They are spread by their hash over up to 64 shards
	// of equal size, of at least 1,024 counters each; a ledger counts as full
	// when the shard of a new counter is, which in a ledger of several shards
	// is a few percent early.
	MaxCounters int
}

// DefaultMaxCounters is how many counters a ledger keeps unless told otherwise.
const DefaultMaxCounters = 1 << 20

// table keeps counters in process. It is what Memory and Durable share: the
// shards with their locks, finding, and sweeping. What a call does with the
// counters stands in call.go.
//
// A call locks the shards of all its claims in ascending order, so that calls
// never wait for each other in a circle.
type table struct {
	seed   maphash.Seed
	shift  uint // a hash shifted right by it is the number of its shard
	shards []shard
}

const (
	maxShards = 64 // as many as a mask of 64 bits tells apart
	// minShardCounters keeps shards so large that hashing fills them evenly.
	minShardCounters = 1024
	// sweepEvery is in how many calls of a shard one looks for an expired
	// counter; each new counter looks for two.
	sweepEvery = 16
)

// shard is a part of the table under one lock.
type shard struct {
	mu      sync.Mutex
	entries map[uint64]*entry
	// list is the ring of all entries, its own links being the ends. New
	// entries come first; Durable moves those that are touched to the front.
	list entry
	// hand is the entry that sweeping looks at next, on its way to the front.
	hand   *entry
	n, max int
	calls  uint32
	closed bool
	// floor is the latest time at which a dropped counter expired. Where the
	// counter of a claim is not here, no earlier time counts, so that a late
	// request finds no fresh limit where a used one was swept.
	floor int64
	// wake is no later than the first entry of a Memory expires: before it,
	// there is no use in looking through all of them.
	wake int64
	_    [40]byte // keeps the locks of two shards off one cache line
}

// entry is a counter in the table.
type entry struct {
	id        CounterID
	hash      uint64
	algorithm *algorithm
	counter   counter
	// floor is the earliest time that counts for this counter.
	floor int64
	// expires is when the counter no longer matters: from then on it counts
	// as unused, whether it was swept or not. It never decreases.
	expires int64

	prev, next *entry // in the shard's ring
	chain      *entry // the next entry with the same hash
	lease      *lease // what a Durable knows beyond this; nil in a Memory
}

func newTable(o Options) (*table, error) {
	counters := o.MaxCounters
	switch {
	case counters < 0:
		return nil, fmt.Errorf("quota: MaxCounters is %d: want at least 0", counters)
	case counters == 0:
		counters = DefaultMaxCounters
	}
	n := 1
	for n < maxShards && counters/(2*n) >= minShardCounters {
		n *= 2
	}
	t := &table{seed: maphash.MakeSeed(), shift: uint(64 - bits.TrailingZeros(uint(n))), shards: make([]shard, n)}
	for i := range t.shards {
		s := &t.shards[i]
		s.entries, s.max = make(map[uint64]*entry), counters/n
		s.list.prev, s.list.next, s.hand = &s.list, &s.list, &s.list
	}
	return t, nil
}

// hash mixes the parts of a counter's identity. Each is hashed with a seed of
// this process, so that no stranger can aim at a shard.
func (t *table) hash(c *Claim, a *algorithm) uint64 {
	const m1, m2, m3 = 0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f, 0x165667b19e3779f9
	h := maphash.String(t.seed, c.Subject)
	h = bits.RotateLeft64(h*m1, 29) ^ maphash.String(t.seed, c.TenantID)
	h = bits.RotateLeft64(h*m2, 31) ^ maphash.String(t.seed, c.Limit.Name)
	return (h ^ uint64(c.Limit.Window) ^ uint64(a.code)<<60) * m3
}

// shardOf returns the shard of a hash.
func (t *table) shardOf(hash uint64) *shard { return &t.shards[hash>>t.shift] }

func (t *table) lock(shards uint64) {
	for ; shards != 0; shards &= shards - 1 {
		t.shards[bits.TrailingZeros64(shards)].mu.Lock()
	}
}

func (t *table) unlock(shards uint64) {
	for ; shards != 0; shards &= shards - 1 {
		t.shards[bits.TrailingZeros64(shards)].mu.Unlock()
	}
}

// sweep drops every expired counter.
func (t *table) sweep(at time.Time) error {
	now, err := nanoseconds(at)
	if err != nil {
		return err
	}
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		s.sweep(now)
		s.mu.Unlock()
	}
	return nil
}

// count is how many counters there are.
func (t *table) count() int {
	n := 0
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += s.n
		s.mu.Unlock()
	}
	return n
}

// max is how many counters there may be.
func (t *table) max() int { return len(t.shards) * t.shards[0].max }

// find returns the entry of a claim's counter, nil if there is none.
func (s *shard) find(hash uint64, c *Claim, a *algorithm) *entry {
	e := s.entries[hash]
	for e != nil && !e.is(c, a) {
		e = e.chain
	}
	return e
}

// insert adds an unused counter. Until it is used, it expires at once after
// now.
func (s *shard) insert(c *Claim, hash uint64, a *algorithm, now int64) *entry {
	e := &entry{id: c.id(), hash: hash, algorithm: a, counter: a.open(), floor: s.floor, expires: now + 1, chain: s.entries[hash]}
	s.entries[hash] = e
	s.n++
	e.link(&s.list)
	return e
}

// remove drops an entry. Whoever is late for it is held to the time at which
// it expired.
func (s *shard) remove(e *entry, floor int64) {
	if s.hand == e {
		s.hand = e.prev
	}
	e.unlink()
	if first := s.entries[e.hash]; first != e {
		for first.chain != e {
			first = first.chain
		}
		first.chain = e.chain
	} else if e.chain != nil {
		s.entries[e.hash] = e.chain
	} else {
		delete(s.entries, e.hash)
	}
	s.n--
	s.floor = max(s.floor, floor)
}

// touch moves an entry to the front.
func (s *shard) touch(e *entry) {
	if s.list.next == e {
		return
	}
	if s.hand == e {
		s.hand = e.prev
	}
	e.unlink()
	e.link(&s.list)
}

// link puts the entry behind another in the ring.
func (e *entry) link(after *entry) {
	e.prev, e.next = after, after.next
	e.prev.next, e.next.prev = e, e
}

func (e *entry) unlink() {
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next = nil, nil
}

// tick lets every few calls look at one counter.
func (s *shard) tick(now int64) {
	if s.calls++; s.calls%sweepEvery == 0 {
		s.look(now)
	}
}

// look drops the counter under the hand if it has expired, and moves on.
func (s *shard) look(now int64) {
	e := s.hand
	if e == &s.list {
		if e = e.prev; e == &s.list {
			return
		}
	}
	s.hand = e.prev
	s.drop(e, now)
}

// drop removes an entry that has expired and that nobody waits for.
func (s *shard) drop(e *entry, now int64) bool {
	if e.expires > now || (e.lease != nil && e.lease.batch != nil) {
		return false
	}
	s.remove(e, e.expires)
	return true
}

// sweep drops every expired counter.
func (s *shard) sweep(now int64) {
	s.wake = math.MaxInt64
	for e := s.list.next; e != &s.list; {
		next := e.next
		if !s.drop(e, now) {
			s.wake = min(s.wake, e.expires)
		}
		e = next
	}
}

// room makes room for another counter, if need be by dropping expired ones.
func (s *shard) room(now int64) bool {
	s.look(now)
	s.look(now)
	if s.n >= s.max && s.wake <= now {
		s.sweep(now)
	}
	return s.n < s.max
}
