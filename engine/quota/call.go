package quota

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// call is one Reserve or Peek on its way through a table: prepare, lock, find,
// judge, and, if all is well, report what was taken.
type call struct {
	at       time.Time
	now      int64 // at in nanoseconds since 1970
	claims   []Claim
	verdicts []Verdict
	shards   uint64 // a bit for each shard that the claims touch
	take     bool   // Reserve, not Peek

	// inline and more hold the refs. They are not one slice, because a call
	// that pointed into itself would have to be on the heap.
	inline [inlineClaims]ref
	more   []ref
}

// refs is what the call knows of its claims, in their order.
func (c *call) refs() []ref {
	if n := len(c.claims); n <= inlineClaims {
		return c.inline[:n]
	}
	return c.more
}

// ref is what a call knows of one of its claims.
type ref struct {
	hash      uint64
	algorithm *algorithm
	entry     *entry // nil: the counter is not in the table
	// now is the time that counts for the counter. opens is when the claim
	// fits: it is admitted if that is now.
	now, opens int64
	// batch is what the claim has to wait for, in a Durable.
	batch *batch
}

// never is when a claim fits whose cost is above the limit.
const never = -1

// inlineClaims is up to how many claims a call needs no memory.
const inlineClaims = 8

// prepare checks the claims and finds their shards.
func (t *table) prepare(c *call) error {
	if len(c.claims) != len(c.verdicts) {
		return fmt.Errorf("%w: %d claims, room for %d verdicts", ErrInvalidClaim, len(c.claims), len(c.verdicts))
	}
	var err error
	if c.now, err = nanoseconds(c.at); err != nil {
		return err
	}
	if len(c.claims) > inlineClaims {
		c.more = make([]ref, len(c.claims))
	}
	refs := c.refs()
	for i := range c.claims {
		claim := &c.claims[i]
		a := claim.Limit.Algorithm.find()
		if a == nil || !claim.Limit.countable() {
			return claim.Limit.Validate()
		}
		if claim.Cost < 0 {
			return fmt.Errorf("%w: cost %d of limit %q: want at least 0", ErrInvalidClaim, claim.Cost, claim.Limit.Name)
		}
		hash := t.hash(claim, a)
		for j := range i {
			if refs[j].hash == hash && c.claims[j].id() == claim.id() {
				return fmt.Errorf("%w: limit %q of %q is claimed twice", ErrInvalidClaim, claim.Limit.Name, claim.Subject)
			}
		}
		refs[i].hash, refs[i].algorithm = hash, a
		c.shards |= 1 << (hash >> t.shift)
	}
	return nil
}

// countable is what Validate checks beside the algorithm, without its words.
func (l *Limit) countable() bool {
	return l.Name != "" && len(l.Name) <= maxNameBytes && l.Limit >= 0 && l.Limit <= MaxLimit &&
		l.Window >= MinWindow && l.Window <= MaxWindow && l.Burst >= 0 && l.Burst <= MaxLimit
}

// id returns the identity of the claim's counter.
func (c *Claim) id() CounterID {
	return CounterID{TenantID: c.TenantID, Subject: c.Subject, Name: c.Limit.Name, Algorithm: c.Limit.Algorithm, Window: c.Limit.Window}
}

// is reports whether the entry is the claim's counter.
func (e *entry) is(c *Claim, a *algorithm) bool {
	return e.algorithm == a && e.id.Subject == c.Subject && e.id.TenantID == c.TenantID &&
		e.id.Name == c.Limit.Name && e.id.Window == c.Limit.Window
}

// storable checks the words of a new counter's identity: every store must be
// able to keep them, and none may make the write of another counter fail.
func (c *Claim) storable() error {
	for _, word := range [...]string{c.TenantID, c.Subject, c.Limit.Name} {
		if !utf8.ValidString(word) || strings.ContainsRune(word, 0) {
			return fmt.Errorf("%w: %q is not UTF-8 or holds a zero byte", ErrInvalidClaim, word)
		}
	}
	return nil
}

// cost is what the call takes of a claim's limit.
func (c *call) cost(i int) int64 {
	if !c.take {
		return 0
	}
	return c.claims[i].Cost
}

// judge asks every claim's counter and reports whether all of them admit. The
// shards are locked and the refs have their entries.
func (t *table) judge(c *call) bool {
	admitted, refs := true, c.refs()
	for i := range refs {
		r, l, cost := &refs[i], &c.claims[i].Limit, c.cost(i)
		if e := r.entry; e != nil {
			e.age(c.now)
			r.now = max(c.now, e.floor)
		} else {
			r.now = max(c.now, t.shardOf(r.hash).floor)
		}
		switch {
		case l.Limit == 0 || cost > l.capacity():
			r.opens = never
		case cost == 0 || r.entry == nil:
			r.opens = r.now
		default:
			r.opens = r.entry.counter.opens(l, cost, r.now)
			if r.opens > r.now {
				r.opens = min(r.opens, r.entry.expires)
			}
		}
		admitted = admitted && r.opens == r.now
	}
	return admitted
}

// age forgets what no longer matters.
func (e *entry) age(now int64) {
	if e.expires <= max(now, e.floor) {
		e.counter.clear()
		e.floor = max(e.floor, e.expires)
	}
}

// hold keeps the counters that are about to be used from being dropped to make
// room for another.
func (c *call) hold() {
	refs := c.refs()
	for i := range refs {
		if e := refs[i].entry; e != nil {
			e.expires = max(e.expires, c.now+1)
		}
	}
}

// settle takes every claim, if judge has admitted them all, and fills the
// verdicts with how the limits stand then. The counters of claims that cost
// anything are in the table by now.
func (c *call) settle(admitted bool) {
	refs := c.refs()
	for i := range refs {
		r, l, v := &refs[i], &c.claims[i].Limit, &c.verdicts[i]
		var remaining, reset int64
		switch e := r.entry; {
		case e == nil:
			remaining = l.capacity()
		case admitted && c.cost(i) > 0:
			e.counter.take(l, c.cost(i), r.now)
			remaining, reset = e.counter.report(l, r.now)
			e.expires = max(e.expires, reset)
		case l.Limit > 0:
			remaining, reset = e.counter.report(l, r.now)
			reset = min(reset, e.expires)
		}
		if l.Limit == 0 {
			remaining = 0
		}
		if reset == 0 {
			reset = later(c.now, int64(l.Window))
		}
		v.Name, v.Limit, v.Window = l.Name, l.Limit, l.Window
		v.Admitted, v.Remaining = r.opens == r.now, remaining
		v.Reset = c.at.Add(time.Duration(reset - c.now))
		switch r.opens {
		case r.now:
			v.RetryAfter = 0
		case never:
			v.RetryAfter = l.Window
		default:
			v.RetryAfter = time.Duration(r.opens - c.now)
		}
	}
}
