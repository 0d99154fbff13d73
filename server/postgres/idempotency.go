package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/twyn/twyn/engine"
)

// idempotencyRow is a row of idempotency, without the tenant.
type idempotencyRow struct {
	Environment string    `db:"environment"`
	Route       string    `db:"route"`
	Key         string    `db:"key"`
	Fingerprint []byte    `db:"fingerprint"`
	Status      int       `db:"status"`
	Body        []byte    `db:"body"`
	CreatedAt   time.Time `db:"created_at"`
	ExpiresAt   time.Time `db:"expires_at"`
}

func (r *idempotencyRow) idempotency() (*engine.Idempotency, error) {
	i := &engine.Idempotency{
		Key: r.Key, Environment: engine.Environment(r.Environment), Route: r.Route, Status: r.Status, Body: r.Body,
		CreatedAt: r.CreatedAt.UTC(), ExpiresAt: r.ExpiresAt.UTC(),
	}
	if len(r.Fingerprint) != len(i.Fingerprint) {
		return nil, fmt.Errorf("a fingerprint of %d bytes", len(r.Fingerprint))
	}
	copy(i.Fingerprint[:], r.Fingerprint)
	return i, nil
}

// A row that another transaction is inserting is waited for. One that has
// expired is replaced.
const claimIdempotency = `
INSERT INTO idempotency (tenant_id, environment, route, key, fingerprint, status, body, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (tenant_id, environment, route, key) DO UPDATE
SET fingerprint = EXCLUDED.fingerprint, status = EXCLUDED.status, body = EXCLUDED.body,
    created_at = EXCLUDED.created_at, expires_at = EXCLUDED.expires_at
WHERE idempotency.expires_at <= EXCLUDED.created_at`

const selectIdempotency = `
SELECT environment, route, key, fingerprint, status, body, created_at, expires_at
FROM idempotency
WHERE tenant_id = $1 AND environment = $2 AND route = $3 AND key = $4`

// maxClaims bounds how often a claim is repeated because housekeeping took
// away the row that stood in its way.
const maxClaims = 8

// create runs f, which stores an object, and keeps idem, its answer, with it.
// If idem's key was used before it does not run f and returns the earlier
// answer.
func (s *Store) create(
	ctx context.Context, tenantID string, idem *engine.Idempotency, f func(*tx) error,
) (earlier *engine.Idempotency, err error) {
	err = s.write(ctx, tenantID, func(t *tx) error {
		if idem != nil {
			if earlier, err = t.claim(ctx, tenantID, idem); err != nil || earlier != nil {
				return err
			}
		}
		return f(t)
	})
	if err != nil {
		return nil, err
	}
	return earlier, nil
}

// claim stores idem, or returns what stands in its place.
func (t *tx) claim(ctx context.Context, tenantID string, idem *engine.Idempotency) (*engine.Idempotency, error) {
	body := idem.Body
	if body == nil {
		body = []byte{}
	}
	for range maxClaims {
		n, err := t.exec(ctx, claimIdempotency, tenantID, string(idem.Environment), idem.Route, idem.Key,
			idem.Fingerprint[:], idem.Status, body, idem.CreatedAt, idem.ExpiresAt)
		if err != nil || n > 0 {
			return nil, err
		}
		var rows []idempotencyRow
		err = t.all(ctx, &rows, selectIdempotency, tenantID, string(idem.Environment), idem.Route, idem.Key)
		if err != nil {
			return nil, err
		}
		if len(rows) > 0 {
			return rows[0].idempotency()
		}
	}
	return nil, fmt.Errorf("%w: idempotent answers expire faster than they can be read", engine.ErrUnavailable)
}
