package server

import (
	"fmt"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/server/api"
)

const day = 24 * time.Hour

// createKey makes a key for the asking tenant: POST /v1/keys. The answer names
// environment, scopes and metadata if the request did.
func (s *Server) createKey(x *exchange) error {
	key, named, err := x.newKey()
	if err != nil {
		return err
	}
	if key.Environment == engine.Live && x.principal().Key.Environment != engine.Live {
		return forbidden("Access denied: a test key cannot create a live key")
	}
	if err := mayGrant(x.principal(), key.Scopes); err != nil {
		return err
	}
	secret, err := engine.NewCredential(s.random, key.Environment)
	if err != nil {
		return err
	}
	if err := s.keys.CreateKey(x.ctx, key, secret.Digest()); err != nil {
		return fmt.Errorf("creating a key: %w", err)
	}
	created := keyCreated(&key, secret)
	created.Environment, created.Scopes, created.Metadata = named.Environment, named.Scopes, named.Metadata
	return x.json(fiber.StatusCreated, created)
}

// newKey reads the body of a POST of a key. What the request leaves out comes
// from the asking key or is the default; named holds the optional fields that
// it did name.
func (x *exchange) newKey() (key engine.Key, named api.KeyCreated, err error) {
	f := &form{}
	x.parameters(f).done()
	o, err := x.body(f, required)
	if err != nil {
		return key, named, err
	}
	creator := x.principal().Key
	key = engine.Key{
		ID: engine.NewKeyID(), TenantID: x.tenantID(), Environment: creator.Environment, Active: true,
		RateLimit: engine.DefaultRateLimit, Scopes: creator.Scopes, Metadata: map[string]any{}, CreatedAt: x.request.At,
	}
	key.Name, _ = o.text("name", required, 1, api.MaxNameChars)
	if limit, ok := o.integer("rate_limit", settable, api.MinRateLimit, api.MaxRateLimit); ok {
		key.RateLimit = limit
	}
	if days, ok := o.integer("expires_in_days", optional, 1, api.MaxExpiresInDays); ok {
		key.ExpiresAt = key.CreatedAt.Add(time.Duration(days) * day)
	}
	if environment, ok := o.choice("environment", optional, string(engine.Live), string(engine.Test)); ok {
		key.Environment, named.Environment = engine.Environment(environment), environment
	}
	if scopes, ok := o.scopes("scopes", optional); ok {
		key.Scopes, named.Scopes = scopes, scopes
	}
	if metadata, ok := o.freeObject("metadata", optional, api.MaxMetadataBytes, api.MaxMetadataDepth); ok {
		key.Metadata = metadata.object()
		named.Metadata = key.Metadata
	}
	o.done()
	return key, named, f.err()
}

// listKeys shows the keys that the asking key sees: GET /v1/keys.
func (s *Server) listKeys(x *exchange) error {
	f := &form{}
	p := x.parameters(f)
	page := p.page(api.MaxKeyListLimit, api.MaxKeyListLimit)
	p.done()
	if err := f.err(); err != nil {
		return err
	}
	if err := s.usage.Flush(x.ctx); err != nil {
		return fmt.Errorf("flushing usage: %w", err)
	}
	keys, total, err := s.keys.Keys(x.ctx, x.tenantID(), x.visible(), page)
	if err != nil {
		return fmt.Errorf("listing keys: %w", err)
	}
	list := api.KeyList{Keys: make([]api.KeyInfo, len(keys)), Total: total}
	for i := range keys {
		list.Keys[i] = keyInfo(&keys[i])
	}
	return x.json(fiber.StatusOK, list)
}

// getKey shows one key: GET /v1/keys/{key_id}.
func (s *Server) getKey(x *exchange) error {
	if err := x.noParameters(); err != nil {
		return err
	}
	if err := s.usage.Flush(x.ctx); err != nil {
		return fmt.Errorf("flushing usage: %w", err)
	}
	key, err := s.keys.Key(x.ctx, x.tenantID(), x.id())
	if err != nil {
		return fmt.Errorf("reading a key: %w", err)
	}
	return x.json(fiber.StatusOK, keyInfo(&key))
}

// updateKey changes a key and makes every cache forget it: PATCH
// /v1/keys/{key_id}.
func (s *Server) updateKey(x *exchange) error {
	change, err := x.keyChange()
	if err != nil {
		return err
	}
	if change.Scopes != nil {
		if err := mayGrant(x.principal(), *change.Scopes); err != nil {
			return err
		}
	}
	if err := s.usage.Flush(x.ctx); err != nil {
		return fmt.Errorf("flushing usage: %w", err)
	}
	key, err := s.keys.UpdateKey(x.ctx, x.tenantID(), x.id(), change)
	if err != nil {
		return fmt.Errorf("changing a key: %w", err)
	}
	if err := s.revoker.RevokeKey(x.ctx, key.TenantID, key.ID); err != nil {
		return fmt.Errorf("revoking the old state of a key: %w", err)
	}
	return x.json(fiber.StatusOK, keyInfo(&key))
}

// keyChange reads the body of a PATCH of a key.
func (x *exchange) keyChange() (engine.KeyChange, error) {
	var change engine.KeyChange
	f := &form{}
	x.parameters(f).done()
	o, err := x.body(f, required)
	if err != nil {
		return change, err
	}
	if name, ok := o.text("name", settable, 1, api.MaxNameChars); ok {
		change.Name = &name
	}
	if active, ok := o.boolean("is_active", settable); ok {
		change.Active = &active
	}
	if limit, ok := o.integer("rate_limit", settable, api.MinRateLimit, api.MaxRateLimit); ok {
		change.RateLimit = &limit
	}
	if ends, ok := o.ending("expires_at", x.request.At); ok {
		change.ExpiresAt = &ends
	}
	if scopes, ok := o.scopes("scopes", settable); ok {
		change.Scopes = &scopes
	}
	if metadata, ok := o.freeObject("metadata", settable, api.MaxMetadataBytes, api.MaxMetadataDepth); ok {
		members := metadata.object()
		change.Metadata = &members
	}
	o.done()
	return change, f.err()
}

// deleteKey deletes a key for good: DELETE /v1/keys/{key_id}.
func (s *Server) deleteKey(x *exchange) error {
	if err := x.noParameters(); err != nil {
		return err
	}
	if err := s.keys.DeleteKey(x.ctx, x.tenantID(), x.id()); err != nil {
		return fmt.Errorf("deleting a key: %w", err)
	}
	if err := s.revoker.RevokeKey(x.ctx, x.tenantID(), x.id()); err != nil {
		return fmt.Errorf("revoking a deleted key: %w", err)
	}
	return x.noContent()
}

// rotateKey gives a key a new secret: POST /v1/keys/{key_id}/rotate. Whoever
// learns a secret may do what its key may, so the asking key must hold every
// scope of a key it rotates.
func (s *Server) rotateKey(x *exchange) error {
	f := &form{}
	x.parameters(f).done()
	o, err := x.body(f, optional)
	if err != nil {
		return err
	}
	grace, _ := o.integer("grace_period_seconds", settable, 0, api.MaxGracePeriodSeconds)
	o.done()
	if err := f.err(); err != nil {
		return err
	}
	key, err := s.keys.Key(x.ctx, x.tenantID(), x.id())
	if err != nil {
		return fmt.Errorf("reading a key to rotate: %w", err)
	}
	if key.ID != x.principal().Key.ID {
		if err := mayGrant(x.principal(), key.Scopes); err != nil {
			return err
		}
	}
	secret, err := engine.NewCredential(s.random, key.Environment)
	if err != nil {
		return err
	}
	oldEnds := x.request.At.Add(time.Duration(grace) * time.Second)
	key, err = s.keys.RotateKey(x.ctx, x.tenantID(), x.id(), secret.Digest(), oldEnds)
	if err != nil {
		return fmt.Errorf("rotating a key: %w", err)
	}
	if err := s.revoker.RevokeKey(x.ctx, key.TenantID, key.ID); err != nil {
		return fmt.Errorf("revoking the old secret of a key: %w", err)
	}
	return x.json(fiber.StatusOK, keyCreated(&key, secret))
}

// mayGrant reports whether a principal may hand out scopes: it must hold them
// all, and those of operators belong to the platform tenant alone.
func mayGrant(p *engine.Principal, scopes engine.Scopes) error {
	if lacking, ok := p.Key.Scopes.CoversAll(scopes); !ok {
		return forbidden("Access denied: scope " + lacking + " is required")
	}
	for _, scope := range scopes {
		if engine.IsOperatorScope(scope) && p.Tenant.ID != engine.PlatformTenantID {
			return forbidden("Access denied: scope " + scope + " is for operators only")
		}
	}
	return nil
}

// scopes reads a list of known scopes.
func (o *fields) scopes(name string, need presence) (engine.Scopes, bool) {
	list, ok := o.texts(name, need, 1, api.MaxScopes, api.MaxIdentifierChars)
	for i, scope := range list {
		if ok && engine.ValidateScope(scope) != nil {
			o.form.fail(o.at.at(name).at(i), "value_error", "Value error, unknown scope")
		}
	}
	return list, ok
}

// ending reads a moment after now, or null, which is the zero time.
func (o *fields) ending(name string, now time.Time) (time.Time, bool) {
	v, at, ok := o.take(name, nullable)
	if !ok || v.kind == kindNull {
		return time.Time{}, ok
	}
	if v.kind != kindString {
		o.form.fail(at, "datetime_type", "Input should be a valid datetime")
		return time.Time{}, false
	}
	moment, ok := o.form.checkMoment(at, v.text)
	if ok && !moment.After(now) {
		o.form.fail(at, "datetime_future", "Input should be in the future")
		return time.Time{}, false
	}
	return moment, ok
}

// keyInfo shows a key.
func keyInfo(k *engine.Key) api.KeyInfo {
	info := api.KeyInfo{
		KeyID: k.ID, TenantID: k.TenantID, Name: k.Name, Environment: string(k.Environment), IsActive: k.Active,
		RateLimit: k.RateLimit, Scopes: k.Scopes, Metadata: k.Metadata, CreatedAt: api.Time(k.CreatedAt),
		ExpiresAt: api.Time(k.ExpiresAt), LastUsedAt: api.Time(k.LastUsedAt), UsageCount: k.UsageCount,
	}
	if info.Scopes == nil {
		info.Scopes = []string{}
	}
	if info.Metadata == nil {
		info.Metadata = map[string]any{}
	}
	return info
}

// keyCreated shows a key with its secret, the only time that anyone sees it.
func keyCreated(k *engine.Key, secret engine.Credential) api.KeyCreated {
	return api.KeyCreated{
		KeyID: k.ID, APIKey: string(secret), TenantID: k.TenantID, Name: k.Name, RateLimit: k.RateLimit,
		ExpiresAt: api.Time(k.ExpiresAt), CreatedAt: api.Time(k.CreatedAt),
	}
}
