package quota

import (
	"context"
	"fmt"
	"time"
)

// Memory is a Ledger in process. It forgets everything when the process ends,
// so it is for tests, simulations and whatever may start afresh.
//
// # Bounds
//
// Counters that no longer matter are dropped on the way, a few with every new
// counter and now and then with the others; Sweep drops all of them at once.
// A full ledger admits nothing that needs a new counter: it returns an error
// that wraps ErrUnavailable, because to forget a counter would be to give its
// limit away. Refused claims and Peek make no counter.
type Memory struct {
	table *table
}

var _ Ledger = (*Memory)(nil)

// NewMemory returns an empty ledger.
func NewMemory(o Options) (*Memory, error) {
	t, err := newTable(o)
	if err != nil {
		return nil, err
	}
	return &Memory{t}, nil
}

// Reserve implements Ledger. It needs no memory for counters it knows, up to 8
// claims, and never waits for anything but other calls.
func (m *Memory) Reserve(_ context.Context, at time.Time, claims []Claim, verdicts []Verdict) (bool, error) {
	return m.run(&call{at: at, claims: claims, verdicts: verdicts, take: true})
}

// Peek implements Ledger.
func (m *Memory) Peek(_ context.Context, at time.Time, claims []Claim, verdicts []Verdict) error {
	_, err := m.run(&call{at: at, claims: claims, verdicts: verdicts})
	return err
}

// Sweep drops every counter that no longer matters at a time.
func (m *Memory) Sweep(at time.Time) error { return m.table.sweep(at) }

// Len is how many counters are kept.
func (m *Memory) Len() int { return m.table.count() }

func (m *Memory) run(c *call) (bool, error) {
	t := m.table
	if err := t.prepare(c); err != nil {
		return false, err
	}
	t.lock(c.shards)
	defer t.unlock(c.shards)
	refs := c.refs()
	if len(refs) > 0 {
		t.shardOf(refs[0].hash).tick(c.now)
	}
	missing := false
	for i := range refs {
		r := &refs[i]
		if r.entry = t.shardOf(r.hash).find(r.hash, &c.claims[i], r.algorithm); r.entry == nil {
			if err := c.claims[i].storable(); err != nil {
				return false, err
			}
			missing = true
		}
	}
	admitted := t.judge(c)
	if admitted && missing {
		if err := m.open(c); err != nil {
			return false, err
		}
	}
	c.settle(admitted)
	return admitted, nil
}

// open makes the counters that are missing. One that is made in vain, because
// there is no room for the next, is unused and soon swept.
func (m *Memory) open(c *call) error {
	c.hold()
	refs := c.refs()
	for i := range refs {
		r := &refs[i]
		if r.entry != nil || c.cost(i) == 0 {
			continue
		}
		s := m.table.shardOf(r.hash)
		if !s.room(c.now) {
			return fmt.Errorf("%w: all %d counters are in use", ErrUnavailable, m.table.max())
		}
		r.entry = s.insert(&c.claims[i], r.hash, r.algorithm, c.now)
		s.wake = min(s.wake, c.now+int64(c.claims[i].Limit.Window))
	}
	return nil
}
