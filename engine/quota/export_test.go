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
		// What is paid back at a rate that was raised since is another
		// question: with a limit of 1 hardly anything is.
		l := e.limitOf()
		l.Limit = 1
		c, now, end := e.algorithm.open(), e.floor, int64(0)
		if r, ok := stored[e.id]; ok {
			var err error
			if c, err = decodeState(&e.id, r.State); err != nil {
				uncovered = append(uncovered, err.Error())
				return
			}
			end = expiry(r.ExpiresAt)
		}
		forgotten := e.id.Algorithm != TokenBucket && !e.algorithm.open().covers(e.counter, &l, max(now, end))
		if e.expires > now && (forgotten || !c.covers(e.counter, &l, now)) {
			uncovered = append(uncovered, fmt.Sprintf("%+v: %+v, kept until %d, does not cover %+v at %d", e.id, c, end, e.counter, now))
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
