package postgres

import (
	"context"
	"fmt"

	"github.com/twyn/twyn/engine"
)

// firstTenantLockID is "twyn1st" as a number.
const firstTenantLockID = 0x7477796e317374

const lockFirstTenant = `SELECT pg_advisory_xact_lock($1)`

const selectEmpty = `
SELECT NOT EXISTS (SELECT FROM tenants WHERE id <> 'platform') AND NOT EXISTS (SELECT FROM keys)`

// CreateFirstTenant is CreateTenant on a database that has no tenant but the
// platform and no key at all; on any other it does nothing and returns false.
// Of several servers that start together, one makes the tenant.
func (s *Store) CreateFirstTenant(ctx context.Context, tenant engine.Tenant, first engine.Key, secret engine.Digest) (made bool, err error) {
	err = s.writeSystem(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, lockFirstTenant, int64(firstTenantLockID)); err != nil {
			return err
		}
		if err := t.one(ctx, &made, selectEmpty); err != nil || !made {
			return err
		}
		return t.createTenant(ctx, tenant, first, secret)
	})
	if err != nil {
		return false, fmt.Errorf("creating the first tenant: %w", err)
	}
	return made, nil
}
