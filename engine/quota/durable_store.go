package quota

import (
	"context"
	"errors"
	"fmt"
)

// This file is where a Durable speaks to its store: what its two goroutines
// do, and Close.

// load asks the store for new counters.
func (d *Durable) load(ctx context.Context, entries []*entry) error {
	ids := make([]CounterID, len(entries))
	for i, e := range entries {
		ids[i] = e.id
	}
	records, err := d.store.LoadCounters(ctx, ids)
	if err != nil {
		err = fmt.Errorf("%w: loading %d counters: %w", ErrUnavailable, len(ids), err)
		d.unload(entries, err)
		return err
	}
	found := make(map[CounterID]*Record, len(records))
	for i := range records {
		found[records[i].ID] = &records[i]
	}
	for _, e := range entries {
		d.loaded(e, found[e.id])
	}
	return nil
}

// loaded gives a counter what the store holds of it. One that cannot be read
// must not count as unused: whoever needs it gets an error.
func (d *Durable) loaded(e *entry, r *Record) {
	s := d.table.shardOf(e.hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	e.lease.loading, e.lease.batch = false, nil
	if r == nil {
		return
	}
	c, err := decodeState(&e.id, r.State)
	if err != nil {
		e.lease.err = fmt.Errorf("%w: reading counter %q of %q: %w", ErrUnavailable, e.id.Name, e.id.Subject, err)
		s.remove(e, 0)
		return
	}
	e.counter, e.expires = c, max(e.expires, expiry(r.ExpiresAt))
}

// unload drops counters that could not be loaded.
func (d *Durable) unload(entries []*entry, err error) {
	for _, e := range entries {
		s := d.table.shardOf(e.hash)
		s.mu.Lock()
		e.lease.loading, e.lease.batch, e.lease.err = false, nil, err
		s.remove(e, 0)
		s.mu.Unlock()
	}
}

// save writes the leases of counters to the store, and those to be dropped as
// they are.
func (d *Durable) save(ctx context.Context, entries []*entry) error {
	records := make([]Record, 0, len(entries))
	for _, e := range entries {
		s := d.table.shardOf(e.hash)
		s.mu.Lock()
		if e.lease.evicting = e.lease.evicting && e.lease.want == 0; e.lease.evicting {
			records = append(records, e.exact())
			e.lease.saving = true
		} else if r, needed := e.extend(); needed {
			records = append(records, r)
			e.lease.saving = true
		}
		s.mu.Unlock()
	}
	var err error
	if len(records) > 0 {
		if err = d.store.SaveCounters(ctx, records); err != nil {
			err = fmt.Errorf("%w: saving %d counters: %w", ErrUnavailable, len(records), err)
		}
	}
	d.saved(entries, err)
	return err
}

// saved ends what save began.
func (d *Durable) saved(entries []*entry, err error) {
	for _, e := range entries {
		s, l := d.table.shardOf(e.hash), e.lease
		s.mu.Lock()
		l.batch = nil
		switch {
		case l.evicting && err == nil:
			l.clean, l.risk = true, 0
			if l.want == 0 {
				s.remove(e, 0)
			}
		case l.saving && !l.evicting:
			e.extended(err == nil)
		}
		l.evicting, l.saving = false, false
		s.mu.Unlock()
	}
}

// Close ends the ledger: whoever asks from now on gets an error that wraps
// ErrUnavailable. It saves every counter exactly as it is, so that whoever
// opens the store next goes on where this ledger stopped. If it fails, because
// the store did or ctx ended, what was not saved stays covered by what the
// store was told before, and Close may be called again.
func (d *Durable) Close(ctx context.Context) error {
	for i := range d.table.shards {
		s := &d.table.shards[i]
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
	}
	if err := errors.Join(d.loader.stop(ctx), d.writer.stop(ctx)); err != nil {
		d.cancel()
		return fmt.Errorf("closing the quota ledger: %w", err)
	}
	d.cancel()
	var used []*entry
	d.each(func(_ *shard, e *entry) {
		if !e.lease.clean {
			used = append(used, e)
		}
	})
	for len(used) > 0 {
		some := used[:min(len(used), maxBatch)]
		if err := d.saveExact(ctx, some); err != nil {
			return fmt.Errorf("closing the quota ledger: saving %d counters: %w", len(used), err)
		}
		used = used[len(some):]
	}
	return nil
}

// saveExact writes counters as they are. Nobody takes from them any more.
func (d *Durable) saveExact(ctx context.Context, entries []*entry) error {
	records := make([]Record, len(entries))
	for i, e := range entries {
		s := d.table.shardOf(e.hash)
		s.mu.Lock()
		records[i] = e.exact()
		s.mu.Unlock()
	}
	if err := d.store.SaveCounters(ctx, records); err != nil {
		return err
	}
	for _, e := range entries {
		s := d.table.shardOf(e.hash)
		s.mu.Lock()
		e.lease.clean, e.lease.risk = true, 0
		s.mu.Unlock()
	}
	return nil
}
