package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/lib/pq"

	"github.com/twyn/twyn/engine/quota"
)

// counterRow is a row of counters.
type counterRow struct {
	TenantID  string    `db:"tenant_id"`
	Subject   string    `db:"subject"`
	Name      string    `db:"name"`
	Algorithm string    `db:"algorithm"`
	WindowNS  int64     `db:"window_ns"`
	State     []byte    `db:"state"`
	ExpiresAt time.Time `db:"expires_at"`
}

func (r *counterRow) record() (quota.Record, error) {
	return quota.Record{
		ID: quota.CounterID{
			TenantID: r.TenantID, Subject: r.Subject, Name: r.Name,
			Algorithm: quota.Algorithm(r.Algorithm), Window: time.Duration(r.WindowNS),
		},
		State: r.State, ExpiresAt: r.ExpiresAt.UTC(),
	}, nil
}

// counterIDs are the parts of ids as parameters.
type counterIDs struct {
	tenants, subjects, names, algorithms pq.StringArray
	windows                              pq.Int64Array
}

func (c *counterIDs) add(id *quota.CounterID) {
	c.tenants = append(c.tenants, id.TenantID)
	c.subjects = append(c.subjects, id.Subject)
	c.names = append(c.names, id.Name)
	c.algorithms = append(c.algorithms, string(id.Algorithm))
	c.windows = append(c.windows, int64(id.Window))
}

const selectCounters = `
SELECT counters.tenant_id, counters.subject, counters.name, counters.algorithm, counters.window_ns, counters.state, counters.expires_at
FROM counters
JOIN unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])
    AS wanted (tenant_id, subject, name, algorithm, window_ns)
    USING (tenant_id, subject, name, algorithm, window_ns)`

// LoadCounters returns the records that exist among ids, in any order.
func (s *Store) LoadCounters(ctx context.Context, ids []quota.CounterID) ([]quota.Record, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	var c counterIDs
	for i := range ids {
		c.add(&ids[i])
	}
	var records []quota.Record
	err := s.readSystem(ctx, func(t *tx) error {
		var rows []counterRow
		err := t.all(ctx, &rows, selectCounters, c.tenants, c.subjects, c.names, c.algorithms, c.windows)
		if err != nil {
			return err
		}
		records, err = convert(rows, (*counterRow).record)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("loading %d counters: %w", len(ids), err)
	}
	return records, nil
}

// Counters are written in the order of their ids, so that two batches never
// wait for each other.
const upsertCounters = `
INSERT INTO counters (tenant_id, subject, name, algorithm, window_ns, state, expires_at)
SELECT tenant_id, subject, name, algorithm, window_ns, state, expires_at
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bytea[], $7::timestamptz[])
    AS batch (tenant_id, subject, name, algorithm, window_ns, state, expires_at)
ORDER BY tenant_id COLLATE "C", subject COLLATE "C", name COLLATE "C", algorithm COLLATE "C", window_ns
ON CONFLICT (tenant_id, subject, name, algorithm, window_ns)
DO UPDATE SET state = EXCLUDED.state, expires_at = EXCLUDED.expires_at`

// SaveCounters writes all records or none. No id occurs twice.
func (s *Store) SaveCounters(ctx context.Context, records []quota.Record) error {
	if len(records) == 0 {
		return nil
	}
	var c counterIDs
	states, ends := make(pq.ByteaArray, len(records)), make([]*time.Time, len(records))
	for i := range records {
		r := &records[i]
		c.add(&r.ID)
		states[i] = r.State
		if states[i] == nil {
			states[i] = []byte{}
		}
		end := roundUp(r.ExpiresAt)
		ends[i] = &end
	}
	err := s.writeSystem(ctx, func(t *tx) error {
		_, err := t.exec(ctx, upsertCounters, c.tenants, c.subjects, c.names, c.algorithms, c.windows, states, timeArray(ends))
		return err
	})
	if err != nil {
		return fmt.Errorf("saving %d counters: %w", len(records), err)
	}
	return nil
}

// roundUp is the time in the microseconds that the database keeps, never
// earlier: a counter must not be forgotten too soon.
func roundUp(at time.Time) time.Time {
	if cut := at.Truncate(time.Microsecond); cut.Before(at) {
		return cut.Add(time.Microsecond)
	}
	return at
}
