package server

import (
	"fmt"

	"github.com/gofiber/fiber/v2"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/server/api"
)

// createTenant makes a tenant and its first key, which may do everything that
// a tenant may: POST /v1/tenants.
func (s *Server) createTenant(x *exchange) error {
	f := &form{}
	x.parameters(f).done()
	o, err := x.body(f, required)
	if err != nil {
		return err
	}
	name, _ := o.text("name", required, 1, api.MaxNameChars)
	o.done()
	if err := f.err(); err != nil {
		return err
	}
	tenant := engine.Tenant{ID: engine.NewTenantID(), Name: name, Active: true, CreatedAt: x.request.At}
	first := engine.Key{
		ID: engine.NewKeyID(), TenantID: tenant.ID, Name: "First key", Environment: engine.Live, Active: true,
		RateLimit: engine.DefaultRateLimit, Scopes: engine.Scopes{"*"}, Metadata: map[string]any{}, CreatedAt: x.request.At,
	}
	secret, err := engine.NewCredential(s.random, first.Environment)
	if err != nil {
		return err
	}
	if err := s.tenants.CreateTenant(x.ctx, tenant, first, secret.Digest()); err != nil {
		return fmt.Errorf("creating a tenant: %w", err)
	}
	return x.json(fiber.StatusCreated, api.TenantCreated{
		TenantID: tenant.ID, Name: tenant.Name, KeyID: first.ID, APIKey: string(secret),
		IsActive: tenant.Active, CreatedAt: api.Time(tenant.CreatedAt),
	})
}

// listTenants shows all tenants to operators: GET /v1/tenants.
func (s *Server) listTenants(x *exchange) error {
	page, err := x.page()
	if err != nil {
		return err
	}
	tenants, total, err := s.tenants.Tenants(x.ctx, page)
	if err != nil {
		return fmt.Errorf("listing tenants: %w", err)
	}
	return x.json(fiber.StatusOK, list(tenants, total, page, tenantInfo))
}

// getTenant shows one tenant: GET /v1/tenants/{tenant_id}.
func (s *Server) getTenant(x *exchange) error {
	if err := x.noParameters(); err != nil {
		return err
	}
	tenant, err := s.tenants.Tenant(x.ctx, x.id())
	if err != nil {
		return fmt.Errorf("reading a tenant: %w", err)
	}
	return x.json(fiber.StatusOK, tenantInfo(&tenant))
}

// updateTenant disables or enables a tenant: PATCH /v1/tenants/{tenant_id}.
// The platform tenant cannot be disabled: nobody could enable it again.
func (s *Server) updateTenant(x *exchange) error {
	f := &form{}
	x.parameters(f).done()
	o, err := x.body(f, required)
	if err != nil {
		return err
	}
	active, _ := o.boolean("is_active", required)
	o.done()
	if err := f.err(); err != nil {
		return err
	}
	if x.id() == engine.PlatformTenantID && !active {
		return conflict("TENANT_PROTECTED", "The platform tenant cannot be disabled", "active")
	}
	tenant, err := s.tenants.SetTenantActive(x.ctx, x.id(), active)
	if err != nil {
		return fmt.Errorf("changing a tenant: %w", err)
	}
	if err := s.revoker.RevokeTenant(x.ctx, tenant.ID); err != nil {
		return fmt.Errorf("revoking the old state of a tenant: %w", err)
	}
	return x.json(fiber.StatusOK, tenantInfo(&tenant))
}

// tenantInfo shows a tenant.
func tenantInfo(t *engine.Tenant) api.Tenant {
	return api.Tenant{TenantID: t.ID, Name: t.Name, IsActive: t.Active, CreatedAt: api.Time(t.CreatedAt)}
}
