package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/twyn/twyn/engine"
)

// identityRow is a secret with its key and its key's tenant.
type identityRow struct {
	keyRow

	EndsAt          *time.Time `db:"ends_at"`
	TenantName      string     `db:"tenant_name"`
	TenantActive    bool       `db:"tenant_active"`
	TenantCreatedAt time.Time  `db:"tenant_created_at"`
}

const findKey = `
SELECT keys.id, keys.tenant_id, keys.name, keys.environment, keys.active, keys.rate_limit, keys.scopes, keys.metadata,
    keys.created_at, keys.expires_at, keys.last_used_at, keys.usage_count, secrets.ends_at,
    tenants.name AS tenant_name, tenants.active AS tenant_active, tenants.created_at AS tenant_created_at
FROM secrets
JOIN keys ON keys.tenant_id = secrets.tenant_id AND keys.id = secrets.key_id
JOIN tenants ON tenants.id = keys.tenant_id
WHERE secrets.digest = $1`

// FindKey returns whose secret has the digest. Whether the key is enabled, the
// secret still good and the tenant active is for the engine to judge; the
// query is the same for all of them.
func (s *Store) FindKey(ctx context.Context, digest engine.Digest) (*engine.Identity, error) {
	var identity *engine.Identity
	err := s.readSystem(ctx, func(t *tx) error {
		var row identityRow
		if err := t.one(ctx, &row, findKey, digest[:]); err != nil {
			return err
		}
		key, err := row.key()
		if err != nil {
			return err
		}
		tenant := engine.Tenant{ID: row.TenantID, Name: row.TenantName, Active: row.TenantActive, CreatedAt: row.TenantCreatedAt.UTC()}
		identity = &engine.Identity{
			Principal: engine.Principal{Key: &key, Tenant: &tenant}, Digest: digest, NotAfter: utc(row.EndsAt),
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("finding a key by its secret: %w", err)
	}
	return identity, nil
}
