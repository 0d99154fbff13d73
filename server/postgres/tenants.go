package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twyn/twyn/engine"
)

// tenantRow is a row of tenants.
type tenantRow struct {
	ID        string    `db:"id"`
	Name      string    `db:"name"`
	Active    bool      `db:"active"`
	CreatedAt time.Time `db:"created_at"`
}

func (r *tenantRow) tenant() (engine.Tenant, error) {
	return engine.Tenant{ID: r.ID, Name: r.Name, Active: r.Active, CreatedAt: r.CreatedAt.UTC()}, nil
}

const insertTenant = `
INSERT INTO tenants (id, name, active, created_at)
VALUES ($1, $2, $3, $4)`

// CreateTenant makes a tenant and its first key together. A tenant that exists
// is engine.ErrConflict.
func (s *Store) CreateTenant(ctx context.Context, tenant engine.Tenant, first engine.Key, secret engine.Digest) error {
	if first.TenantID != tenant.ID {
		return errors.New("creating a tenant: its first key belongs to another")
	}
	err := s.writeSystem(ctx, func(t *tx) error { return t.createTenant(ctx, tenant, first, secret) })
	if err != nil {
		return fmt.Errorf("creating a tenant: %w", err)
	}
	return nil
}

// createTenant begins with the rights of the system and ends with those of the
// new tenant.
func (t *tx) createTenant(ctx context.Context, tenant engine.Tenant, first engine.Key, secret engine.Digest) error {
	if _, err := t.exec(ctx, insertTenant, tenant.ID, tenant.Name, tenant.Active, tenant.CreatedAt); err != nil {
		return err
	}
	if err := t.become(ctx, t.store.role); err != nil {
		return err
	}
	if err := t.enter(ctx, tenant.ID); err != nil {
		return err
	}
	return t.createKey(ctx, &first, secret)
}

const selectTenant = `
SELECT id, name, active, created_at
FROM tenants
WHERE id = $1`

// Tenant returns a tenant.
func (s *Store) Tenant(ctx context.Context, tenantID string) (engine.Tenant, error) {
	return s.oneTenant(ctx, "reading a tenant", s.readSystem, tenantID, func(t *tx, row *tenantRow) error {
		return t.one(ctx, row, selectTenant, tenantID)
	})
}

// oneTenant runs f, which reads the row of one tenant, in a transaction.
func (s *Store) oneTenant(
	ctx context.Context, doing string, transact func(context.Context, func(*tx) error) error,
	tenantID string, f func(*tx, *tenantRow) error,
) (tenant engine.Tenant, err error) {
	if !wellFormedTenantID(tenantID) {
		return engine.Tenant{}, fmt.Errorf("%s: %w", doing, engine.ErrNotFound)
	}
	err = transact(ctx, func(t *tx) error {
		var row tenantRow
		if err := f(t, &row); err != nil {
			return err
		}
		tenant, err = row.tenant()
		return err
	})
	if err != nil {
		return engine.Tenant{}, fmt.Errorf("%s: %w", doing, err)
	}
	return tenant, nil
}

const selectTenants = `
SELECT id, name, active, created_at
FROM tenants
ORDER BY created_at DESC, id DESC
LIMIT $1 OFFSET $2`

const countTenants = `
SELECT count(*)
FROM tenants`

// Tenants lists tenants, newest first, and counts them all. The platform's is
// the oldest.
func (s *Store) Tenants(ctx context.Context, page engine.Page) (tenants []engine.Tenant, total int, err error) {
	limit, offset := window(page)
	err = s.listSystem(ctx, func(t *tx) error {
		var rows []tenantRow
		if err := t.all(ctx, &rows, selectTenants, limit, offset); err != nil {
			return err
		}
		if err := t.one(ctx, &total, countTenants); err != nil {
			return err
		}
		tenants, err = convert(rows, (*tenantRow).tenant)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("listing tenants: %w", err)
	}
	return tenants, total, nil
}

const updateTenantActive = `
UPDATE tenants
SET active = $2
WHERE id = $1
RETURNING id, name, active, created_at`

// SetTenantActive disables or enables a tenant.
func (s *Store) SetTenantActive(ctx context.Context, tenantID string, active bool) (engine.Tenant, error) {
	return s.oneTenant(ctx, "enabling or disabling a tenant", s.writeSystem, tenantID, func(t *tx, row *tenantRow) error {
		return t.one(ctx, row, updateTenantActive, tenantID, active)
	})
}
