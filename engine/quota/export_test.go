package quota

import "fmt"

// Uncovered compares the ledger's counters with what a store holds and lists
// those that a crash at this moment would turn back: there must never be any.
// The records must be what the store holds while it runs.
func (d *Durable) Uncovered(records []Record) []string {
	stored := make(map[CounterID]Record, len(records))
	for _, r := range records {
		stored[r.ID] = r
	}
	var uncovered []string
	d.each(func(_ *shard, e *entry) {
		if e.lease.loading {
			return
		}
		l := e.limitOf()
		c, now := e.algorithm.open(), e.floor
		if r, ok := stored[e.id]; ok {
			var err error
			if c, err = decodeState(&e.id, r.State); err != nil {
				uncovered = append(uncovered, err.Error())
				return
			}
			if end := expiry(r.ExpiresAt); end < e.expires && !c.covers(e.counter, &l, end) {
				uncovered = append(uncovered, fmt.Sprintf("%+v is forgotten at %d while %+v matters until %d", e.id, end, e.counter, e.expires))
			}
		}
		if e.expires > now && !c.covers(e.counter, &l, now) {
			uncovered = append(uncovered, fmt.Sprintf("%+v: %+v does not cover %+v at %d", e.id, c, e.counter, now))
		}
	})
	return uncovered
}

// Waiting is how many counters wait for the store.
func (d *Durable) Waiting() int {
	n := 0
	d.each(func(_ *shard, e *entry) {
		if e.lease.batch != nil {
			n++
		}
	})
	return n
}
