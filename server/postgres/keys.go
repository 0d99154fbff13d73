package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/lib/pq"

	"github.com/twyn/twyn/engine"
)

// keyRow is a row of keys.
type keyRow struct {
	ID          string         `db:"id"`
	TenantID    string         `db:"tenant_id"`
	Name        string         `db:"name"`
	Environment string         `db:"environment"`
	Active      bool           `db:"active"`
	RateLimit   int64          `db:"rate_limit"`
	Scopes      pq.StringArray `db:"scopes"`
	Metadata    []byte         `db:"metadata"`
	CreatedAt   time.Time      `db:"created_at"`
	ExpiresAt   *time.Time     `db:"expires_at"`
	LastUsedAt  *time.Time     `db:"last_used_at"`
	UsageCount  int64          `db:"usage_count"`
}

func (r *keyRow) key() (engine.Key, error) {
	k := engine.Key{
		ID: r.ID, TenantID: r.TenantID, Name: r.Name, Environment: engine.Environment(r.Environment), Active: r.Active,
		RateLimit: r.RateLimit, Scopes: engine.Scopes(r.Scopes), CreatedAt: r.CreatedAt.UTC(), ExpiresAt: utc(r.ExpiresAt),
		LastUsedAt: utc(r.LastUsedAt), UsageCount: r.UsageCount,
	}
	if err := json.Unmarshal(r.Metadata, &k.Metadata); err != nil {
		return engine.Key{}, fmt.Errorf("metadata: %w", err)
	}
	return k, nil
}

const insertKey = `
INSERT INTO keys (tenant_id, id, name, environment, active, rate_limit, scopes, metadata, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`

const insertSecret = `
INSERT INTO secrets (tenant_id, key_id, digest, created_at)
VALUES ($1, $2, $3, $4)`

// CreateKey stores a key and the digest of its secret. A tenant that does not
// exist is engine.ErrNotFound, a key id or a digest that does
// engine.ErrConflict.
func (s *Store) CreateKey(ctx context.Context, key engine.Key, secret engine.Digest) error {
	err := s.write(ctx, key.TenantID, func(t *tx) error { return t.createKey(ctx, &key, secret) })
	if err != nil {
		return fmt.Errorf("creating a key: %w", err)
	}
	return nil
}

func (t *tx) createKey(ctx context.Context, key *engine.Key, secret engine.Digest) error {
	metadata, err := metadataJSON(key.Metadata)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, insertKey, key.TenantID, key.ID, key.Name, string(key.Environment), key.Active, key.RateLimit,
		scopeArray(key.Scopes), metadata, key.CreatedAt, null(key.ExpiresAt))
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, insertSecret, key.TenantID, key.ID, secret[:], key.CreatedAt)
	return err
}

// scopeArray is scopes as a parameter, never NULL.
func scopeArray(scopes engine.Scopes) pq.StringArray {
	if scopes == nil {
		return pq.StringArray{}
	}
	return pq.StringArray(scopes)
}

// metadataJSON is metadata as a parameter, an object even if there is none.
func metadataJSON(metadata map[string]any) (string, error) {
	if metadata == nil {
		return "{}", nil
	}
	text, err := json.Marshal(metadata)
	if err != nil {
		return "", fmt.Errorf("metadata: %w", err)
	}
	return string(text), nil
}

const selectKey = `
SELECT id, tenant_id, name, environment, active, rate_limit, scopes, metadata, created_at, expires_at, last_used_at, usage_count
FROM keys
WHERE tenant_id = $1 AND id = $2`

// Key returns a key of the tenant.
func (s *Store) Key(ctx context.Context, tenantID, keyID string) (engine.Key, error) {
	return s.oneKey(ctx, "reading a key", s.read, tenantID, keyID, func(t *tx, row *keyRow) error {
		return t.one(ctx, row, selectKey, tenantID, keyID)
	})
}

// oneKey runs f, which reads the row of one key, in a transaction.
func (s *Store) oneKey(
	ctx context.Context, doing string, transact func(context.Context, string, func(*tx) error) error,
	tenantID, keyID string, f func(*tx, *keyRow) error,
) (engine.Key, error) {
	if !wellFormedKeyID(keyID) {
		return engine.Key{}, fmt.Errorf("%s: %w", doing, engine.ErrNotFound)
	}
	var key engine.Key
	err := transact(ctx, tenantID, func(t *tx) error {
		var row keyRow
		if err := f(t, &row); err != nil {
			return err
		}
		var err error
		key, err = row.key()
		return err
	})
	if err != nil {
		return engine.Key{}, fmt.Errorf("%s: %w", doing, err)
	}
	return key, nil
}

const selectKeys = `
SELECT id, tenant_id, name, environment, active, rate_limit, scopes, metadata, created_at, expires_at, last_used_at, usage_count
FROM keys
WHERE tenant_id = $1 AND environment = ANY ($2)
ORDER BY created_at DESC, id DESC
LIMIT $3 OFFSET $4`

const countKeys = `
SELECT count(*)
FROM keys
WHERE tenant_id = $1 AND environment = ANY ($2)`

// Keys lists the tenant's keys of the given environments, newest first, and
// counts them all.
func (s *Store) Keys(
	ctx context.Context, tenantID string, environments []engine.Environment, page engine.Page,
) (keys []engine.Key, total int, err error) {
	limit, offset := window(page)
	err = s.list(ctx, tenantID, func(t *tx) error {
		var rows []keyRow
		if err := t.all(ctx, &rows, selectKeys, tenantID, names(environments), limit, offset); err != nil {
			return err
		}
		if err := t.one(ctx, &total, countKeys, tenantID, names(environments)); err != nil {
			return err
		}
		keys, err = convert(rows, (*keyRow).key)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("listing keys: %w", err)
	}
	return keys, total, nil
}

// convert turns rows into what they are rows of.
func convert[Row, T any](rows []Row, one func(*Row) (T, error)) ([]T, error) {
	list := make([]T, len(rows))
	for i := range rows {
		var err error
		if list[i], err = one(&rows[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

const updateKey = `
UPDATE keys
SET name = COALESCE($3, name), active = COALESCE($4, active), rate_limit = COALESCE($5, rate_limit),
    expires_at = CASE WHEN $6 THEN $7 ELSE expires_at END,
    scopes = COALESCE($8, scopes), metadata = COALESCE($9, metadata)
WHERE tenant_id = $1 AND id = $2
RETURNING id, tenant_id, name, environment, active, rate_limit, scopes, metadata, created_at, expires_at, last_used_at, usage_count`

// UpdateKey changes a key and returns its new state.
func (s *Store) UpdateKey(ctx context.Context, tenantID, keyID string, change engine.KeyChange) (engine.Key, error) {
	return s.oneKey(ctx, "changing a key", s.write, tenantID, keyID, func(t *tx, row *keyRow) error {
		return t.updateKey(ctx, row, tenantID, keyID, &change)
	})
}

func (t *tx) updateKey(ctx context.Context, row *keyRow, tenantID, keyID string, change *engine.KeyChange) error {
	var (
		expiresAt *time.Time
		scopes    pq.StringArray
		metadata  *string
	)
	if change.ExpiresAt != nil {
		expiresAt = null(*change.ExpiresAt)
	}
	if change.Scopes != nil {
		scopes = scopeArray(*change.Scopes)
	}
	if change.Metadata != nil {
		text, err := metadataJSON(*change.Metadata)
		if err != nil {
			return err
		}
		metadata = &text
	}
	return t.one(ctx, row, updateKey, tenantID, keyID, change.Name, change.Active, change.RateLimit,
		change.ExpiresAt != nil, expiresAt, scopes, metadata)
}

const deleteKey = `
DELETE FROM keys
WHERE tenant_id = $1 AND id = $2`

// DeleteKey deletes a key and its secrets.
func (s *Store) DeleteKey(ctx context.Context, tenantID, keyID string) error {
	err := engine.ErrNotFound
	if wellFormedKeyID(keyID) {
		err = s.write(ctx, tenantID, func(t *tx) error { return t.execOne(ctx, deleteKey, tenantID, keyID) })
	}
	if err != nil {
		return fmt.Errorf("deleting a key: %w", err)
	}
	return nil
}

const lockKey = `
SELECT id, tenant_id, name, environment, active, rate_limit, scopes, metadata, created_at, expires_at, last_used_at, usage_count
FROM keys
WHERE tenant_id = $1 AND id = $2
FOR NO KEY UPDATE`

// LEAST leaves out what is NULL, which is never.
const endSecrets = `
UPDATE secrets
SET ends_at = LEAST(ends_at, $3, $4)
WHERE tenant_id = $1 AND key_id = $2`

// RotateKey gives a key a new secret. Every older one ends at oldEnds, or
// sooner where it or the key would have ended sooner.
func (s *Store) RotateKey(
	ctx context.Context, tenantID, keyID string, secret engine.Digest, oldEnds time.Time,
) (engine.Key, error) {
	return s.oneKey(ctx, "rotating a key", s.write, tenantID, keyID, func(t *tx, row *keyRow) error {
		// The lock makes two rotations of one key follow each other, so that
		// the second ends the first one's secret.
		if err := t.one(ctx, row, lockKey, tenantID, keyID); err != nil {
			return err
		}
		if _, err := t.exec(ctx, endSecrets, tenantID, keyID, oldEnds, row.ExpiresAt); err != nil {
			return err
		}
		_, err := t.exec(ctx, insertSecret, tenantID, keyID, secret[:], s.clock.Now().Truncate(time.Microsecond))
		return err
	})
}
