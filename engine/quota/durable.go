package quota

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Durable is the Ledger of a server: in process, and backed by a Store that
// outlives it.
//
// # Write ahead
//
// Before an admission is answered, the store holds a state that covers it. So
// that not every request waits for the store, it is told of units in advance,
// an eighth of what is left of the limit at a time, or as many as requests are
// waiting for, and of the same units only once: they are taken in process
// until they run out. When a quarter of them is left, or their time ends, the
// next are written in the background. Requests wait only where that did not
// come in time, as the first of a window does. One goroutine writes for all
// counters; what comes while it is busy goes into one SaveCounters call.
// Refused requests and Peek of a known counter do not ask the store.
//
// # What a crash costs
//
// A process that dies without Close leaves in the store what was taken and
// what was told in advance. Nobody gets anything back: of each limit in use, a
// client loses what AtRisk counts, usually at most an eighth of what was left
// of it. A fixed window ends at most 1/32 of the window late, a token bucket
// refills nothing for at most that long, and a sliding window forgets the lost
// units at most two slots late. Close loses nothing.
//
// # Failure
//
// Where the store fails, requests that need it get an error that wraps
// ErrUnavailable; those covered by what the store was told go on. A save whose
// outcome is not known does no harm.
//
// # Bounds
//
// Counters over the maximum are dropped, expired ones and those not used for
// longest first, after their exact state was saved.
//
// The store belongs to one Durable at a time.
type Durable struct {
	table  *table
	store  Store
	loader *batcher
	writer *batcher
	// cancel ends the calls of the store that are under way.
	cancel context.CancelFunc
}

var (
	_ Ledger = (*Durable)(nil)

	errClosed = fmt.Errorf("%w: it was closed", ErrUnavailable)
	errFull   = fmt.Errorf("%w: there is room for too few counters", ErrUnavailable)
)

// NewDurable returns a ledger over a store. It runs two goroutines, one that
// loads and one that saves; Close ends them.
func NewDurable(store Store, o Options) (*Durable, error) {
	if store == nil {
		return nil, errors.New("quota: a Durable needs a store")
	}
	t, err := newTable(o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	d := &Durable{table: t, store: store, cancel: cancel}
	d.loader = newBatcher(d.load, d.unload)
	d.writer = newBatcher(d.save, d.saved)
	go d.loader.loop(ctx)
	go d.writer.loop(ctx)
	return d, nil
}

// Reserve implements Ledger. It waits for the store, as long as ctx allows, if
// a counter is not known yet or what the store was told of it is used up.
func (d *Durable) Reserve(ctx context.Context, at time.Time, claims []Claim, verdicts []Verdict) (bool, error) {
	return d.run(ctx, &call{at: at, claims: claims, verdicts: verdicts, take: true})
}

// Peek implements Ledger. It waits for the store if a counter is not known.
func (d *Durable) Peek(ctx context.Context, at time.Time, claims []Claim, verdicts []Verdict) error {
	_, err := d.run(ctx, &call{at: at, claims: claims, verdicts: verdicts})
	return err
}

// Sweep drops from memory every counter that no longer matters at a time.
func (d *Durable) Sweep(at time.Time) error { return d.table.sweep(at) }

// Len is how many counters are kept in process.
func (d *Durable) Len() int { return d.table.count() }

// AtRisk is what a crash at this moment would cost: in how many counters the
// store counts units in advance, and how many at most.
func (d *Durable) AtRisk() (counters int, units int64) {
	d.each(func(_ *shard, e *entry) {
		if e.lease.risk > 0 {
			counters++
			units += e.lease.risk
		}
	})
	return counters, units
}

// each calls f for every counter, with its shard locked.
func (d *Durable) each(f func(*shard, *entry)) {
	for i := range d.table.shards {
		s := &d.table.shards[i]
		s.mu.Lock()
		for e := s.list.next; e != &s.list; {
			next := e.next
			f(s, e)
			e = next
		}
		s.mu.Unlock()
	}
}

func (d *Durable) run(ctx context.Context, c *call) (bool, error) {
	if err := d.table.prepare(c); err != nil {
		return false, err
	}
	if len(c.claims) > d.table.shards[0].max {
		return false, errFull
	}
	for {
		admitted, wait, err := d.try(c)
		if err != nil || !wait {
			return admitted, err
		}
		if err := c.await(ctx); err != nil {
			return false, err
		}
	}
}

// await waits for the batches that hold what the call lacks.
func (c *call) await(ctx context.Context) error {
	refs := c.refs()
	for i := range refs {
		r := &refs[i]
		if r.batch == nil {
			continue
		}
		select {
		case <-r.batch.done:
		case <-ctx.Done():
			return fmt.Errorf("%w: waiting for the store: %w", ErrUnavailable, context.Cause(ctx))
		}
		if r.batch.err != nil {
			return r.batch.err
		}
		if r.entry != nil && r.entry.lease.err != nil {
			return r.entry.lease.err
		}
	}
	return nil
}

// try answers the call if everything that it needs is in process. If not, it
// asks for it and tells the call what to wait for.
func (d *Durable) try(c *call) (admitted, wait bool, err error) {
	t := d.table
	t.lock(c.shards)
	defer t.unlock(c.shards)
	if wait, err = d.find(c); wait || err != nil {
		return false, wait, err
	}
	if admitted = t.judge(c); !admitted {
		c.settle(false)
		return false, false, nil
	}
	refs := c.refs()
	for i := range refs {
		r, l, cost := &refs[i], &c.claims[i].Limit, c.cost(i)
		if cost > 0 && !r.entry.leased(l, cost, r.now) {
			r.batch = d.ask(r.entry, l, cost, r.now)
			wait = true
		}
	}
	if wait {
		return false, true, nil
	}
	c.settle(true)
	for i := range refs {
		r, l, cost := &refs[i], &c.claims[i].Limit, c.cost(i)
		if cost > 0 && r.entry.spend(l, cost, r.now, c.verdicts[i].Remaining) {
			d.ask(r.entry, l, 0, r.now)
		}
	}
	return true, false, nil
}

// find finds the counters of a call and has those loaded that are not known.
func (d *Durable) find(c *call) (wait bool, err error) {
	refs := c.refs()
	for i := range refs {
		r := &refs[i]
		s := d.table.shardOf(r.hash)
		if s.closed {
			return false, errClosed
		}
		if i == 0 {
			s.tick(c.now)
		}
		r.batch = nil
		if r.entry = s.find(r.hash, &c.claims[i], r.algorithm); r.entry == nil {
			if err := c.claims[i].storable(); err != nil {
				return false, err
			}
			if r.entry, r.batch = d.open(s, r, &c.claims[i], c.now); r.batch == nil {
				return false, errFull
			}
		} else if s.touch(r.entry); r.entry.lease.loading {
			r.batch = r.entry.lease.batch
		}
		wait = wait || r.batch != nil
	}
	return wait, nil
}

// open makes a counter that is to be loaded, and returns the batch to wait for.
// If there is no room, it makes none, and the batch will have made some.
func (d *Durable) open(s *shard, r *ref, c *Claim, now int64) (*entry, *batch) {
	s.look(now)
	s.look(now)
	busy := d.relieve(s, now)
	if s.n >= s.max {
		return nil, busy
	}
	e := s.insert(c, r.hash, r.algorithm, now)
	e.lease = &lease{loading: true, clean: true}
	e.lease.batch = d.loader.add(e)
	return e, e.lease.batch
}

// relieve drops counters from the end of a shard that is nearly full, those
// that the store does not hold exactly after a save. It returns a batch after
// which there will be more room, nil if there is none.
func (d *Durable) relieve(s *shard, now int64) *batch {
	const part, most = 16, 64
	over := s.n - (s.max - max(1, s.max/part))
	var busy *batch
	for e, n := s.list.prev, 0; e != &s.list && over > 0 && n < most; n++ {
		prev, l := e.prev, e.lease
		switch {
		case l.batch != nil:
			busy = l.batch
			if l.evicting {
				over--
			}
		case s.drop(e, now):
			over--
		case l.clean:
			s.remove(e, 0)
			over--
		default:
			l.evicting = true
			l.batch = d.writer.add(e)
			busy = l.batch
			over--
		}
		e = prev
	}
	return busy
}

// ask has the lease of a counter extended, for a claim that waits for its cost
// or, with a cost of 0, in the background.
func (d *Durable) ask(e *entry, l *Limit, cost, now int64) *batch {
	s := e.lease
	s.limit, s.burst = l.Limit, l.Burst
	s.at = max(s.at, now)
	if !s.saving || s.evicting {
		s.want += cost
	}
	if s.batch == nil {
		s.batch = d.writer.add(e)
	}
	return s.batch
}
