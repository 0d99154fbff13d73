package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/lib/pq"

	"github.com/twyn/twyn/engine"
)

// Keys are locked in the order of their ids, so that two batches never wait
// for each other. A key that was deleted meanwhile is left out.
const addUsage = `
WITH used AS (
    SELECT tenant_id, id, sum(count)::bigint AS count, max(at) AS at
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[]) AS batch (tenant_id, id, count, at)
    GROUP BY tenant_id, id
), locked AS (
    SELECT keys.id
    FROM keys
    JOIN used ON used.tenant_id = keys.tenant_id AND used.id = keys.id
    ORDER BY keys.id
    FOR NO KEY UPDATE OF keys
)
UPDATE keys
SET usage_count = keys.usage_count + used.count, last_used_at = GREATEST(keys.last_used_at, used.at)
FROM used
JOIN locked ON locked.id = used.id
WHERE keys.tenant_id = used.tenant_id AND keys.id = used.id`

// AddUsage adds to what keys have used, all of the batch or nothing.
func (s *Store) AddUsage(ctx context.Context, batch []engine.Usage) error {
	if len(batch) == 0 {
		return nil
	}
	tenants, ids := make(pq.StringArray, len(batch)), make(pq.StringArray, len(batch))
	counts, times := make(pq.Int64Array, len(batch)), make([]*time.Time, len(batch))
	for i := range batch {
		u := &batch[i]
		tenants[i], ids[i], counts[i], times[i] = u.TenantID, u.KeyID, u.Count, null(u.LastUsedAt)
	}
	err := s.writeSystem(ctx, func(t *tx) error {
		_, err := t.exec(ctx, addUsage, tenants, ids, counts, timeArray(times))
		return err
	})
	if err != nil {
		return fmt.Errorf("adding the usage of %d keys: %w", len(batch), err)
	}
	return nil
}

// timeArray is times as a parameter, NULL where there is none.
func timeArray(times []*time.Time) any {
	list := make([]*string, len(times))
	for i, at := range times {
		if at != nil {
			text := at.UTC().Format("2006-01-02T15:04:05.999999999Z07:00")
			list[i] = &text
		}
	}
	return pq.Array(list)
}
