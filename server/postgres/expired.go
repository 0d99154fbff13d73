package postgres

import (
	"context"
	"fmt"
	"time"
)

// deleteChunk bounds what one transaction of housekeeping deletes.
const deleteChunk = 5000

const deleteExpiredIdempotency = `
DELETE FROM idempotency
WHERE expires_at <= $1 AND (tenant_id, environment, route, key) IN (
    SELECT tenant_id, environment, route, key FROM idempotency WHERE expires_at <= $1 LIMIT $2)`

const deleteExpiredCounters = `
DELETE FROM counters
WHERE expires_at <= $1 AND (tenant_id, subject, name, algorithm, window_ns) IN (
    SELECT tenant_id, subject, name, algorithm, window_ns FROM counters WHERE expires_at <= $1 LIMIT $2)`

const deleteEndedSecrets = `
DELETE FROM secrets
WHERE ends_at <= $1 AND digest IN (
    SELECT digest FROM secrets WHERE ends_at <= $1 LIMIT $2)`

// DeleteExpired deletes what no longer matters at a time: idempotent answers,
// counters, and secrets that have ended. It is for housekeeping; nothing
// depends on when it runs.
func (s *Store) DeleteExpired(ctx context.Context, at time.Time) error {
	for _, expired := range [...]struct{ what, statement string }{
		{"idempotent answers", deleteExpiredIdempotency},
		{"counters", deleteExpiredCounters},
		{"secrets", deleteEndedSecrets},
	} {
		for n := int64(deleteChunk); n == deleteChunk; {
			err := s.writeSystem(ctx, func(t *tx) (err error) {
				n, err = t.exec(ctx, expired.statement, at, deleteChunk)
				return err
			})
			if err != nil {
				return fmt.Errorf("deleting expired %s: %w", expired.what, err)
			}
		}
	}
	return nil
}
